"""Workspaces on this machine: a lock for each image, a run for each build, logs that stay.

A run is what a build makes to be thrown away: its folder, its overlays, its QEMU and whatever else
it starts. It is in the ledger, with a lease, from before it is made until it is removed (P7).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from imagectl.adapters import durable, host_machines, runs
from imagectl.errors import CannotTell, Conflict
from imagectl.model.names import Format, ImageName, LocationName, Sha256, parse_version_id
from imagectl.model.resource import ResourceKind
from imagectl.model.version import VersionRef
from imagectl.services.ports.janitor import Leasing
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Leftover, Workspace


class LocalWorkspaces:
    """Implements ``services.ports.Workspaces`` below the project's ``.imagectl``."""

    def __init__(
        self,
        state: Path,
        progress: Progress,
        now: Callable[[], datetime],
        leasing: Callable[[], Leasing],
    ) -> None:
        self._runs = state / host_machines.RUNS
        self._place = host_machines.place_of(state)
        self._leasing = leasing
        self._locks = state / "locks"
        self._logs = state / "logs"
        self._failed = state / "failed"
        self._leftovers = state / "leftovers"
        self._progress = progress
        self._now = now

    @contextlib.contextmanager
    def open(self, image: ImageName, *, wait: bool) -> Iterator[Workspace]:
        for swept in runs.sweep(self._runs):
            ended = f", {len(swept.processes)} processes ended" if swept.processes else ""
            self._progress.note(f"removed what an interrupted build had left ({swept.id}{ended})")
        with self._locked(image, wait), self._run(image) as run:
            self._logs.mkdir(parents=True, exist_ok=True)
            began = self._now()
            log = self._logs / f"{image}-{began:%Y%m%dT%H%M%SZ}-{run.id}.log"
            log.touch(mode=0o600)
            yield Workspace(run.id, run.folder, run.sockets, log, int(began.timestamp()))

    @contextlib.contextmanager
    def _run(self, image: ImageName) -> Iterator[runs.Run]:
        run_id = runs.new_id()
        purpose = f"work on {image}"
        with self._leasing().lease(ResourceKind.MACHINE, self._place, run_id, purpose) as leased:
            try:
                with runs.open_run(self._runs, run_id) as run:
                    host_machines.write_claim(run.folder, leased.claim)
                    yield run
            finally:
                if not (self._runs / run_id).exists():
                    leased.gone()

    def undisturbed(self, image: ImageName) -> contextlib.AbstractContextManager[None]:
        """No build of *image* begins while the block runs. Raises Conflict where one is running."""
        return self._locked(image, False)

    @contextlib.contextmanager
    def _locked(self, image: ImageName, wait: bool) -> Iterator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._locks / f"build-{image}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            if not wait:
                raise Conflict(
                    f"another build of {image} is running",
                    where=str(self._locks / f"build-{image}.lock"),
                    why="two builds of one image at once would make the same version twice",
                    hint="wait for it with --wait, or look at it in .imagectl/logs",
                ) from None
            self._progress.note(f"waiting for another build of {image} to end")
            lock.acquire(timeout=-1)
        try:
            yield
        finally:
            lock.release()

    def failed_disk(self, image: ImageName) -> tuple[Path, Format] | None:
        for disk_format in Format:
            path = self._failed / f"{image}.{disk_format.value}"
            if path.is_file():
                return path, disk_format
        return None

    def keep_failed(self, image: ImageName, disk: Path, disk_format: Format) -> Path:
        self._failed.mkdir(parents=True, exist_ok=True)
        kept = self._failed / f"{image}.{disk_format.value}"
        fresh = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.move(disk, fresh)
        while (before := self.failed_disk(image)) is not None:
            before[0].unlink()
        return fresh.replace(kept)

    def leftovers(self, image: ImageName) -> tuple[Leftover, ...]:
        path = self._leftovers / f"{image}.json"
        try:
            return tuple(
                Leftover(
                    VersionRef(image, parse_version_id(each["version"])),
                    LocationName(each["location"]),
                    each["built"],
                    datetime.fromisoformat(each["since"]),
                    Sha256(each["sha256"]) if each["sha256"] else None,
                )
                for each in json.loads(path.read_bytes())
            )
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise CannotTell(
                f"what builds of {image} have left in locations cannot be read",
                where=str(path),
                why=str(problem),
                hint="look in its location for images that are not recorded, then remove the file",
            ) from problem

    def keep_leftovers(self, image: ImageName, leftovers: Sequence[Leftover]) -> None:
        document = [
            {
                "version": str(each.version.version),
                "location": each.location,
                "built": each.built,
                "since": each.since.isoformat(),
                "sha256": each.sha256,
            }
            for each in leftovers
        ]
        self._leftovers.mkdir(parents=True, exist_ok=True)
        data = f"{json.dumps(document, indent=1)}\n".encode()
        durable.write(self._leftovers, self._leftovers / f"{image}.json", data)
