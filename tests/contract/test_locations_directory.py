"""What directories promise beyond the contract of all locations."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import directory, surroundings
from support.places.place import CATALOG_ID, LOCAL, artifact_of, ignore
from support.processes import Killer
from support.world import World

from imagectl.adapters.locations.directory import DirectoryLocation
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound
from imagectl.model.place import DirectoryLocation as Settings
from imagectl.model.version import Placement
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

VERSION = ref("debian-ci@20261120.1")
DATA = b"a disk" * 1000
LATER = NOW.replace(hour=13)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(DATA)
    return path


def put(location: DirectoryLocation, source: Path) -> Placement:
    return location.put(VERSION, artifact_of(DATA), source, NOW, ignore)


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


def test_what_was_placed_in_another_folder_is_put_in_the_new_one(
    tmp_path: Path, source: Path
) -> None:
    """The settings were switched to a new folder: nothing there is lost (P2), so it can be
    filled, also by a command that was killed before."""
    placed = put(directory(tmp_path / "d"), source)
    there = directory(tmp_path / "e")
    with pytest.raises(CannotTell, match="not there, or not mounted"):
        there.verify(placed, LATER)
    (tmp_path / "e" / "lost+found").mkdir(parents=True)
    with pytest.raises(NotFound, match="not in what location local means now") as raised:
        there.verify(placed, LATER)
    assert f"was placed in {tmp_path / 'd'}, and the location is now" in raised.value.why
    (tmp_path / "e" / "owners").mkdir()
    with pytest.raises(NotFound):
        there.verify(placed, LATER)
    with pytest.raises(NotFound):
        there.fetch(placed, tmp_path / "copy", ignore)
    assert there.verify(put(there, source), LATER).verified == LATER


def test_a_location_that_was_switched_to_a_new_folder_is_backfilled(tmp_path: Path) -> None:
    for folder in ("d", "e", "store"):
        (tmp_path / folder).mkdir()
    store = MemoryStore(tmp_path / "store")
    world = World(
        MemoryCatalog(), [directory(tmp_path / "d")], [MemoryPublisher()], store, tmp_path
    )
    made = [world.built(f"debian-ci@2026112{day}.1").ref for day in (0, 1)]
    switched = directory(tmp_path / "e")
    world.releasing = replace(world.releasing, locations={LOCAL: switched})
    done = world.backfill()
    assert not done.failed
    assert {each.version for each in done.placed} == set(made)
    for placed in (each for version in made for each in world.catalog.snapshot().placed(version)):
        assert placed.reference.startswith(str(tmp_path / "e"))
        assert switched.verify(placed, LATER)


def test_what_is_in_the_folder_before_is_not_gone(tmp_path: Path, source: Path) -> None:
    """P2: the location was switched to another folder, and others were put there since."""
    placed = put(directory(tmp_path / "d"), source)
    other = tmp_path / "other"
    other.write_bytes(b"another")
    (tmp_path / "e").mkdir()
    there = directory(tmp_path / "e")
    there.put(ref("debian-ci@20261121.1"), artifact_of(b"another"), other, NOW, ignore)
    for look in (lambda: there.verify(placed, LATER), lambda: there.delete(placed, at_once)):
        with pytest.raises(NotFound, match="means now") as raised:
            look()
        assert f"was placed in {tmp_path / 'd'}" in raised.value.why
    directory(tmp_path / "d").delete(placed, at_once)
    assert not Path(placed.reference).exists()


@pytest.mark.parametrize("mount_point", [True, False])
def test_nothing_is_put_into_a_folder_that_is_not_mounted(
    tmp_path: Path, source: Path, mount_point: bool
) -> None:
    """P2: it would be gone as soon as that is, and what was there be taken for gone until then."""
    root = tmp_path / "d"
    before = put(directory(root), source)
    root.rename(tmp_path / "elsewhere")
    if mount_point:
        root.mkdir()
    with pytest.raises(CannotTell, match="not there, or not mounted") as raised:
        put(directory(root, placed=[before]), source)
    assert not list(tmp_path.glob("d/*"))
    assert f"`mkdir -p {root}/sha256` says so" in raised.value.hint
    (root / "sha256").mkdir(parents=True)
    there = directory(root, placed=[before])
    assert there.verify(put(there, source), LATER).verified == LATER


def test_a_folder_may_be_new_where_nothing_was_placed_in_it(tmp_path: Path, source: Path) -> None:
    before = put(directory(tmp_path / "d"), source)
    there = directory(tmp_path / "e", placed=[before])
    assert there.verify(put(there, source), LATER).verified == LATER


def in_project(root: Path, path: str, used: Callable[[], bool]) -> DirectoryLocation:
    return DirectoryLocation(LOCAL, Settings(PurePosixPath(path)), surroundings(root, used=used))


def unused() -> bool:
    return False


def unreadable() -> bool:
    raise CannotTell("the catalog cannot be read")


def test_a_folder_of_the_project_that_nobody_has_used_is_empty(tmp_path: Path) -> None:
    view = in_project(tmp_path, "state/images", unused).view(lambda: NOW)
    assert (view.complete, list(view.found)) == (True, [])
    assert not list(tmp_path.iterdir()), "looking makes nothing"


@pytest.mark.parametrize(
    ("path", "used"),
    [
        ("images", lambda: True),  # the catalog has something there, or began to
        ("images", unreadable),
        ("link", unused),  # to a disk that is not mounted
        ("linked/images", unused),
        ("mounted/images", unused),  # it may be below a disk that is not mounted
        ("../images", unused),
    ],
)
def test_a_folder_that_is_not_there_is_not_empty(
    tmp_path: Path, path: str, used: Callable[[], bool]
) -> None:
    """P3: a scope that was not read is unknown."""
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "link").symlink_to(tmp_path / "nowhere")
    (root / "linked").symlink_to(tmp_path / "nowhere")
    (root / "mounted").symlink_to(elsewhere)
    with pytest.raises(CannotTell):
        in_project(root, path, used).view(lambda: NOW)


@pytest.mark.parametrize("foreign", [(), ("lost+found",)])
def test_an_empty_folder_may_not_be_mounted(tmp_path: Path, foreign: tuple[str, ...]) -> None:
    """P3: whoever has made it, has made it for something."""
    for name in ("", *foreign):
        (tmp_path / "images" / name).mkdir()
    assert not in_project(tmp_path, "images", unused).view(lambda: NOW).complete


def test_what_a_new_folder_has_to_be_given_is_said(tmp_path: Path) -> None:
    elsewhere = in_project(tmp_path / "project", str(tmp_path / "new"), unused)
    with pytest.raises(CannotTell) as raised:
        elsewhere.view(lambda: NOW)
    assert f"`mkdir -p {tmp_path}/new/sha256` says so" in raised.value.hint
    (tmp_path / "new" / "sha256").mkdir(parents=True)
    assert elsewhere.view(lambda: NOW).complete


def test_a_folder_that_is_not_mounted_is_not_another_one(tmp_path: Path, source: Path) -> None:
    """P2: neither under the name of a link, nor after the whole project has moved."""
    for project in ("one", "two"):
        (tmp_path / project).mkdir()

    def in_project(name: str, path: str = "images/disks") -> DirectoryLocation:
        around = surroundings(tmp_path / name)
        return DirectoryLocation(LOCAL, Settings(PurePosixPath(path)), around)

    placed = put(in_project("one"), source)
    shutil.copytree(tmp_path / "one", tmp_path / "two", dirs_exist_ok=True)
    assert in_project("two").verify(placed, LATER).reference.startswith(str(tmp_path / "two"))
    for project in ("one", "two"):
        shutil.rmtree(tmp_path / project / "images")
        (tmp_path / project / "images" / "disks").mkdir(parents=True)
        with pytest.raises(CannotTell, match="not mounted"):
            in_project(project).verify(placed, LATER)
    (tmp_path / "link").symlink_to(tmp_path / "one" / "images" / "disks")
    with pytest.raises(CannotTell, match="not mounted"):
        directory(tmp_path / "link").verify(placed, LATER)
    (tmp_path / "one" / "disks").mkdir()
    with pytest.raises(NotFound, match="means now"):
        in_project("one", "disks").verify(placed, LATER)


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


def test_what_cannot_be_deleted_is_said(tmp_path: Path, source: Path) -> None:
    """Where the folder is mounted to be read only, the records cannot be locked."""
    location = directory(tmp_path / "d")
    placed = put(location, source)
    (tmp_path / "d" / "owners" / ".lock").unlink()
    (tmp_path / "d" / "owners" / ".lock").mkdir()  # nobody may write to it, root neither
    with pytest.raises(Failed, match="failed"):
        location.delete(placed, at_once)
    (tmp_path / "d").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(CannotTell, match="location local cannot be read"):
            location.delete(placed, at_once)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (tmp_path / "d").chmod(0o755)
    assert location.verify(placed, NOW) == placed


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
    files = {path.name for path in (tmp_path / "d").rglob("*") if path.is_file()}
    record = f"{CATALOG_ID}.debian-ci.20261120.1.qcow2-amd64.json"
    assert files == {made.sha256, record, ".lock"}


def of_catalog(root: Path, catalog: str) -> DirectoryLocation:
    settings = Settings(PurePosixPath(root))
    return DirectoryLocation(LOCAL, settings, surroundings(root.parent, catalog=catalog))


def test_bytes_that_several_need_go_with_the_last_of_them(tmp_path: Path, source: Path) -> None:
    """P1, P2: two catalogs, and two versions of one of them."""
    one, two = (of_catalog(tmp_path / "d", catalog) for catalog in ("one", "two"))
    placements = [
        (one, put(one, source)),
        (two, put(two, source)),
        (two, replace(put(two, source), version=ref("debian-ci@20261121.1"))),
    ]
    two.put(placements[2][1].version, artifact_of(DATA), source, NOW, ignore)
    assert len([each for each in one.view(lambda: NOW).found if each.owner]) == 3
    for number, (location, placed) in enumerate(placements):
        assert one.verify(placements[0][1], NOW)
        location.delete(placed, at_once)
        assert len(one.view(lambda: NOW).found) == 2 - number
    with pytest.raises(NotFound):
        one.verify(placements[0][1], NOW)
    assert not any((tmp_path / "d" / "owners").glob("*/*"))


def test_a_catalog_does_not_delete_what_only_another_placed(tmp_path: Path, source: Path) -> None:
    one, two = (of_catalog(tmp_path / "d", catalog) for catalog in ("one", "two"))
    placed = put(one, source)
    with pytest.raises(Conflict, match="not ours to delete"):
        two.delete(placed, at_once)
    assert one.verify(placed, NOW) == placed


def test_a_file_that_was_there_before_stays(tmp_path: Path, source: Path) -> None:
    """P2: the right bytes may be used, but they are not ours."""
    path = tmp_path / "d" / "sha256" / artifact_of(DATA).sha256[:2] / artifact_of(DATA).sha256
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    one, two = (of_catalog(tmp_path / "d", catalog) for catalog in ("one", "two"))
    placed = [(one, put(one, source)), (two, put(two, source))]
    for location, placement in placed:
        location.delete(placement, at_once)
    assert path.read_bytes() == DATA
    assert [each.owner for each in one.view(lambda: NOW).found] == [None]


def test_a_record_that_was_damaged_keeps_the_bytes(tmp_path: Path, source: Path) -> None:
    placed = put(directory(tmp_path / "d"), source)
    for record in (tmp_path / "d" / "owners").glob("*/*.json"):
        record.write_bytes(b"?")
    directory(tmp_path / "d").delete(placed, at_once)
    assert Path(placed.reference).read_bytes() == DATA


def test_what_was_begun_and_not_placed_is_shown(tmp_path: Path, source: Path) -> None:
    """P7: a kill between the record and the file leaves what a cleanup can see."""
    placed = put(directory(tmp_path / "d"), source)
    Path(placed.reference).unlink()
    (found,) = directory(tmp_path / "d").view(lambda: NOW).found
    assert found.owner is not None
    assert (found.size, found.state) == (None, "not there")
