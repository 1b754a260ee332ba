"""What a rollback goes back to, and when it cannot (P6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, CI, NOW, STABLE
from support.releases import DC1, LOCAL, POLICY, TAKES, Book, day

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.channel import MoveKind
from imagectl.model.names import ChannelName, ImageName, parse_version_id
from imagectl.model.release import Decision, ReleasePlan, RollbackRequest, Verdict
from imagectl.policy.rollback import plan_rollback

ONE, TWO, THREE = (f"debian-ci@20261120.{serial}" for serial in (1, 2, 3))
BASE_ONE, BASE_TWO = (f"debian-base@20261120.{serial}" for serial in (1, 2))


def plan(book: Book, *images: ImageName, to: str | None = None, at: float = 0) -> ReleasePlan:
    request = RollbackRequest(STABLE, images, parse_version_id(to) if to else None)
    return plan_rollback(book.snapshot, POLICY, TAKES, request, day(at))


def only(decided: ReleasePlan) -> Decision:
    (decision,) = decided.decisions
    return decision


def refusal(book: Book, *images: ImageName, to: str | None = None) -> tuple[str, ...]:
    with pytest.raises(Refused, match="stable was not rolled back") as caught:
        plan(book, *images, to=to)
    return caught.value.reasons


def released(*texts: str) -> Book:
    """Built and promoted to stable one after the other, a day apart."""
    book = Book()
    for number, text in enumerate(texts):
        book.built(text, at=number)
        book.moved(STABLE, text, at=number)
    return book


def test_it_goes_to_the_version_before() -> None:
    decided = plan(released(ONE, TWO), at=3)
    move = only(decided)
    assert decided.kind is MoveKind.ROLLBACK
    assert (str(move.before), str(move.target)) == ("20261120.2", ONE)
    assert move.reasons == (
        "stable has pointed to it before, from 2026-11-20 12:00 UTC, 3 d ago",
        "12 tests passed",
        "placed in local",
    )


def test_each_rollback_goes_one_further_and_never_to_what_was_left() -> None:
    book = released(ONE, TWO, THREE)
    for expected in (TWO, ONE):
        move = only(plan(book))
        assert str(move.target) == expected
        book.rolled_back(STABLE, str(move.target))
    assert refusal(book) == (
        "debian-ci: there is no earlier good version than 20261120.1 to go back to; "
        "rolled back from already: 20261120.3 and 20261120.2",
    )


def test_after_a_rollback_and_a_new_release_it_passes_over_the_bad_one() -> None:
    book = released(ONE, TWO)
    book.rolled_back(STABLE, ONE)
    book.built(THREE)
    book.moved(STABLE, THREE)
    assert str(only(plan(book)).target) == ONE


def test_the_first_release_has_nothing_before_it() -> None:
    assert refusal(released(ONE)) == (
        "debian-ci: there is no earlier good version than 20261120.1 to go back to",
    )


def test_a_version_of_the_history_may_be_named() -> None:
    book = released(ONE, TWO, THREE)
    assert str(only(plan(book, CI, to="20261120.1")).target) == ONE
    book.rolled_back(STABLE, ONE, reason="slow")
    undone = only(plan(book, CI, to="20261120.3"))
    assert undone.verdict is Verdict.MOVE
    assert "it was rolled back from on 2026-11-20 12:00 UTC because: slow" in undone.reasons[1]


def test_a_version_that_was_never_there_is_refused() -> None:
    book = released(ONE, THREE)
    book.built(TWO)
    assert refusal(book, CI, to="20261120.2") == (
        "debian-ci: 20261120.2 was never in stable, which has had 20261120.1 and 20261120.3",
    )
    with pytest.raises(NotFound, match="has no debian-ci@20261120"):
        plan(book, CI, to="20261120.9")


def test_the_version_it_points_to_is_nothing_to_do() -> None:
    assert only(plan(released(ONE), CI, to="20261120.1")).verdict is Verdict.KEEP


def test_what_is_not_in_its_places_is_refused_with_what_would_work() -> None:
    book = Book()
    book.built(ONE, needs=(LOCAL,), placed=(LOCAL, DC1))
    book.built(TWO, needs=(LOCAL,))
    book.built(THREE, needs=(LOCAL, DC1))
    for text in (ONE, TWO, THREE):
        book.moved(STABLE, text)
    assert refusal(book) == (
        "debian-ci: 20261120.2 is not in dc1 (qcow2 for amd64): "
        "`imagectl publish debian-ci@20261120.2 --to dc1`",
        "debian-ci: 20261120.1 would be ready: "
        "`imagectl rollback stable debian-ci --to 20261120.1`",
    )


def test_without_names_what_was_released_together_goes_back_together() -> None:
    book = released(ONE, BASE_ONE)
    book.built(TWO)
    book.built(BASE_TWO)
    book.moved(STABLE, TWO, BASE_TWO)
    assert [each.image for each in plan(book).moves] == [BASE, CI]
    book.rolled_back(STABLE, BASE_ONE, ONE)
    book.built(THREE)
    book.moved(STABLE, THREE)
    assert [str(each.target) for each in plan(book).moves] == [ONE]


def test_one_image_that_cannot_go_back_refuses_all_and_says_which_could() -> None:
    book = released(ONE)
    book.built(TWO)
    book.built(BASE_ONE)
    book.moved(STABLE, TWO, BASE_ONE)
    with pytest.raises(Refused) as caught:
        plan(book)
    assert caught.value.reasons == (
        "debian-base: there is no earlier good version than 20261120.1 to go back to",
    )
    assert caught.value.hint == "without debian-base it would work: name only debian-ci"
    assert [each.image for each in plan(book, CI).moves] == [CI]


def test_one_version_is_of_one_image() -> None:
    book = released(ONE, BASE_ONE)
    with pytest.raises(BadUsage, match="debian-base and debian-ci"):
        plan(book, CI, BASE, to="20261120.1")


def test_unknown_things_are_not_found() -> None:
    book = released(ONE)
    with pytest.raises(NotFound, match="no version of nothing"):
        plan(book, ImageName("nothing"))
    with pytest.raises(NotFound, match="no channel stabel"):
        plan_rollback(book.snapshot, POLICY, TAKES, RollbackRequest(ChannelName("stabel")), NOW)
    with pytest.raises(NotFound, match="nothing is in stable yet"):
        plan(Book())


def test_an_image_that_was_never_there_is_refused() -> None:
    book = released(ONE)
    book.built(BASE_ONE)
    assert refusal(book, BASE) == ("debian-base: nothing of it was ever in stable",)


def test_a_channel_that_the_policy_forgot_can_still_be_rolled_back() -> None:
    book = released(ONE, TWO)
    old = ChannelName("lts")
    book.moved(old, ONE)
    book.moved(old, TWO)
    decided = plan_rollback(book.snapshot, POLICY, TAKES, RollbackRequest(old), NOW)
    assert str(only(decided).target) == ONE


@given(st.lists(st.sampled_from(["release", "roll back", "bad build"]), max_size=14))
def test_repeated_rollbacks_pass_through_the_good_versions_only_downwards(steps: list[str]) -> None:
    """Against a second, simpler way to say it: a stack."""
    book = Book()
    stack: list[str] = []
    for serial, step in enumerate(steps, start=1):
        text = f"debian-ci@20261120.{serial}"
        if step == "bad build":
            book.built(text, failed=1)
        elif step == "release":
            book.built(text)
            book.moved(STABLE, text)
            stack.append(text)
        elif len(stack) < 2:
            if stack:
                assert refusal(book)
        else:
            move = only(plan(book))
            stack.pop()
            assert str(move.target) == stack[-1]
            book.rolled_back(STABLE, str(move.target))
