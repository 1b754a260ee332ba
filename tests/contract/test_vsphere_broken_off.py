"""Whatever breaks off an import into vSphere, there is one whole template or none (P7)."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
from support.examples import NOW
from support.places import surroundings
from support.places.place import CATALOG_ID, LOCAL, ignore
from support.places.vsphere import DISK, InVcenter, opened
from support.processes import Killer
from support.vsphere_templates import NAME, VERSION, Made, put

from imagectl.adapters.locations import open_location
from imagectl.adapters.locations.owners import owner_of
from imagectl.adapters.locations.vsphere import VsphereLocation
from imagectl.adapters.locations.vsphere_marks import PARTIAL
from imagectl.adapters.locations.vsphere_turns import LEASE, Turns
from imagectl.errors import (
    CannotTell,
    Conflict,
)
from imagectl.model.version import Placement


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def made(place: InVcenter, tmp_path: Path) -> Made:
    return place.artifact(tmp_path)


@pytest.mark.parametrize(
    "method",
    [
        *("CreateImportSpec", "ImportVApp", "NFC", "HttpNfcLeaseComplete", "ReconfigVM_Task"),
        *("AddCustomFieldDef", "SetField", "MarkAsTemplate", "Rename_Task"),
    ],
)
@pytest.mark.parametrize("how", ["drop", "drop_response"])
def test_whatever_call_is_lost_there_is_one_whole_template(
    place: InVcenter, made: Made, method: str, how: str
) -> None:
    with place.peer.wrong({"method": method, "do": how, "times": 1}):
        placed = put(place, made)
    assert place.location.verify(placed, NOW) == placed
    names = [each.name for each in place.location.view(lambda: NOW).found]
    assert names == [NAME]


def reopened(place: InVcenter, folder: Path, patience: float) -> VsphereLocation:
    around = surroundings(folder, patience=patience)
    location = open_location(LOCAL, place.settings, around)
    assert isinstance(location, VsphereLocation)
    return location


BROKEN = {"method": "HttpNfcLeaseComplete", "do": "drop"}
"""When all bytes have been sent."""


def test_an_upload_that_broke_after_longer_than_the_patience_is_tried_again(
    place: InVcenter, made: Made
) -> None:
    slept: list[int] = []

    def slowly(done: int) -> None:
        if not slept:
            time.sleep(1.2)
        slept.append(done)

    location = reopened(place, place.folder, patience=1.0)
    with place.peer.wrong({**BROKEN, "times": 1}):
        placed = location.put(VERSION, *made, NOW, slowly)
    assert location.verify(placed, NOW) == placed


def test_an_upload_that_always_breaks_at_the_same_place_is_given_up(
    place: InVcenter, made: Made
) -> None:
    """What is sent again and again is no progress."""
    location = reopened(place, place.folder, patience=1.0)
    began = time.monotonic()
    with place.peer.wrong(BROKEN), pytest.raises(CannotTell):
        location.put(VERSION, *made, NOW, ignore)
    assert time.monotonic() - began < 20


def test_what_was_left_half_made_shows_as_ours_and_is_made_anew(
    place: InVcenter, made: Made
) -> None:
    cut = {"method": "NFC", "do": "cut", "bytes": DISK // 2}
    stuck = {"method": "HttpNfcLeaseAbort", "do": "drop"}
    with place.peer.wrong(cut, stuck), pytest.raises(CannotTell):
        put(place, made)
    (left,) = place.location.view(lambda: NOW).found
    assert (left.name, left.state) == (NAME + PARTIAL, "unfinished")
    assert left.owner == owner_of(CATALOG_ID, VERSION, made[0])
    put(place, made)
    (whole,) = place.location.view(lambda: NOW).found
    assert (whole.name, whole.state) == (NAME, "template")


@pytest.fixture
def elsewhere(place: InVcenter, tmp_path: Path) -> VsphereLocation:
    """The same location on another machine, with the same catalog."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for each in ("user", "password"):
        shutil.copy(place.folder / each, folder)
    return reopened(place, folder, patience=3.0)


def test_what_another_machine_is_importing_is_left_alone(
    place: InVcenter, made: Made, elsewhere: VsphereLocation
) -> None:
    placed: list[Placement] = []
    sending, go_on = threading.Event(), threading.Event()

    def slowly(_: int) -> None:
        sending.set()
        assert go_on.wait(60)

    def putting() -> None:
        placed.append(place.location.put(VERSION, *made, NOW, slowly))

    thread = threading.Thread(target=putting)
    thread.start()
    try:
        assert sending.wait(60)
        with pytest.raises(Conflict) as caught:
            elsewhere.put(VERSION, *made, NOW, ignore)
    finally:
        go_on.set()
        thread.join()
    assert socket.gethostname() in caught.value.why
    (one,) = placed
    assert elsewhere.put(VERSION, *made, NOW, ignore) == one
    (machine,) = place.peer.machines(NAME)
    assert len(machine.uploads or ()) == 1
    assert "importer" not in machine.annotation


def test_what_another_machine_left_is_made_anew_when_it_is_old(
    place: InVcenter, made: Made, elsewhere: VsphereLocation
) -> None:
    cut = {"method": "NFC", "do": "cut", "bytes": DISK // 2}
    stuck = {"method": "HttpNfcLeaseAbort", "do": "drop"}
    with place.peer.wrong(cut, stuck), pytest.raises(CannotTell):
        elsewhere.put(VERSION, *made, NOW, ignore)
    before = place.peer.machines(NAME + PARTIAL)
    with (
        place.set_for_a_while(clock_skew=LEASE.total_seconds() - 600),
        pytest.raises(Conflict),
    ):
        put(place, made)
    assert place.peer.machines(NAME + PARTIAL) == before
    with place.set_for_a_while(clock_skew=LEASE.total_seconds() + 600):
        put(place, made)
    assert [each.name for each in place.location.view(lambda: NOW).found] == [NAME]


def test_a_copy_of_a_project_shares_no_lock(tmp_path: Path) -> None:
    one = Turns(LOCAL, tmp_path / "one")
    assert one.id() == Turns(LOCAL, tmp_path / "one").id()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert Turns(LOCAL, tmp_path / "two").id() != one.id()


def test_killed_at_any_moment_there_is_one_whole_template_or_none(
    place: InVcenter, made: Made
) -> None:
    """20 kills; what has the final name can be verified at any time."""

    def placing() -> None:
        place.reopened().put(VERSION, *made, NOW, ignore)

    killer = Killer(5, placing)
    for _ in range(20):
        if place.peer.machines(NAME):
            put(place, made)
            place.peer.change(NAME, destroy=True)
        killer.kill(placing)
    assert killer.killed >= 6, "the kills came too late to prove anything"
    placed = put(place, made)
    assert place.location.verify(placed, NOW) == placed
    assert [each.name for each in place.location.view(lambda: NOW).found] == [NAME]
