"""What keeps a version: each protection by itself, and its edges in time (P1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from support.examples import BETA, CI, NOW, STABLE
from support.stocked import (
    DAY,
    OLD,
    POLICY,
    RULE,
    channel,
    old,
    shelf,
)

from imagectl.errors import Refused
from imagectl.model.channel import ChannelRule, ReleasePolicy
from imagectl.model.names import ChannelName
from imagectl.model.retention import Approver, RetentionPolicy, RetentionRule, Stage
from imagectl.model.stock import Shelf, Shelved
from imagectl.model.version import VersionRef
from imagectl.policy.retention import cap, check_signed, judge

SECOND = timedelta(seconds=1)
NOTHING = RetentionRule(1, timedelta(0), timedelta(0), timedelta(0))
"""Keeps what it must and no more."""


def kept(
    shelved: Shelf,
    policy: ReleasePolicy = POLICY,
    resolved: Mapping[VersionRef, datetime] | None = None,
    now: datetime = NOW,
) -> dict[int, list[str]]:
    """The reasons by version."""
    return {
        version.id.serial: [str(each) for each in reasons]
        for version, reasons in judge(shelved, policy, resolved or {}, now)
    }


def alone(version: Shelved, resolved: datetime | None = None) -> list[str]:
    """The reasons for one version that is in no channel."""
    last = {} if resolved is None else {VersionRef(CI, version.id): resolved}
    return kept(shelf(version), resolved=last)[version.id.serial]


def test_what_nobody_needs_is_kept_by_nothing() -> None:
    assert kept(shelf(old(1), old(2))) == {1: [], 2: []}


def test_heads_windows_and_the_last_that_stand_are_kept_with_every_reason() -> None:
    shelved = shelf(
        *map(old, range(1, 7)),
        channels=[channel(BETA, 1, 2, 3, 4, 5, 6), channel(STABLE, 1, 2, 4)],
    )
    assert kept(shelved) == {
        1: [],
        2: ["window: stable"],
        3: ["window: beta"],
        4: ["window: beta", "channel: stable", "keep-last: stable"],
        5: ["window: beta"],
        6: ["channel: beta", "keep-last: beta"],
    }


def test_what_a_channel_is_announced_to_point_to_is_kept() -> None:
    shelved = replace(shelf(old(1), old(2)), announced={STABLE: old(1).id})
    assert kept(shelved) == {1: ["announced: stable"], 2: []}


def test_what_was_rolled_back_from_is_in_no_window() -> None:
    shelved = shelf(*map(old, range(1, 6)), channels=[channel(STABLE, 1, 2, 3, 4, back=[2])])
    assert kept(shelved) == {
        1: ["window: stable"],
        2: ["channel: stable", "keep-last: stable"],
        3: [],
        4: [],
        5: [],
    }


@pytest.mark.parametrize(
    "passed_by", [{"revoked": True}, {"stage": Stage.DEPRECATED}, {"stage": Stage.DELETED}]
)
def test_what_a_rollback_passes_by_does_not_use_up_the_window(passed_by: dict[str, object]) -> None:
    second = replace(old(2), **passed_by)  # type: ignore[arg-type]  # the fields' own types
    shelved = shelf(old(1), second, old(3), channels=[channel(STABLE, 1, 2, 3)])
    assert kept(shelved)[1] == ["window: stable"]
    gone = second.stage is Stage.DELETED
    assert kept(shelved)[2] == (["deleted"] if gone else ["window: stable"])


def test_the_last_that_stand_are_those_that_exist() -> None:
    policy = replace(POLICY, retention=RetentionPolicy(replace(NOTHING, keep_last=3)))
    shelved = shelf(
        *map(old, range(1, 4)),
        old(4, stage=Stage.DELETED),
        *map(old, range(5, 8)),
        channels=[channel(STABLE, 1, 2, 3, 4, 6, 7)],
    )
    reasons = kept(shelved, policy)
    assert [each for each in reasons if "keep-last: stable" in reasons[each]] == [3, 6, 7]


def test_a_channel_may_keep_more_than_the_others() -> None:
    rule = replace(NOTHING, channels={STABLE: 2})
    policy = replace(POLICY, retention=RetentionPolicy(rule))
    shelved = shelf(*map(old, range(1, 5)), channels=[channel(STABLE, 1, 2, 3, 4)])
    assert "keep-last: stable" in kept(shelved, policy)[3]
    assert "keep-last: stable" not in kept(shelved, policy)[2]


def test_a_channel_that_the_policy_has_forgotten_protects_all_the_same() -> None:
    gone = channel(ChannelName("old-beta"), 1, 2, 3)
    shelved = shelf(*map(old, range(1, 4)), channels=[gone])
    assert kept(shelved)[3] == ["channel: old-beta", "keep-last: old-beta"]
    assert kept(shelved)[1] == ["window: old-beta"]


def test_an_image_may_have_a_window_of_its_own() -> None:
    shelved = shelf(*map(old, range(1, 5)), channels=[channel(STABLE, 1, 2, 3, 4)])
    wide = replace(POLICY, images={CI: {STABLE: ChannelRule(STABLE, rollback_window=3)}})
    assert kept(shelved, wide)[1] == ["window: stable"]
    assert kept(shelved)[1] == []


def test_holds_name_each_holder() -> None:
    assert alone(replace(old(1), held=("ann", "bob"))) == ["held: ann", "held: bob"]


def test_a_lease_protects_until_it_is_over() -> None:
    leased = replace(old(1), leased=NOW + SECOND, leased_by="ci-7")
    assert alone(leased) == ["leased: by ci-7 until 2026-11-20 12:00 UTC"]
    assert alone(replace(leased, leased=NOW)) == []


def test_what_is_being_placed_is_kept() -> None:
    assert alone(replace(old(1), begun=True)) == ["placing"]


def test_what_a_consumer_resolved_lately_is_kept() -> None:
    assert alone(old(1), NOW - 20 * DAY + SECOND) == ["resolved: until 2026-11-20 12:00 UTC"]
    assert alone(old(1), NOW - 20 * DAY) == []
    assert alone(old(1), NOW + DAY), "a clock that is ahead means lately"


def test_a_receipt_of_a_day_that_is_still_to_come_is_told() -> None:
    """It would keep its version until then, and nobody would know why."""
    (told,) = alone(old(1), NOW.replace(year=2099))
    assert told.startswith("resolved: on 2099-11-20 12:00 UTC, still to come: ")
    assert alone(old(1), NOW.replace(year=9999)), "whatever it says"


@pytest.mark.parametrize(
    ("min_age", "grace"), [(30 * DAY, 10 * DAY), (10 * DAY, 30 * DAY), (30 * DAY, 30 * DAY)]
)
def test_what_is_younger_than_min_age_or_grace_is_kept(
    min_age: timedelta, grace: timedelta
) -> None:
    rule = replace(NOTHING, min_age=min_age, grace=grace)
    policy = replace(POLICY, retention=RetentionPolicy(rule))

    def at(created: datetime) -> list[str]:
        version = replace(old(1), created=created, staged=created)
        return kept(shelf(version), policy)[1]

    assert at(NOW - 30 * DAY + SECOND) == ["young: until 2026-11-20 12:00 UTC"]
    assert at(NOW - 30 * DAY) == []
    assert at(NOW + DAY), "a clock that is ahead means young"


@pytest.mark.parametrize("stage", [Stage.ACTIVE, Stage.DEPRECATED, Stage.QUARANTINED])
def test_each_stage_lasts_for_the_grace(stage: Stage) -> None:
    early = old(1, stage=stage, staged=NOW - RULE.grace + SECOND)
    assert alone(early) == [f"waiting: {stage.value} until 2026-11-20 12:00 UTC"]
    assert alone(replace(early, staged=NOW - RULE.grace)) == []


def test_the_dead_only_wait() -> None:
    shelved = shelf(replace(old(1, stage=Stage.DELETED), created=NOW, staged=NOW))
    assert kept(shelved) == {1: ["deleted"]}


def test_images_have_rules_of_their_own() -> None:
    policy = replace(
        POLICY, retention=RetentionPolicy(RULE, {CI: replace(RULE, min_age=500 * DAY)})
    )
    assert kept(shelf(old(1)), policy)[1] == [f"young: until {OLD + 500 * DAY:%Y-%m-%d} 12:01 UTC"]


@pytest.mark.parametrize(
    ("versions", "allowed"), [(0, 1), (1, 1), (19, 1), (20, 2), (29, 2), (137, 5), (10**6, 5)]
)
def test_both_caps_hold_and_a_share_allows_one(versions: int, allowed: int) -> None:
    assert cap(RetentionPolicy(max_count=5, max_share=0.1), versions) == allowed


ANN, BOB, EVE = (Approver(name, name[0] * 64) for name in ("ann", "bob", "eve"))
ANN2 = Approver("ann", "f" * 64)
PEOPLE = RetentionPolicy(approvals=1, approvers=(ANN, ANN2, BOB))


def refusal(policy: RetentionPolicy, author: Approver, *others: Approver) -> tuple[str, ...]:
    try:
        check_signed(policy, author.key, [each.key for each in others])
    except Refused as error:
        return error.reasons
    return ()


def test_enough_people_stand_behind_a_plan() -> None:
    assert not refusal(RetentionPolicy(), EVE), "where nobody is named, whoever signs"
    assert not refusal(PEOPLE, ANN, BOB)
    assert refusal(PEOPLE, ANN) == ("1 approval beside its author's asked for, and it has 0",)
    assert refusal(PEOPLE, ANN, EVE), "a stranger does not count"
    assert refusal(PEOPLE, ANN, ANN), "nor does the author"
    assert refusal(PEOPLE, ANN, ANN2), "nor the author's other key"
    assert refusal(replace(PEOPLE, approvals=2), ANN, BOB, BOB), "nor the same person twice"
    assert refusal(PEOPLE, EVE, BOB)[0].startswith("its author's key eeeeeeeeeeeeeeee... is not")
    assert refusal(RetentionPolicy(approvals=1), ANN, BOB), "where nobody is named, nobody approves"
