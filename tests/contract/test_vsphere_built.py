"""What a builder made in vSphere becomes a version's, where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.deleting import at_once
from support.examples import NOW, ref
from support.places.place import CATALOG_ID, artifact_of, ignore
from support.places.vsphere import InVcenter, opened
from support.vsphere_templates import VERSION, Made, put

from imagectl.adapters.locations.owners import owner_of
from imagectl.errors import (
    Conflict,
    Failed,
    NotFound,
)
from imagectl.model.names import Format


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def made(place: InVcenter, tmp_path: Path) -> Made:
    return place.artifact(tmp_path)


def built(place: InVcenter, folder: Path, name: str = "built") -> Made:
    place.foreign(name)
    path = folder / "native.json"
    place.location.describe(name, path)
    return artifact_of(path.read_bytes(), Format.NATIVE), path


def test_what_a_builder_made_is_adopted(place: InVcenter, tmp_path: Path) -> None:
    made = built(place, tmp_path)
    again = tmp_path / "again.json"
    placed = put(place, made)
    assert placed.reference == f"/DC0/vm/{place.settings.folder}/built"
    assert place.location.verify(placed, NOW) == placed
    assert put(place, made) == placed
    place.location.describe("built", again)
    assert again.read_bytes() == made[1].read_bytes()
    (shown,) = place.location.view(lambda: NOW).found
    assert shown.owner == owner_of(CATALOG_ID, VERSION, made[0])
    assert place.peer.machines("built")[0].annotation.startswith("somebody else's\n")
    place.location.delete(placed, at_once)
    assert place.peer.machines("built") == []


def test_another_template_of_the_name_is_not_what_was_described(
    place: InVcenter, tmp_path: Path
) -> None:
    made = built(place, tmp_path)
    place.peer.change("built", destroy=True)
    state = place.foreign("built")
    before = state()
    with pytest.raises(NotFound):
        put(place, made)
    assert state() == before


def test_what_is_not_in_the_folder_cannot_be_described(place: InVcenter, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        place.location.describe("nothing", tmp_path / "native.json")
    assert not (tmp_path / "native.json").exists()


def test_a_machine_is_no_template(place: InVcenter, tmp_path: Path) -> None:
    place.peer.fill(1, "machine", folder=place.settings.folder, template=False)
    with pytest.raises(Failed) as caught:
        place.location.describe("machine", tmp_path / "native.json")
    assert "convert_to_template" in caught.value.hint


def test_what_one_version_has_adopted_no_other_can(place: InVcenter, tmp_path: Path) -> None:
    made = built(place, tmp_path)
    put(place, made)
    with pytest.raises(Conflict):
        place.location.put(ref("debian-ci@20261121.1"), *made, NOW, ignore)
