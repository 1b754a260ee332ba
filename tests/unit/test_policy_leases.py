"""Who still needs what was made to be thrown away (P2, P3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView
from imagectl.policy.leases import (
    SLACK,
    STUCK,
    Sorted,
    count_machines,
    may_collect,
    sort_resources,
)

NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
OVER = NOW - timedelta(hours=1)
RUNNING = NOW + timedelta(minutes=10)
OURS, THEIRS = "our-catalog", "their-catalog"
PLACE = "dc1"
STATES = ("poweredOn", "poweredOff", "suspended", "orphaned", "inaccessible", "TERMINATED", "")


def thing(
    name: str,
    until: datetime | None = OVER,
    *,
    catalog: str = OURS,
    resource: str = "",
    kind: ResourceKind = ResourceKind.MACHINE,
    state: str = "",
    created: datetime | None = None,
    copied: bool = False,
) -> FoundResource:
    claim = None if until is None else Claim(catalog, resource or f"id-{name}", until)
    if copied:
        return FoundResource(f"vm-{name}", kind, name, None, state, created, claim)
    return FoundResource(f"vm-{name}", kind, name, claim, state, created)


def entry(name: str, until: datetime = OVER, *, place: str = PLACE, tries: int = 0) -> Resource:
    return Resource(
        *(f"id-{name}", ResourceKind.MACHINE, place, name, "a test", "ann@ci"),
        *(until - timedelta(minutes=15), until, tries),
        "no reason" if tries else "",
    )


def view(*found: FoundResource, gaps: tuple[str, ...] = ()) -> ResourceView:
    return ResourceView(PLACE, "folder images", found, gaps, 1, NOW, NOW)


def sort(shown: ResourceView, *ledger: Resource) -> Sorted:
    return sort_resources(shown, ledger, OURS, NOW)


def due(seen: Sorted) -> list[str]:
    return [each.found.name for each in seen.due]


@pytest.mark.parametrize("state", STATES)
def test_what_nobody_needs_is_due_in_whatever_state_it_is(state: str) -> None:
    assert due(sort(view(thing("a", state=state)))) == ["a"]
    assert due(sort(view(thing("a", state=state)), entry("a"))) == ["a"]


@pytest.mark.parametrize("state", STATES)
def test_what_has_a_lease_is_needed_in_whatever_state_it_is(state: str) -> None:
    old = OVER - timedelta(days=900)
    seen = sort(view(thing("a", RUNNING, state=state, created=old)))
    assert due(seen) == []
    assert [each.name for each in seen.needed] == ["a"]


def test_a_later_lease_in_the_ledger_counts() -> None:
    seen = sort(view(thing("a")), entry("a", RUNNING))
    assert due(seen) == []
    (needed,) = seen.needed
    assert needed.claim is not None
    assert needed.claim.until == RUNNING, "people are told why it is not collected"


def test_a_later_lease_in_the_claim_counts() -> None:
    assert due(sort(view(thing("a", RUNNING)), entry("a"))) == []


def test_clocks_may_differ() -> None:
    assert due(sort(view(thing("a", NOW - SLACK)))) == []
    assert due(sort(view(thing("a", NOW - SLACK - timedelta(seconds=1))))) == ["a"]


def test_minutes_pass_before_a_lease_is_taken_to_be_over() -> None:
    assert due(sort(view(thing("a", NOW - timedelta(minutes=4))))) == []
    assert due(sort(view(thing("a", NOW - timedelta(minutes=6))))) == ["a"]


def test_what_does_not_say_whose_it_is_is_never_due() -> None:
    seen = sort(view(thing("imagectl-boot-1", None)), entry("imagectl-boot-1"))
    assert due(seen) == []
    assert seen.foreign == 1


def test_what_is_another_catalogs_is_never_due() -> None:
    seen = sort(view(thing("a", catalog=THEIRS)))
    assert due(seen) == []
    assert [each.name for each in seen.of_others] == ["a"]


def test_a_copy_of_a_machine_of_ours_is_never_due() -> None:
    copied = thing("somebodys-copy", resource="id-a")
    seen = sort(view(thing("a"), copied), entry("a"))
    assert due(seen) == ["a"]
    assert seen.copies == (copied,)


def test_what_carries_the_claim_of_another_thing_is_a_copy_whether_that_is_there_or_not() -> None:
    copied = thing("copy", resource="id-a", copied=True)
    others = thing("other", resource="id-b", catalog=THEIRS, copied=True)
    for ledger in [(), (entry("a"),)]:
        seen = sort(view(copied, others), *ledger)
        assert (due(seen), seen.copies, seen.foreign) == ([], (copied,), 1)
        assert [each.id for each in seen.gone] == [each.id for each in ledger]
    assert may_collect(copied, OURS, NOW)


def test_where_nobody_can_tell_which_is_the_copy_both_stay() -> None:
    seen = sort(view(thing("a"), thing("b", resource="id-a")))
    assert due(seen) == []
    assert {each.name for each in seen.copies} == {"a", "b"}


def test_the_parts_of_one_thing_share_a_claim() -> None:
    disk = thing("a", kind=ResourceKind.DISK)
    assert len(sort(view(thing("a"), disk)).due) == 2


def test_oldest_first_and_what_keeps_failing_last() -> None:
    days = {
        name: thing(name, created=OVER - timedelta(days=age))
        for name, age in (("new", 1), ("oldest", 9), ("stuck", 99), ("old", 5))
    }
    shown = view(*days.values())
    assert due(sort(shown, entry("stuck", tries=STUCK - 1))) == ["stuck", "oldest", "old", "new"]
    assert due(sort(shown, entry("stuck", tries=STUCK))) == ["oldest", "old", "new", "stuck"]


def test_an_entry_without_a_thing_ends_only_by_a_complete_view() -> None:
    seen = sort(view(), entry("a"))
    assert [each.name for each in seen.gone] == ["a"]
    seen = sort(view(gaps=("one host does not answer",)), entry("a"))
    assert seen.gone == ()
    assert [each.name for each in seen.unclear] == ["a"]


def test_an_entry_whose_thing_is_just_being_made_does_not_end() -> None:
    assert sort(view(), entry("a", RUNNING)) == Sorted((), (), (), (), 0)


def test_an_entry_of_another_place_does_not_end() -> None:
    assert sort(view(), entry("a", place="dc2")) == Sorted((), (), (), (), 0)


def test_an_entry_whose_thing_has_lost_its_claim_does_not_end() -> None:
    seen = sort(view(thing("a", None)), entry("a"))
    assert seen.gone == ()
    assert [each.name for each in seen.silent] == ["a"]


@pytest.mark.parametrize(
    "seen",
    [thing("a", None), thing("a", catalog=THEIRS), thing("a", RUNNING), thing("a", NOW - SLACK)],
)
def test_what_is_read_live_must_be_ours_and_needed_by_nobody(seen: FoundResource) -> None:
    assert may_collect(seen, OURS, NOW) != ""


def test_what_is_ours_and_over_may_be_collected() -> None:
    assert may_collect(thing("a"), OURS, NOW) == ""


TIMES = st.sampled_from([OVER, NOW - SLACK, NOW, RUNNING, OVER - timedelta(days=3)])
THINGS = st.builds(
    thing,
    st.sampled_from("abcdef"),
    st.none() | TIMES,
    catalog=st.sampled_from([OURS, THEIRS]),
    resource=st.sampled_from(["", "id-a", "id-b"]),
    kind=st.sampled_from([ResourceKind.MACHINE, ResourceKind.DISK]),
    state=st.sampled_from(STATES),
    created=st.none() | TIMES,
    copied=st.booleans(),
)
ENTRIES = st.builds(
    entry,
    st.sampled_from("abcdef"),
    TIMES,
    place=st.sampled_from([PLACE, "dc2"]),
    tries=st.integers(0, 4),
)


@given(
    st.lists(THINGS, unique_by=lambda each: each.provider_id),
    st.lists(ENTRIES, unique_by=lambda each: each.id),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_whatever_is_there(
    found: list[FoundResource], ledger: list[Resource], whole: bool, random: Random
) -> None:
    shown = view(*found, gaps=() if whole else ("a gap",))
    seen = sort(shown, *ledger)
    every = [
        *(each.found for each in seen.due),
        *(*seen.needed, *seen.copies, *seen.of_others),
    ]
    assert len(every) + seen.foreign == len(found), "each is somewhere, once"
    assert len({each.provider_id for each in every}) == len(every)
    until = {each.id: each.until for each in ledger if each.place == PLACE}
    for each in seen.due:
        assert each.found.claim is not None
        assert each.found.claim.catalog == OURS
        assert each.found.claim.until + SLACK < NOW
        assert until.get(each.found.claim.resource, OVER) + SLACK < NOW
    ids = {each.claim.resource for each in found if each.claim is not None}
    for gone in seen.gone:
        assert whole
        assert gone.place == PLACE
        assert gone.id not in ids
        assert gone.until + SLACK < NOW
    random.shuffle(found)
    again = sort(replace(shown, found=tuple(found)), *reversed(ledger))
    assert again.due == seen.due, "the order in which things are listed is irrelevant"
    assert {each.id for each in again.gone} == {each.id for each in seen.gone}
    renewed = [replace(each, until=RUNNING) for each in ledger]
    assert {each.found for each in sort(shown, *renewed).due} <= {each.found for each in seen.due}


def test_leaked_machines_take_room_and_so_do_those_being_made() -> None:
    mine = entry("mine", RUNNING)
    ledger = [mine, entry("coming", RUNNING), entry("b", RUNNING), entry("forgotten")]
    shown = view(
        thing("a"),
        thing("b", RUNNING),
        thing("c", catalog=THEIRS),
        thing("mine", RUNNING),
        thing("foreign", None),
        thing("d", kind=ResourceKind.DISK),
    )
    counted = count_machines(shown, ledger, mine, NOW)
    assert (counted.seen, counted.coming, counted.all) == (3, 1, 4)


def test_a_machine_that_does_not_say_its_id_yet_is_counted_once() -> None:
    shown = view(thing("coming", RUNNING, resource="of-its-own"))
    mine = entry("mine", RUNNING)
    assert count_machines(shown, [mine, entry("coming", RUNNING)], mine, NOW).all == 1
