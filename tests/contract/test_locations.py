"""The contract of ``services.ports.Location``, over every type of location."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from support.examples import NOW, ref
from support.places import directory
from support.processes import Killer

from imagectl.adapters.locations import TYPES
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound
from imagectl.model.names import Architecture, Format, LocationName, Sha256
from imagectl.model.version import Artifact, Placement
from imagectl.services.ports import Location
from imagectl.testing.locations import MemoryLocation

VERSION = ref("debian-ci@20261120.1")
LOCAL = LocationName("local")
DATA = b"a disk" * 1000
LATER = NOW.replace(hour=13)


def ignore(_: int) -> None:
    pass


def artifact_of(data: bytes) -> Artifact:
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    return Artifact(Format.QCOW2, Architecture.AMD64, sha256, len(data))


class Place(Protocol):
    """A location, and what can happen to it behind imagectl's back."""

    @property
    def location(self) -> Location: ...
    def lose(self, placement: Placement) -> None: ...
    def damage(self, placement: Placement) -> None: ...
    def unreadable(self) -> AbstractContextManager[None]: ...


class InMemory:
    def __init__(self) -> None:
        self.location = MemoryLocation(LOCAL)

    def lose(self, placement: Placement) -> None:
        self.location.lose(placement)

    def damage(self, placement: Placement) -> None:
        self.location.damage(placement)

    def unreadable(self) -> AbstractContextManager[None]:
        return self.location.unreadable()


class OnDisk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = directory(root)

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


@pytest.fixture(params=["memory", *TYPES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        return InMemory()
    assert request.param == "directory", "a new type of location needs its place here"
    return OnDisk(tmp_path / "location")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(DATA)
    return path


def put(location: Location, source: Path) -> Placement:
    return location.put(VERSION, artifact_of(DATA), source, NOW, ignore)


def test_it_has_its_name(place: Place) -> None:
    assert place.location.name == LOCAL


def test_what_is_placed_is_verified_and_can_be_verified_again(place: Place, source: Path) -> None:
    placed = put(place.location, source)
    made = artifact_of(DATA)
    assert placed == Placement(
        VERSION,
        made.format,
        made.architecture,
        LOCAL,
        placed.provider_id,
        placed.reference,
        made.sha256,
        made.size,
        NOW,
    )
    assert placed.provider_id
    assert placed.reference
    assert place.location.verify(placed, LATER) == replace(placed, verified=LATER)


def test_placing_again_changes_nothing(place: Place, source: Path) -> None:
    placed = put(place.location, source)
    again = place.location.put(VERSION, artifact_of(DATA), source, LATER, ignore)
    assert again == replace(placed, verified=LATER)


def test_what_is_gone_is_not_found(place: Place, source: Path) -> None:
    placed = put(place.location, source)
    place.lose(placed)
    with pytest.raises(NotFound):
        place.location.verify(placed, LATER)
    assert put(place.location, source) == placed


def test_other_bytes_are_corrupt_and_never_overwritten(place: Place, source: Path) -> None:
    placed = put(place.location, source)
    place.damage(placed)
    with pytest.raises(Corrupt):
        place.location.verify(placed, LATER)
    with pytest.raises(Corrupt):
        put(place.location, source)
    with pytest.raises(Corrupt):
        place.location.verify(placed, LATER)


def test_a_location_that_does_not_answer_is_no_proof_of_absence(place: Place, source: Path) -> None:
    """P2 and P3: CannotTell, never NotFound."""
    placed = put(place.location, source)
    with place.unreadable(), pytest.raises(CannotTell):
        place.location.verify(placed, LATER)
    assert place.location.verify(placed, LATER).verified == LATER


def test_a_source_that_is_not_the_artifact_is_not_placed(place: Place, source: Path) -> None:
    other = artifact_of(b"another disk")
    with pytest.raises(Corrupt):
        place.location.put(VERSION, other, source, NOW, ignore)
    placed = put(place.location, source)
    never = replace(
        placed,
        provider_id=placed.provider_id.replace(placed.sha256, other.sha256).replace(
            f"/{placed.sha256[:2]}/", f"/{other.sha256[:2]}/"
        ),
        sha256=other.sha256,
    )
    with pytest.raises(NotFound):
        place.location.verify(never, NOW)


def test_a_source_that_is_not_there_fails(place: Place, tmp_path: Path) -> None:
    with pytest.raises((Failed, FileNotFoundError)):
        put(place.location, tmp_path / "nothing")


def test_a_directory_names_files_by_digest_and_makes_them_read_only(
    tmp_path: Path, source: Path
) -> None:
    placed = put(directory(tmp_path / "d"), source)
    made = artifact_of(DATA)
    assert placed.provider_id == f"sha256/{made.sha256[:2]}/{made.sha256}"
    assert placed.reference == str(tmp_path / "d" / placed.provider_id)
    assert stat.S_IMODE(Path(placed.reference).stat().st_mode) == 0o444


def test_a_directory_that_was_moved_gives_its_new_path(tmp_path: Path, source: Path) -> None:
    placed = put(directory(tmp_path / "d"), source)
    (tmp_path / "d").rename(tmp_path / "e")
    found = directory(tmp_path / "e").verify(placed, LATER)
    assert found.reference == str(tmp_path / "e" / placed.provider_id)


def test_a_directory_never_reads_outside_itself(tmp_path: Path, source: Path) -> None:
    placed = put(directory(tmp_path / "d"), source)
    for elsewhere in ("../disk.qcow2", str(source), "sha256/../../disk.qcow2", ""):
        with pytest.raises(CannotTell, match="does not name a file"):
            directory(tmp_path / "d").verify(replace(placed, provider_id=elsewhere), LATER)


def test_a_directory_that_may_not_be_read_cannot_tell(tmp_path: Path, source: Path) -> None:
    placed = put(directory(tmp_path / "d"), source)
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may read anything: be nobody for a moment
    else:
        Path(placed.reference).chmod(0)
    try:
        with pytest.raises(CannotTell, match="location local cannot be read"):
            directory(tmp_path / "d").verify(placed, LATER)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_wrong_size_in_the_catalog_is_found(tmp_path: Path, source: Path) -> None:
    wrong = replace(artifact_of(DATA), size=len(DATA) + 1)
    with pytest.raises(Corrupt, match="recorded with the wrong size"):
        directory(tmp_path / "d").put(VERSION, wrong, source, NOW, ignore)


def test_killed_at_any_moment_a_directory_has_the_whole_artifact_or_none(tmp_path: Path) -> None:
    """P7. 40 kills; whatever is there under its final name can be verified."""
    data = random.Random(3).randbytes(4 << 20)
    source = tmp_path / "disk.raw"
    source.write_bytes(data)
    made = artifact_of(data)
    location = directory(tmp_path / "d")

    def placing() -> None:
        location.put(VERSION, made, source, NOW, ignore)

    killer = Killer(3, placing)
    placed = location.put(VERSION, made, source, NOW, ignore)
    for _ in range(40):
        if Path(placed.reference).exists():
            assert location.verify(placed, NOW) == placed
            Path(placed.reference).unlink()
        killer.kill(placing)
    assert killer.killed >= 13, "the kills came too late to prove anything"
    assert location.put(VERSION, made, source, NOW, ignore) == placed
    assert [path.name for path in (tmp_path / "d").rglob("*") if path.is_file()] == [made.sha256]
