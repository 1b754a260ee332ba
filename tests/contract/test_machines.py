"""The contract of ``services.ports.Machines``, over every place in ``support.machines``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.machines import CATALOG, MACHINES, Cannot, Yard, opened

from imagectl.adapters.clock import SystemClock
from imagectl.errors import CannotTell, Conflict
from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView
from imagectl.policy.leases import SLACK, sort_resources
from imagectl.services.ports.janitor import Machines

NOW = SystemClock().now().replace(microsecond=0)
OVER = NOW - timedelta(hours=1)
RUNNING = NOW + timedelta(minutes=10)
ANOTHER = "00000000-0000-4000-8000-000000000002"
ONE, TWO, THREE = (f"{number}" * 32 for number in (1, 2, 3))


@pytest.fixture(params=MACHINES)
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Yard:
    return opened(request.param, request, tmp_path)


def view(yard: Yard) -> ResourceView:
    return yard.machines.resources(lambda: NOW)


def found(yard: Yard, provider_id: str) -> FoundResource:
    (one,) = (each for each in view(yard).found if each.provider_id == provider_id)
    return one


def test_it_is_a_place_of_machines(yard: Yard) -> None:
    assert isinstance(yard.machines, Machines)
    assert yard.machines.place == yard.machines.place == view(yard).place


def test_everything_is_shown_with_its_claim(yard: Yard) -> None:
    mine, others = Claim(CATALOG, ONE, OVER), Claim(ANOTHER, TWO, OVER)
    made = {yard.make("imagectl-a", mine): mine, yard.make("imagectl-b", others): others}
    shown = view(yard)
    assert shown.complete, shown.gaps
    claims = {each.provider_id: each.claim for each in shown.found if each.claim is not None}
    assert claims == made
    assert all(found(yard, each).kind is ResourceKind.MACHINE for each in made)
    assert shown.began == shown.ended == NOW


def test_what_is_not_imagectls_carries_no_claim(yard: Yard) -> None:
    foreign = yard.foreign("somebodys")
    if isinstance(foreign, Cannot):  # nothing of others can be there: the place says itself why
        pytest.skip(foreign.why)
    assert found(yard, foreign).claim is None


def test_what_nobody_needs_goes_and_nothing_else(yard: Yard) -> None:
    due = yard.make("imagectl-due", Claim(CATALOG, ONE, OVER))
    yard.make("imagectl-needed", Claim(CATALOG, TWO, RUNNING))
    yard.make("imagectl-others", Claim(ANOTHER, THREE, OVER))
    yard.foreign("somebodys")
    before = yard.there()
    yard.machines.collect(found(yard, due), NOW)
    assert yard.there() == before - {due}


def test_what_is_gone_already_is_no_error(yard: Yard) -> None:
    seen = found(yard, yard.make("imagectl-due", Claim(CATALOG, ONE, OVER)))
    yard.machines.collect(seen, NOW)
    yard.machines.collect(seen, NOW)
    assert seen.provider_id not in yard.there()


def refused(yard: Yard, seen: FoundResource) -> None:
    with pytest.raises(Conflict):
        yard.machines.collect(seen, NOW)
    assert seen.provider_id in yard.there()


def test_a_lease_that_was_renewed_since_it_was_seen_is_respected(yard: Yard) -> None:
    seen = found(yard, yard.make("imagectl-due", Claim(CATALOG, ONE, OVER)))
    yard.show(seen.provider_id, Claim(CATALOG, ONE, RUNNING))
    refused(yard, seen)


def test_a_lease_that_has_just_ended_is_not_over(yard: Yard) -> None:
    """Clocks differ."""
    seen = found(yard, yard.make("imagectl-due", Claim(CATALOG, ONE, NOW - SLACK)))
    refused(yard, seen)


def test_what_belongs_to_another_catalog_now_is_left_alone(yard: Yard) -> None:
    seen = found(yard, yard.make("imagectl-due", Claim(CATALOG, ONE, OVER)))
    yard.show(seen.provider_id, Claim(ANOTHER, ONE, OVER))
    refused(yard, seen)


def test_what_is_not_imagectls_is_left_alone(yard: Yard) -> None:
    foreign = yard.foreign("somebodys")
    if isinstance(foreign, Cannot):  # nothing of others can be there: the place says itself why
        pytest.skip(foreign.why)
    refused(yard, found(yard, foreign))


def test_a_copy_of_ours_is_told_as_one_and_left_alone(yard: Yard) -> None:
    """Whether the ledger knows what was copied or not, nothing of a copy is collected."""
    ours = yard.make("imagectl-due", Claim(CATALOG, ONE, OVER))
    others = yard.make("imagectl-others", Claim(ANOTHER, TWO, OVER))
    copy, theirs = yard.copy(ours, "somebodys-copy"), yard.copy(others, "somebodys-other-copy")
    place = yard.machines.place
    name = found(yard, ours).name
    entry = Resource(ONE, ResourceKind.MACHINE, place, name, "a test", "ann", OVER, OVER)
    seen = sort_resources(view(yard), [entry], CATALOG, NOW)
    assert [each.found.provider_id for each in seen.due] == [ours]
    assert [each.provider_id for each in seen.copies] == [copy]
    yard.machines.collect(seen.due[0].found, NOW)
    assert yard.there() == {others, copy, theirs}
    if found(yard, copy).claim is None:  # it says itself whose claim it carries
        refused(yard, found(yard, copy))
        seen = sort_resources(view(yard), [], CATALOG, NOW)
        assert (seen.due, [each.provider_id for each in seen.copies]) == ((), [copy])


def test_what_could_not_be_read_is_a_gap(yard: Yard) -> None:
    yard.make("imagectl-due", Claim(CATALOG, ONE, OVER))
    partial = yard.partial()
    if isinstance(partial, str):  # such a place is read whole or not at all: it says itself why
        pytest.skip(partial)
    with partial:
        assert not view(yard).complete


def test_what_cannot_be_read_at_all_is_not_empty(yard: Yard) -> None:
    yard.make("imagectl-due", Claim(CATALOG, ONE, OVER))
    with yard.down(), pytest.raises(CannotTell):
        view(yard)
