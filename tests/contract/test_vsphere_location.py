"""What vSphere has of its own beside every location's contract, against VMware's simulator."""

from __future__ import annotations

import base64
import gc
import hashlib
import http.client
import json
import ssl
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import surroundings
from support.places.place import CATALOG_ID, LOCAL, artifact_of, ignore
from support.places.vsphere import DISK, InVcenter, opened
from support.vsphere_templates import NAME, VERSION, Made, found, put

from imagectl.adapters.locations import vsphere_import
from imagectl.adapters.locations.owners import owner_of
from imagectl.adapters.locations.vsphere_import import _connected
from imagectl.adapters.locations.vsphere_inventory import PRIVILEGES
from imagectl.adapters.locations.vsphere_marks import PARTIAL, read_marks
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Read, Session
from imagectl.adapters.locations.vsphere_tags import Tags
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    NotFound,
)
from imagectl.services.ports.locations import Mark


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def made(place: InVcenter, tmp_path: Path) -> Made:
    return place.artifact(tmp_path)


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
    assert "imagectl-claim" not in machine.annotation, "nobody may throw it away"


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
