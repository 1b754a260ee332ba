"""The directory. Its other end is the file system."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from imagectl.adapters.locations.owners import Record, record_of
from imagectl.model.version import Artifact, Placement
from support.examples import digest
from support.places import directory
from support.places.place import Fault, filling, some_artifact

NOBODY = 65534


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
        (self.root / "sha256").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            owner = filling(number, digest(f"{number}"))
            for name, data in (
                (f"sha256/{owner.sha256[:2]}/{owner.sha256}", b"."),
                (record_of(owner), Record(owner, False).text()),
            ):
                path = self.root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        match fault:
            case Fault.CONTAINER_GONE:
                return self._gone()
            case Fault.PART_UNREACHABLE:
                return closed(self.root / "sha256", 0o000)
            case Fault.CREDENTIAL_NARROW:
                return closed(self.root, 0o555)
            case _:
                return "no server is behind a folder; full disks and lost mounts have own tests"

    @contextmanager
    def _gone(self) -> Iterator[None]:
        shutil.rmtree(self.root, ignore_errors=True)
        yield

    def requests(self) -> int:
        return 0


@contextmanager
def closed(folder: Path, mode: int) -> Iterator[None]:
    """The folder's mode is that one, and we are not root, who may do anything."""
    folder.mkdir(parents=True, exist_ok=True)
    before = folder.stat().st_mode
    folder.chmod(mode)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(before)


def opened(request: pytest.FixtureRequest, folder: Path) -> OnDisk:
    # pytest's own folders are closed to everybody else, and so to who we are in some faults.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    return OnDisk(folder / "location")
