"""P7: publish, killed at any moment, and raced. What it may have left behind is in the ledger.

The real services on SQLite and directories. Each try forks a child that puts a new version, in two
formats, in four locations at the same time, and kills it with SIGKILL at a random moment; the next
run finishes what it began, and makes nothing twice.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.examples import NOW
from support.places import CATALOG_ID, directory
from support.processes import Killer, end, fork
from support.world import World

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.store import FileStore
from imagectl.model.names import Format, LocationName
from imagectl.model.version import VersionRef

TRIES = 60

LOCATIONS = tuple(LocationName(name) for name in ("local", "dc1", "dc2", "dc3"))
FORMATS = (Format.QCOW2, Format.RAW)


class Project:
    """A project on disk, opened anew by every process that works on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sources").mkdir()

    @contextmanager
    def opened(self) -> Iterator[World]:
        url = f"sqlite:///{self.root}/catalog.sqlite3"
        with SqlCatalog(url, new_id=lambda: CATALOG_ID) as catalog:
            yield World(
                catalog,
                [directory(self.root / name, name) for name in LOCATIONS],
                [],
                FileStore(self.root / "store"),
                self.root / "sources",
                new_key=lambda: str(uuid.uuid4()),
            )

    def recorded(self, number: int) -> VersionRef:
        with self.opened() as world:
            name = f"debian-ci@20261120.{number}"
            return world.recorded(name, needs=LOCATIONS, formats=FORMATS).ref

    def publish(self, version: VersionRef) -> None:
        with self.opened() as world:
            world.place(version)


@pytest.mark.integration
def test_killed_at_any_moment_what_is_there_is_in_the_ledger(tmp_path: Path) -> None:
    project = Project(tmp_path)
    seen: Counter[str] = Counter()
    first = project.recorded(1)
    killer = Killer(7, partial(project.publish, first))
    for number in range(2, TRIES + 2):
        version = project.recorded(number)
        killer.kill(partial(project.publish, version))
        with project.opened() as world:
            snapshot = world.catalog.snapshot()
            placed = {(each.location, each.format) for each in snapshot.placed(version)}
            begun = {(each.location, each.format) for each in snapshot.intended(version)}
            there = {
                (name, each.owner.format)
                for name, location in world.releasing.locations.items()
                for each in location.view(lambda: NOW).found
                if each.owner is not None and each.owner.version == version
            }
            assert there <= placed | begun, f"try {number}: made, and not in the ledger"
            assert not placed & begun, f"try {number}: an intent outlived its placement"
            for each in snapshot.placed(version):
                world.releasing.locations[each.location].verify(each, NOW)
            if number % 20 == 0:
                assert world.catalog.verify() == ()
            seen["nothing begun"] += not placed and not begun
            seen["begun"] += bool(begun)
            seen["begun and made"] += bool(begun & there)
            seen["some placed"] += bool(placed and begun)
            seen["all placed"] += bool(placed and not begun)

        project.publish(version)
        with project.opened() as world:
            snapshot = world.catalog.snapshot()
            assert snapshot.intents == {}
            assert len(snapshot.placed(version)) == len(LOCATIONS) * len(FORMATS)

    assert killer.killed >= TRIES // 2, "the kills came too late to prove anything"
    for what in ("nothing begun", "begun", "begun and made", "some placed"):
        assert seen[what] >= 1, seen
    with project.opened() as world:
        assert world.catalog.verify() == ()
        # Nothing was made twice, and nothing is there that nobody knows.
        for location in world.releasing.locations.values():
            view = location.view(lambda: NOW)
            assert view.complete
            assert all(each.owner is not None for each in view.found)
            assert len(view.found) == (TRIES + 1) * len(FORMATS)


@pytest.mark.integration
def test_processes_that_publish_at_the_same_time_all_come_through(tmp_path: Path) -> None:
    """Other versions, and the same one twice: each commit of one is in the way of the others."""
    project = Project(tmp_path)
    versions = [project.recorded(number) for number in range(1, 7)]
    children = [fork(partial(project.publish, each)) for each in (*versions, *versions[:2])]
    assert [end(child) for child in children] == [0] * len(children)
    with project.opened() as world:
        snapshot = world.catalog.snapshot()
        assert snapshot.intents == {}
        for version in versions:
            assert len(snapshot.placed(version)) == len(LOCATIONS) * len(FORMATS)
        assert world.catalog.verify() == ()
