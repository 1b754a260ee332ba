"""Leases of what is made to be thrown away (P7)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from imagectl.adapters.leasing import LEASE, LedgerLeasing
from imagectl.errors import CannotTell, Refused
from imagectl.model.resource import Claim, Resource, ResourceKind
from imagectl.testing.clock import FixedClock
from imagectl.testing.resources import MemoryResources

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
QUICK = timedelta(milliseconds=5)
WHAT = (ResourceKind.MACHINE, "dc1", "debian-ci.boot-1", "the boot test of debian-ci@20261120.1")


@pytest.fixture
def ledger() -> MemoryResources:
    return MemoryResources()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


def leasing(
    ledger: MemoryResources,
    clock: FixedClock,
    room: Callable[[Resource], None] | None = None,
    every: timedelta = QUICK,
) -> LedgerLeasing:
    return LedgerLeasing(ledger, lambda: "catalog", "ann@ci", clock.now, room, every=every)


def soon(seen: Callable[[], bool]) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_it_is_in_the_ledger_before_the_thing_is_made(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    with leasing(ledger, clock).lease(*WHAT) as leased:
        (entry,) = ledger.all()
        assert leased.claim == Claim("catalog", entry.id, NOW + LEASE)
        assert entry == Resource(entry.id, *WHAT, "ann@ci", NOW, NOW + LEASE)
        leased.gone()
        assert ledger.all() == (entry,), "it ends when nothing can be made any more"
    assert ledger.all() == ()


def test_what_is_not_said_to_be_gone_stays_in_the_ledger(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    with pytest.raises(ZeroDivisionError), leasing(ledger, clock).lease(*WHAT):
        raise ZeroDivisionError
    (entry,) = ledger.all()
    clock.advance(timedelta(hours=1))
    time.sleep(0.05)
    assert ledger.all() == (entry,), "nobody renews it any more"


def test_nothing_is_made_where_it_cannot_be_written_down(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    ledger.broken = True
    with pytest.raises(CannotTell), leasing(ledger, clock).lease(*WHAT):
        pytest.fail("the thing is made")


def test_a_lease_is_renewed_in_the_ledger_and_at_the_provider(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    shown: list[Claim] = []
    with leasing(ledger, clock).lease(*WHAT, shown.append) as leased:
        clock.advance(timedelta(hours=1))
        until = clock.now() + LEASE
        soon(lambda: bool(shown) and shown[-1].until == until)
        (entry,) = ledger.all()
        assert entry.until == until
        assert leased.claim == Claim("catalog", entry.id, until) == shown[-1]


def test_a_thing_that_is_gone_is_shown_no_claims(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    shown: list[Claim] = []
    with leasing(ledger, clock).lease(*WHAT, shown.append) as leased:
        soon(lambda: bool(shown))
        leased.gone()
        time.sleep(0.02)
        count = len(shown)
        time.sleep(0.05)
        assert len(shown) == count


def test_what_fails_once_is_renewed_the_next_time(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    asked = threading.Event()

    def show(_claim: Claim) -> None:
        asked.set()
        raise OSError("the provider does not answer")

    with leasing(ledger, clock).lease(*WHAT, show):
        ledger.broken = True
        asked.clear()
        assert asked.wait(60)
        clock.advance(timedelta(hours=1))
        ledger.broken = False
        soon(lambda: ledger.all()[0].until == clock.now() + LEASE)


def test_without_room_nothing_is_made_and_nothing_stays(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    def room(resource: Resource) -> None:
        assert ledger.all() == (resource,), "others that ask now must see it"
        raise Refused("no room", reasons=["5 of 5"])

    with pytest.raises(Refused), leasing(ledger, clock, room).lease(*WHAT):
        pytest.fail("the thing is made")
    assert ledger.all() == ()


def test_an_entry_that_cannot_be_ended_spoils_nothing(
    ledger: MemoryResources, clock: FixedClock
) -> None:
    with leasing(ledger, clock, every=timedelta(hours=1)).lease(*WHAT) as leased:
        leased.gone()
        ledger.broken = True
    ledger.broken = False
    assert len(ledger.all()) == 1, "the janitor ends it"
