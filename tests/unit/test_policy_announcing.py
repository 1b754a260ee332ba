"""What may be announced, and what promotions make of what was."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.examples import BASE, BETA, CI, STABLE, announce, change, deprecate
from support.releases import DAY, POLICY, TAKES, Book, day, soaking

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.announcement import AnnouncedDeprecation, Brownout
from imagectl.model.change import Operation, RevokeVersion
from imagectl.model.channel import ReleasePolicy
from imagectl.model.fold import apply_change
from imagectl.model.names import ImageRef, parse_image_ref
from imagectl.model.release import PromotionRequest, ReleasePlan
from imagectl.model.snapshot import Snapshot
from imagectl.policy.announced import concerns, notice_of
from imagectl.policy.announcing import (
    Deprecation,
    check_deprecation,
    standing_announcements,
)
from imagectl.policy.promotion import plan_promotion

ONE, TWO, BASE_ONE = "debian-ci@20261120.1", "debian-ci@20261120.2", "debian-base@20261120.1"


@pytest.fixture
def book() -> Book:
    """ONE is stable, TWO in beta; and debian-base has something in beta."""
    made = Book()
    made.built(ONE)
    made.moved(STABLE, ONE)
    made.built(TWO)
    made.built(BASE_ONE)
    return made


def told(snapshot: Snapshot, *operations: Operation) -> Snapshot:
    return apply_change(snapshot, change("told", snapshot.generation, *operations))


def plan(
    snapshot: Snapshot,
    at: float,
    *targets: str,
    early: bool = False,
    due: float | None = None,
    policy: ReleasePolicy = POLICY,
) -> ReleasePlan:
    request = PromotionRequest(
        STABLE,
        tuple(map(parse_image_ref, targets)),
        due=None if due is None else day(due),
        early=early,
    )
    return plan_promotion(snapshot, policy, TAKES, request, day(at))


def moves(made: ReleasePlan) -> Sequence[str]:
    return [str(each.target) for each in made.moves]


def test_it_does_not_move_before_its_time(book: Book) -> None:
    snapshot = told(book.snapshot, announce(TWO, days=7))
    with pytest.raises(Refused) as refused:
        plan(snapshot, 6.99)
    (reason,) = refused.value.reasons
    assert "announced for 2026-11-27 12:00 UTC, in 14 min" in reason
    assert "--now" in reason
    assert moves(plan(snapshot, 7)) == [TWO]
    (decision,) = plan(snapshot, 7).moves
    assert "announced for 2026-11-27 12:00 UTC by alice" in decision.reasons


def test_it_moves_before_its_time_where_somebody_insists(book: Book) -> None:
    snapshot = told(book.snapshot, announce(TWO))
    assert moves(plan(snapshot, 1, early=True)) == [TWO]


def test_exactly_what_was_announced_moves(book: Book) -> None:
    """Not what has come into beta since, and no image that nobody was told of."""
    book.snapshot = told(book.snapshot, announce(TWO))
    book.built("debian-ci@20261120.3")
    assert moves(plan(book.snapshot, 7)) == [TWO]
    assert moves(plan(book.snapshot, 7, "debian-ci")) == [TWO]
    assert moves(plan(book.snapshot, 7, "debian-base")) == [BASE_ONE]
    with pytest.raises(Refused, match="not moved") as refused:
        plan(book.snapshot, 7, "debian-ci@20261120.3")
    assert "consumers were told that stable goes to 20261120.2" in refused.value.reasons[0]


def test_insisting_does_not_move_another_version(book: Book) -> None:
    book.snapshot = told(book.snapshot, announce(TWO))
    book.built("debian-ci@20261120.3")
    with pytest.raises(Refused):
        plan(book.snapshot, 1, "debian-ci@20261120.3", early=True)


def test_all_gates_are_judged_again_when_it_moves(book: Book) -> None:
    book.snapshot = told(book.snapshot, announce(TWO))
    book.built("debian-ci@20261120.3")
    book.rolled_back(BETA, ONE, at=3, reason="it hangs")
    with pytest.raises(Refused) as refused:
        plan(book.snapshot, 7)
    assert "20261120.2 is not in beta any more" in refused.value.reasons[0]


def test_what_was_announced_of_several_images_moves_as_it_becomes_due(book: Book) -> None:
    snapshot = told(book.snapshot, announce(TWO, days=2), announce(BASE_ONE, days=5))
    made = plan(snapshot, 3)
    assert moves(made) == [TWO]
    assert [each.image for each in made.held_back] == [BASE]
    assert moves(plan(snapshot, 5)) == [BASE_ONE, TWO]


def test_a_soak_is_judged_as_of_the_time_when_it_is_due(book: Book) -> None:
    policy = soaking(3 * DAY)
    assert moves(plan(book.snapshot, 0, due=3, policy=policy)) == [BASE_ONE, TWO]
    with pytest.raises(Refused):
        plan(book.snapshot, 0, due=2.9, policy=policy)


def test_what_was_announced_is_put_off_and_never_brought_forward(book: Book) -> None:
    snapshot = told(book.snapshot, announce(TWO, days=7))
    assert moves(plan(snapshot, 1, "debian-ci", due=8)) == [TWO]
    with pytest.raises(Refused) as refused:
        plan(snapshot, 1, "debian-ci", due=6)
    assert "announce withdraw debian-ci:stable" in refused.value.reasons[0]


# --- ends of support ---


def wanted(
    of: str, successor: str | None = None, *brownouts: tuple[float, float], due: float = 30
) -> Deprecation:
    return Deprecation(
        parse_image_ref(of),
        day(due),
        None if successor is None else parse_image_ref(successor),
        tuple(Brownout(day(begins), day(ends)) for begins, ends in brownouts),
    )


@pytest.mark.parametrize(
    "good",
    [
        wanted("debian-ci"),
        wanted("debian-ci", "debian-base", (1, 1.5)),
        wanted("debian-ci:beta", "debian-ci:stable", (1, 2), (2, 2.5)),
        wanted("debian-ci@20261120.3", None, (1, 1.5)),
    ],
)
def test_an_end_of_support_can_be_announced(book: Book, good: Deprecation) -> None:
    book.built("debian-ci@20261120.3")
    book.built("debian-ci@20261120.4")
    check_deprecation(book.snapshot, good, day(0))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (wanted("debian-ci", due=0), "is over"),
        (wanted("debian-ci", None, (1, 2)), "without anything to go to"),
        (wanted("debian-ci", "debian-ci:beta"), "a part of what is deprecated"),
        (wanted("debian-ci:beta", "debian-ci:beta"), "a part of what is deprecated"),
        (wanted("debian-ci", "debian-base", (1, 2.1)), "longer than 1 d"),
        (wanted("debian-ci", "debian-base", (-1, 0)), "would begin before"),
        (wanted("debian-ci", "debian-base", (1, 2), (1.5, 2)), "overlap"),
        (wanted(ONE, None, (1, 2)), f"stable points to {ONE}"),
        (wanted(TWO, None, (1, 2)), f"beta points to {TWO}"),
    ],
)
def test_an_end_of_support_that_would_leave_consumers_alone(
    book: Book, bad: Deprecation, why: str
) -> None:
    with pytest.raises(Refused) as refused:
        check_deprecation(book.snapshot, bad, day(0))
    assert any(why in each for each in refused.value.reasons)


def test_no_brownout_where_the_successor_was_revoked(book: Book) -> None:
    of, instead = "debian-ci", "debian-base:beta"
    check_deprecation(book.snapshot, wanted(of, instead, (1, 2)), day(0))
    revoked = told(book.snapshot, RevokeVersion(book.snapshot.of(BASE)[0].ref))
    with pytest.raises(Refused, match="not announced"):
        check_deprecation(revoked, wanted(of, instead, (1, 2)), day(0))
    check_deprecation(revoked, wanted(of, instead), day(0))


def test_what_ends_itself_is_no_successor(book: Book) -> None:
    snapshot = told(book.snapshot, deprecate("debian-base"))
    with pytest.raises(Refused) as refused:
        check_deprecation(snapshot, wanted("debian-ci", "debian-base:beta"), day(0))
    assert "is announced as deprecated itself" in refused.value.reasons[0]


@pytest.mark.parametrize(
    "of", ["debian-xx", "debian-ci:next", "debian-ci@20261120.9", "debian-base:stable"]
)
def test_what_is_not_there_is_not_found(book: Book, of: str) -> None:
    with pytest.raises(NotFound):
        check_deprecation(book.snapshot, wanted(of), day(0))


def test_a_version_is_no_successor(book: Book) -> None:
    with pytest.raises(BadUsage):
        check_deprecation(book.snapshot, wanted("debian-base", ONE), day(0))


# --- what people are told ---


def test_notices_are_in_words(book: Book) -> None:
    said = deprecate("debian-ci", successor="debian-base", brownouts=((2, 2.5), (5, 6)))
    snapshot = told(book.snapshot, announce(TWO), said)
    now, later = day(0), day(40)
    lines = [notice_of(each, now) for each in standing_announcements(snapshot)]
    assert lines[0].startswith(
        "debian-ci:stable goes to 20261120.2 on 2026-11-27 12:00 UTC, in 7 d"
    )
    assert "debian-ci is not supported from 2026-12-20 12:00 UTC on, in 30 d" in lines[1]
    assert "go to debian-base" in lines[1]
    assert lines[1].endswith(
        " (refused on purpose from 2026-11-22 12:00 UTC to 2026-11-23 00:00 UTC"
        " and from 2026-11-25 12:00 UTC to 2026-11-26 12:00 UTC)"
    )
    between = [notice_of(each, day(3)) for each in standing_announcements(snapshot)]
    assert between[1].endswith(
        " (refused on purpose from 2026-11-25 12:00 UTC to 2026-11-26 12:00 UTC)"
    )
    over = [notice_of(each, later) for each in standing_announcements(snapshot)]
    assert "any time now" in over[0]
    assert "since 2026-12-20" in over[1]
    assert "refused" not in over[1]
    assert standing_announcements(snapshot, [BASE]) == ()


def test_who_is_concerned(book: Book) -> None:
    snapshot = told(
        book.snapshot,
        announce(TWO),
        deprecate("debian-ci:beta"),
        deprecate(ONE),
        deprecate("debian-base"),
    )
    move, *ends = standing_announcements(snapshot)
    one, two = (parse_image_ref(each).version for each in (ONE, TWO))
    assert one is not None
    assert two is not None
    assert concerns(move, CI, STABLE, one)
    assert not concerns(move, CI, STABLE, two)
    assert not concerns(move, CI, BETA, one)
    assert not concerns(move, CI, None, one)
    concerned = {
        (str(each.of), channel, version)
        for each in ends
        if isinstance(each, AnnouncedDeprecation)
        for channel in (STABLE, BETA, None)
        for version in (one, two)
        if concerns(each, CI, channel, version)
    }
    assert concerned == {
        *(("debian-ci:beta", BETA, each) for each in (one, two)),
        *((ONE, each, one) for each in (STABLE, BETA, None)),
    }
    assert all(concerns(each, BASE, None, one) for each in ends if each.of == ImageRef(BASE))
