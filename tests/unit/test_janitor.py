"""The janitor's rounds, over places in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from imagectl.adapters.leasing import LEASE, LedgerLeasing
from imagectl.errors import CannotTell, Denial, Denied, Failed, Refused
from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind
from imagectl.services.janitor import (
    Applied,
    Janitoring,
    JanitorPlan,
    Outcome,
    Pace,
    Tried,
    apply,
    forget,
    plan,
    rounds,
)
from imagectl.services.room import Ceilings
from imagectl.testing.clock import FixedClock
from imagectl.testing.machines import MemoryMachines
from imagectl.testing.resources import MemoryResources

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
OURS = "our-catalog"
HOUR = timedelta(hours=1)


@dataclass
class World:
    """Two places, their ledger, and what the janitor does there."""

    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    ledger: MemoryResources = field(default_factory=MemoryResources)
    dc1: MemoryMachines = field(default_factory=lambda: MemoryMachines("dc1", OURS))
    dc2: MemoryMachines = field(default_factory=lambda: MemoryMachines("dc2", OURS))
    slept: list[float] = field(default_factory=list)

    def leak(
        self, name: str, place: MemoryMachines | None = None, *, known: bool = True, age: int = 1
    ) -> str:
        """A machine whose maker died *age* hours ago."""
        place = place or self.dc1
        since = NOW - age * HOUR - LEASE
        resource = Resource(
            *(f"id-{name}", ResourceKind.MACHINE, place.place, name, "a test", "ann"),
            *(since, since + LEASE),
        )
        if known:
            self.ledger.begin(resource)
        claim = Claim(OURS, resource.id, resource.until)
        found = FoundResource(name, ResourceKind.MACHINE, name, claim, "suspended", since)
        return place.make(found).provider_id

    @property
    def janitoring(self) -> Janitoring:
        return Janitoring(self.ledger, (self.dc1, self.dc2), OURS, self.clock)

    def plan(self) -> JanitorPlan:
        return plan(self.janitoring)

    def apply(
        self,
        limit: int | None = None,
        rate: float = 60,
        tell: Callable[[Tried], None] = lambda _: None,
    ) -> Applied:
        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.clock.advance(timedelta(seconds=seconds))

        return apply(self.janitoring, Pace(rate, self.clock, sleep), limit, tell)

    def entries(self) -> set[str]:
        return {each.id for each in self.ledger.all()}


@pytest.fixture
def world() -> World:
    return World()


def names(tried: tuple[Tried, ...]) -> list[str]:
    return [each.found.name for each in tried]


def test_everything_that_is_left_over_goes_and_is_forgotten(world: World) -> None:
    world.leak("a"), world.leak("b", world.dc2), world.leak("c", known=False)
    assert world.plan().due == 3
    assert world.dc1.collected == [], "a plan changes nothing"
    applied = world.apply()
    assert sorted(names(applied.having(Outcome.COLLECTED))) == ["a", "b", "c"]
    assert applied.left == 0
    assert world.entries() == set()
    assert world.apply().tried == ()


def test_oldest_first_and_not_more_than_the_limit(world: World) -> None:
    for age, name in enumerate("abcde", start=1):
        world.leak(name, age=age)
    applied = world.apply(limit=2)
    assert world.dc1.collected == ["e", "d"]
    assert applied.left == 3
    assert world.entries() == {"id-a", "id-b", "id-c"}


def test_not_faster_than_allowed(world: World) -> None:
    for name in "abcd":
        world.leak(name)
    world.apply(rate=30)
    assert world.slept == [2.0, 2.0, 2.0]


def test_a_live_build_is_not_disturbed(world: World) -> None:
    world.leak("leaked")
    leasing = LedgerLeasing(world.ledger, lambda: OURS, "ann", world.clock.now)
    with leasing.lease(ResourceKind.MACHINE, "dc1", "live", "a test") as leased:
        world.dc1.make(FoundResource("live", ResourceKind.MACHINE, "live", leased.claim))
        world.apply()
        assert world.dc1.there() == ("live",)
        world.dc1.lose("live")
        leased.gone()
    assert world.entries() == set()


def test_what_is_being_made_is_not_forgotten(world: World) -> None:
    """It is in the ledger, and not yet in its place."""
    leasing = LedgerLeasing(world.ledger, lambda: OURS, "ann", world.clock.now)
    with leasing.lease(ResourceKind.MACHINE, "dc1", "coming", "a test"):
        assert world.apply().ended == ()
        assert len(world.entries()) == 1


def test_what_a_maker_has_left_goes_when_its_lease_is_over(world: World) -> None:
    leasing = LedgerLeasing(world.ledger, lambda: OURS, "ann", world.clock.now)
    with leasing.lease(ResourceKind.MACHINE, "dc1", "a", "a test") as leased:
        world.dc1.make(FoundResource("a", ResourceKind.MACHINE, "a", leased.claim))
    assert world.apply().tried == ()
    world.clock.advance(HOUR)
    assert names(world.apply().tried) == ["a"]
    assert world.entries() == set()


def test_what_was_never_made_is_forgotten(world: World) -> None:
    world.dc1.lose(world.leak("a"))
    applied = world.apply()
    assert [each.name for each in applied.ended] == ["a"]
    assert world.entries() == set()


def test_nothing_is_forgotten_by_a_view_with_gaps(world: World) -> None:
    world.dc1.lose(world.leak("unseen"))
    world.leak("seen")
    world.dc1.gaps = ("one host does not answer",)
    applied = world.apply()
    assert world.dc1.collected == ["seen"], "what is seen says itself that it is over"
    assert world.entries() == {"id-unseen"}
    assert not applied.plan.complete


def test_what_is_seen_to_be_renewed_right_before_is_kept(world: World) -> None:
    world.leak("first", age=2), world.leak("renewed")

    def renew(tried: Tried) -> None:
        if tried.found.name == "first":
            world.dc1.show("renewed", Claim(OURS, "id-renewed", world.clock.now() + LEASE))

    applied = world.apply(tell=renew)
    assert world.dc1.there() == ("renewed",)
    assert names(applied.having(Outcome.KEPT)) == ["renewed"]
    assert "id-renewed" in world.entries()


def test_a_renewal_that_only_the_ledger_knows_of_is_respected(world: World) -> None:
    """The provider did not take the new claim, and the round lasts long."""
    world.leak("first", age=2), world.leak("renewed")

    def renew(tried: Tried) -> None:
        if tried.found.name == "first":
            world.ledger.renew(["id-renewed"], world.clock.now() + HOUR)

    applied = world.apply(rate=0.5, tell=renew)
    assert world.dc1.there() == ("renewed",)
    assert names(applied.having(Outcome.KEPT)) == ["renewed"]


def test_what_keeps_failing_is_counted_reported_and_holds_up_nothing(world: World) -> None:
    world.leak("stuck", age=9), world.leak("a"), world.leak("b")
    world.dc1.stand_in_the_way("stuck", Failed("it is locked", why="by a backup"))
    for round_ in range(1, 5):
        applied = world.apply()
        (failed,) = applied.having(Outcome.FAILED)
        assert (failed.found.name, failed.tries) == ("stuck", round_)
        assert names(applied.stuck) == (["stuck"] if round_ >= 3 else [])
        assert applied.left == 1
    assert set(world.dc1.collected) == {"a", "b"}
    (entry,) = world.ledger.all()
    assert entry.tries == 4
    assert entry.trouble == "it is locked: by a backup"
    assert [due.found.name for _, due in world.plan().stuck] == ["stuck"]
    world.dc1.stand_in_the_way("stuck", None)
    assert names(world.apply().having(Outcome.COLLECTED)) == ["stuck"]
    assert world.entries() == set()


def test_failures_are_counted_where_the_ledger_was_lost(world: World) -> None:
    world.leak("stuck", known=False)
    world.dc1.stand_in_the_way("stuck", Failed("it is locked"))
    applied = [world.apply() for _ in range(3)]
    assert [names(each.stuck) for each in applied] == [[], [], ["stuck"]]


def test_a_place_that_cannot_be_read_keeps_no_other_from_being_clean(world: World) -> None:
    world.leak("a"), world.leak("b", world.dc2)
    with world.dc1.down(Denied("no", denial=Denial.WRONG)):
        applied = world.apply()
    assert world.dc2.collected == ["b"]
    assert [place for place, _ in applied.troubles] == ["dc1"]
    assert not applied.plan.complete
    (looked, _) = applied.plan.places
    assert looked.found is None, "unknown is not zero (P8)"
    assert "id-a" in world.entries()


def test_a_password_that_is_rotated_meanwhile_stops_the_place_at_once(world: World) -> None:
    for name in "abc":
        world.leak(name)
        world.dc1.stand_in_the_way(name, Denied("no", denial=Denial.EXPIRED))
    applied = world.apply()
    assert len(applied.tried) == 1
    assert [place for place, _ in applied.troubles] == ["dc1"]
    assert applied.left == 3


def test_a_place_that_stops_answering_is_left_for_this_time(world: World) -> None:
    for age, name in enumerate("abcdefg", start=1):
        world.leak(name, age=age)
        world.dc1.stand_in_the_way(name, CannotTell("no answer"))
    world.dc1.stand_in_the_way("f", None)
    applied = world.apply()
    assert names(applied.tried) == ["g", "f", "e", "d", "c"], "three in a row are enough"
    assert [place for place, _ in applied.troubles] == ["dc1"]


def test_nothing_is_decided_without_the_ledger(world: World) -> None:
    world.leak("a")
    world.ledger.broken = True
    with pytest.raises(CannotTell):
        world.plan()
    with pytest.raises(CannotTell):
        world.apply()
    assert world.dc1.collected == []


def test_what_is_elsewhere_is_told(world: World) -> None:
    away = MemoryMachines("host/another/srv", OURS)
    world.leak("a", away)
    assert [each.name for each in world.plan().elsewhere] == ["a"]
    assert world.apply().ended == ()


def test_what_is_over_is_forgotten_and_of_that_place_alone(world: World) -> None:
    """People say that a place is no more; a lease that is not over says that something is there."""
    world.leak("a")
    world.leak("b", world.dc2)
    world.leak("just now", age=0)
    assert [each.name for each in forget(world.ledger, "dc1", NOW)] == ["a"]
    assert world.entries() == {"id-b", "id-just now"}


def test_rounds_begin_at_their_time(world: World) -> None:
    began = []

    def sleep(seconds: float) -> None:
        world.clock.advance(timedelta(seconds=seconds))

    for number, _ in enumerate(rounds(timedelta(minutes=5), world.clock, sleep)):
        began.append(int(world.clock.monotonic()))
        if number == 3:
            break
        world.clock.advance(timedelta(minutes=(1, 7, 1)[number]))
    assert began == [0, 300, 720, 1020]


def ceilings(world: World, limit: int) -> LedgerLeasing:
    check = Ceilings({"dc1": limit}, lambda _: world.dc1, world.ledger, world.clock.now).check
    return LedgerLeasing(world.ledger, lambda: OURS, "ann", world.clock.now, check)


def test_beyond_the_ceiling_nothing_is_made(world: World) -> None:
    world.leak("a"), world.leak("b", known=False)
    leasing = ceilings(world, 2)
    with (
        pytest.raises(Refused) as caught,
        leasing.lease(ResourceKind.MACHINE, "dc1", "c", "a test"),
    ):
        pytest.fail("the machine is made")
    assert "2 machines" in caught.value.reasons[0]
    assert "janitor plan" in caught.value.hint
    assert world.entries() == {"id-a"}
    with leasing.lease(ResourceKind.DISK, "dc1", "d", "a disk is no machine") as leased:
        leased.gone()
    world.apply()
    with leasing.lease(ResourceKind.MACHINE, "dc1", "c", "there is room again"):
        pass


def test_those_that_are_being_made_count(world: World) -> None:
    leasing = ceilings(world, 1)
    with (
        leasing.lease(ResourceKind.MACHINE, "dc1", "first", "a test"),
        pytest.raises(Refused),
        leasing.lease(ResourceKind.MACHINE, "dc1", "second", "a test"),
    ):
        pytest.fail("the machine is made")


def test_where_nobody_can_count_nothing_is_made(world: World) -> None:
    leasing = ceilings(world, 10)
    world.dc1.gaps = ("a host does not answer",)
    with pytest.raises(CannotTell), leasing.lease(ResourceKind.MACHINE, "dc1", "c", "a test"):
        pytest.fail("the machine is made")
    world.dc1.gaps = ()
    down = world.dc1.down(CannotTell("no"))
    with (
        down,
        pytest.raises(CannotTell),
        leasing.lease(ResourceKind.MACHINE, "dc1", "c", "a test"),
    ):
        pytest.fail("the machine is made")
    assert world.entries() == set()
