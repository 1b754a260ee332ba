"""``services.ports.Definitions``: locks and source archives, in files and in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.projects import new_project
from support.workshop import IMAGE as MEMORY_IMAGE

from imagectl.adapters.definitions import FileDefinitions
from imagectl.errors import BuildFailed, Corrupt, NotFound
from imagectl.model.image import Image
from imagectl.model.lock import (
    Archive,
    BuildMode,
    Download,
    Expected,
    Inputs,
    Lock,
    LockedPackagesBase,
    LockedToolchain,
)
from imagectl.model.names import Format, ImageName, Sha256
from imagectl.services.ports.definitions import Definitions
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.definitions import MemoryDefinitions


def memory(folder: Path) -> Definitions:
    return MemoryDefinitions(folder, MEMORY_IMAGE)


def files(folder: Path) -> Definitions:
    return FileDefinitions(new_project(folder / "project").root)


@pytest.fixture(params=[memory, files])
def definitions(request: pytest.FixtureRequest, tmp_path: Path) -> Definitions:
    make: Callable[[Path], Definitions] = request.param
    return make(tmp_path)


@pytest.fixture
def image(definitions: Definitions) -> Image:
    return definitions.load([])[0]


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return open_work(tmp_path / "work")


def open_work(folder: Path) -> Workspace:
    folder.mkdir()
    epoch = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
    return Workspace("1", folder, folder, folder / "log", epoch)


def lock_of(definitions: Definitions, image: Image, epoch: int = 1_795_000_000) -> Lock:
    digest = Sha256("a" * 64)
    inputs = Inputs(downloads=(Download("https://mirror.example/x", 200, digest, 3),))
    return Lock(
        image=image.name,
        architecture=image.architecture,
        mode=BuildMode.VM,
        epoch=epoch,
        definition=definitions.digests(image),
        mirrors={Archive.DEBIAN: "http://mirror.example/debian"},
        toolchain=LockedToolchain("trixie", digest, inputs),
        base=LockedPackagesBase("bookworm"),
        inputs=inputs,
        expected=Expected(digest, digest, {Format.QCOW2: digest}),
    )


def test_an_image_has_no_lock_until_one_is_written(definitions: Definitions, image: Image) -> None:
    assert definitions.lock(image.name) is None
    lock = lock_of(definitions, image)
    file = definitions.write_lock(lock)
    assert file == definitions.project / "images" / image.name / "image.lock"
    assert file.read_text() == definitions.lock_text(lock)
    assert definitions.lock(image.name) == lock
    later = replace(lock, epoch=lock.epoch + 1)
    definitions.write_lock(later)
    assert definitions.lock(image.name) == later
    assert [each.name for each in file.parent.iterdir() if "lock" in each.name] == ["image.lock"]
    assert [each.name for each in file.parent.iterdir() if each.name.startswith(".")] == []


def test_the_lock_is_no_part_of_what_it_has_the_digests_of(
    definitions: Definitions, image: Image
) -> None:
    before = definitions.digests(image)
    definitions.write_lock(lock_of(definitions, image))
    assert definitions.digests(image) == before
    assert definitions.digests(replace(image, summary="x")) != before


def test_an_unknown_image_is_not_found(definitions: Definitions) -> None:
    with pytest.raises(NotFound):
        definitions.load([ImageName("nothing")])


def test_a_source_archive_gives_back_what_was_archived(
    definitions: Definitions, image: Image, work: Workspace, tmp_path: Path
) -> None:
    lock = lock_of(definitions, image)
    archive = definitions.archive(image, lock.definition, lock, work)
    again = definitions.archive(image, lock.definition, lock, open_work(tmp_path / "again"))
    assert archive.read_bytes() == again.read_bytes()
    found = definitions.unpack(archive, image.name, open_work(tmp_path / "elsewhere"))
    assert (found.image, found.lock) == (image, lock)
    assert found.project != definitions.project
    assert found.project.is_dir()


def test_what_changed_since_is_not_archived(
    definitions: Definitions, image: Image, work: Workspace
) -> None:
    lock = lock_of(definitions, image)
    stale = replace(lock, definition=replace(lock.definition, playbooks=Sha256("b" * 64)))
    with pytest.raises(BuildFailed, match="changed while it was being built"):
        definitions.archive(image, stale.definition, stale, work)


def test_a_definition_that_changed_since_is_not_archived(
    definitions: Definitions, image: Image, work: Workspace
) -> None:
    other = replace(image, summary="another one")
    lock = lock_of(definitions, other)
    with pytest.raises(BuildFailed, match="changed while it was being built"):
        definitions.archive(other, lock.definition, lock, work)


def test_what_is_no_source_archive_is_corrupt(
    definitions: Definitions, image: Image, work: Workspace
) -> None:
    lock = lock_of(definitions, image)
    archive = definitions.archive(image, lock.definition, lock, work)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(Corrupt, match="source archive"):
        definitions.unpack(archive, image.name, open_work(work.folder / "next"))
