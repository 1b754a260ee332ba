"""What is announced, and when that is over: the rules of the catalog itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from support.examples import (
    BETA,
    CI,
    NOW,
    STABLE,
    announce,
    change,
    deprecate,
    move,
    place,
    record,
    ref,
    revoke,
    withdraw,
)
from support.strategies import histories

from imagectl.errors import ImpossibleChange
from imagectl.model.announcement import AnnouncedDeprecation, AnnouncedKind, AnnouncedMove
from imagectl.model.change import Change, Operation, StepVersion
from imagectl.model.channel import MoveKind
from imagectl.model.fold import apply_change, fold
from imagectl.model.names import VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot

OLD, NEW = "debian-ci@20261120.1", "debian-ci@20261121.1"
START = (record(OLD), place(OLD), record(NEW), place(NEW), move(CI, BETA, "20261120.1"))


def after(*steps: Operation) -> Snapshot:
    """OLD and NEW are recorded, OLD is in beta; then these, each a change of its own."""
    snapshot = apply_change(Snapshot("id", 0), change("k", 0, *START))
    for number, step in enumerate(steps):
        snapshot = apply_change(snapshot, change(f"s{number}", snapshot.generation, step))
    return snapshot


def told(snapshot: Snapshot) -> list[str]:
    return [f"{each.kind.value} {each.of}" for each in snapshot.announced.get(CI, ())]


def test_a_move_is_announced_by_somebody_for_a_time() -> None:
    snapshot = after(announce(NEW))
    coming = snapshot.coming(CI, STABLE)
    assert coming is not None
    assert (coming.to, coming.due) == (VersionId("20261121", 1), NOW + timedelta(days=7))
    said = change("k", 0, announce(NEW))
    assert (coming.at, coming.by, coming.reason) == (said.at, said.actor, said.reason)
    assert snapshot.coming(CI, BETA) is None
    assert snapshot.head(CI, STABLE) is None


def test_announced_again_it_is_renewed() -> None:
    snapshot = after(announce(OLD), announce(NEW, days=9))
    assert told(snapshot) == ["move debian-ci:stable"]
    coming = snapshot.coming(CI, STABLE)
    assert coming is not None
    assert coming.due == NOW + timedelta(days=9)


def test_it_is_over_when_it_has_happened() -> None:
    assert told(after(announce(NEW), move(CI, STABLE, "20261121.1", MoveKind.PROMOTE))) == []


@pytest.mark.parametrize(
    "other", [move(CI, STABLE, "20261120.1"), move(CI, BETA, "20261121.1")], ids=["to", "channel"]
)
def test_another_move_does_not_end_it(other: Operation) -> None:
    assert told(after(announce(NEW), other)) == ["move debian-ci:stable"]


def test_what_is_revoked_is_not_coming_any_more() -> None:
    assert told(after(announce(NEW), revoke(NEW))) == []
    assert told(after(announce(NEW), revoke(OLD))) == ["move debian-ci:stable"]


def test_what_is_announced_is_never_stepped_down() -> None:
    with pytest.raises(ImpossibleChange, match="protected: announced for stable"):
        after(announce(NEW), StepVersion(ref(NEW), Stage.DEPRECATED))


def test_no_channel_is_announced_to_go_to_what_it_could_not_go_to() -> None:
    with pytest.raises(ImpossibleChange, match="not recorded"):
        after(announce("debian-ci@20261130.1"))
    with pytest.raises(ImpossibleChange, match="revoked"):
        after(revoke(NEW), announce(NEW))
    with pytest.raises(ImpossibleChange, match="deprecated"):
        after(StepVersion(ref(NEW), Stage.DEPRECATED), announce(NEW))


@pytest.mark.parametrize("said", [announce(NEW, days=0), deprecate("debian-ci", 0)])
def test_nothing_is_announced_for_a_time_that_is_over(said: Operation) -> None:
    with pytest.raises(ImpossibleChange, match="a time that is over"):
        after(said)


@pytest.mark.parametrize("of", ["debian-ci", "debian-ci:beta", OLD])
def test_an_end_of_support_stays_until_it_is_withdrawn(of: str) -> None:
    said = deprecate(of, successor="debian-ci:beta", brownouts=((1, 2), (2, 3)))
    snapshot = after(said)
    (found,) = snapshot.announced[CI]
    assert isinstance(found, AnnouncedDeprecation)
    assert (str(found.of), str(found.successor)) == (of, "debian-ci:beta")
    assert found.brownout(NOW + timedelta(days=1)) == said.brownouts[0]
    assert found.brownout(NOW + timedelta(days=2)) == said.brownouts[1]
    assert found.brownout(NOW + timedelta(days=3)) is None
    assert told(after(said, withdraw(of, AnnouncedKind.DEPRECATION))) == []


def test_an_end_of_support_is_over_when_the_version_is_deleted() -> None:
    down = [StepVersion(ref(NEW), stage) for stage in list(Stage)[1:]]
    assert [each.stage for each in down][-1] is Stage.DELETED
    assert told(after(deprecate(NEW), *down[:-1])) == [f"deprecation {NEW}"]
    assert told(after(deprecate(NEW), *down)) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (deprecate("debian-ci@20261130.1"), "not recorded"),
        (deprecate("debian-ci:stable"), "nothing was released"),
        (deprecate("debian-base"), "nothing was released"),
        (deprecate("debian-ci", successor=OLD), "by one version"),
        (deprecate("debian-ci", brownouts=((2, 1),)), "one after the other"),
        (deprecate("debian-ci", brownouts=((1, 1),)), "one after the other"),
        (deprecate("debian-ci", brownouts=((1, 3), (2, 4))), "one after the other"),
        (withdraw("debian-ci:stable"), "no move of debian-ci:stable is announced"),
    ],
)
def test_what_cannot_be_announced(said: Operation, why: str) -> None:
    with pytest.raises(ImpossibleChange, match=why):
        after(said)


def test_withdrawing_a_move_leaves_the_rest() -> None:
    said = (announce(NEW, BETA), deprecate("debian-ci:beta"), withdraw("debian-ci:beta"))
    assert told(after(*said)) == ["deprecation debian-ci:beta"]


@given(histories())
def test_what_is_coming_can_come(history: list[Change]) -> None:
    """P6: consumers are never told of a move to what is gone, going or unsafe."""
    snapshot = fold("id", history)
    for image, known in snapshot.announced.items():
        assert known
        for each in known:
            assert each.image == image
            if isinstance(each, AnnouncedMove):
                version = replace(ref(NEW), image=image, version=each.to)
                assert snapshot.stage(version) is Stage.ACTIVE
                assert version in snapshot.versions
                assert version not in snapshot.revoked
