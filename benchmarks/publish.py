"""Publishing one version to four locations at the same time, against the slowest of them alone.

Each location is at the end of a line of its own, some 20 to 50 MB/s, as clouds are; it reads the
artifact in pieces and hashes it, and forgets it. What is measured is what imagectl adds: the ratio
to the slowest line, which has to stay below 1.2, and what the memory grows by with the artifact.
"""

from __future__ import annotations

import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from support.examples import version
from support.world import World

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.store import FileStore
from imagectl.errors import Corrupt
from imagectl.model.change import Change, RecordVersion
from imagectl.model.names import Architecture, Format, LocationName
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.services.ports.locations import Moved
from imagectl.testing.locations import MemoryLocation

SPEEDS = {"a": 20e6, "b": 30e6, "c": 40e6, "d": 50e6}
"""Bytes a second of each line."""

CHUNK = 1 << 20


class Line(MemoryLocation):
    """A location behind a line of that speed, which keeps nothing but what it has got."""

    def __init__(self, name: LocationName, speed: float) -> None:
        super().__init__(name)
        self._speed = speed

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        began, count, digest = time.monotonic(), 0, hashlib.sha256()
        with source.open("rb") as file:
            while data := file.read(CHUNK):
                digest.update(data)
                count += len(data)
                moved(count)
                time.sleep(max(0.0, began + count / self._speed - time.monotonic()))
        if digest.hexdigest() != artifact.sha256:
            raise Corrupt("other bytes have arrived")
        return Placement(
            version,
            artifact.format,
            artifact.architecture,
            self.name,
            artifact.sha256,
            f"line://{self.name}/{artifact.sha256}",
            artifact.sha256,
            artifact.size,
            now,
        )


def main() -> None:
    """Two sizes; the ratio of each, and the memory of both."""
    for size in (100_000_000, 400_000_000):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            alone = _timed(Path(folder), size, {"a": SPEEDS["a"]})
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            together = _timed(Path(folder), size, SPEEDS)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"{size / 1e6:.0f} MB to {len(SPEEDS)} locations: {together:.2f} s, the slowest alone "
            f"{alone:.2f} s, ratio {together / alone:.3f}; memory {memory} MiB at most"
        )


def _timed(root: Path, size: int, speeds: dict[str, float]) -> float:
    source = root / "disk"
    with source.open("wb") as file:
        for _ in range(size // CHUNK + 1):
            file.write(os.urandom(CHUNK))
    names = [LocationName(name) for name in speeds]
    lines = [Line(name, speeds[name]) for name in names]
    with SqlCatalog(f"sqlite:///{root}/catalog.sqlite3", new_id=lambda: "benchmark") as catalog:
        store = FileStore(root / "store")
        world = World(catalog, lines, [], store, root)
        total = source.stat().st_size
        artifact = Artifact(Format.RAW, Architecture.AMD64, store.adopt(source), total)
        made = replace(
            version("debian-ci@20261120.1"),
            artifacts=(artifact,),
            required_locations=tuple(names),
        )
        now = world.clock.now()
        catalog.commit(Change("made", 0, "bench", "build", "", now, (RecordVersion(made),)))
        return _seconds(lambda: world.place(made.ref))


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
