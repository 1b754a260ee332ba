"""Catalogs as cleanups read them, and views of locations, made of few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from imagectl.model.channel import Channel, ChannelRule, Move, MoveKind, ReleasePolicy
from imagectl.model.cleanup import CleanupPlan, CleanupRequest, Scope
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import RetentionPolicy, RetentionRule, Stage, Tombstone
from imagectl.model.stock import Counted, Kept, Shelf, Shelved, Stock, Whereabouts
from imagectl.model.version import Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.policy.cleanup import plan_cleanup
from support.examples import BETA, CI, NOW, STABLE, digest

DAY = timedelta(days=1)
OLD = NOW - 400 * DAY
CATALOG = "00000000-0000-4000-8000-000000000000"
LOCAL = LocationName("local")
CLOUD = LocationName("gce-prod")
EVERYWHERE = Scope((), (CLOUD, LOCAL))
RULE = RetentionRule(1, 30 * DAY, 20 * DAY, 10 * DAY)
POLICY = ReleasePolicy(
    (ChannelRule(BETA, entry=True), ChannelRule(STABLE, source=BETA, rollback_window=1)),
    retention=RetentionPolicy(RULE, max_count=100, max_share=1.0),
)
"""Keeps little, and takes all that it may at once."""


def number(serial: int) -> VersionId:
    return VersionId("20250101", serial)


def a_ref(serial: int, image: ImageName = CI) -> VersionRef:
    return VersionRef(image, number(serial))


def kept(ref: VersionRef, location: LocationName = LOCAL) -> Kept:
    return Kept(location, f"{location}/{ref}", digest(str(ref)))


def old(
    serial: int,
    *at: LocationName,
    image: ImageName = CI,
    stage: Stage = Stage.ACTIVE,
    created: datetime = OLD,
    staged: datetime | None = None,
    parent: VersionRef | None = None,
) -> Shelved:
    """A version of long ago that nothing keeps; the higher its number, the younger by a minute. It
    is in the locations named, in LOCAL where none are, and nowhere once it is deleted."""
    ref = a_ref(serial, image)
    born = created + timedelta(minutes=serial)
    places = () if stage is Stage.DELETED else at or (LOCAL,)
    placed = tuple(kept(ref, each) for each in places)
    return Shelved(ref.version, born, parent, stage, staged or born, placed)


def channel(
    name: ChannelName, *serials: int, image: ImageName = CI, back: Sequence[int] = ()
) -> Channel:
    """Moved to each of them in turn; then rolled back to those in *back*."""
    kinds = [
        *((each, MoveKind.PROMOTE) for each in serials),
        *((x, MoveKind.ROLLBACK) for x in back),
    ]
    moves = (
        Move(number(serial), kind, OLD, "alice", "", at)
        for at, (serial, kind) in enumerate(kinds, start=1)
    )
    return Channel(image, name, tuple(moves))


def shelf(
    *versions: Shelved,
    channels: Iterable[Channel] = (),
    image: ImageName = CI,
    buried: Iterable[Tombstone] = (),
) -> Shelf:
    return Shelf(image, versions, {each.name: each for each in channels}, tuple(buried))


def tombstone(serial: int, image: ImageName = CI, location: LocationName = LOCAL) -> Tombstone:
    ref = a_ref(serial, image)
    there = kept(ref, location)
    placement = Placement(
        ref,
        Format.QCOW2,
        Architecture.AMD64,
        location,
        there.provider_id,
        "",
        there.sha256,
        1,
        OLD,
    )
    return Tombstone(placement, OLD, "alice", "plan 1")


def stock(*shelves: Shelf, catalog: str = CATALOG, generation: int = 1000) -> Stock:
    """As a catalog reads itself that has all of it."""
    versions = [each for one in shelves for each in one.versions]
    counted = Counted(
        len(versions),
        sum(len(each.placed) for each in versions),
        sum(len(each.moves) for one in shelves for each in one.channels.values()),
        generation,
    )
    everywhere = [
        Whereabouts(VersionRef(one.image, each.id), each.stage, each.placed)
        for one in shelves
        for each in one.versions
    ]
    return Stock(
        catalog, generation, counted, lambda: iter(shelves), lambda: iter(everywhere), event_of
    )


def event_of(generation: int) -> Sha256:
    """The hash of that event of the catalog's."""
    return Sha256(f"{generation:064x}")


def found(ref: VersionRef, there: Kept, catalog: str = CATALOG) -> Found:
    owner = Ownership(catalog, ref, Format.QCOW2, Architecture.AMD64, there.sha256)
    return Found(there.provider_id, there.provider_id, owner, 1)


def view(location: LocationName, things: Iterable[Found], **other: object) -> View:
    seen = View(location, f"all of {location}", tuple(things), (), 1, NOW, NOW)
    return replace(seen, **other)  # type: ignore[arg-type]  # the fields' own types


def views(
    catalog: Stock, scope: Scope = EVERYWHERE, without: Iterable[VersionRef] = ()
) -> tuple[View, ...]:
    """What the locations would show, were all of the catalog there but *without*."""
    things: dict[LocationName, list[Found]] = {each: [] for each in scope.locations}
    gone = frozenset(without)
    for one in catalog.shelves():
        for version in one.versions:
            ref = VersionRef(one.image, version.id)
            for there in version.placed:
                if there.location in things and ref not in gone:
                    things[there.location].append(found(ref, there))
    return tuple(view(name, each) for name, each in things.items())


def plan(
    catalog: Stock,
    *,
    policy: ReleasePolicy = POLICY,
    seen: Iterable[View] | None = None,
    published: Mapping[str, PublishedCatalog | None] | None = None,
    resolved: Mapping[VersionRef, datetime] | None = None,
    scope: Scope = EVERYWHERE,
    only: frozenset[VersionRef] | None = None,
    before: int | None = None,
    now: datetime = NOW,
) -> CleanupPlan:
    return plan_cleanup(
        catalog,
        policy,
        views(catalog, scope) if seen is None else seen,
        published or {},
        resolved or {},
        CleanupRequest(scope, "alice", only, before),
        now,
    )
