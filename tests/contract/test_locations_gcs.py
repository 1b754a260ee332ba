"""What Cloud Storage has beside the contract of all locations: somebody else who puts the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from peers.google.calls import Call, Wait
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import CATALOG_ID, LOCAL, opened, surroundings
from support.places.gcs import BUCKET, BYTES, START, InGoogleBucket
from support.places.place import ignore

from imagectl.adapters.content import relative
from imagectl.adapters.locations.gcs import GcsLocation
from imagectl.errors import Corrupt

VERSION = ref("debian-ci@20261120.1")
HASHED = "storage.objects.get"
"""The first call after the file has been hashed, which takes minutes."""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InGoogleBucket:
    found = opened("gcs", request, tmp_path)
    assert isinstance(found, InGoogleBucket)
    return found


@contextmanager
def meanwhile(
    place: InGoogleBucket, what: Callable[[], object], on: str = HASHED
) -> Iterator[None]:
    """*what* happens just before the first of the calls *on*."""
    happened: list[str] = []

    def once(call: Call) -> bool:
        if not happened:
            happened.append(call.id)
            what()
        return False

    with place.peer.during(Wait(0), on, when=once):
        yield
    assert happened


@pytest.mark.parametrize("on", [HASHED, START, BYTES])
@pytest.mark.parametrize("catalog", [CATALOG_ID, "00000000-0000-4000-8000-00000000000f"])
def test_the_same_put_twice_at_once_is_there_once(
    place: InGoogleBucket, tmp_path: Path, catalog: str, on: str
) -> None:
    """P1: both have it, and the file goes with the last of them."""
    artifact, source = place.artifact(tmp_path)
    around = surroundings(tmp_path / "elsewhere", catalog=catalog)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "imagectl.json").write_text(place.key.read_text())
    other = GcsLocation(LOCAL, place.settings, around)
    with meanwhile(place, lambda: other.put(VERSION, artifact, source, NOW, ignore), on):
        placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    assert placed == other.put(VERSION, artifact, source, NOW, ignore)
    assert place.location.verify(placed, NOW) == placed
    # Beside it the records, which are small.
    assert place.peer.storage.uploaded // artifact.size == (2 if on == BYTES else 1)
    place.location.delete(placed, at_once)
    if catalog != CATALOG_ID:
        assert other.verify(placed, NOW) == placed
        other.delete(placed, at_once)
    assert place.peer.storage.names(BUCKET) == []


def test_a_file_is_read_once_for_its_hashes_and_once_to_be_sent(
    place: InGoogleBucket, tmp_path: Path
) -> None:
    artifact, source = place.artifact(tmp_path)
    opened_files: list[Path] = []
    real = Path.open

    def watched(path: Path, *rest: Any, **more: Any) -> Any:
        opened_files.append(path)
        return real(path, *rest, **more)

    with mock.patch.object(Path, "open", watched):
        place.location.put(VERSION, artifact, source, NOW, ignore)
    assert opened_files.count(source) == 2


def test_other_bytes_that_somebody_puts_there_meanwhile_stay_and_are_told(
    place: InGoogleBucket, tmp_path: Path
) -> None:
    """P2."""
    artifact, source = place.artifact(tmp_path)
    name = f"disks/{relative(artifact.sha256)}"
    theirs = b"?" * artifact.size
    with (
        meanwhile(place, lambda: place.peer.storage.put(BUCKET, name, theirs)),
        pytest.raises(Corrupt),
    ):
        place.location.put(VERSION, artifact, source, NOW, ignore)
    assert place.peer.storage.get(BUCKET, name) == theirs
