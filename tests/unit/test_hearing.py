"""What consumers hear of what is coming, and when they are refused on purpose."""

from __future__ import annotations

import pytest
from support.examples import BASE, BETA, CI, STABLE, announce, change, deprecate
from support.releases import Book, day

from imagectl.consumer.resolving import resolve
from imagectl.errors import Refused
from imagectl.model.change import Operation
from imagectl.model.fold import apply_change
from imagectl.model.names import ChannelName, ImageName, VersionId, parse_image_ref
from imagectl.policy.resolution import Resolution, ResolutionRequest
from imagectl.testing.published import MemoryPublisher, MemoryTree

ONE, TWO, BASE_ONE = "debian-ci@20261120.1", "debian-ci@20261120.2", "debian-base@20261120.1"


@pytest.fixture
def book() -> Book:
    """TWO is stable and in beta, ONE was so before; debian-base has something in beta."""
    made = Book()
    made.built(ONE)
    made.moved(STABLE, ONE)
    made.built(TWO)
    made.moved(STABLE, TWO)
    made.built(BASE_ONE)
    return made


def shown(book: Book, *operations: Operation) -> MemoryTree:
    if operations:
        said = change("told", book.snapshot.generation, *operations)
        book.snapshot = apply_change(book.snapshot, said)
    publisher = MemoryPublisher()
    publisher.publish(book.snapshot)
    return publisher.tree()


def got(
    tree: MemoryTree, text: str, at: float = 0, *, notices: bool = False, despite: bool = False
) -> Resolution:
    of = parse_image_ref(text)
    request = ResolutionRequest(
        of.image, of.channel, of.version, notices=notices, despite_brownout=despite
    )
    return resolve(tree, request, day(at))


def brownout(of: str, successor: str | None = None) -> Operation:
    """For the day that begins in two days."""
    return deprecate(of, successor=successor, brownouts=((2, 3),))


def test_who_asks_is_told_of_what_is_coming(book: Book) -> None:
    book.built("debian-ci@20261120.3")
    tree = shown(book, announce("debian-ci@20261120.3"))
    (notice,) = got(tree, "debian-ci", notices=True).notices
    assert notice.startswith("debian-ci:stable goes to 20261120.3 on 2026-11-27 12:00 UTC, in 7 d")
    assert got(tree, "debian-ci").notices == ()
    assert got(tree, "debian-ci:beta", notices=True).notices == ()
    assert got(tree, "debian-base:beta", notices=True).notices == ()


def test_in_a_brownout_it_is_refused_and_says_how_to_go_on(book: Book) -> None:
    tree = shown(book, brownout("debian-ci:beta", "debian-ci:stable"))
    book.built("debian-ci@20261120.3")  # so that stable has another one
    tree = shown(book)
    assert got(tree, "debian-ci:beta", 1.99).ref
    with pytest.raises(Refused) as refused:
        got(tree, "debian-ci:beta", 2)
    error = refused.value
    assert error.what == (
        "debian-ci:beta is refused on purpose until 2026-11-23 12:00 UTC, for 1 d more"
    )
    assert "--despite-brownout" in error.hint
    assert "`imagectl resolve debian-ci:stable`" in error.hint
    assert got(tree, "debian-ci:beta", 2, despite=True).ref.version == VersionId("20261120", 3)
    assert got(tree, "debian-ci:beta", 3).ref
    assert got(tree, "debian-ci:stable", 2).ref


def test_a_pinned_version_has_its_channel_to_go_to(book: Book) -> None:
    tree = shown(book, brownout(ONE))
    with pytest.raises(Refused, match="refused on purpose"):
        got(tree, ONE, 2.5)
    assert got(tree, TWO, 2.5).ref
    assert got(tree, "debian-ci", 2.5).ref


def test_no_brownout_of_what_a_channel_has_gone_back_to(book: Book) -> None:
    """Since it was announced, TWO turned out bad."""
    book.moved(BETA, ONE)
    tree = shown(book, brownout(ONE))
    assert got(tree, ONE, 2.5).ref
    assert got(tree, "debian-ci:beta", 2.5).ref


def test_no_brownout_where_the_channels_have_nothing_that_can_be_had(book: Book) -> None:
    book.revoked(TWO)
    tree = shown(book, brownout(ONE))
    assert got(tree, ONE, 2.5).ref


@pytest.mark.parametrize("successor", ["debian-base", "debian-base:beta"])
def test_no_brownout_where_the_successor_cannot_be_had(book: Book, successor: str) -> None:
    with pytest.raises(Refused):
        got(shown(book, brownout("debian-ci", successor)), "debian-ci", 2.5)
    book.revoked(BASE_ONE)
    assert got(shown(book), "debian-ci", 2.5).ref


def test_no_brownout_where_the_successor_is_the_same(book: Book) -> None:
    tree = shown(book, brownout("debian-ci:beta", "debian-ci:stable"))
    assert got(tree, "debian-ci:stable", 2.5).ref == got(tree, "debian-ci:beta", 2.5).ref


@pytest.mark.parametrize(
    ("image", "channel"),
    [(BASE, BETA), (CI, ChannelName("beta")), (ImageName("debian-ci"), STABLE)],
)
def test_without_announcements_nobody_hears_anything(
    book: Book, image: ImageName, channel: ChannelName
) -> None:
    request = ResolutionRequest(image, channel, notices=True)
    assert resolve(shown(book), request, day(2.5)).notices == ()
