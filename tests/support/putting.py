"""Locations and a catalog that others, and accidents, change while something is published.

Its fixtures are those of tests that name this file as a plugin.

PYTEST_DONT_REWRITE: these import names from here too, before pytest loads it as a plugin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from imagectl.errors import (
    Denied,
)
from imagectl.model.change import Change
from imagectl.model.names import Format, LocationName
from imagectl.model.place import DirectoryLocation
from imagectl.model.version import Artifact, Intent, Placement, VersionRef
from imagectl.model.view import View
from imagectl.services.ports.catalog import Committed
from imagectl.services.ports.locations import Credential, Moved
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore
from support.examples import ref
from support.releases import DC1, LOCAL
from support.world import World

ONE = "debian-ci@20261120.1"
S3 = LocationName("s3")


class Busy(MemoryCatalog):
    """A catalog that others change before each of the next ``meanwhile`` commits."""

    meanwhile: int = 0
    change: Callable[[], object] | None = None

    def commit(self, change: Change) -> Committed:
        if self.meanwhile and self.change is not None:
            self.meanwhile -= 1
            other, self.change = self.change, None
            other()
            self.change = other
        return super().commit(change)


class Place(MemoryLocation):
    """A location that looks at the catalog, and does ``first``, when something is put there.

    ``error`` is raised before anything is made, ``after`` once it was. ``gaps`` are its views'.
    """

    def __init__(
        self,
        name: LocationName,
        catalog: MemoryCatalog,
        takes: frozenset[Format] = DirectoryLocation.takes,
    ) -> None:
        super().__init__(name, takes, catalog.snapshot().catalog_id)
        self.catalog = catalog
        self.puts = 0
        self.first: Callable[[], object] = lambda: None
        self.error: BaseException | None = None
        self.after: BaseException | None = None
        self.gaps: tuple[str, ...] = ()
        self.denial: Denied | None = None
        self.expires: datetime | None = None
        self.probes = 0
        self.prefix = ""
        self.seen: list[tuple[Intent, ...]] = []

    def probe(self) -> Credential:
        self.probes += 1
        if self.denial is not None:
            raise self.denial
        return Credential("alice", self.expires)

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return f"{self.prefix}{super().named(version, artifact)}"

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        self.puts += 1
        self.seen.append(self.catalog.snapshot().intended(version))
        self.first()
        if self.error is not None:
            raise self.error
        done = super().put(version, artifact, source, now, moved)
        if self.after is not None:
            raise self.after
        return done

    def view(self, now: Callable[[], datetime]) -> View:
        return replace(super().view(now), gaps=self.gaps)


@pytest.fixture
def busy() -> Busy:
    return Busy()


@pytest.fixture
def places(busy: Busy) -> dict[LocationName, Place]:
    return {name: Place(name, busy) for name in (LOCAL, DC1, S3)}


@pytest.fixture
def world(tmp_path: Path, busy: Busy, places: dict[LocationName, Place]) -> World:
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    return World(busy, list(places.values()), [MemoryPublisher()], store, tmp_path)


def intents(world: World) -> list[tuple[LocationName, str]]:
    return [(each.location, each.named) for each in world.catalog.snapshot().intended(ref(ONE))]


def placed(world: World) -> set[LocationName]:
    return {each.location for each in world.catalog.snapshot().placed(ref(ONE))}
