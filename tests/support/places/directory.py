"""The directory. Its other end is the file system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagectl.model.version import Artifact, Placement
from support.places import directory
from support.places.place import Fault, some_artifact


class OnDisk:
    """Implements ``support.places.Place``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = directory(root)

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        return some_artifact(folder, seed)

    def lose(self, placement: Placement) -> None:
        Path(placement.reference).unlink()

    def damage(self, placement: Placement) -> None:
        path = Path(placement.reference)
        path.chmod(0o644)
        path.write_bytes(b"damaged")

    @contextmanager
    def unreadable(self) -> Iterator[None]:
        """The file system is not mounted: only the mount point is there."""
        away = self.root.rename(self.root.with_name("away"))
        self.root.mkdir()
        yield
        self.root.rmdir()
        away.rename(self.root)

    def foreign(self, name: str) -> Callable[[], object]:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"somebody else's")
        return lambda: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)

    def fill(self, count: int) -> None:
        raise NotImplementedError

    def fault(self, fault: Fault) -> str:
        return "a file system has no other end"

    def requests(self) -> int:
        return 0


def opened(request: pytest.FixtureRequest, folder: Path) -> OnDisk:
    return OnDisk(folder / "location")
