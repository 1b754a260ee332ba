"""What stands around a build, without QEMU. What it is made with: ``testing.equipment``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagectl.errors import Conflict
from imagectl.model.image import Image
from imagectl.model.names import Format, ImageName
from imagectl.model.proof import Outcome, TestReport, TestResult
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Leftover, Workspace
from imagectl.testing.clock import FixedClock


@dataclass(slots=True)
class RecordingProgress:
    """Implements ``services.ports.Progress``; keeps what it was told."""

    stages: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    moves: list[tuple[str, int, int]] = field(default_factory=list)

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        self.stages.append(name)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def moved(self, what: str, done: int, total: int) -> None:
        self.moves.append((what, done, total))


class MemoryChecks:
    """Implements ``services.ports.Checks``. Raises ``failure`` where one is set."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def check(self, image: Image, progress: Progress) -> None:
        if self.failure is not None:
            raise self.failure


class MemoryProver:
    """Implements ``services.ports.Prover``. The tests in ``failing`` fail; ``booted`` are the
    formats of all disks so far, ``machines`` the hosts of those that ran already."""

    def __init__(self) -> None:
        self.booted: list[Format] = []
        self.machines: list[str] = []
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
        self.booted.append(disk_format)
        return self._prove(f"login of {disk.read_text()}\n", work)

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        self.machines.append(machine.host)
        return self._prove(f"login of {machine.host}\n", work)

    def _prove(self, said: str, work: Workspace) -> Proof:
        console = work.folder / "console.log"
        console.write_text(said)
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


class MemoryTemplates:
    """Implements ``services.ports.Templates``: each run makes the image ``made``, or raises
    ``failure`` where one is set."""

    def __init__(self) -> None:
        self.made = "made-1"
        self.runs = 0
        self.failure: Exception | None = None

    def make_image(self, image: Image, project: Path, work: Workspace, progress: Progress) -> str:
        self.runs += 1
        if self.failure is not None:
            raise self.failure
        return self.made


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

    def __init__(self, folder: Path, clock: FixedClock) -> None:
        self._folder = folder
        self._clock = clock
        self._open: set[ImageName] = set()
        self._count = 0
        self.failed: dict[ImageName, tuple[Path, Format]] = {}
        self.left: dict[ImageName, tuple[Leftover, ...]] = {}

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
            epoch = int(self._clock.now().timestamp())
            yield Workspace(f"{self._count}", folder, folder, log, epoch)
        finally:
            self._open.discard(image)

    def keep_failed(self, image: ImageName, disk: Path, disk_format: Format) -> Path:
        self.failed[image] = disk, disk_format
        return disk

    def failed_disk(self, image: ImageName) -> tuple[Path, Format] | None:
        return self.failed.get(image)

    def leftovers(self, image: ImageName) -> tuple[Leftover, ...]:
        return self.left.get(image, ())

    def keep_leftovers(self, image: ImageName, leftovers: Sequence[Leftover]) -> None:
        self.left[image] = tuple(leftovers)
