"""Publishing one promotion: what it writes, and how long it takes, with few and many versions.

The catalog is SQLite, the tree a directory with signatures. Versions are spread over images of
1,000 each, or are all of one image, which is the most that one promotion could have to do with. One
image's stable moves, and the placement is looked at and recorded again, as ``promote`` does. Then a
build is published, which rewrites its image's index; and stable moves while two people have still
to sign an earlier move of it. The first publication, which writes every version's document, is told
beside it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from support.examples import NOW, STABLE, placement, version
from support.releases import LOCAL
from support.signed_trees import directory_publisher
from support.signed_world import delegate, sign_pending

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.model.change import Change, MoveChannel, Operation, RecordPlacement, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.names import VersionId
from imagectl.services.show import catch_up
from imagectl.testing.clock import FixedClock

PER_CHANGE = 5000
"""Versions that are recorded in one change: only their number matters here."""


def main() -> None:
    """100 and 100,000 versions, in images of 1,000 and in one."""
    for count in (100, 100_000):
        for per_image in sorted({min(count, 1000), count}):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
                print(_measured(Path(folder), count, per_image))


def _measured(root: Path, count: int, per_image: int) -> str:
    texts = [_text(number // per_image, number % per_image) for number in range(count)]
    clock = FixedClock(NOW)
    tree, signing = root / "public", root / "public.signing"
    publisher = directory_publisher(tree, clock.now)
    with SqlCatalog(f"sqlite:///{root}/catalog.sqlite3", new_id=lambda: "benchmark") as catalog:
        for first in range(0, count, PER_CHANGE):
            operations: list[Operation] = []
            for text in texts[first : first + PER_CHANGE]:
                made = replace(version(text), required_locations=(LOCAL,))
                operations += [RecordVersion(made), RecordPlacement(placement(text, LOCAL))]
            _commit(catalog, operations)
        images = {version(text).image for text in texts}
        moves = [MoveChannel(image, STABLE, _id(1), MoveKind.PROMOTE) for image in sorted(images)]
        _commit(catalog, moves)
        whole = _seconds(lambda: catch_up(catalog, [publisher]))
        files = len(_files(tree))

        def measured(what: str, *operations: Operation) -> str:
            before = _files(tree)
            _commit(catalog, list(operations))
            seconds = _seconds(lambda: catch_up(catalog, [publisher]))
            written = {path for path, inode in _files(tree).items() if before.get(path) != inode}
            size = sum(path.stat().st_size for path in written)
            return f"{what} writes {len(written)} files, {size / 1000:,.1f} kB, in {seconds:.2f} s"

        image = min(images)
        known = f"{image}@{_id(2)}"
        told = [measured("a promotion", *_promoted(known))]
        idle = _seconds(lambda: catch_up(catalog, [publisher]))
        fresh = f"{image}@20261201.1"
        record = RecordVersion(replace(version(fresh), required_locations=(LOCAL,)))
        told.append(measured("a build", record, RecordPlacement(placement(fresh, LOCAL))))
        people = delegate(tree, signing, "channel-stable", 2)
        publisher.publish(catalog.snapshot())
        sign_pending(signing / "pending" / "channel-stable.json", *people)
        publisher.publish(catalog.snapshot())
        measured("", *_promoted(f"{image}@{_id(3)}"))
        told.append(measured("a promotion while one waits", *_promoted(known)))
    return (
        f"{count:,} versions in {len(images)} images: {'; '.join(told)} (nothing to do: "
        f"{idle * 1000:.0f} ms; all of it at first: {files:,} files, {whole:.0f} s)"
    )


def _promoted(text: str) -> list[Operation]:
    to = version(text)
    again = replace(placement(text, LOCAL), verified=NOW + timedelta(days=1))
    return [MoveChannel(to.image, STABLE, to.id, MoveKind.PROMOTE), RecordPlacement(again)]


def _text(image: int, number: int) -> str:
    return f"image-{image}@202611{10 + number // 9000}.{number % 9000 + 1}"


def _id(serial: int) -> VersionId:
    return VersionId("20261110", serial)


def _commit(catalog: SqlCatalog, operations: list[Operation] | list[MoveChannel]) -> None:
    head = catalog.snapshot(())
    key = f"key-{head.generation}"
    catalog.commit(Change(key, head.generation, "bench", "b", "", NOW, tuple(operations)))


def _files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in root.rglob("*.json")}


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.monotonic()
    work()
    return time.monotonic() - began
