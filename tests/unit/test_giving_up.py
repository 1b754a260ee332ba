"""A publication that broke off is given up: only where nothing was made, or can still be."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.examples import NOW, ref
from support.putting import ONE, S3, Place, intents, placed
from support.releases import DC1
from support.world import World

from imagectl.errors import (
    CannotTell,
    NotFound,
    Refused,
)
from imagectl.model.names import LocationName
from imagectl.model.version import VersionRef
from imagectl.services import publish

pytest_plugins = ["support.putting"]


@pytest.fixture
def broken_off(world: World, places: dict[LocationName, Place]) -> VersionRef:
    """A version that was put in dc1 and s3 without an end; in s3 something of it is there."""
    made = world.recorded(ONE, needs=(DC1, S3))
    places[DC1].error = CannotTell("no answer")
    places[S3].after = CannotTell("no answer")
    with pytest.raises(CannotTell):
        world.place(made.ref)
    world.clock.advance(timedelta(hours=1))
    return made.ref


def test_what_was_never_made_is_given_up(world: World, broken_off: VersionRef) -> None:
    (ended,) = publish.give_up(world.releasing, broken_off, [DC1])
    assert ended.location == DC1
    assert [name for name, _ in intents(world)] == [S3]
    *_, last = world.catalog.events()
    assert (last.change.action, last.change.reason) == ("give up publishing", f"{ONE} to dc1")


def test_what_may_be_under_way_is_not_given_up(
    world: World, places: dict[LocationName, Place]
) -> None:
    """P7: the one that is running now would go on without a note."""
    made = world.recorded(ONE, needs=(DC1,))
    refused: list[Refused] = []

    def give_up() -> None:
        world.clock.advance(timedelta(minutes=59, seconds=59))
        with pytest.raises(Refused) as caught:
            publish.give_up(world.releasing, made.ref)
        refused.append(caught.value)
        assert intents(world)

    places[DC1].first = give_up
    world.place(made.ref)
    (reason,) = refused[0].reasons
    since = f"{NOW:%Y-%m-%d %H:%M} UTC"
    assert reason.endswith(f"in dc1: begun by alice at {since}, less than 1 h ago")
    assert f"`imagectl publish {ONE}`" in refused[0].hint


def test_what_is_gone_on_with_is_not_given_up(
    world: World, broken_off: VersionRef, places: dict[LocationName, Place]
) -> None:
    """P7: it was begun long ago, and is under way again."""
    refused: list[Refused] = []

    def give_up() -> None:
        with pytest.raises(Refused) as caught:
            publish.give_up(world.releasing, broken_off, [DC1])
        refused.append(caught.value)

    places[DC1].first, places[DC1].error = give_up, None
    publish.place(world.releasing, world.store, broken_off, [DC1], only=True)
    assert "less than 1 h ago" in refused[0].why
    assert DC1 in placed(world)
    assert [name for name, _ in intents(world)] == [S3]


def test_what_is_there_is_not_given_up(world: World, broken_off: VersionRef) -> None:
    """P2: it would be ours, and nobody would know of it."""
    before = world.catalog.snapshot()
    with pytest.raises(Refused) as caught:
        publish.give_up(world.releasing, broken_off)
    (reason,) = caught.value.reasons
    assert reason.endswith(f"is in s3: `imagectl publish {ONE} --to s3` records it")
    assert world.catalog.snapshot() == before


def test_nothing_is_given_up_that_could_not_be_seen_whole(
    world: World, broken_off: VersionRef, places: dict[LocationName, Place]
) -> None:
    """P3."""
    places[DC1].gaps = ("page 2 of 3 did not come",)
    before = world.catalog.snapshot()
    with pytest.raises(CannotTell, match="not all of dc1 could be seen"):
        publish.give_up(world.releasing, broken_off, [DC1])
    assert world.catalog.snapshot() == before


def test_giving_up_what_was_never_begun_is_not_found(world: World) -> None:
    made = world.built(ONE)
    with pytest.raises(NotFound, match="is unfinished in dc1"):
        publish.give_up(world.releasing, made.ref, [DC1])
    with pytest.raises(NotFound):
        publish.give_up(world.releasing, ref("debian-ci@20261120.9"))
