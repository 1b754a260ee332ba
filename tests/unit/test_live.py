"""Asking locations at the same time, and saying which of them do not answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from support.examples import CI, STABLE
from support.releases import DC1, LOCAL
from support.world import World

from imagectl.errors import CannotTell
from imagectl.model.names import LocationName
from imagectl.model.version import Placement
from imagectl.services import live
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore


class Slow(MemoryLocation):
    """Answers when it was told to."""

    def __init__(self, name: LocationName) -> None:
        super().__init__(name)
        self.answers = threading.Event()
        self.answers.set()

    def verify(self, placement: Placement, now: datetime) -> Placement:
        assert self.answers.wait(30)
        return super().verify(placement, now)


@pytest.fixture
def slow() -> Slow:
    return Slow(DC1)


@pytest.fixture
def world(tmp_path: Path, slow: Slow) -> World:
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    places = [MemoryLocation(LOCAL), slow]
    return World(MemoryCatalog(), places, [MemoryPublisher()], store, tmp_path)


def test_who_does_not_answer_is_named(
    world: World, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TOLD_AGAIN", 0.01)
    made = world.recorded("debian-ci@20261120.1", needs=(LOCAL, DC1))
    world.place(made.ref)
    told: list[list[str]] = []

    def waiting(names: Sequence[LocationName]) -> None:
        told.append([*names])
        if names == [DC1]:  # the other one has answered
            slow.answers.set()

    slow.answers.clear()
    placed = world.catalog.snapshot().placed(made.ref)
    looked = live.look(world.releasing.locations, placed, world.clock, waiting)
    assert told[-1] == [DC1]
    assert all(each.renewed is not None for each in looked.values())


def test_nobody_is_named_who_answers_at_once(world: World) -> None:
    made = world.recorded("debian-ci@20261120.1", needs=(LOCAL, DC1))
    world.place(made.ref)
    told: list[Sequence[str]] = []
    placed = world.catalog.snapshot().placed(made.ref)
    live.look(world.releasing.locations, placed, world.clock, told.append)
    assert told == []


def test_where_it_cannot_be_told_the_channel_is_said_to_stay(world: World, slow: Slow) -> None:
    """The first question of a bad night is whether anything has moved."""
    for text in ("debian-ci@20261120.1", "debian-ci@20261120.2"):
        world.built(text, needs=(LOCAL, DC1))
        world.promote("stable")
    with slow.unreadable(), pytest.raises(CannotTell) as caught:
        world.rollback("stable")
    assert caught.value.what == "stable stays as it is: location dc1 cannot be read"
    assert str(world.catalog.snapshot().head(CI, STABLE)) == "20261120.2"
