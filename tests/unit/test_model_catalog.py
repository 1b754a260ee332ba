"""What changes mean: the catalog is the fold of them, and nothing in it is ever taken back."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from support.examples import (
    BASE,
    BETA,
    CI,
    NOW,
    STABLE,
    change,
    confirm,
    end,
    end_lease,
    hold,
    intend,
    intent,
    lease,
    move,
    place,
    record,
    ref,
    step,
    tombstone,
    unhold,
)
from support.strategies import histories

from imagectl.errors import ImpossibleChange
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    BeginDeletion,
    Change,
    ConfirmGone,
    EndIntent,
    ForgetPlacement,
    MoveChannel,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
    WithdrawAnnouncement,
    all_channels_of,
    announced_of,
    mentioned,
)
from imagectl.model.channel import MoveKind
from imagectl.model.fold import apply_change, fold
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef

EMPTY = Snapshot("id", 0)
ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"


@given(histories())
def test_fold_is_apply_change_over_and_over(history: list[Change]) -> None:
    step = EMPTY
    for each in history:
        step = apply_change(step, each)
    assert step == fold("id", history)
    assert step.generation == len(history)


@given(histories())
def test_versions_stay_and_histories_only_grow(history: list[Change]) -> None:
    before = EMPTY
    for each in history:
        after = apply_change(before, each)
        assert before.versions.items() <= after.versions.items()
        for where, channel in before.channels.items():
            assert after.channels[where].moves[: len(channel.moves)] == channel.moves
        assert all(ref_of in after.versions for ref_of in (*before.placements, *after.placements))
        before = after


OF_VERSIONS = tuple(
    each.name
    for each in fields(Snapshot)
    if each.name not in ("catalog_id", "generation", "channels", "announced", "event")
)
"""What a snapshot has by version."""


def touched(each: Change) -> set[ImageName]:
    """The images that a change concerns."""
    found: set[ImageName] = set()
    for operation in each.operations:
        if isinstance(operation, RecordVersion):
            found.add(operation.version.image)
        elif isinstance(operation, RecordPlacement | ForgetPlacement):
            found.add(operation.placement.version.image)
        elif isinstance(operation, RecordIntent | EndIntent):
            found.add(operation.intent.version.image)
        elif isinstance(operation, MoveChannel | AnnounceMove):
            found.add(operation.image)
        elif isinstance(operation, AnnounceDeprecation | WithdrawAnnouncement):
            found.add(operation.of.image)
        elif isinstance(operation, BeginDeletion | ConfirmGone):
            found.add(operation.tombstone.placement.version.image)
        else:
            found.add(operation.version.image)
    return found


def looked_at(each: Change) -> set[ImageName]:
    """The images that decide whether a change is possible."""
    refs, _ = mentioned(each)
    return touched(each) | {ref_of.image for ref_of in refs}


@given(histories())
def test_a_change_touches_no_other_image(history: list[Change]) -> None:
    before = EMPTY
    for each in history:
        after = apply_change(before, each)
        others = {*after.images} - touched(each)
        assert replace(before.only(others), generation=after.generation) == after.only(others)
        scoped = apply_change(before.only(looked_at(each)), each)
        assert scoped == after.only(looked_at(each))
        before = after


@given(histories())
def test_what_a_change_mentions_is_all_that_it_depends_on(history: list[Change]) -> None:
    before = EMPTY
    for each in history:
        after = apply_change(before, each)
        refs, channels = mentioned(each)
        whole = all_channels_of(each)
        announced = announced_of(each)

        def narrow(
            snapshot: Snapshot,
            refs: frozenset[VersionRef] = refs,
            channels: frozenset[tuple[ImageName, ChannelName]] = channels,
            whole: frozenset[ImageName] = whole,
            announced: frozenset[ImageName] = announced,
        ) -> Snapshot:
            parts: dict[str, Any] = {
                name: {at: one for at, one in getattr(snapshot, name).items() if at in refs}
                for name in OF_VERSIONS
            }
            seen = {
                at: one for at, one in snapshot.channels.items() if at in channels or at[0] in whole
            }
            told = {at: one for at, one in snapshot.announced.items() if at in announced}
            return replace(snapshot, channels=seen, announced=told, **parts)

        narrowed = narrow(after)
        assert apply_change(narrow(before), each) == narrowed
        assert {**before.channels, **narrowed.channels} == after.channels
        for name in OF_VERSIONS:
            kept = {at: one for at, one in getattr(before, name).items() if at not in refs}
            assert {**kept, **getattr(narrowed, name)} == getattr(after, name)
        told = {at: one for at, one in before.announced.items() if at not in announced}
        assert {**told, **narrowed.announced} == after.announced
        before = after


def test_a_change_leaves_the_snapshot_that_it_was_applied_to_alone() -> None:
    before = apply_change(EMPTY, change("a", 0, record(ONE), move(CI, BETA, "20261120.1")))

    def parts() -> list[object]:
        return [dict(getattr(before, each)) for each in (*OF_VERSIONS, "channels")]

    known = parts()
    there = (place(ONE), intend(ONE), move(CI, BETA, "20261120.2"))
    apply_change(before, change("b", 1, record(TWO), *there))
    assert parts() == known


def test_a_move_is_recorded_with_who_when_why_and_the_generation() -> None:
    after = apply_change(EMPTY, change("a", 0, record(ONE), reason="new"))
    after = apply_change(
        after, change("b", 1, move(CI, STABLE, "20261120.1", MoveKind.ROLLBACK), reason="bad")
    )
    channel = after.channel(CI, STABLE)
    assert channel is not None
    (made,) = channel.moves
    assert (made.version, made.kind) == (VersionId("20261120", 1), MoveKind.ROLLBACK)
    assert (made.at, made.by, made.reason, made.generation) == (NOW, "alice", "bad", 2)
    assert after.head(CI, STABLE) == VersionId("20261120", 1)
    assert after.head(CI, BETA) is None
    assert after.channel(BASE, STABLE) is None


@pytest.mark.parametrize(
    ("impossible", "why"),
    [
        (change("k", 1), "without operations"),
        (change("k", 1, record(ONE)), "already recorded"),
        (change("k", 1, record(TWO), record(TWO)), "already recorded"),
        (change("k", 1, place(TWO)), "not recorded"),
        (change("k", 1, place(TWO), record(TWO)), "not recorded"),
        (change("k", 1, intend(TWO)), "not recorded"),
        (change("k", 1, intend(ONE), intend(ONE)), "already being made in local as sha256/ab"),
        (change("k", 1, end(ONE)), "not being made in local"),
        (change("k", 1, intend(ONE), end(ONE), end(ONE)), "not being made in local"),
        (change("k", 1, move(CI, BETA, "20261120.2")), "not recorded"),
        (change("k", 1, move(BASE, BETA, "20261120.1")), "not recorded"),
    ],
)
def test_a_change_that_contradicts_the_catalog_is_impossible(impossible: Change, why: str) -> None:
    before = apply_change(EMPTY, change("a", 0, record(ONE)))
    with pytest.raises(ImpossibleChange, match=why):
        apply_change(before, impossible)


def test_a_placement_is_renewed_in_its_place() -> None:
    later = NOW + timedelta(days=1)
    after = fold(
        "id",
        [
            change("a", 0, record(ONE), place(ONE, "dc1"), place(ONE, "local")),
            change("b", 1, place(ONE, "dc1", at=later)),
        ],
    )
    assert [(each.location, each.verified) for each in after.placed(ref(ONE))] == [
        (LocationName("dc1"), later),
        (LocationName("local"), NOW),
    ]
    assert after.placed(ref(TWO)) == ()


def test_versions_of_an_image_come_oldest_first() -> None:
    ids = ["20261120.10", "20261120.9", "20251231.1", "20261120.1"]
    snapshot = fold("id", [change("a", 0, *(record(f"debian-ci@{each}") for each in ids))])
    assert [str(version.id) for version in snapshot.of(CI)] == [
        "20251231.1",
        "20261120.1",
        "20261120.9",
        "20261120.10",
    ]
    assert snapshot.of(BASE) == ()
    assert snapshot.images == (CI,)


def test_an_intent_is_open_until_it_is_ended() -> None:
    """P7: what is being made is in the ledger, under each name that it may have."""
    begun = fold(
        "id",
        [
            change("a", 0, record(ONE), intend(ONE, "dc1")),
            change("b", 1, intend(ONE), intend(ONE, "dc1", named="another")),
        ],
    )
    assert begun.intended(ref(ONE)) == (
        intent(ONE, "dc1"),
        intent(ONE),
        intent(ONE, "dc1", named="another"),
    )
    assert begun.intended(ref(TWO)) == ()
    placed = apply_change(begun, change("c", 2, place(ONE), end(ONE)))
    assert [each.location for each in placed.intended(ref(ONE))] == ["dc1", "dc1"]
    given_up = apply_change(placed, change("d", 3, end(ONE, "dc1", named="another")))
    assert given_up.intended(ref(ONE)) == (intent(ONE, "dc1"),)
    assert apply_change(given_up, change("e", 4, end(ONE, "dc1"))).intents == {}


def test_only_the_very_intent_is_ended() -> None:
    begun = fold("id", [change("a", 0, record(ONE), intend(ONE))])
    other = replace(intent(ONE), since=NOW + timedelta(seconds=1))
    with pytest.raises(ImpossibleChange, match="not being made"):
        apply_change(begun, change("b", 1, EndIntent(other)))


def test_a_placement_that_is_renewed_ends_no_intent() -> None:
    """Another process may be putting it there anew."""
    begun = fold("id", [change("a", 0, record(ONE), place(ONE), intend(ONE))])
    renewed = apply_change(begun, change("b", 1, place(ONE, at=NOW + timedelta(hours=1))))
    assert renewed.intended(ref(ONE)) == (intent(ONE),)


PLACED = change("a", 0, record(ONE), place(ONE, "dc1"), place(ONE, "local"))
DOWN = change("b", 1, *step(ONE))
LATER = NOW + timedelta(hours=2)


def after(*changes: Change) -> Snapshot:
    return fold("id", changes)


@pytest.mark.parametrize("stage", list(Stage)[1:4])
def test_each_stage_but_the_last_is_taken_back(stage: Stage) -> None:
    """P5."""
    stages = list(Stage)
    down = stages[1 : stages.index(stage) + 1]
    now = after(PLACED, change("b", 1, *step(ONE, *down, Stage.ACTIVE)))
    assert now.stage(ref(ONE)) is Stage.ACTIVE
    assert len(now.placed(ref(ONE))) == 2


def test_holds_are_each_persons_own() -> None:
    as_bob = replace(change("c", 2, hold(ONE), reason="audit"), actor="bob")
    now = after(PLACED, change("b", 1, hold(ONE)), as_bob)
    now = apply_change(now, change("d", 3, hold(ONE), reason="again"))
    assert [(each.by, each.reason) for each in now.holds[ref(ONE)]] == [
        ("bob", "audit"),
        ("alice", "again"),
    ]
    now = apply_change(now, change("e", 4, unhold(ONE, "bob")))
    assert [each.by for each in now.holds[ref(ONE)]] == ["alice"]
    assert apply_change(now, change("f", 5, unhold(ONE))).holds == {}


def test_a_lease_is_renewed_and_remembers_since_when() -> None:
    renewed = replace(change("c", 2, lease(ONE, hours=9)), at=LATER)
    now = after(PLACED, change("b", 1, lease(ONE), lease(ONE, "ci-8")), renewed)
    found = {each.consumer: (each.since, each.until) for each in now.leases[ref(ONE)]}
    assert found["ci-7"] == (NOW, NOW + timedelta(hours=9))
    now = apply_change(now, change("d", 3, end_lease(ONE), end_lease(ONE, "ci-8")))
    assert now.leases == {}


def test_a_tombstone_ends_when_the_location_says_that_it_is_gone() -> None:
    now = after(PLACED, DOWN, replace(change("c", 2, confirm(ONE, "dc1")), at=LATER))
    gone, waiting = now.buried(ref(ONE))
    assert gone == replace(tombstone(ONE, "dc1"), gone=LATER)
    assert waiting == tombstone(ONE)
    assert waiting.open
    assert not gone.open
    with pytest.raises(ImpossibleChange, match="not waiting"):
        apply_change(now, change("d", 3, confirm(ONE, "dc1")))


def test_what_is_brought_back_is_not_deleted_by_who_began_before() -> None:
    """P2: a cleanup that was held up must not take a new placement for its own."""
    back = change("c", 2, *step(ONE, Stage.QUARANTINED))
    now = after(PLACED, DOWN, back)
    assert now.stage(ref(ONE)) is Stage.QUARANTINED
    with pytest.raises(ImpossibleChange, match="not waiting"):
        apply_change(now, change("d", 3, confirm(ONE)))
    now = apply_change(now, replace(change("d", 3, place(ONE)), at=LATER))
    dc1, local = now.buried(ref(ONE))
    assert local == replace(tombstone(ONE), returned=LATER)
    assert dc1.open
    now = apply_change(now, replace(change("e", 4, *step(ONE, Stage.DELETED)), at=LATER))
    with pytest.raises(ImpossibleChange, match="not waiting"):
        apply_change(now, change("f", 5, ConfirmGone(replace(local, returned=None))))
    assert len(now.buried(ref(ONE))) == 3


@given(histories())
def test_whatever_happens_heads_are_there_and_deletions_have_tombstones(
    history: list[Change],
) -> None:
    """P1 and P2, over anything that a catalog accepts."""
    before = EMPTY
    for each in history:
        now = apply_change(before, each)
        for (image, _), channel in now.channels.items():
            assert now.stage(VersionRef(image, channel.head.version)) is Stage.ACTIVE
        for at in now.versions:
            if now.stage(at) is Stage.DELETED:
                assert not now.placed(at)
                assert not now.intended(at)
        for at, placed in before.placements.items():
            left = {each.key for each in now.placed(at)}
            for lost in (one for one in placed if one.key not in left):
                assert any(stone.placement.key == lost.key for stone in now.buried(at))
        for at, stones in before.tombstones.items():
            assert len(now.buried(at)) >= len(stones), "tombstones are kept for ever"
        before = now
