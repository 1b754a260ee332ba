"""A build pipeline without Packer, QEMU or Ansible: its bytes follow from the definition."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imagectl.errors import Conflict, Corrupt, NotFound
from imagectl.model.image import Image
from imagectl.model.names import Format, ImageName, Sha256
from imagectl.model.proof import Outcome, TestReport, TestResult
from imagectl.model.version import Version
from imagectl.services.ports import (
    Base,
    CanonicalTree,
    Finished,
    Progress,
    Proof,
    Workspace,
    Written,
)


def _sha256(text: str) -> Sha256:
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


@dataclass(slots=True)
class RecordingProgress:
    """Implements ``services.ports.Progress``; keeps what it was told."""

    stages: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        self.stages.append(name)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


class MemoryDefinitions:
    """Implements ``services.ports.Definitions`` over images that are given."""

    def __init__(self, *images: Image) -> None:
        self._images = {image.name: image for image in images}

    def load(self, names: Collection[ImageName]) -> tuple[Image, ...]:
        for name in names:
            if name not in self._images:
                raise NotFound(f"there is no image {name}")
        return tuple(image for name, image in self._images.items() if not names or name in names)

    def digest(self, image: Image) -> Sha256:
        return _sha256(repr(image))


class MemoryChecks:
    """Implements ``services.ports.Checks``. Raises ``failure`` where one is set."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def check(self, image: Image, progress: Progress) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryBases:
    """Implements ``services.ports.Bases``. ``upstream`` stands for what the mirror has now."""

    def __init__(self) -> None:
        self.upstream = "one"

    def inputs(self, image: Image) -> Sha256:
        return _sha256(f"{image.base} {self.upstream}")

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> CanonicalTree:
        below = parent.tree.sha256 if parent and parent.tree else ""
        return write_tree(work, "base.tar", f"base of {image.name} on {below}")


def write_tree(work: Workspace, name: str, text: str) -> CanonicalTree:
    """A tree that consists of *text*."""
    path = work.folder / name
    path.write_text(text)
    return CanonicalTree(path, _sha256(text), len(text), 1)


class MemoryProvisioner:
    """Implements ``services.ports.Provisioner``. Raises ``failure`` where one is set."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.runs = 0

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        self.runs += 1
        if self.failure is not None:
            raise self.failure
        return write_tree(work, "tree.tar", f"{base.path.read_text()} provisioned: {image}")


class MemoryDisks:
    """Implements ``services.ports.Disks``."""

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        assert isinstance(finished, CanonicalTree)
        disks = {}
        for disk_format in image.formats:
            disks[disk_format] = work.folder / f"disk.{disk_format.value}"
            disks[disk_format].write_text(f"{disk_format.value} of {finished.sha256}")
        first = image.formats[0]
        return Written(_sha256(f"raw of {finished.sha256}"), disks, (disks[first], first))

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        out = work.folder / "tree.compressed"
        out.write_bytes(tree.path.read_bytes())
        return out

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        text = stored.read_text()
        if _sha256(text) != sha256:
            raise Corrupt("a stored tree is not what was recorded", where=str(stored))
        out.write_text(text)
        return CanonicalTree(out, sha256, len(text), 1)


class MemoryProver:
    """Implements ``services.ports.Prover``. The tests in ``failing`` fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.tests = ["test_up", "test_clean"]

    def prove(
        self,
        image: Image,
        disk: Path,
        disk_format: Format,
        work: Workspace,
        progress: Progress,
        *,
        keep: bool = False,
    ) -> Proof:
        console = work.folder / "console.log"
        console.write_text(f"login of {disk.read_text()}\n")
        results = tuple(
            TestResult(
                "suite",
                name,
                Outcome.FAILED if name in self.failing else Outcome.PASSED,
                0.5,
                "assert 1 == 2" if name in self.failing else "",
            )
            for name in self.tests
        )
        return Proof(TestReport(results), console, console.read_text())


class MemoryTimings:
    """Implements ``services.ports.Timings``."""

    def __init__(self) -> None:
        self.known: dict[tuple[ImageName, str], float] = {}

    def expected(self, image: ImageName, stage: str) -> float | None:
        return self.known.get((image, stage))

    def record(self, image: ImageName, stage: str, seconds: float) -> None:
        self.known[image, stage] = seconds


class MemoryWorkspaces:
    """Implements ``services.ports.Workspaces`` in a folder that is the test's to remove."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self._folder = folder
        self._epoch = epoch
        self._open: set[ImageName] = set()
        self._count = 0
        self.failed: dict[ImageName, bytes] = {}

    @contextlib.contextmanager
    def open(self, image: ImageName, *, wait: bool) -> Iterator[Workspace]:
        if image in self._open:
            raise Conflict(f"another build of {image} is running")
        self._open.add(image)
        self._count += 1
        folder = self._folder / f"run-{self._count}"
        folder.mkdir()
        log = folder / "build.log"
        log.write_text(f"build {self._count}\n")
        try:
            yield Workspace(f"{self._count}", folder, folder, log, self._epoch)
        finally:
            self._open.discard(image)

    def keep_failed(self, image: ImageName, disk: Path) -> Path:
        self.failed[image] = disk.read_bytes()
        return disk
