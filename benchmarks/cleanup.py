"""``imagectl cleanup plan`` over catalogs of 10,000, 100,000 and 1,000,000 versions.

The catalog is SQLite's, filled with rows as imagectl writes them; each version is placed in one of
two locations that list themselves. Measured are the evidence, the decision and writing the signed
plan, in a process of its own for each size: at most 60 s and 1 GB for a million, growing linearly.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import chain, count
from pathlib import Path

from support.examples import BETA, NOW, STABLE, change, digest, move, placement, version
from support.locks import read_lock
from support.releases import POLICY

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.person_key import open_key
from imagectl.adapters.plan_file import write_plan
from imagectl.formats.events import event_text
from imagectl.model.change import MoveChannel, RecordPlacement, RecordVersion
from imagectl.model.event import GENESIS
from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    parse_image_name,
    parse_version_id,
)
from imagectl.model.retention import Receipt
from imagectl.model.version import VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.cleanup import Cleaning, planned, scope_of
from imagectl.services.releasing import Releasing
from imagectl.testing.clock import FixedClock
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.store import MemoryStore

SIZES = (10_000, 100_000, 1_000_000)
SECONDS = 60
"""For the largest."""

MEMORY = 1_000_000_000
"""Bytes for the largest."""

GROWTH = 1.5
"""By how much each version of the largest may take longer than one of the next smaller."""

PER_IMAGE = 1_000
CATALOG = "00000000-0000-4000-8000-000000000000"
PLACES = (LocationName("dc1"), LocationName("gce-prod"))
FIRST = NOW - timedelta(days=PER_IMAGE)
"""Each image is built every day since."""


def main() -> None:
    """Each size in a new process, whose memory is then its own."""
    measured: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            path = Path(folder, f"{size}.sqlite3")
            began = time.monotonic()
            fill(path, size)
            filled = time.monotonic() - began
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.cleanup", str(path)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            seconds, peak, entries, steps = (float(each) for each in said.split())
            measured.append((seconds, peak))
            print(
                f"{size:9,} versions: {seconds:6.2f} s, {peak / 1e6:6.0f} MB at most,"
                f" {entries:9,.0f} entries, {steps:.0f} steps (filled in {filled:.0f} s)"
            )
            assert entries == size
            assert steps == 5
            path.unlink()
    seconds, peak = measured[-1]
    assert seconds < SECONDS
    assert peak < MEMORY
    fewer, _ = measured[-2]
    assert seconds / fewer < GROWTH * SIZES[-1] / SIZES[-2], "growth is not linear"


def refs(size: int) -> Iterator[tuple[VersionRef, int]]:
    """All versions with their number within their image, by image and age."""
    for number in range(size):
        image, serial = divmod(number, PER_IMAGE)
        day = FIRST + timedelta(days=serial)
        name = parse_image_name(f"image-{image:04}")
        yield VersionRef(name, parse_version_id(f"{day:%Y%m%d}.1")), serial


def provider_id(ref: VersionRef) -> str:
    """As long as those of clouds are."""
    return f"projects/acme-images/global/images/{ref.image}-{ref.version.day}-1-amd64"


def place_of(serial: int) -> LocationName:
    return PLACES[serial % len(PLACES)]


def parent_of(ref: VersionRef) -> VersionRef | None:
    """Every tenth image is the base of the nine that follow it."""
    number = int(ref.image.removeprefix("image-"))
    base = ImageName(f"image-{number - number % 10:04}")
    return None if base == ref.image else VersionRef(base, ref.version)


class Listing(MemoryLocation):
    """A location that shows its part of the catalog, and one thing that nobody knows."""

    def __init__(self, name: LocationName, size: int) -> None:
        super().__init__(name)
        self._size = size
        self.seconds = 0.0
        """What it took to make things up, which is no part of a cleanup."""

    def view(self, now: Callable[[], datetime]) -> View:
        began = time.thread_time()
        shown = View(self.name, "all", tuple(self._things()), (), 1, now(), now())
        self.seconds += time.thread_time() - began
        return shown

    def _things(self) -> Iterator[Found]:
        for ref, serial in refs(self._size):
            if place_of(serial) == self.name:
                sha = digest(str(ref))
                owner = Ownership(CATALOG, ref, Format.QCOW2, Architecture.AMD64, sha)
                there = provider_id(ref)
                yield Found(there, there.rpartition("/")[2], owner, 310_000_000, NOW)
        yield Found("projects/acme-images/global/images/by-hand", "by-hand", None)


class NoReceipts:
    """Consumers leave none here."""

    def add(self, receipt: Receipt) -> None:
        raise NotImplementedError

    def latest(self) -> dict[VersionRef, datetime]:
        return {}


def measure(path: Path) -> None:
    """The seconds, the bytes at most, and how many entries and steps; on one line."""
    with sqlite3.connect(path) as database:
        (size,) = database.execute("select count(*) from versions").fetchone()
    database.close()
    folder = path.parent
    key = open_key(folder / "key.pem")
    with SqlCatalog(f"sqlite:///{path}") as catalog:
        locations = {name: Listing(name, size) for name in PLACES}
        releasing = Releasing(catalog, locations, (), FixedClock(NOW), "alice", lambda: "key")
        cleaning = Cleaning(
            releasing,
            MemoryStore(folder),
            {},
            NoReceipts(),
            lambda _: nullcontext(),
            InputStore(folder / "inputs"),
            read_lock,
        )
        began = time.monotonic()
        entries = 0
        with planned(cleaning, POLICY, scope_of(releasing)) as plan:
            signed = write_plan(folder / "plan.json", plan, key)
        listing = sum(each.seconds for each in locations.values())
        seconds = time.monotonic() - began - listing
        with (folder / "plan.json").open() as written:
            entries = sum('"version":' in line for line in written)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(seconds, peak, entries, len(signed.steps))


def fill(path: Path, size: int) -> None:
    """The tables as they would be, had every version been recorded, placed and entered beta by an
    event of its own, and every tenth been promoted. What cleanups do not read is left out."""
    SqlCatalog(f"sqlite:///{path}", new_id=lambda: CATALOG).close()
    with sqlite3.connect(path) as database:
        database.execute("pragma synchronous = off")
        _insert(database, "events", _events(size))
        _insert(database, "versions", _versions(size))
        _insert(database, "placements", _placements(size))
        _insert(database, "moves", _moves(size))
        database.execute("update head set generation = ?", (size,))
    database.close()


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[dict[str, object]]) -> None:
    rows = iter(rows)
    first = next(rows)
    columns = ", ".join(f'"{each}"' for each in first)
    marks = ", ".join("?" * len(first))
    database.executemany(
        f"insert into {table} ({columns}) values ({marks})",
        (tuple(row.values()) for row in chain([first], rows)),
    )


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _events(size: int) -> Iterator[dict[str, object]]:
    """Each as long as a real one: its text is made once, and its names put in."""
    text = {
        promoted: event_text(
            1,
            change(
                "key",
                0,
                RecordVersion(version("debian-ci@20260101.1")),
                RecordPlacement(placement("debian-ci@20260101.1")),
                *channels,
            ),
            GENESIS,
        )
        for promoted, channels in ((False, _channels(1)), (True, _channels(2)))
    }
    for generation, (ref, serial) in enumerate(refs(size), start=1):
        made = text[serial % 10 == 0].replace("debian-ci", ref.image)
        yield {
            "generation": generation,
            "key": f"key-{generation}",
            "hash": f"{generation:064x}",
            "text": made.replace("20260101", ref.version.day),
        }


def _channels(number: int) -> tuple[MoveChannel, ...]:
    names = (BETA, STABLE)[:number]
    return tuple(move(ImageName("debian-ci"), each, "20260101.1") for each in names)


def _versions(size: int) -> Iterator[dict[str, object]]:
    for ref, serial in refs(size):
        parent = parent_of(ref)
        yield {
            "image": ref.image,
            "day": ref.version.day,
            "serial": ref.version.serial,
            "created": _time(FIRST + timedelta(days=serial)),
            "created_by": "alice",
            "summary": "a CI worker",
            "fingerprint": _sha(ref),
            "parent_image": parent and parent.image,
            "parent_day": parent and parent.version.day,
            "parent_serial": parent and parent.version.serial,
            "tests_passed": 12,
            "tests_failed": 0,
            "tests_seconds": 4.25,
            "tests_report": _sha(ref),
            "tests_console": _sha(ref),
            "tool": "0.1.0",
            "build_log": _sha(ref),
            "seconds": 148.5,
        }


def _sha(ref: VersionRef) -> Sha256:
    return digest(str(ref))


def _placements(size: int) -> Iterator[dict[str, object]]:
    for ref, serial in refs(size):
        yield {
            "image": ref.image,
            "day": ref.version.day,
            "serial": ref.version.serial,
            "position": 1,
            "format": "qcow2",
            "architecture": "amd64",
            "location": place_of(serial),
            "provider_id": provider_id(ref),
            "reference": f"https://images.example/{provider_id(ref)}",
            "sha256": _sha(ref),
            "size": 310_000_000,
            "verified": _time(NOW),
        }


def _moves(size: int) -> Iterator[dict[str, object]]:
    for channel, every in ((BETA, 1), (STABLE, 10)):
        generations = count(1)
        positions: Iterator[int] = iter(())
        for (ref, serial), generation in zip(refs(size), generations, strict=False):
            if serial == 0:
                positions = count(1)
            if serial % every == 0:
                yield {
                    "image": ref.image,
                    "channel": channel,
                    "position": next(positions),
                    "day": ref.version.day,
                    "serial": ref.version.serial,
                    "kind": "promote" if every > 1 else "entry",
                    "at": _time(FIRST + timedelta(days=serial)),
                    "by": "alice",
                    "reason": "",
                    "generation": generation,
                }


if __name__ == "__main__":
    measure(Path(sys.argv[1]))
