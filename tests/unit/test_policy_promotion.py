"""What a promotion moves and what it holds back, and that it says why (P6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, STABLE, change, ref
from support.releases import DAY, DC1, LOCAL, POLICY, TAKES, Book, catalogs, day, soaking

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.change import MoveChannel
from imagectl.model.channel import ChannelRule, Gate, ReleasePolicy
from imagectl.model.fold import apply_change
from imagectl.model.names import ChannelName, parse_image_ref
from imagectl.model.release import (
    Decision,
    PromotionRequest,
    ReleasePlan,
    RollbackRequest,
    Verdict,
)
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible, VersionRef
from imagectl.policy.promotion import plan_entry, plan_promotion
from imagectl.policy.readiness import out_of_reach, unready
from imagectl.policy.reproducibility import unrepeatable
from imagectl.policy.rollback import plan_rollback

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
THREE = "debian-ci@20261120.3"
BASE_ONE = "debian-base@20261120.1"
EDGE = ChannelName("edge")


def plan(
    book: Book, *targets: str, at: float = 0, source: ChannelName | None = None, soak: float = 0
) -> ReleasePlan:
    request = PromotionRequest(STABLE, tuple(map(parse_image_ref, targets)), source)
    return plan_promotion(book.snapshot, soaking(soak * DAY), TAKES, request, day(at))


def refusal(book: Book, *targets: str, at: float = 0, soak: float = 0) -> tuple[str, ...]:
    with pytest.raises(Refused) as caught:
        plan(book, *targets, at=at, soak=soak)
    return caught.value.reasons


def only(decided: ReleasePlan) -> Decision:
    (decision,) = decided.decisions
    return decision


def test_the_first_promotion_takes_what_beta_points_to() -> None:
    book = Book()
    book.built(ONE, at=-1)
    move = only(plan(book))
    assert (move.verdict, move.before, str(move.target)) == (Verdict.MOVE, None, ONE)
    assert move.reasons == (
        "in beta since 2026-11-19 12:00 UTC, 1 d; no soak is asked for",
        "12 tests passed",
        "placed in local",
    )


def test_all_images_that_are_ahead_move_together_and_the_others_are_kept() -> None:
    book = Book()
    book.built(BASE_ONE)
    book.built(ONE)
    book.moved(STABLE, BASE_ONE)
    decided = plan(book)
    assert [(each.image, each.verdict) for each in decided.decisions] == [
        (BASE, Verdict.KEEP),
        (CI, Verdict.MOVE),
    ]
    assert decided.kept[0].reasons == ("stable points to 20261120.1 already",)


def test_nothing_to_do_is_no_error() -> None:
    book = Book()
    assert plan(book).decisions == ()
    book.built(ONE)
    book.moved(STABLE, ONE)
    assert not plan(book).moves
    assert only(plan(book, "debian-ci")).verdict is Verdict.KEEP


def test_soak_says_until_when() -> None:
    book = Book()
    book.built(ONE, at=-1)
    assert refusal(book, soak=3.5) == (
        "debian-ci: soak of 3 d 12 h: in beta since 2026-11-19 12:00 UTC, 1 d; "
        "ready at 2026-11-23 00:00 UTC, in 2 d 12 h",
    )
    assert refusal(book, at=2.4999, soak=3.5)
    move = only(plan(book, at=2.5, soak=3.5))
    assert move.reasons[0] == (
        "in beta since 2026-11-19 12:00 UTC, 3 d 12 h; the soak of 3 d 12 h is over"
    )


def test_soak_counts_from_the_arrival_also_when_beta_has_gone_on() -> None:
    book = Book()
    book.built(ONE, at=-4)
    book.built(TWO, at=-1)
    move = only(plan(book, ONE, soak=3))
    assert str(move.target) == ONE
    assert "beta has gone on to 20261120.2" in move.reasons
    assert refusal(book, "debian-ci", soak=3)


def test_soak_begins_again_when_a_version_comes_back_to_beta() -> None:
    book = Book()
    book.built(ONE, at=-9)
    book.built(TWO, at=-8)
    book.rolled_back(BETA, ONE, at=-2)
    book.rolled_back(BETA, TWO, at=-1)
    (reason,) = refusal(book, soak=3)
    assert "in beta since 2026-11-19 12:00 UTC" in reason
    assert plan(book, ONE, soak=3).moves, "it has been there all the time"


def test_a_soak_of_one_image_is_its_own() -> None:
    book = Book()
    book.built(ONE)
    book.built(BASE_ONE)
    rule = ChannelRule(STABLE, source=BETA, soak=7 * DAY)
    policy = replace(POLICY, images={CI: {STABLE: rule}})
    decided = plan_promotion(book.snapshot, policy, TAKES, PromotionRequest(STABLE), NOW)
    assert [each.image for each in decided.moves] == [BASE]
    assert [each.image for each in decided.held_back] == [CI]


def test_unready_images_are_held_back_and_the_others_move() -> None:
    book = Book()
    book.built(BASE_ONE)
    book.built(ONE, needs=(LOCAL, DC1), placed=(LOCAL,))
    decided = plan(book)
    assert [each.image for each in decided.moves] == [BASE]
    assert "is not in dc1" in decided.held_back[0].reasons[0]


def test_named_images_move_all_or_not_at_all() -> None:
    book = Book()
    book.built(BASE_ONE)
    book.built(ONE, failed=1)
    with pytest.raises(Refused, match="stable was not moved") as caught:
        plan(book, "debian-base", "debian-ci")
    assert caught.value.reasons == ("debian-ci: 20261120.1: 1 of 13 tests failed",)
    assert caught.value.hint == ("without debian-ci it would work: name only debian-base")


def test_every_unmet_rule_is_listed() -> None:
    book = Book()
    book.built(ONE, at=-9)
    book.built(THREE, at=-8)
    book.moved(STABLE, THREE, at=-7)
    book.built(TWO, failed=1, placed=(), at=-1)
    reasons = refusal(book, TWO, soak=3)
    assert [
        word in reason
        for word, reason in zip(
            ("older than 20261120.3", "soak", "tests failed", "not in local"), reasons, strict=True
        )
    ] == [True] * 4


def test_failed_tests_are_refused_also_without_a_gate() -> None:
    book = Book()
    book.built(ONE, failed=1)
    policy = ReleasePolicy(
        (ChannelRule(BETA, entry=True, gates=()), ChannelRule(STABLE, source=BETA, gates=()))
    )
    with pytest.raises(Refused, match="stable was not moved"):
        plan_promotion(book.snapshot, policy, TAKES, PromotionRequest(STABLE), NOW)


def test_a_promotion_never_goes_back() -> None:
    book = Book()
    book.built(ONE)
    book.built(TWO)
    book.moved(STABLE, TWO)
    book.rolled_back(BETA, ONE)
    (reason,) = refusal(book)
    assert "older than 20261120.2, which stable has" in reason
    assert "`imagectl rollback stable debian-ci --to 20261120.1`" in reason


def test_what_stable_was_rolled_back_from_needs_to_be_named() -> None:
    book = Book()
    book.built(ONE)
    book.moved(STABLE, ONE)
    book.built(TWO)
    book.moved(STABLE, TWO)
    book.rolled_back(STABLE, ONE, reason="docker is missing")
    expected = (
        "debian-ci: stable was rolled back from 20261120.2 on 2026-11-20 12:00 UTC by alice "
        "because: docker is missing; to promote it all the same, name it: "
        "debian-ci@20261120.2"
    )
    assert refusal(book) == (expected,)
    assert refusal(book, "debian-ci") == (expected,)
    move = only(plan(book, TWO))
    assert move.verdict is Verdict.MOVE
    assert "rolled back from 20261120.2" in move.reasons[0]
    book.moved(STABLE, TWO)
    book.built(THREE)
    assert str(only(plan(book)).target) == THREE


def test_a_newer_build_is_promoted_after_a_rollback() -> None:
    book = Book()
    for text in (ONE, TWO):
        book.built(text)
        book.moved(STABLE, text)
    book.rolled_back(STABLE, ONE)
    book.built(THREE)
    assert str(only(plan(book)).target) == THREE


def test_what_beta_was_rolled_back_from_does_not_get_to_stable() -> None:
    book = Book()
    book.built(ONE)
    book.built(TWO)
    book.rolled_back(BETA, ONE, reason="no network")
    (reason,) = refusal(book, TWO)
    assert "is not in beta any more" in reason
    assert "no network" in reason
    assert str(only(plan(book)).target) == ONE


def test_a_version_has_to_have_been_in_the_source_channel() -> None:
    book = Book()
    book.built(ONE)
    book.built(TWO, enters=False)
    assert refusal(book, TWO) == ("debian-ci: 20261120.2 was never in beta",)
    book.built(BASE_ONE, enters=False)
    assert refusal(book, "debian-base") == ("debian-base: nothing of it is in beta",)


def test_another_source_may_be_named() -> None:
    book = Book()
    book.built(ONE, at=-2)
    book.moved(EDGE, ONE, at=-1)
    policy = ReleasePolicy((*soaking(DAY).channels, ChannelRule(EDGE, source=BETA)))
    request = PromotionRequest(STABLE, source=EDGE)
    move = only(plan_promotion(book.snapshot, policy, TAKES, request, NOW))
    assert move.reasons[0].startswith("in edge since 2026-11-19")


def test_unknown_channels_images_and_versions_are_not_found() -> None:
    book = Book()
    book.built(ONE)
    with pytest.raises(NotFound, match="no channel stabel") as caught:
        plan_promotion(book.snapshot, POLICY, TAKES, PromotionRequest(ChannelName("stabel")), NOW)
    assert caught.value.hint == "did you mean stable?"
    with pytest.raises(NotFound, match="no channel edge"):
        plan(book, source=EDGE)
    with pytest.raises(NotFound, match="no version of debian-cl") as caught:
        plan(book, "debian-cl")
    assert caught.value.hint == "did you mean debian-ci?"
    with pytest.raises(NotFound, match="has no debian-ci@20261120"):
        plan(book, "debian-ci@20261120.7")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (PromotionRequest(BETA), "nothing is promoted into beta"),
        (PromotionRequest(STABLE, source=STABLE), "from itself"),
        (PromotionRequest(EDGE), "does not say what edge is promoted from"),
        (PromotionRequest(STABLE, (parse_image_ref("debian-ci:beta"),)), "names a channel"),
        (PromotionRequest(STABLE, (parse_image_ref(ONE), parse_image_ref("debian-ci"))), "twice"),
    ],
)
def test_requests_that_cannot_be(request_: PromotionRequest, says: str) -> None:
    book = Book()
    book.built(ONE)
    policy = ReleasePolicy((*POLICY.channels, ChannelRule(EDGE)))
    with pytest.raises(BadUsage, match=says):
        plan_promotion(book.snapshot, policy, TAKES, request_, NOW)


def test_an_image_without_that_channel_is_not_considered_but_refused_by_name() -> None:
    book = Book()
    book.built(ONE)
    book.built(BASE_ONE)
    edge = ChannelRule(EDGE, source=BETA)
    policy = replace(POLICY, images={CI: {EDGE: edge}})
    request = PromotionRequest(EDGE)
    assert [
        each.image for each in plan_promotion(book.snapshot, policy, TAKES, request, NOW).decisions
    ] == [CI]
    named = PromotionRequest(EDGE, (parse_image_ref("debian-base"),))
    with pytest.raises(Refused, match="edge was not moved"):
        plan_promotion(book.snapshot, policy, TAKES, named, NOW)


def test_a_build_enters_beta() -> None:
    book = Book()
    book.built(ONE, enters=False)
    move = only(plan_entry(book.snapshot, POLICY, TAKES, ref(ONE)))
    assert (move.verdict, move.channel, move.before) == (Verdict.MOVE, BETA, None)


def test_a_build_that_is_not_ready_does_not_enter() -> None:
    book = Book()
    book.built(ONE, failed=1, enters=False)
    with pytest.raises(Refused, match="beta was not moved"):
        plan_entry(book.snapshot, POLICY, TAKES, ref(ONE))
    book.built(TWO, placed=(), enters=False)
    with pytest.raises(Refused, match="beta was not moved"):
        plan_entry(book.snapshot, POLICY, TAKES, ref(TWO))


def test_an_older_build_that_ends_later_does_not_take_beta_back() -> None:
    book = Book()
    book.built(TWO)
    book.built(ONE, enters=False)
    kept = only(plan_entry(book.snapshot, POLICY, TAKES, ref(ONE)))
    assert (kept.verdict, kept.reasons) == (
        Verdict.KEEP,
        ("beta has 20261120.2, which is newer",),
    )


def test_entering_twice_is_once_and_never_undoes_a_rollback() -> None:
    book = Book()
    book.built(ONE)
    book.built(TWO)
    assert only(plan_entry(book.snapshot, POLICY, TAKES, ref(TWO))).verdict is Verdict.KEEP
    book.rolled_back(BETA, ONE, reason="no network")
    kept = only(plan_entry(book.snapshot, POLICY, TAKES, ref(TWO)))
    assert kept.verdict is Verdict.KEEP
    assert "no network" in kept.reasons[0]


PROVEN = ReleasePolicy(
    (
        ChannelRule(BETA, entry=True),
        ChannelRule(STABLE, source=BETA, gates=(Gate.TESTS, Gate.REPRODUCIBLE)),
    )
)
"""Stable takes only what is known to be the same bytes again."""


@pytest.mark.parametrize(
    ("reproducible", "cause", "reason"),
    [
        (
            None,
            "",
            "debian-ci: 20261120.1: built without a lock, so nobody can tell whether it is "
            "reproducible; `imagectl build debian-ci --twice` makes one that can be told",
        ),
        (
            Reproducible.UNPROVEN,
            "",
            "debian-ci: 20261120.1: not proven to be reproducible; "
            "`imagectl build debian-ci --twice` makes one that is, or says why not",
        ),
        (
            Reproducible.NO,
            "/etc/x differs",
            "debian-ci: 20261120.1 is not reproducible: /etc/x differs; mend that, then "
            "`imagectl build debian-ci --twice`",
        ),
        (
            Reproducible.NO,
            "",
            "debian-ci: 20261120.1 is not reproducible: built twice, it was not the same; mend "
            "that, then `imagectl build debian-ci --twice`",
        ),
    ],
)
def test_a_gate_that_asks_for_reproducible_says_what_to_do(
    reproducible: Reproducible | None, cause: str, reason: str
) -> None:
    book = Book()
    book.built(ONE, reproducible=reproducible, cause=cause)
    with pytest.raises(Refused) as caught:
        plan_promotion(book.snapshot, PROVEN, TAKES, PromotionRequest(STABLE), NOW)
    assert caught.value.reasons == (reason,)
    assert plan_promotion(book.snapshot, POLICY, TAKES, PromotionRequest(STABLE), NOW).moves


def test_what_was_built_twice_passes_and_the_move_says_so() -> None:
    book = Book()
    book.built(ONE, reproducible=Reproducible.YES)
    move = only(plan_promotion(book.snapshot, PROVEN, TAKES, PromotionRequest(STABLE), NOW))
    assert move.verdict is Verdict.MOVE
    assert move.reasons[-1] == "built twice, with the same bytes"


def test_the_entry_channel_has_gates_too() -> None:
    policy = ReleasePolicy((ChannelRule(BETA, entry=True, gates=(Gate.REPRODUCIBLE,)),))
    book = Book()
    book.built(ONE, enters=False, reproducible=Reproducible.UNPROVEN)
    book.built(TWO, enters=False, reproducible=Reproducible.YES)
    with pytest.raises(Refused, match="beta was not moved") as caught:
        plan_entry(book.snapshot, policy, TAKES, ref(ONE))
    assert "--twice" in caught.value.reasons[0]
    assert only(plan_entry(book.snapshot, policy, TAKES, ref(TWO))).verdict is Verdict.MOVE


def test_a_rollback_is_never_kept_back_by_a_gate() -> None:
    """What a channel has had may be gone back to: the gate is for what is new there."""
    book = Book()
    book.built(ONE, reproducible=Reproducible.UNPROVEN)
    book.built(TWO, reproducible=Reproducible.YES)
    book.moved(STABLE, ONE)
    book.moved(STABLE, TWO)
    plan = plan_rollback(book.snapshot, PROVEN, TAKES, RollbackRequest(STABLE), NOW)
    assert [str(each.target) for each in plan.moves] == [ONE]


@given(catalogs())
def test_a_gate_only_ever_keeps_back_and_only_what_fails_it(snapshot: Snapshot) -> None:
    def moving(policy: ReleasePolicy) -> tuple[set[VersionRef], tuple[str, ...]]:
        try:
            plan = plan_promotion(snapshot, policy, TAKES, PromotionRequest(STABLE), day(20))
        except Refused as error:
            return set(), error.reasons
        return {each.target for each in plan.moves}, tuple(
            reason for each in plan.held_back for reason in each.reasons
        )

    (free, _), (proven, reasons) = moving(POLICY), moving(PROVEN)
    assert proven == {each for each in free if not unrepeatable(snapshot.versions[each])}
    for each in free - proven:
        assert any(f"`imagectl build {each.image} --twice`" in reason for reason in reasons)


@given(catalogs(), st.sampled_from([0, 1, 3]), st.integers(0, 20))
def test_what_every_promotion_keeps_to(snapshot: Snapshot, soak: int, at: int) -> None:
    request = PromotionRequest(STABLE)
    considered = sorted(image for image, channel in snapshot.channels if channel == BETA)
    decided = refused = None
    try:
        decided = plan_promotion(snapshot, soaking(soak * DAY), TAKES, request, day(at))
    except Refused as error:
        refused = error
    if decided is None:
        assert refused is not None
        assert {reason.split(":")[0] for reason in refused.reasons} <= set(considered)
        return
    assert [each.image for each in decided.decisions] == considered
    assert len(decided.moves) + len(decided.kept) + len(decided.held_back) == len(considered)
    assert all(each.reasons for each in decided.decisions)
    for move in decided.moves:
        assert move.before is None or move.target.version > move.before
        assert not unready(snapshot.versions[move.target], snapshot, move.required, TAKES)
        assert move.to == snapshot.head(move.image, BETA)
        assert not {move.to, *move.way_back} & out_of_reach(snapshot, move.image)
    if decided.moves:
        carried_out(snapshot, decided)
    assert plan_promotion(snapshot, soaking(soak * DAY), TAKES, request, day(at)) == decided


@given(catalogs(), st.sampled_from([BETA, STABLE]))
def test_what_every_rollback_keeps_to(snapshot: Snapshot, channel: ChannelName) -> None:
    try:
        decided = plan_rollback(snapshot, POLICY, TAKES, RollbackRequest(channel), day(30))
    except (Refused, NotFound):
        return
    for move in decided.moves:
        assert move.to is not None
        assert move.before is not None
        assert move.to < move.before
        assert move.to not in out_of_reach(snapshot, move.image)
    if decided.moves:
        carried_out(snapshot, decided)


def carried_out(snapshot: Snapshot, plan: ReleasePlan) -> None:
    """The catalog takes whatever is decided: its own rules are the last line of defence."""
    moves = [
        MoveChannel(each.image, each.channel, each.target.version, plan.kind) for each in plan.moves
    ]
    after = apply_change(snapshot, change("move", snapshot.generation, *moves))
    for each in plan.moves:
        assert after.head(each.image, each.channel) == each.to


@given(catalogs(), st.integers(0, 20))
def test_time_alone_only_ever_lets_more_images_move(snapshot: Snapshot, at: int) -> None:
    def moving(days: int) -> set[str]:
        try:
            plan = plan_promotion(
                snapshot, soaking(timedelta(days=3)), TAKES, PromotionRequest(STABLE), day(days)
            )
        except Refused:
            return set()
        return {each.image for each in plan.moves}

    assert moving(at) <= moving(at + 1)
