"""What a change may do to a version on its way down: P1's last line of defence is in the model.

Policy decides what goes. These are the rules that hold even where a policy, a plan or a race has
decided wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from support.examples import (
    BETA,
    CI,
    NOW,
    STABLE,
    change,
    forget,
    hold,
    intend,
    move,
    place,
    record,
    ref,
)

from imagectl.errors import ImpossibleChange
from imagectl.model.change import (
    BeginDeletion,
    Change,
    ConfirmGone,
    EndLease,
    HoldVersion,
    LeaseVersion,
    Operation,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
)
from imagectl.model.fold import apply_change
from imagectl.model.retention import DELETING, Stage
from imagectl.model.snapshot import Snapshot

TEXT = "debian-ci@20261120.1"
ONE = ref(TEXT)
LATER = NOW + timedelta(days=1)

DOWN = (Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED)


def after(*steps: Operation | Change, start: Snapshot | None = None) -> Snapshot:
    """The catalog after these, each a change of its own; by default it has one placed version."""
    snapshot = start or apply_change(Snapshot("id", 0), change("k", 0, record(TEXT), place(TEXT)))
    for number, step in enumerate(steps):
        made = step if isinstance(step, Change) else change(f"s{number}", snapshot.generation, step)
        snapshot = apply_change(snapshot, made)
    return snapshot


def to(*stages: Stage) -> tuple[StepVersion, ...]:
    return tuple(StepVersion(ONE, stage) for stage in stages)


def test_a_version_goes_down_one_stage_at_a_time() -> None:
    snapshot = after()
    for stage in DOWN:
        snapshot = after(*to(stage), start=snapshot)
        assert snapshot.stage(ONE) is stage
        assert snapshot.stages[ONE].by == "alice"
        assert snapshot.stages[ONE].reason == "because"


@pytest.mark.parametrize("from_", [Stage.ACTIVE, *DOWN])
@pytest.mark.parametrize("target", list(Stage))
def test_no_other_way_leads_anywhere(from_: Stage, target: Stage) -> None:
    snapshot = after(*to(*DOWN[: (Stage.ACTIVE, *DOWN).index(from_)]))
    allowed = {
        Stage.ACTIVE: {Stage.DEPRECATED},
        Stage.DEPRECATED: {Stage.OBSOLETE, Stage.ACTIVE},
        Stage.OBSOLETE: {Stage.QUARANTINED, Stage.ACTIVE},
        Stage.QUARANTINED: {Stage.DELETED, Stage.ACTIVE},
        Stage.DELETED: {Stage.QUARANTINED},
    }[from_]
    if target in allowed:
        assert after(*to(target), start=snapshot).stage(ONE) is target
    else:
        with pytest.raises(ImpossibleChange):
            after(*to(target), start=snapshot)


PROTECTED: dict[str, tuple[Operation, str]] = {
    "channel": (move(CI, STABLE, "20261120.1"), "stable points to it"),
    "hold": (HoldVersion(ONE), "held by alice"),
    "lease": (LeaseVersion(ONE, "ci-7", LATER), "leased by ci-7"),
    "intent": (intend(TEXT, "dc1"), "being placed in dc1"),
}


@pytest.mark.parametrize("by", PROTECTED)
def test_what_is_protected_does_not_go_down(by: str) -> None:
    protect, words = PROTECTED[by]
    with pytest.raises(ImpossibleChange, match=words):
        after(protect, *to(Stage.DEPRECATED))


@pytest.mark.parametrize("by", ["hold", "lease", "intent"])
def test_protection_that_comes_late_stops_it_where_it_is(by: str) -> None:
    snapshot = after(*to(Stage.DEPRECATED, Stage.OBSOLETE), PROTECTED[by][0])
    with pytest.raises(ImpossibleChange, match="is protected"):
        after(*to(Stage.QUARANTINED), start=snapshot)


def test_what_is_protected_can_come_back() -> None:
    snapshot = after(*to(Stage.DEPRECATED), HoldVersion(ONE), *to(Stage.ACTIVE))
    assert snapshot.stage(ONE) is Stage.ACTIVE


def test_protection_that_is_taken_back_protects_no_more() -> None:
    held = after(HoldVersion(ONE), UnholdVersion(ONE, "alice"), *to(Stage.DEPRECATED))
    leased = after(LeaseVersion(ONE, "ci-7", LATER), EndLease(ONE, "ci-7"), *to(Stage.DEPRECATED))
    assert held.stage(ONE) is leased.stage(ONE) is Stage.DEPRECATED
    assert not held.holds
    assert not leased.leases


def test_a_lease_protects_until_its_end() -> None:
    snapshot = after(LeaseVersion(ONE, "ci-7", LATER))
    step = change("down", snapshot.generation, *to(Stage.DEPRECATED))
    with pytest.raises(ImpossibleChange):
        after(replace(step, at=LATER - timedelta(microseconds=1)), start=snapshot)
    assert after(replace(step, at=LATER), start=snapshot).stage(ONE) is Stage.DEPRECATED


def test_a_channel_of_another_image_says_nothing() -> None:
    other = change("o", 1, record("debian-base@20261120.1"))
    moved = change("m", 2, move(ref("debian-base@20261120.1").image, STABLE, "20261120.1"))
    assert after(other, moved, *to(Stage.DEPRECATED)).stage(ONE) is Stage.DEPRECATED


def test_another_persons_hold_stays() -> None:
    """P1: nobody takes back what others have said."""
    mine = after(HoldVersion(ONE))
    both = after(replace(change("b", 2, HoldVersion(ONE)), actor="bob"), start=mine)
    assert {each.by for each in both.holds[ONE]} == {"alice", "bob"}
    left = after(UnholdVersion(ONE, "alice"), start=both)
    with pytest.raises(ImpossibleChange, match="held by bob"):
        after(*to(Stage.DEPRECATED), start=left)


@pytest.mark.parametrize("stage", DOWN)
def test_no_channel_can_be_moved_to_what_is_going(stage: Stage) -> None:
    snapshot = after(*to(*DOWN[: DOWN.index(stage) + 1]))
    with pytest.raises(ImpossibleChange, match=stage.value):
        after(move(CI, BETA, "20261120.1"), start=snapshot)


def test_no_channel_can_be_moved_to_what_is_revoked() -> None:
    with pytest.raises(ImpossibleChange, match="revoked"):
        after(RevokeVersion(ONE), move(CI, BETA, "20261120.1"))
    assert after(RevokeVersion(ONE), RestoreVersion(ONE), move(CI, BETA, "20261120.1")).channels


def test_deleting_buries_every_placement_at_once() -> None:
    """P2, P7: the tombstones are there before anything is deleted, all of them or none."""
    snapshot = after(place(TEXT, "dc1"), *to(*DOWN))
    assert snapshot.placed(ONE) == ()
    stones = snapshot.buried(ONE)
    assert [each.placement.location for each in stones] == ["local", "dc1"]
    assert all(each.open for each in stones)
    gone = after(ConfirmGone(stones[0]), start=snapshot)
    assert [each.open for each in gone.buried(ONE)] == [False, True]
    with pytest.raises(ImpossibleChange):
        after(ConfirmGone(stones[0]), start=gone)


FORBIDDEN: dict[str, Operation] = {
    "placement": place(TEXT, "dc1"),
    "intent": intend(TEXT, "dc1"),
    "hold": HoldVersion(ONE),
    "lease": LeaseVersion(ONE, "ci-7", LATER),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_is_done_to_what_is_deleted(what: str) -> None:
    with pytest.raises(ImpossibleChange, match="deleted"):
        after(*to(*DOWN), FORBIDDEN[what])


def test_what_is_quarantined_cannot_be_leased_but_held() -> None:
    quarantined = after(*to(*DOWN[:3]))
    with pytest.raises(ImpossibleChange, match="quarantined"):
        after(LeaseVersion(ONE, "ci-7", LATER), start=quarantined)
    with pytest.raises(ImpossibleChange, match="held"):
        after(HoldVersion(ONE), *to(Stage.DELETED), start=quarantined)


def test_what_comes_back_is_no_more_to_be_deleted() -> None:
    """A deletion that goes on after an undelete must find its tombstone closed."""
    deleted = after(*to(*DOWN))
    (stone,) = deleted.buried(ONE)
    back = after(*to(Stage.QUARANTINED), start=deleted)
    with pytest.raises(ImpossibleChange):
        after(ConfirmGone(stone), start=back)
    placed = after(place(TEXT), start=back)
    (closed,) = placed.buried(ONE)
    assert closed.returned == NOW
    again = after(*to(Stage.DELETED), start=placed)
    assert [each.open for each in again.buried(ONE)] == [False, True]


def at(moment: datetime, *operations: Operation) -> Change:
    return replace(change("at", 0, *operations), at=moment)


def test_what_is_just_being_deleted_does_not_come_back() -> None:
    """P2: it is not there to be relied on, and nobody can tell yet whether it is gone."""
    deleted = after(*to(*DOWN))
    begun = after(BeginDeletion(deleted.buried(ONE)[0]), start=deleted)
    assert begun.buried(ONE)[0].begun == NOW
    with pytest.raises(ImpossibleChange, match="being deleted from local"):
        after(at(NOW + DELETING - timedelta(microseconds=1), *to(Stage.QUARANTINED)), start=begun)
    back = after(at(NOW + DELETING, *to(Stage.QUARANTINED)), start=begun)
    assert back.stage(ONE) is Stage.QUARANTINED


def test_an_earlier_deletion_that_came_to_nothing_keeps_nothing_down() -> None:
    deleted = after(*to(*DOWN))
    begun = after(BeginDeletion(deleted.buried(ONE)[0]), start=deleted)
    back = after(at(NOW + DELETING, *to(Stage.QUARANTINED)), start=begun)
    again = after(place(TEXT), *to(Stage.DELETED), start=back)
    assert [each.open for each in again.buried(ONE)] == [False, True]
    assert after(*to(Stage.QUARANTINED), start=again).stage(ONE) is Stage.QUARANTINED


def test_each_further_request_to_delete_begins_anew() -> None:
    snapshot = after(*to(*DOWN))
    for minutes in (0, 10, 5):  # the last by a clock that is behind
        begin = BeginDeletion(snapshot.buried(ONE)[0])
        snapshot = after(at(NOW + timedelta(minutes=minutes), begin), start=snapshot)
    with pytest.raises(ImpossibleChange, match="being deleted"):
        after(at(NOW + timedelta(minutes=24), *to(Stage.QUARANTINED)), start=snapshot)
    assert after(at(NOW + timedelta(minutes=25), *to(Stage.QUARANTINED)), start=snapshot)


def test_what_is_gone_for_certain_comes_back_at_once() -> None:
    deleted = after(*to(*DOWN))
    begun = after(BeginDeletion(deleted.buried(ONE)[0]), start=deleted)
    gone = after(ConfirmGone(begun.buried(ONE)[0]), start=begun)
    assert after(*to(Stage.QUARANTINED), start=gone).stage(ONE) is Stage.QUARANTINED


QUARANTINED = to(*DOWN[:3])


def test_what_is_quarantined_can_be_forgotten_in_a_location() -> None:
    snapshot = after(place(TEXT, "dc1"), *QUARANTINED, forget(TEXT))
    assert [each.location for each in snapshot.placed(ONE)] == ["dc1"]
    assert after(forget(TEXT, "dc1"), start=snapshot).placements == {}
    assert snapshot.buried(ONE) == (), "nobody has deleted it"


@pytest.mark.parametrize("stage", [Stage.ACTIVE, *DOWN])
def test_consumers_are_not_robbed_by_forgetting(stage: Stage) -> None:
    snapshot = after(*to(*DOWN[: (Stage.ACTIVE, *DOWN).index(stage)]))
    if stage is Stage.QUARANTINED:
        assert after(forget(TEXT), start=snapshot).placed(ONE) == ()
    else:
        with pytest.raises(ImpossibleChange, match=r"not recorded in|cannot be forgotten"):
            after(forget(TEXT), start=snapshot)


def test_what_is_held_is_not_forgotten() -> None:
    with pytest.raises(ImpossibleChange, match="held by alice"):
        after(*QUARANTINED, hold(TEXT), forget(TEXT))


def test_what_is_not_in_a_location_is_not_forgotten_there() -> None:
    with pytest.raises(ImpossibleChange, match="not recorded in dc1"):
        after(*QUARANTINED, forget(TEXT, "dc1"))


def test_only_what_is_still_buried_is_begun_to_be_deleted() -> None:
    deleted = after(*to(*DOWN))
    begin = BeginDeletion(deleted.buried(ONE)[0])
    back = after(*to(Stage.QUARANTINED), start=deleted)
    gone = after(ConfirmGone(begin.tombstone), start=deleted)
    for late, snapshot in (
        (begin, back),
        (begin, gone),
        (BeginDeletion(gone.buried(ONE)[0]), gone),
    ):
        with pytest.raises(ImpossibleChange, match="not waiting to be deleted"):
            after(late, start=snapshot)


def test_nothing_is_built_on_what_is_deleted() -> None:
    child = replace(record("debian-ci@20261121.1").version, parent=ONE)
    built = replace(record("debian-ci@20261121.1"), version=child)
    assert after(*to(*DOWN[:3]), built).versions[child.ref].parent == ONE
    with pytest.raises(ImpossibleChange, match="deleted meanwhile"):
        after(*to(*DOWN), built)


NOT_THERE: dict[str, Callable[[], Operation]] = {
    "stage": lambda: StepVersion(ref("debian-ci@20260101.1"), Stage.DEPRECATED),
    "hold": lambda: HoldVersion(ref("debian-ci@20260101.1")),
    "unhold": lambda: UnholdVersion(ONE, "alice"),
    "lease": lambda: LeaseVersion(ref("debian-ci@20260101.1"), "ci-7", LATER),
    "lease that is over": lambda: LeaseVersion(ONE, "ci-7", NOW),
    "end": lambda: EndLease(ONE, "ci-7"),
    "revoke": lambda: RevokeVersion(ref("debian-ci@20260101.1")),
    "restore": lambda: RestoreVersion(ONE),
}


@pytest.mark.parametrize("what", NOT_THERE)
def test_what_is_not_there_is_refused(what: str) -> None:
    with pytest.raises(ImpossibleChange):
        after(NOT_THERE[what]())
