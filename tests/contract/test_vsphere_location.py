"""What vSphere has of its own beside every location's contract, against VMware's simulator."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from peers.sshd import SshServer, ssh_server
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import surroundings
from support.places.place import CATALOG_ID, LOCAL, Fault, artifact_of, ignore
from support.places.vsphere import DISK, InVcenter, opened
from support.processes import Killer
from support.systems import workspace

from imagectl.adapters.locations import open_location, vsphere_boot, vsphere_import
from imagectl.adapters.locations.owners import owner_of
from imagectl.adapters.locations.vsphere import VsphereLocation
from imagectl.adapters.locations.vsphere_import import _connected
from imagectl.adapters.locations.vsphere_inventory import PRIVILEGES
from imagectl.adapters.locations.vsphere_marks import read_marks
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Read, Session
from imagectl.adapters.locations.vsphere_tags import Tags
from imagectl.adapters.locations.vsphere_templates import PARTIAL
from imagectl.adapters.locations.vsphere_turns import LEASE, Turns
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    GuestUnreachable,
    NotFound,
)
from imagectl.model.names import Format
from imagectl.model.version import Artifact, Placement
from imagectl.services.ports.locations import Mark
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress

VERSION = ref("debian-ci@20261120.1")
NAME = "debian-ci-20261120.1-amd64"
Made = tuple[Artifact, Path]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def made(place: InVcenter, tmp_path: Path) -> Made:
    return place.artifact(tmp_path)


def put(place: InVcenter, made: Made) -> Placement:
    return place.location.put(VERSION, *made, NOW, ignore)


def found(place: InVcenter, name: str) -> Any:
    return place.at(f"{place.datacenter}/vm/{place.settings.folder}/{name}")


def clone(place: InVcenter, name: str, **spec: Any) -> None:
    """Somebody clones our template."""
    vim = sdk().vim
    pool = found(place, NAME).runtime.host.parent.resourcePool
    location = vim.vm.RelocateSpec(pool=pool)
    task = found(place, NAME).CloneVM_Task(
        folder=place.at(f"{place.datacenter}/vm/{place.settings.folder}"),
        name=name,
        spec=vim.vm.CloneSpec(location=location, powerOn=False, template=True, **spec),
    )
    place.admin.wait("cloning", task)


# What it makes.


def test_a_template_holds_the_disk_of_the_ova_and_says_whose_it_is(
    place: InVcenter, made: Made, tmp_path: Path
) -> None:
    placed = put(place, made)
    (machine,) = place.peer.machines(NAME)
    assert machine.template
    assert machine.folder == place.settings.folder
    assert placed.reference == f"/DC0/vm/{place.settings.folder}/{NAME}"
    with tarfile.open(made[1]) as tar:
        disk = tar.extractfile("debian-ci-disk1.vmdk")
        assert disk is not None
        assert [each["sha256"] for each in machine.uploads or ()] == [
            artifact_of(disk.read()).sha256
        ]
    marks = read_marks(machine.annotation)
    assert marks is not None
    assert marks.owner == owner_of(CATALOG_ID, VERSION, made[0])
    assert marks.instance == machine.instance_uuid
    assert machine.custom == marks.values()


def test_a_template_reserves_nothing(
    place: InVcenter, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the vCenter makes a reservation of what the OVA says."""
    specify = vsphere_import._specify

    def reserving(*given: Any) -> Any:
        spec = specify(*given)
        allocation = sdk().vim.ResourceAllocationInfo
        spec.importSpec.configSpec.cpuAllocation = allocation(reservation=500)
        spec.importSpec.configSpec.memoryAllocation = allocation(reservation=500)
        return spec

    monkeypatch.setattr(vsphere_import, "_specify", reserving)
    put(place, made)
    config = found(place, NAME).config
    assert config.cpuAllocation.reservation == 0
    assert config.memoryAllocation.reservation == 0


def test_it_takes_few_requests(place: InVcenter, made: Made) -> None:
    placed = put(place, made)
    before = place.requests()
    place.location.verify(placed, NOW)
    assert place.requests() - before == 3
    before = place.requests()
    put(place, made)
    assert place.requests() - before <= 11


