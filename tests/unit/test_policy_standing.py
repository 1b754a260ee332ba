"""What a history amounts to after promotions and rollbacks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.examples import BETA, CI, STABLE
from support.releases import Book, day

from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import VersionId
from imagectl.policy.standing import standing

ONE, TWO, THREE = (VersionId("20261120", serial) for serial in (1, 2, 3))

moves = st.builds(
    Move,
    version=st.builds(VersionId, st.just("20261120"), st.integers(1, 6)),
    kind=st.sampled_from(MoveKind),
    at=st.integers(0, 100).map(day),
    by=st.just("alice"),
    reason=st.just(""),
    generation=st.just(1),
)


def test_nothing_stands_in_an_empty_channel() -> None:
    assert not standing(None).since
    assert standing(None).earlier == ()


def test_promotions_stand_on_each_other() -> None:
    book = Book()
    for serial in (1, 2, 3):
        book.built(f"debian-ci@20261120.{serial}", at=serial)
    stands = standing(book.channel("debian-ci", BETA))
    assert dict(stands.since) == {ONE: day(1), TWO: day(2), THREE: day(3)}
    assert stands.earlier == (TWO, ONE)
    assert not stands.left


def test_a_rollback_takes_off_what_is_above_and_keeps_since_when_the_rest_stands() -> None:
    book = Book()
    for serial in (1, 2, 3):
        book.built(f"debian-ci@20261120.{serial}", at=serial)
    book.rolled_back(BETA, "debian-ci@20261120.1", at=4, reason="no docker")
    stands = standing(book.channel("debian-ci", BETA))
    assert dict(stands.since) == {ONE: day(1)}
    assert set(stands.left) == {TWO, THREE}
    assert stands.left[THREE].reason == "no docker"


def test_a_version_that_comes_back_stands_from_then_on() -> None:
    book = Book()
    for serial in (1, 2):
        book.built(f"debian-ci@20261120.{serial}", at=serial)
    book.rolled_back(BETA, "debian-ci@20261120.1", at=3)
    book.rolled_back(BETA, "debian-ci@20261120.2", at=4, reason="it was not the image")
    stands = standing(book.channel("debian-ci", BETA))
    assert dict(stands.since) == {ONE: day(1), TWO: day(4)}
    assert not stands.left


def test_only_a_rollback_speaks_against_a_version() -> None:
    """A history that something else wrote may go down without one."""
    book = Book()
    for serial in (2, 1):
        book.built(f"debian-ci@20261120.{serial}")
    stands = standing(book.channel("debian-ci", BETA))
    assert set(stands.since) == {ONE}
    assert not stands.left


@given(st.lists(moves, min_size=1, max_size=12))
def test_the_head_stands_last_and_what_stands_rises(history: list[Move]) -> None:
    stands = standing(Channel(CI, STABLE, tuple(history)))
    versions = list(stands.since)
    assert versions[-1] == history[-1].version
    assert versions == sorted(versions)
    assert not stands.left.keys() & stands.since.keys()
    assert {*stands.left, *stands.since} <= {move.version for move in history}
