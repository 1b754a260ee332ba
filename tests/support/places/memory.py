"""The location in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from imagectl.model.names import Sha256
from imagectl.model.version import Artifact, Placement
from imagectl.testing.locations import MemoryLocation
from support.places.place import CATALOG_ID, LOCAL, Fault, filling, some_artifact


class InMemory:
    """Implements ``support.places.Place``."""

    def __init__(self) -> None:
        self.location = MemoryLocation(LOCAL, catalog=CATALOG_ID)

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        return some_artifact(folder, seed)

    def lose(self, placement: Placement) -> None:
        self.location.lose(placement)

    def damage(self, placement: Placement) -> None:
        self.location.damage(placement)

    def unreadable(self) -> AbstractContextManager[None]:
        return self.location.unreadable()

    def foreign(self, name: str) -> Callable[[], object]:
        self.location.keep(name, b"somebody else's", owner=None)
        return lambda: self.location.held(name)

    def fill(self, count: int) -> None:
        for number in range(count):
            data = f"{number}".encode()
            sha256 = Sha256(hashlib.sha256(data).hexdigest())
            self.location.keep(f"memory-{sha256}", data, filling(number, sha256))

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        if fault is Fault.UNAVAILABLE_ALWAYS:
            return self.unreadable()
        return "nothing is between the tests and the memory of this process: no server can fail"

    def requests(self) -> int:
        return 0


def opened(request: pytest.FixtureRequest, folder: Path) -> InMemory:
    return InMemory()
