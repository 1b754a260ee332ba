"""Every interleaving of two actors, on the real policies and services: nothing protected goes (P1),
and nothing is deleted that the catalog has not buried (P2).

Two actors promote, roll back, plan, apply, publish, revoke and hold, each with each of three
versions, from many beginnings. Each call of the catalog and of the location is a step; every order
of steps that makes a difference is tried (``support.interleaving``), and judged at every commit and
every deletion by other words than the policy's (``support.stepped``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from support.examples import BETA, CI, NOW, STABLE, change, version
from support.interleaving import Actor, Gate, explore
from support.locks import keep_inputs, lock_of
from support.releases import LOCAL
from support.stepped import JudgedCatalog, JudgedLocation, KeepingStore, Stepped

from imagectl.adapters.inputs.store import InputStore
from imagectl.errors import ImagectlError
from imagectl.model.change import (
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
    StepVersion,
)
from imagectl.model.channel import ChannelRule, MoveKind, ReleasePolicy
from imagectl.model.names import (
    Architecture,
    Format,
    ImageRef,
    VersionId,
)
from imagectl.model.release import PromotionRequest, RollbackRequest
from imagectl.model.retention import RetentionPolicy, RetentionRule, Stage
from imagectl.model.signature import SignedPlan
from imagectl.model.version import Artifact, Origin, Reproducible, VersionRef
from imagectl.services import protect, publish, release
from imagectl.services.apply_cleanup import apply
from imagectl.services.cleanup import planned, scope_of
from imagectl.testing.plans import signed

DAY = timedelta(days=1)
POLICY = ReleasePolicy(
    (
        ChannelRule(BETA, entry=True, rollback_window=1),
        ChannelRule(STABLE, source=BETA, rollback_window=1),
    ),
    retention=RetentionPolicy(
        RetentionRule(keep_last=1, min_age=DAY, unused=DAY, grace=DAY), max_count=9, max_share=1.0
    ),
)
VERSIONS = tuple(VersionRef(CI, VersionId("20261101", serial)) for serial in (1, 2, 3))


@dataclass(frozen=True)
class Beginning:
    """Where both actors begin: what the channels have had, and the stage of what nothing keeps.
    A number is that of a version; below 0, a rollback to it."""

    beta: tuple[int, ...]
    stable: tuple[int, ...]
    stage: Stage

    def __str__(self) -> str:
        return f"beta {self.beta} stable {self.stable} {self.stage.value}"


class World:
    """A beginning, of which each order gets a copy."""

    def __init__(self, beginning: Beginning, folder: Path) -> None:
        self.store = KeepingStore(folder)
        self.inputs = InputStore(folder / "made from" / "inputs")
        self.catalog = JudgedCatalog(POLICY)
        self.location = JudgedLocation(LOCAL, self.catalog)
        self.now = NOW
        for ref in VERSIONS:
            self._record(ref)
        moves = [
            MoveChannel(
                CI,
                name,
                VersionId("20261101", abs(serial)),
                MoveKind.ROLLBACK if serial < 0 else MoveKind.PROMOTE,
            )
            for name, serials in ((BETA, beginning.beta), (STABLE, beginning.stable))
            for serial in serials
        ]
        for move in moves:
            self._commit(move)
        self.now += 10 * DAY
        due = [each.version for each in self.plan().steps]
        for stage in (each for each in Stage if each is not Stage.ACTIVE):
            if any(self.catalog.snapshot().stage(each) is beginning.stage for each in due):
                break
            for each in due:
                self._commit(StepVersion(each, stage))
        self.now += 10 * DAY
        self.ready = self.plan()
        """A plan that was made before either actor began."""

    def plan(self) -> SignedPlan:
        mine = self.actor(self.catalog, self.location, "ann", lambda _: None)
        with planned(mine.cleaning, POLICY, scope_of(mine.releasing)) as made:
            return signed(made)

    def actor(
        self, catalog: JudgedCatalog, location: JudgedLocation, name: str, gate: Gate
    ) -> Stepped:
        return Stepped(catalog, location, self.store, self.inputs, POLICY, self.now, name, gate)

    def _record(self, ref: VersionRef) -> None:
        data = f"disk of {ref}".encode()
        artifact = Artifact(Format.QCOW2, Architecture.AMD64, self.store.add_bytes(data), len(data))
        kept = self.store.add_bytes(lock_of(str(ref)).encode())
        keep_inputs(self.inputs, str(ref))
        made = replace(
            version(str(ref)),
            created=self.now,
            artifacts=(artifact,),
            origin=Origin(0, kept, kept, artifact.sha256, Reproducible.YES),
        )
        placed = self.location.put(
            ref, artifact, self.store.path(artifact.sha256), self.now, lambda _: None
        )
        self._commit(RecordVersion(made), RecordPlacement(placed))

    def _commit(self, *operations: Operation) -> None:
        generation = self.catalog.snapshot(()).generation
        made = change(f"begin-{generation}", generation, *operations)
        self.catalog.commit(replace(made, at=self.now))


Doing = Callable[[World, Stepped], object]


def doings() -> Iterator[tuple[str, Doing]]:
    """What an actor may do, under its name."""
    yield "plan", lambda world, mine: plan_anew(mine)
    yield "apply", lambda world, mine: apply(mine.cleaning, POLICY, world.ready)
    for at, ref in enumerate(VERSIONS, start=1):
        yield f"promote {at}", promoting(ref)
        yield f"rollback {at}", rolling_back(ref)
        yield f"publish {at}", publishing(ref)
        yield f"revoke {at}", revoking(ref)
        yield f"hold {at}", holding(ref)


def plan_anew(mine: Stepped) -> SignedPlan:
    with planned(mine.cleaning, POLICY, scope_of(mine.releasing)) as made:
        return signed(made)


def promoting(ref: VersionRef) -> Doing:
    request = PromotionRequest(STABLE, (ImageRef(ref.image, version=ref.version),))
    return lambda _, mine: release.promote(mine.releasing, POLICY, request)


def rolling_back(ref: VersionRef) -> Doing:
    request = RollbackRequest(STABLE, (ref.image,), ref.version)
    return lambda _, mine: release.rollback(mine.releasing, POLICY, request)


def publishing(ref: VersionRef) -> Doing:
    return lambda _, mine: publish.place(mine.releasing, mine.store, ref, (LOCAL,))


def revoking(ref: VersionRef) -> Doing:
    return lambda _, mine: protect.revoke(mine.releasing, ref, "cve", even_if_released=True)


def holding(ref: VersionRef) -> Doing:
    return lambda _, mine: protect.hold(mine.releasing, ref, "mine")


DOINGS: Mapping[str, Doing] = dict(doings())


@dataclass
class Tally:
    """What all the orders of a beginning amount to, lest they prove nothing."""

    orders: int = 0
    deletions: int = 0
    downs: int = 0
    """How often a version went down as planned."""
    saved: int = 0
    """How often one stayed that a plan was being applied to."""


def try_all(world: World, pair: tuple[str, str], tally: Tally) -> None:
    """Every order of these two, each from the same beginning."""
    catalog, location = world.catalog, world.location

    def begin() -> Sequence[Actor]:
        nonlocal catalog, location
        catalog = world.catalog.fork()
        location = world.location.fork(catalog)
        return [
            actor(world, catalog, location, *each)
            for each in zip(("ann", "bob"), pair, strict=True)
        ]

    def end() -> None:
        look_at(catalog, location)
        tally.deletions += location.deleted
        if "apply" in pair:
            now = catalog.snapshot()
            gone = sum(now.stage(each.version) is each.to for each in world.ready.steps)
            tally.downs += gone
            tally.saved += len(world.ready.steps) - gone

    tally.orders += explore(begin, end)


def actor(
    world: World, catalog: JudgedCatalog, location: JudgedLocation, name: str, doing: str
) -> Actor:
    def play(gate: Gate) -> None:
        # It may be told no, which the order of things may well ask for.
        with suppress(ImagectlError):
            DOINGS[doing](world, world.actor(catalog, location, name, gate))

    return play


def look_at(catalog: JudgedCatalog, location: JudgedLocation) -> None:
    """What has to be so in the end, whoever was first."""
    now = catalog.snapshot()
    assert catalog.verify() == ()
    for channel in now.channels.values():
        head = VersionRef(channel.image, channel.head.version)
        assert now.stage(head) is Stage.ACTIVE, f"{channel.name} points to what is going"
    for ref in VERSIONS:
        if now.stage(ref) is not Stage.DELETED:
            for placement in now.placed(ref):
                assert location.held(placement.provider_id), f"{ref} is not where it should be"
    for ref in now.holds:
        assert now.stage(ref) is not Stage.DELETED, f"{ref} was held and deleted"


FORWARD = (1, 2, 3)
BEGINNINGS = [
    Beginning(FORWARD, FORWARD, Stage.ACTIVE),
    Beginning(FORWARD, FORWARD, Stage.QUARANTINED),
    Beginning(FORWARD, (), Stage.ACTIVE),
]
FURTHER = [
    *(
        Beginning(beta, stable, stage)
        for beta, stable in [
            (FORWARD, FORWARD),
            (FORWARD, ()),
            ((1, 2, 3, -2), ()),
            ((1, 2, 3, -2), (1,)),
            ((1, 2, 3, -2), (1, 2, -1)),
        ]
        for stage in Stage
        if stage is not Stage.DELETED
    ),
    Beginning((1, 2, 3, -1), (), Stage.ACTIVE),
]
"""One version is due in each, and two in the last: with two that are deleted, there are too many
orders of two who apply the same plan."""


def judged(beginning: Beginning, folder: Path) -> Tally:
    world = World(beginning, folder)
    assert world.ready.steps
    tally = Tally()
    for pair in combinations_with_replacement(DOINGS, 2):
        try_all(world, pair, tally)
    return tally


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=str)
def test_whoever_is_first_nothing_protected_goes(beginning: Beginning, tmp_path: Path) -> None:
    tally = judged(beginning, tmp_path)
    assert tally.orders > 1000
    assert tally.downs
    assert tally.saved
    assert (tally.deletions > 0) is (beginning.stage is Stage.QUARANTINED)


@pytest.mark.long
@pytest.mark.parametrize("beginning", [each for each in FURTHER if each not in BEGINNINGS], ids=str)
def test_nor_from_any_other_beginning(beginning: Beginning, tmp_path: Path) -> None:
    assert judged(beginning, tmp_path).downs