@pytest.mark.parametrize("mark", [Mark.OBSOLETE, Mark.QUARANTINED])
def test_marking_shows_in_the_notes_and_leaves_those_of_people(
    place: InVcenter, made: Made, mark: Mark
) -> None:
    placed = put(place, made)
    (machine,) = place.peer.machines(NAME)
    place.peer.change(NAME, annotation=f"ask Eve first\n{machine.annotation}")
    place.location.mark(placed, mark)
    (machine,) = place.peer.machines(NAME)
    assert machine.annotation.startswith("ask Eve first\n")
    assert f"imagectl-mark: {mark.value}" in machine.annotation
    assert machine.custom["imagectl-mark"] == mark.value
    assert place.location.verify(placed, NOW) == placed
    place.location.mark(placed, Mark.ACTIVE)
    (machine,) = place.peer.machines(NAME)
    assert "imagectl-mark: active" in machine.annotation


def tagged(place: InVcenter, name: str) -> list[str]:
    """The tags of a machine, as vSphere's pages show them."""
    context = ssl.create_default_context(cafile=place.peer.ca)
    link = http.client.HTTPSConnection(place.peer.host, place.peer.port, context=context)

    def ask(method: str, path: str, body: object = None, **headers: str) -> Any:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        link.request(method, f"/rest/com/vmware/cis/{path}", json.dumps(body), named)
        return json.loads(link.getresponse().read())["value"]

    basic = base64.b64encode(f"{place.peer.user}:{place.peer.password}".encode()).decode()
    session = {"vmware_api_session_id": ask("POST", "session", Authorization=f"Basic {basic}")}
    (machine,) = place.peer.machines(name)
    attached = ask(
        "POST",
        "tagging/tag-association?~action=list-attached-tags",
        {"object_id": {"id": machine.reference, "type": "VirtualMachine"}},
        **session,
    )
    names = [ask("GET", f"tagging/tag/id:{each}", **session)["name"] for each in attached or ()]
    link.close()
    return names


def test_templates_have_the_tag_of_their_catalog(
    place: InVcenter, made: Made, tmp_path: Path
) -> None:
    """The first makes the tag; the second finds it."""
    put(place, made)
    other = place.artifact(tmp_path, seed=1)
    place.location.put(ref("debian-ci@20261121.1"), *other, NOW, ignore)
    assert tagged(place, NAME) == [CATALOG_ID]
    assert tagged(place, "debian-ci-20261121.1-amd64") == [CATALOG_ID]


@pytest.mark.parametrize("fault", [{"do": "drop"}, {"do": "status", "status": 403}])
def test_without_tags_it_does_without(
    place: InVcenter, made: Made, fault: dict[str, object]
) -> None:
    with place.peer.wrong({"method": "REST", **fault}):
        placed = put(place, made)
    assert place.location.verify(placed, NOW) == placed
    assert tagged(place, NAME) == []


