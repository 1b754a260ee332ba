"""What a cleanup takes down by a stage, and what it keeps and why (P1 to P4).

Promises: every version in the plan's scope is in it once, kept with each reason that holds, or
stepping down; what is protected never steps; one plan takes a version down by one stage, the oldest
first, and no more versions than the caps allow together with what went lately; and where the
evidence is not complete there is no plan, but CannotTell.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice

from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import (
    Because,
    CleanupPlan,
    CleanupRequest,
    Entry,
    Reason,
    Scope,
)
from imagectl.model.names import ImageName
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import RetentionPolicy, Stage, Tombstone
from imagectl.model.stock import Kept, Shelf, Shelved, Stock
from imagectl.model.version import VersionRef
from imagectl.model.view import View
from imagectl.policy.doubts import insist
from imagectl.policy.evidence import Evidence, check_entries, check_published
from imagectl.policy.lineage import Lineage
from imagectl.policy.retention import ALL_GONE, cap, judge, went_lately
from imagectl.policy.wording import counted, listed, moment


def plan_cleanup(
    stock: Stock,
    policy: ReleasePolicy,
    views: Iterable[View],
    published: Mapping[str, PublishedCatalog | None],
    resolved: Mapping[VersionRef, datetime],
    request: CleanupRequest,
    now: datetime,
) -> CleanupPlan:
    """The plan at *now*. Its ``entries`` can be had for as long as *stock* is open.

    *stock* is all of the catalog, whatever the scope: children in other images protect. *views* are
    one for each location of the scope; where they are large, give an iterator, since none is held
    on to. *published*: the trees that the catalog has published, by where they are, None for those
    in which nothing is published. *resolved*: when consumers have resolved versions last.

    Raises CannotTell, naming all that is missing or does not fit (P2, P3).
    """
    insist(tuple(check_published(stock, published)))
    unmoved = request.before == stock.generation
    evidence = Evidence(stock, request.scope, views, now, unmoved=unmoved)
    read = _Read(request, policy.retention, now)
    for shelf in stock.shelves():
        evidence.read(shelf)
        read.unfinished.extend(_unfinished(shelf, request.scope))
        for version, reasons in judge(shelf, policy, resolved, now, request.shown):
            ref = VersionRef(shelf.image, version.id)
            if missing := evidence.place(ref, version, reasons):
                read.missing[ref] = missing
            read.add(ref, version, reasons)
    sheltered = _sheltered(read.sheltering, evidence.lineage)
    evidence.check(sheltered)
    needed = evidence.lineage.needed
    going = _going(read, sheltered, needed, policy)
    went = f"{counted(read.went, 'version')} went since {moment(now - policy.retention.expires)}"
    capped = (Reason(Because.CAPPED, went if read.went else ""),)
    entries = _Entries(
        stock, request.scope, read.count, read.kept, read.missing, sheltered, needed, going, capped
    )
    return CleanupPlan(
        stock.catalog_id,
        stock.generation,
        now,
        now + policy.retention.expires,
        request.author,
        request.scope,
        evidence.sights,
        entries,
        evidence.unknown,
        tuple(read.unfinished),
    )


class _Read:
    """What has to be known of all versions before any of them can be judged."""

    def __init__(self, request: CleanupRequest, retention: RetentionPolicy, now: datetime) -> None:
        self._retention = retention
        self._now = now
        self._scope = request.scope
        self._only = request.only
        self.sheltering: dict[VersionRef, VersionRef] = {}
        """What protected versions were built on, each with one of them."""
        self.due = _Due()
        """What is in the scope, and kept by no reason of its own."""
        self.kept: dict[VersionRef, tuple[Reason, ...]] = {}
        """What is in the scope and not deleted, and kept by reasons of its own."""
        self.missing: dict[VersionRef, tuple[Kept, ...]] = {}
        self.unfinished: list[Tombstone] = []
        self.count = 0
        """How many are in the scope."""
        self.alive = 0
        """How many of them are not deleted."""
        self.went = 0
        """How many of all images have gone down lately."""
        self.went_inside = 0
        self.died_inside = 0

    def add(self, ref: VersionRef, version: Shelved, reasons: tuple[Reason, ...]) -> None:
        inside = covers(self._scope, ref.image, version.placed)
        self.count += inside
        if went_lately(version, self._retention, self._now):
            self.went += 1
            self.went_inside += inside
            self.died_inside += inside and version.stage is Stage.DELETED
        if version.stage is Stage.DELETED:
            return
        if reasons and version.parent and any(each.because.protects for each in reasons):
            self.sheltering.setdefault(version.parent, ref)
        if inside:
            self.alive += 1
            due = not reasons and not elsewhere(version.stage, version.placed, self._scope)
            if due and (self._only is None or ref in self._only):
                self.due.add(ref, version)
            if reasons:
                self.kept[ref] = reasons


class _Due:
    """Versions by age, in some twenty bytes each: nearly all of them may be due."""

    def __init__(self) -> None:
        self._born = array("d")
        self._quarantined = array("b")
        self._refs: list[VersionRef] = []

    def add(self, ref: VersionRef, version: Shelved) -> None:
        self._born.append(version.created.timestamp())
        self._quarantined.append(version.stage is Stage.QUARANTINED)
        self._refs.append(ref)

    def oldest(self) -> Iterator[tuple[VersionRef, bool]]:
        """Each, the oldest first, and whether it would be deleted."""
        order = sorted(range(len(self._refs)), key=self._born.__getitem__)
        for _, same in groupby(order, key=self._born.__getitem__):
            for at in sorted(same, key=self._refs.__getitem__):
                yield self._refs[at], bool(self._quarantined[at])


def _sheltered(
    sheltering: Mapping[VersionRef, VersionRef], lineage: Lineage
) -> Mapping[VersionRef, VersionRef]:
    """The ancestors of protected versions, each with the child that protects it (P1)."""
    found: dict[VersionRef, VersionRef] = {}
    for first, protected in sheltering.items():
        parent: VersionRef | None = first
        child = protected
        while parent is not None and parent not in found:
            found[parent] = child
            child, parent = parent, lineage.parent(parent)
    return found


def covers(scope: Scope, image: ImageName, placed: Iterable[Kept]) -> bool:
    """Whether a version that is placed there is in the scope. Where locations were named, it has to
    be in one of them: what is nowhere, or only elsewhere, is none of this plan's business
    (INCIDENTS D)."""
    if scope.images and image not in scope.images:
        return False
    return not scope.narrowed or any(each.location in scope.locations for each in placed)


def elsewhere(stage: Stage, placed: Iterable[Kept], scope: Scope) -> tuple[Reason, ...]:
    """What would be deleted has to be seen, all of it; and a plan about some locations takes
    nothing away from those who have it from another one (INCIDENTS D)."""
    taken = (Stage.OBSOLETE, Stage.QUARANTINED) if scope.narrowed else (Stage.QUARANTINED,)
    if stage not in taken:
        return ()
    others = {each.location for each in placed}.difference(scope.locations)
    return (Reason(Because.ELSEWHERE, f"in {listed(sorted(others))}"),) if others else ()


def _unfinished(shelf: Shelf, scope: Scope) -> Iterator[Tombstone]:
    """Unfinished deletions within the scope."""
    if not scope.images or shelf.image in scope.images:
        for stone in shelf.unfinished:
            if stone.placement.location in scope.locations:
                yield stone


def _going(
    read: _Read,
    sheltered: Mapping[VersionRef, VersionRef],
    needed: Mapping[VersionRef, VersionRef],
    policy: ReleasePolicy,
) -> frozenset[VersionRef]:
    """The versions that step down: the oldest of those that nothing keeps, as many as the caps
    allow."""
    free = (
        ref
        for ref, last in read.due.oldest()
        if ref not in sheltered and not (last and ref in needed)
    )
    # A share of what there was before they went: a plan that was stopped can be gone on with.
    versions = read.alive + read.died_inside
    return frozenset(islice(free, cap(policy.retention, versions, read.went, read.went_inside)))


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a plan, made anew each time from what the catalog has: there may be more of
    them than fit into memory beside the rest. ``count``: how many there have to be."""

    stock: Stock
    scope: Scope
    count: int
    kept: Mapping[VersionRef, tuple[Reason, ...]]
    missing: Mapping[VersionRef, tuple[Kept, ...]]
    sheltered: Mapping[VersionRef, VersionRef]
    needed: Mapping[VersionRef, VersionRef]
    going: frozenset[VersionRef]
    capped: tuple[Reason]

    def __iter__(self) -> Iterator[Entry]:
        made = 0
        for each in self.stock.whereabouts():
            if covers(self.scope, each.version.image, each.placed):
                made += 1
                yield self._entry(each.version, each.stage, each.placed)
        insist(tuple(check_entries(made, self.count)))

    def _entry(self, ref: VersionRef, stage: Stage, placed: tuple[Kept, ...]) -> Entry:
        to: Stage | None = None
        reasons: tuple[Reason, ...] = ()
        if stage is Stage.DELETED:
            reasons = ALL_GONE
        elif ref in self.going:
            to = stage.below
        else:
            reasons = (*self.kept.get(ref, ()), *self._further(ref, stage, placed)) or self.capped
        return Entry(ref, stage, to, reasons, placed, self.missing.get(ref, ()))

    def _further(self, ref: VersionRef, stage: Stage, placed: tuple[Kept, ...]) -> Iterator[Reason]:
        """What keeps it beside what its own image knows."""
        if ref in self.sheltered:
            yield Reason(Because.PARENT, f"of {self.sheltered[ref]}")
        if stage is Stage.QUARANTINED and ref in self.needed:
            yield Reason(Because.NEEDED, f"for {self.needed[ref]}")
        yield from elsewhere(stage, placed, self.scope)
