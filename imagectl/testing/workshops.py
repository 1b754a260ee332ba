"""A location in memory in which images are built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagectl.errors import NotFound, Unsupported
from imagectl.formats.native_v1 import write_native
from imagectl.model.names import Format, LocationName
from imagectl.model.native import Native
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.locations import MemoryLocation


class MemoryWorkshop(MemoryLocation):
    """Implements ``services.ports.Location`` and ``Workshop``. What builders ``make`` here is known
    by its description; ``running`` are the machines that are up."""

    def __init__(self, name: LocationName) -> None:
        super().__init__(name, frozenset({Format.NATIVE}))
        self._built: dict[str, Native] = {}
        self.boots = True
        self.running = 0

    def make(self, built: str) -> Native:
        """A builder makes an image; another one where there was one of that name."""
        number = len(self._built) + 1
        native = Native("memory", f"{built}#{number}", f"memory://{built}", f"day {number}", 1)
        self._built[built] = native
        return native

    def remove(self, built: str) -> None:
        """Somebody deletes what was built."""
        native = self._built.pop(built)
        self._held.pop(native.id, None)

    def describe(self, built: str, to: Path) -> None:
        if built not in self._built:
            raise NotFound(f"there is no image {built!r}", where=self.name)
        to.write_bytes(write_native(self._built[built]))

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        for native in self._built.values():
            if hashlib.sha256(write_native(native)).hexdigest() == artifact.sha256:
                return native.id
        raise NotFound(f"what {version} consists of is not in {self.name}")

    @contextmanager
    def boot(self, placement: Placement, work: Workspace, progress: Progress) -> Iterator[Booted]:
        self.verify(placement, placement.verified)
        if not self.boots:
            raise Unsupported(f"{self.name} runs no machines")
        self.running += 1
        try:
            yield Booted(f"host-of-{placement.provider_id}", 22, "root", work.folder / "key", None)
        finally:
            self.running -= 1