def test_tags_answered_with_a_page_for_people_are_done_without(
    place: InVcenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a proxy before the vCenter, or its own to log in."""
    machine = place.at(f"{place.datacenter}/vm/{place.settings.folder}")
    monkeypatch.setattr(
        http.client.HTTPResponse, "read", lambda self, *given: b"<html>log in</html>"
    )
    assert not Tags(place.admin, CATALOG_ID).attach(machine)


def test_without_the_privilege_for_custom_attributes_it_does_without(
    place: InVcenter, made: Made
) -> None:
    needed = [each for several in PRIVILEGES.values() for each in several]
    with place.account(privileges=needed):
        place.location.probe()
        placed = put(place, made)
        assert place.location.verify(placed, NOW) == placed
    (machine,) = place.peer.machines(NAME)
    assert machine.custom == {}


@pytest.mark.parametrize("lacking", [each for several in PRIVILEGES.values() for each in several])
def test_what_the_user_lacks_is_named(place: InVcenter, lacking: str) -> None:
    needed = [each for several in PRIVILEGES.values() for each in several]
    with (
        place.account(privileges=[each for each in needed if each != lacking]),
        pytest.raises(Denied) as caught,
    ):
        place.location.probe()
    assert caught.value.denial is Denial.TOO_NARROW
    assert f"it lacks {lacking} on the " in caught.value.why


# What is ours, and what is not (P2).


def test_a_clone_of_ours_is_not_ours(place: InVcenter, made: Made) -> None:
    """It has the same notes and custom attributes."""
    placed = put(place, made)
    clone(place, "theirs")
    (theirs,) = place.peer.machines("theirs")
    assert read_marks(theirs.annotation) is not None
    shown = {each.name: each for each in place.location.view(lambda: NOW).found}
    assert shown["theirs"].owner is None
    assert shown[NAME].owner is not None
    vcenter_id, _, _ = placed.provider_id.partition("/")
    as_if = replace(placed, provider_id=f"{vcenter_id}/{theirs.instance_uuid}")
    with pytest.raises((Corrupt, Conflict)):
        place.location.delete(as_if, at_once)
    assert place.peer.machines("theirs") == [theirs]


def test_a_clone_that_took_our_name_is_a_conflict(place: InVcenter, made: Made) -> None:
    placed = put(place, made)
    clone(place, "theirs")
    place.lose(placed)
    place.admin.wait("renaming", found(place, "theirs").Rename_Task(NAME))
    before = place.peer.machines(NAME)
    with pytest.raises(Conflict):
        put(place, made)
    assert place.peer.machines(NAME) == before


def test_a_foreign_thing_under_the_unfinished_name_is_a_conflict(
    place: InVcenter, made: Made
) -> None:
    state = place.foreign(NAME + PARTIAL)
    before = state()
    with pytest.raises(Conflict):
        put(place, made)
    assert state() == before


def test_another_catalog_s_is_a_conflict(place: InVcenter, made: Made, tmp_path: Path) -> None:
    put(place, made)
    other = place.reopened()
    other._around = surroundings(tmp_path, catalog="00000000-0000-4000-8000-000000000002")
    before = place.peer.machines(NAME)
    with pytest.raises(Conflict):
        other.put(VERSION, *made, NOW, ignore)
    assert place.peer.machines(NAME) == before


def test_a_template_that_became_a_machine_is_corrupt(place: InVcenter, made: Made) -> None:
    """It may have been started, and then its disk is another."""
    placed = put(place, made)
    template = found(place, NAME)
    template.MarkAsVirtualMachine(pool=template.runtime.host.parent.resourcePool)
    with pytest.raises(Corrupt) as caught:
        place.location.verify(placed, NOW)
    assert "made a machine" in caught.value.why


def test_another_disk_is_corrupt(place: InVcenter, made: Made) -> None:
    placed = put(place, made)
    place.peer.change(NAME, disk=DISK // 1024 + 1)
    with pytest.raises(Corrupt) as caught:
        place.location.verify(placed, NOW)
    assert f"{DISK} were imported" in caught.value.why


def test_what_was_moved_to_another_folder_is_not_found_and_not_deleted(
    place: InVcenter, made: Made
) -> None:
    placed = put(place, made)
    elsewhere = place.at(f"{place.datacenter}/vm").CreateFolder(f"{place.settings.folder}-else")
    place.admin.wait("moving", elsewhere.MoveIntoFolder_Task([found(place, NAME)]))
    with pytest.raises(NotFound):
        place.location.verify(placed, NOW)
    with pytest.raises(CannotTell):
        place.location.delete(placed, at_once)
    assert place.peer.machines(NAME)
    place.peer.change(NAME, destroy=True)


def test_what_was_placed_in_another_vcenter_is_not_found_and_not_deleted(
    place: InVcenter, made: Made
) -> None:
    placed = put(place, made)
    _, _, template = placed.provider_id.partition("/")
    elsewhere = replace(placed, provider_id=f"00000000-0000-0000-0000-000000000000/{template}")
    with pytest.raises(NotFound):
        place.location.verify(elsewhere, NOW)
    with pytest.raises(CannotTell):
        place.location.delete(elsewhere, at_once)
    assert place.location.verify(placed, NOW) == placed


def test_what_is_no_provider_id_cannot_be_told(place: InVcenter, made: Made) -> None:
    placed = put(place, made)
    for wrong in ("", "a", "/", "a/b/c", "../b", NAME):
        with pytest.raises((CannotTell, NotFound)):
            place.location.verify(replace(placed, provider_id=wrong), NOW)


# Datacenters, pages, what cannot be read (P3).


def test_two_datacenters_are_two_places(
    request: pytest.FixtureRequest, place: InVcenter, made: Made, tmp_path: Path
) -> None:
    other = InVcenter(place.peer, tmp_path, "DC1")
    request.addfinalizer(other.clean_up)
    one, two = put(place, made), other.location.put(VERSION, *made, NOW, ignore)
    assert one.provider_id != two.provider_id
    with place.set_for_a_while(unreachable=["DC1"]):
        assert place.location.verify(one, NOW) == one
        assert place.location.view(lambda: NOW).complete
        with pytest.raises(CannotTell):
            other.location.verify(two, NOW)
        assert other.location.view(lambda: NOW).gaps
    place.location.delete(one, at_once)
    assert other.location.verify(two, NOW) == two


def test_six_thousand_are_read_in_few_requests(place: InVcenter) -> None:
    place.fill(6000)
    before = place.requests()
    shown = place.location.view(lambda: NOW)
    assert shown.complete
    assert len(shown.found) == 6000
    assert place.requests() - before == shown.requests
    assert shown.requests < 15


def test_a_vcenter_that_gives_smaller_pages_is_read_to_the_end(place: InVcenter) -> None:
    place.fill(101)
    with place.set_for_a_while(page_limit=10):
        shown = place.location.view(lambda: NOW)
    place.peer.settings(page_limit=1000)
    assert shown.complete
    assert len(shown.found) == 101


def test_a_listing_that_broke_off_is_read_again_from_its_beginning(place: InVcenter) -> None:
    place.fill(101)
    lost = {"method": "ContinueRetrievePropertiesEx", "do": "drop", "times": 1, "skip": 2}
    with place.set_for_a_while(page_limit=20), place.peer.wrong(lost):
        shown = place.location.view(lambda: NOW)
    place.peer.settings(page_limit=1000)
    assert shown.complete
    assert len({each.provider_id for each in shown.found}) == len(shown.found) == 101


def test_a_machine_less_than_the_folder_has_is_a_gap(
    place: InVcenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vCenter that leaves one out, and does not say so."""
    place.fill(3)
    collect = Session._collect

    def forgetful(self: Session, spec: Any) -> Iterator[Read]:
        machines = [each.ref for each in collect(self, spec) if "name" in each.values]
        return (each for each in collect(self, spec) if each.ref not in machines[:1])

    monkeypatch.setattr(Session, "_collect", forgetful)
    shown = place.location.view(lambda: NOW)
    assert shown.gaps == ("2 machines were read, and the folder has 3",)


def test_a_listing_with_nothing_in_it_is_a_gap(
    place: InVcenter, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even how many there are: that is no empty folder."""
    put(place, made)
    collect = Session._collect

    def silent(self: Session, spec: Any) -> Iterator[Read]:
        listing = isinstance(spec.objectSet[0].obj, sdk().vim.view.ContainerView)
        return iter(()) if listing else collect(self, spec)

    monkeypatch.setattr(Session, "_collect", silent)
    shown = place.location.view(lambda: NOW)
    assert shown.gaps == ("0 machines were read, and it was not told how many the folder has",)


def test_an_empty_folder_is_complete(place: InVcenter) -> None:
    shown = place.location.view(lambda: NOW)
    assert (shown.found, shown.complete) == ((), True)


def test_a_machine_that_cannot_be_read_is_a_gap(place: InVcenter, made: Made) -> None:
    placed = put(place, made)
    place.peer.change(NAME, connection_state="inaccessible")
    shown = place.location.view(lambda: NOW)
    assert shown.gaps == (f"{NAME}: inaccessible",)
    with pytest.raises(CannotTell) as caught:
        place.location.verify(placed, NOW)
    assert "inaccessible" in caught.value.why
    with pytest.raises(CannotTell):
        place.location.delete(placed, at_once)


def test_a_certificate_that_is_not_trusted_is_an_error_at_once(place: InVcenter) -> None:
    before = place.requests()
    with pytest.raises(CannotTell) as caught:
        place.reopened(ca=None).probe()
    assert "`ca` of location local" in caught.value.hint
    assert place.requests() == before
    assert place.reopened(ca=None, insecure=True).probe().identity


def test_a_ca_file_that_is_not_there_is_an_error(place: InVcenter) -> None:
    with pytest.raises(Failed) as caught:
        place.reopened(ca=PurePosixPath("nothing.pem")).probe()
    assert caught.value.where.endswith("nothing.pem")


@pytest.mark.parametrize("what", ["datastore", "resource_pool", "network"])
def test_what_the_settings_name_and_is_not_there_is_named(
    place: InVcenter, made: Made, what: str
) -> None:
    with pytest.raises(Failed) as caught:
        place.reopened(**{what: "nothing"}).put(VERSION, *made, NOW, ignore)
    assert f"there is no {what.replace('_', ' ')} nothing in DC0" in caught.value.what


@pytest.mark.parametrize("pool", ["Resources", "DC0_C0/Resources"])
def test_a_pool_may_be_named(place: InVcenter, made: Made, pool: str) -> None:
    place.reopened(resource_pool=pool).put(VERSION, *made, NOW, ignore)
    assert place.peer.machines(NAME)[0].template


def test_a_host_s_certificate_may_be_known_by_its_thumbprint(
    place: InVcenter, tmp_path: Path
) -> None:
    der = ssl.PEM_cert_to_DER_cert(place.peer.ca.read_text())
    session = Session(LOCAL, replace(place.settings, ca=None), surroundings(tmp_path))
    host, port = place.peer.host, place.peer.port
    for kind in ("sha1", "sha256"):
        with _connected(session, host, port, hashlib.new(kind, der).hexdigest().upper()) as link:
            assert link.sock is not None
    with pytest.raises(CannotTell), _connected(session, host, port, "00" * 20):
        pass
    with pytest.raises(ssl.SSLCertVerificationError), _connected(session, host, port, ""):
        pass


def test_secrets_are_in_no_error(place: InVcenter, made: Made) -> None:
    (place.folder / "password").write_text("hunter2-very-secret")
    with pytest.raises(Denied) as caught:
        place.location.probe()
    told = f"{caught.value.what}{caught.value.why}{caught.value.where}{caught.value.hint}"
    assert "hunter2" not in told
    assert "hunter2" not in repr(place.location) + repr(place.location.__dict__)


def test_sessions_are_ended(place: InVcenter) -> None:
    gc.collect()
    before = place.peer.counts().get("Logout", 0)
    location = place.reopened()
    location.probe()
    del location
    gc.collect()
    assert place.peer.counts().get("Logout", 0) == before + 1


# Before or after, never between (P7).


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


# Booting.


@pytest.fixture
def sshd(monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """What answers in place of the guest."""
    with ssh_server() as server:
        monkeypatch.setattr(vsphere_boot, "SSH_PORT", server.port)
        yield server


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "work")


def boots_of(place: InVcenter) -> list[Any]:
    return [each for each in place.peer.machines() if each.name.startswith(f"{NAME}.boot-")]


def test_a_throw_away_clone_runs_and_goes(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    with place.location.boot(placed, work, RecordingProgress()) as machine:
        (booted,) = boots_of(place)
        assert booted.power_state == "poweredOn"
        assert booted.cpu_reservation == 0
        assert read_marks(booted.annotation) is None
        text = base64.b64decode(booted.extra_config["guestinfo.userdata"]).decode()
        user = json.loads(text.removeprefix("#cloud-config\n"))
        sshd.authorize(*user["users"][0]["ssh_authorized_keys"])
        sshd.become(user["ssh_keys"]["ed25519_private"])
        said = subprocess.run(
            [
                *("ssh", "-F", "/dev/null", "-p", str(machine.port), "-i", str(machine.key)),
                *("-o", f"UserKnownHostsFile={machine.known_hosts}"),
                *("-o", "StrictHostKeyChecking=yes", f"{machine.user}@{machine.host}", "echo in"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.stdout, said.returncode) == ("in\n", 0), said.stderr
    assert boots_of(place) == []
    assert place.location.verify(placed, NOW) == placed


def test_the_clone_of_a_template_that_reserves_reserves_nothing(
    place: InVcenter, sshd: SshServer, work: Workspace, tmp_path: Path
) -> None:
    """A builder may have left a reservation in its template."""
    vim = sdk().vim
    place.peer.fill(1, "built", folder=place.settings.folder, template=False)
    machine = found(place, "built")
    spec = vim.vm.ConfigSpec(cpuAllocation=vim.ResourceAllocationInfo(reservation=500))
    place.admin.wait("reserving", machine.ReconfigVM_Task(spec=spec))
    machine.MarkAsTemplate()
    path = tmp_path / "native.json"
    place.location.describe("built", path)
    placed = put(place, (artifact_of(path.read_bytes(), Format.NATIVE), path))
    assert place.peer.machines("built")[0].cpu_reservation == 500
    with place.location.boot(placed, work, RecordingProgress()):
        (booted,) = [each for each in place.peer.machines() if each.name.startswith("built.boot-")]
        assert booted.cpu_reservation == 0


def test_the_clone_goes_whatever_happens(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    seen = []

    def test_that_fails() -> None:
        with place.location.boot(placed, work, RecordingProgress()):
            seen.extend(boots_of(place))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test_that_fails()
    assert len(seen) == 1
    assert boots_of(place) == []


def test_a_clone_without_an_address_is_unreachable_and_goes(
    place: InVcenter, made: Made, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = put(place, made)
    monkeypatch.setattr(vsphere_boot, "BOOT_SECONDS", 0.0)
    place.peer.settings(guest_ip="")
    with (
        pytest.raises(GuestUnreachable) as caught,
        place.location.boot(placed, work, RecordingProgress()),
    ):
        pass
    place.peer.settings(guest_ip="127.0.0.1")
    assert "VMware Tools" in caught.value.why
    assert boots_of(place) == []


@pytest.mark.parametrize("method", ["CloneVM_Task", "PowerOnVM_Task", "Destroy_Task"])
def test_a_lost_answer_leaves_no_second_clone(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace, method: str
) -> None:
    placed = put(place, made)
    with (
        place.peer.wrong({"method": method, "do": "drop_response", "times": 1}),
        place.location.boot(placed, work, RecordingProgress()),
    ):
        assert len(boots_of(place)) == 1
    assert boots_of(place) == []


def test_what_went_wrong_first_is_what_people_hear_of(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    progress = RecordingProgress()

    def test_that_fails() -> None:
        with place.location.boot(placed, work, progress):
            raise ZeroDivisionError

    stuck = {"method": "Destroy_Task", "do": "task_fault", "fault": "GenericVmConfigFault"}
    with place.peer.wrong(stuck), pytest.raises(ZeroDivisionError):
        test_that_fails()
    (left,) = boots_of(place)
    (note,) = progress.notes
    assert left.name in note


def test_a_clone_that_stays_is_an_error(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    stuck = {"method": "Destroy_Task", "do": "task_fault", "fault": "GenericVmConfigFault"}
    with (
        place.peer.wrong(stuck),
        pytest.raises(CannotTell),
        place.location.boot(placed, work, RecordingProgress()),
    ):
        pass


def broken_wait(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """While the next task is waited for, *error* comes."""
    wait = Session.wait

    def broken(self: Session, what: str, task: Any) -> Any:
        monkeypatch.setattr(Session, "wait", wait)
        raise error

    monkeypatch.setattr(Session, "wait", broken)


SLOW = {"method": "CloneVM_Task", "do": "task_slow", "seconds": 1.0}


def test_a_clone_that_is_still_being_made_goes_too(
    place: InVcenter, made: Made, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it is cloned: it would come seconds later, and stay."""
    placed = put(place, made)
    destroyed = place.peer.counts().get("Destroy_Task", 0)
    broken_wait(monkeypatch, KeyboardInterrupt())
    with (
        place.peer.wrong(SLOW),
        pytest.raises(KeyboardInterrupt),
        place.location.boot(placed, work, RecordingProgress()),
    ):
        pass
    assert place.peer.counts()["Destroy_Task"] == destroyed + 1
    assert boots_of(place) == []


def test_a_clone_that_is_still_being_made_is_waited_for_and_not_made_twice(
    place: InVcenter,
    made: Made,
    sshd: SshServer,
    work: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection breaks while it is cloned."""
    placed = put(place, made)
    before = place.peer.counts().get("CloneVM_Task", 0)
    broken_wait(monkeypatch, ConnectionResetError())
    with place.peer.wrong(SLOW), place.location.boot(placed, work, RecordingProgress()):
        assert len(boots_of(place)) == 1
    assert place.peer.counts()["CloneVM_Task"] == before + 1
    assert boots_of(place) == []


def test_a_session_that_ends_before_it_is_cloned_is_opened_again(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    booting = place.location.boot(placed, work, RecordingProgress())
    place.peer.end_sessions()
    with booting:
        assert len(boots_of(place)) == 1
    assert boots_of(place) == []


def test_a_clone_that_could_not_be_made_is_made_again(
    place: InVcenter, made: Made, sshd: SshServer, work: Workspace
) -> None:
    placed = put(place, made)
    told = {"method": "CloneVM_Task", "do": "task_fault", "fault": "ConcurrentAccess", "times": 1}
    with place.peer.wrong(told), place.location.boot(placed, work, RecordingProgress()):
        assert len(boots_of(place)) == 1
    assert boots_of(place) == []


# What a builder made here.


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


def test_a_boot_needs_what_is_there(place: InVcenter, made: Made, work: Workspace) -> None:
    placed = put(place, made)
    place.lose(placed)
    with pytest.raises(NotFound):
        place.location.boot(placed, work, RecordingProgress())


def test_a_fault_of_the_vcenter_while_it_is_read_is_no_absence(
    place: InVcenter, made: Made
) -> None:
    placed = put(place, made)
    for fault in (Fault.UNAVAILABLE_ALWAYS, Fault.CONTAINER_GONE):
        injected = place.fault(fault)
        assert not isinstance(injected, str)
        with injected, pytest.raises(CannotTell):
            place.location.boot(placed, workspace(place.folder / fault.name), RecordingProgress())
