"""What vSphere's machines have of their own, beside the contract of every place of machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from peers.sshd import SshServer, ssh_server
from support.examples import ref
from support.machines.vsphere import InFolder, claim_of, with_ledger
from support.places import surroundings
from support.places.place import CATALOG_ID, ignore
from support.places.vsphere import InVcenter, opened
from support.systems import workspace

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.leasing import LedgerLeasing
from imagectl.adapters.locations import open_location, vsphere_boot
from imagectl.adapters.locations.vsphere_claims import show_claim
from imagectl.adapters.locations.vsphere_inventory import PRIVILEGES
from imagectl.errors import CannotTell, Conflict, Denied, Failed, ImagectlError, Refused
from imagectl.model.resource import Claim, FoundResource, ResourceKind, ResourceView
from imagectl.model.version import Placement
from imagectl.testing.build import RecordingProgress
from imagectl.testing.resources import MemoryResources

NOW = SystemClock().now().replace(microsecond=0)
OVER = Claim(CATALOG_ID, "1" * 32, NOW - timedelta(hours=1))
RUNNING = Claim(CATALOG_ID, "2" * 32, NOW + timedelta(hours=1))
VERSION = ref("debian-ci@20261120.1")
NAME = "debian-ci-20261120.1-amd64"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def yard(place: InVcenter) -> InFolder:
    return InFolder(place)


def view(yard: InFolder) -> ResourceView:
    return yard.machines.resources(lambda: NOW)


def seen(yard: InFolder, name: str) -> FoundResource:
    shown = view(yard)
    assert shown.complete, shown.gaps
    (one,) = (each for each in shown.found if each.name == name)
    return one


def names(yard: InFolder) -> list[str]:
    folder = yard.place.settings.folder
    return [each.name for each in yard.place.peer.machines() if each.folder == folder]


# Whatever state it is in.


@pytest.mark.parametrize("power", ["poweredOff", "suspended", "poweredOn"])
def test_a_machine_goes_in_every_power_state(yard: InFolder, power: str) -> None:
    yard.make("left", OVER)
    yard.place.peer.change("left", power_state=power)
    found = seen(yard, "left")
    assert found.claim == OVER
    assert found.state == power
    assert yard.machines.collect(found, NOW) is None
    assert names(yard) == []


@pytest.mark.parametrize("state", ["inaccessible", "orphaned", "invalid"])
def test_what_the_vcenter_has_lost_is_known_by_its_attribute_and_taken_off_the_inventory(
    yard: InFolder, state: str
) -> None:
    """It has no configuration to show there, and cannot be destroyed."""
    yard.make("left", OVER)
    yard.make("live", RUNNING)
    for name in ("left", "live"):
        yard.place.peer.change(name, connection_state=state)
    found = seen(yard, "left")
    assert found.claim == OVER
    assert found.state == state
    stays = yard.machines.collect(found, NOW)
    assert stays is not None
    assert f"left was {state}" in stays
    assert "they stay at [LocalDS_0]" in stays
    assert names(yard) == ["live"]
    with pytest.raises(Conflict):
        yard.machines.collect(seen(yard, "live"), NOW)
    assert names(yard) == ["live"]


def test_a_machine_that_can_be_destroyed_is_not_just_taken_off_the_inventory(
    yard: InFolder,
) -> None:
    """Its files would stay, and nobody would know of them any more."""
    yard.make("left", OVER)
    found = seen(yard, "left")
    fault = {"method": "Destroy_Task", "do": "task_fault", "fault": "InvalidState"}
    with yard.place.peer.wrong(fault), pytest.raises(Failed) as caught:
        yard.machines.collect(found, NOW)
    assert "deleting left" not in caught.value.why
    assert names(yard) == ["left"]
    yard.machines.collect(found, NOW)
    assert names(yard) == []


def test_a_lost_machine_that_may_not_be_deleted_is_not_taken_off_either(yard: InFolder) -> None:
    yard.make("left", OVER)
    yard.place.peer.change("left", connection_state="orphaned")
    found = seen(yard, "left")
    fault = {"method": "Destroy_Task", "do": "task_fault", "fault": "NoPermission"}
    root = {"Type": "Folder", "Value": "group-d1"}
    fields = {"Object": root, "PrivilegeId": "VirtualMachine.Inventory.Delete"}
    with yard.place.peer.wrong({**fault, "fields": fields}), pytest.raises(Denied):
        yard.machines.collect(found, NOW)
    assert names(yard) == ["left"]


def test_a_machine_whose_host_does_not_answer_fails_at_once_and_stays(yard: InFolder) -> None:
    """Off the inventory, it would run on where nobody sees it."""
    yard.make("left", OVER)
    yard.place.peer.change("left", connection_state="disconnected")
    found = seen(yard, "left")
    assert found.claim == OVER
    with pytest.raises(Failed) as caught:
        yard.machines.collect(found, NOW)
    assert "does not answer" in caught.value.why
    assert names(yard) == ["left"]


def test_a_lost_machine_of_which_nobody_can_tell_is_a_gap(yard: InFolder) -> None:
    yard.foreign("somebodys")
    yard.place.peer.change("somebodys", connection_state="inaccessible")
    shown = view(yard)
    assert shown.found == ()
    (gap,) = shown.gaps
    assert gap == "somebodys: nobody can tell whose it is: it is inaccessible"


def test_many_of_which_nobody_can_tell_are_counted(yard: InFolder) -> None:
    peer, folder = yard.place.peer, yard.place.settings.folder
    peer.fill(30, "x-{n}", folder=folder, bare=True, template=False, connection_state="invalid")
    gaps = view(yard).gaps
    assert len(gaps) == 11
    assert gaps[-1] == "20 more machines: the same, or the like"


def test_a_lost_machine_of_ours_hides_no_image(yard: InFolder) -> None:
    yard.make("left", OVER)
    yard.foreign("somebodys")
    yard.place.peer.change("left", connection_state="orphaned")
    shown = yard.place.location.view(lambda: NOW)
    assert shown.complete
    assert {each.name: each.state for each in shown.found} == {
        "left": "orphaned",
        "somebodys": "machine",
    }
    yard.place.peer.change("somebodys", connection_state="orphaned")
    assert not yard.place.location.view(lambda: NOW).complete


def test_a_task_that_fails_is_a_failure_and_may_be_tried_again(yard: InFolder) -> None:
    yard.make("left", OVER)
    yard.place.peer.change("left", power_state="poweredOn")
    found = seen(yard, "left")
    fault = {"method": "PowerOffVM_Task", "do": "task_fault", "fault": "InvalidState"}
    with yard.place.peer.wrong(fault), pytest.raises(Failed):
        yard.machines.collect(found, NOW)
    assert names(yard) == ["left"]
    yard.machines.collect(found, NOW)
    assert names(yard) == []


@pytest.mark.parametrize("method", ["Destroy_Task", "PowerOffVM_Task", "RetrievePropertiesEx"])
@pytest.mark.parametrize("how", ["drop", "drop_response"])
def test_a_lost_answer_is_looked_up(yard: InFolder, method: str, how: str) -> None:
    yard.make("left", OVER)
    yard.place.peer.change("left", power_state="poweredOn")
    found = seen(yard, "left")
    with yard.place.peer.wrong({"method": method, "do": how, "times": 1}):
        yard.machines.collect(found, NOW)
    assert names(yard) == []


# What is never touched (P2).


def test_a_template_is_no_machine_whatever_it_says(yard: InFolder) -> None:
    yard.make("left", OVER)
    found = seen(yard, "left")
    machine = yard.place.at(f"{yard.place.datacenter}/vm/{yard.place.settings.folder}/left")
    machine.MarkAsTemplate()
    assert view(yard).found == ()
    with pytest.raises(Conflict) as caught:
        yard.machines.collect(found, NOW)
    assert "template" in caught.value.why
    assert names(yard) == ["left"]


def test_a_clone_of_ours_is_not_ours(yard: InFolder) -> None:
    """It has the same notes and custom attributes."""
    yard.copy(yard.make("left", OVER), "theirs")
    (theirs,) = yard.place.peer.machines("theirs")
    assert "imagectl-claim" in theirs.annotation
    assert "imagectl-claim" in theirs.custom
    assert (seen(yard, "theirs").claim, seen(yard, "theirs").copied) == (None, OVER)
    assert (seen(yard, "left").claim, seen(yard, "left").copied) == (OVER, None)


def test_an_artifact_s_template_that_became_a_machine_is_not_ours(
    yard: InFolder, tmp_path: Path
) -> None:
    placed = put(yard.place, tmp_path)
    template = yard.place.at(placed.reference.removeprefix("/"))
    template.MarkAsVirtualMachine(pool=template.runtime.host.parent.resourcePool)
    show_claim(yard.place.admin, template, OVER)
    found = seen(yard, NAME)
    assert found.claim is None
    with pytest.raises(Conflict):
        yard.machines.collect(found, NOW)
    assert names(yard) == [NAME]


def test_what_is_something_else_of_ours_by_now_is_left_alone(yard: InFolder) -> None:
    provider_id = yard.make("left", OVER)
    found = seen(yard, "left")
    yard.show(provider_id, Claim(CATALOG_ID, "3" * 32, OVER.until))
    with pytest.raises(Conflict):
        yard.machines.collect(found, NOW)
    assert names(yard) == ["left"]


def test_what_is_in_another_vcenter_is_left_alone(yard: InFolder) -> None:
    """References are the vCenter's own."""
    yard.make("left", OVER)
    found = seen(yard, "left")
    _, _, reference = found.provider_id.partition("/")
    elsewhere = FoundResource(
        f"00000000-0000-0000-0000-000000000000/{reference}", found.kind, found.name, found.claim
    )
    with pytest.raises(Conflict):
        yard.machines.collect(elsewhere, NOW)
    assert names(yard) == ["left"]


def test_nothing_outside_the_folder_is_seen(yard: InFolder) -> None:
    yard.place.peer.fill(1, "outside", folder="images", template=False)
    try:
        yard.make("left", OVER)
        assert [each.name for each in view(yard).found] == ["left"]
    finally:
        yard.place.peer.change("outside", destroy=True)


def test_what_somebody_moved_into_a_folder_below_is_still_seen(yard: InFolder) -> None:
    yard.make("left", OVER)
    folder = yard.place.at(f"{yard.place.datacenter}/vm/{yard.place.settings.folder}")
    below = folder.CreateFolder("below")
    machine = yard.place.at(f"{yard.place.datacenter}/vm/{yard.place.settings.folder}/left")
    yard.place.admin.wait("moving", below.MoveIntoFolder_Task([machine]))
    assert yard.machines.collect(seen(yard, "left"), NOW) is None
    assert yard.place.peer.machines("left") == []
    assert yard.place.at(f"{yard.place.datacenter}/vm/{yard.place.settings.folder}/below")


# How much it asks.


def counts(yard: InFolder) -> Counter[str]:
    """The calls so far. Sessions of earlier tests are ended at any time."""
    return Counter({k: n for k, n in yard.place.peer.counts().items() if k != "Logout"})


def test_listing_takes_one_request_for_each_page_and_removing_reads_once(yard: InFolder) -> None:
    count = 1_250
    claim = f"{OVER.catalog} {{n}} {OVER.until.isoformat()} id={{reference}}"
    yard.place.peer.fill(
        count,
        "left-{n}",
        folder=yard.place.settings.folder,
        template=False,
        bare=True,
        annotation=f"imagectl-claim: {claim}",
    )
    view(yard)  # logs in
    before = counts(yard)
    shown = view(yard)
    asked = counts(yard) - before
    assert len(shown.found) == count
    assert shown.requests == asked.total()
    assert asked["RetrievePropertiesEx"] + asked["ContinueRetrievePropertiesEx"] == 3
    assert asked.total() == 6, asked
    before = counts(yard)
    for each in shown.found[:10]:
        yard.machines.collect(each, NOW)
    asked = counts(yard) - before
    # One to read each, and one for how its deletion ended.
    assert asked == {"RetrievePropertiesEx": 20, "Destroy_Task": 10}


# Those that we make ourselves.


@pytest.fixture
def sshd(monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """What answers in place of the guest."""
    with ssh_server() as server:
        monkeypatch.setattr(vsphere_boot, "SSH_PORT", server.port)
        yield server


def put(place: InVcenter, folder: Path) -> Placement:
    return place.location.put(VERSION, *place.artifact(folder), NOW, ignore)


def test_a_boot_s_clone_says_until_when_it_is_needed_and_is_in_the_ledger(
    place: InVcenter, sshd: SshServer, tmp_path: Path
) -> None:
    ledger = MemoryResources()
    location, placed = with_ledger(place, ledger), put(place, tmp_path)
    with location.boot(placed, workspace(tmp_path / "work"), RecordingProgress()):
        (entry,) = ledger.all()
        assert entry.kind is ResourceKind.MACHINE
        assert entry.place == location.place
        (machine,) = place.peer.machines(entry.name)
        claim = claim_of(machine)
        assert claim is not None
        assert (claim.catalog, claim.resource) == (CATALOG_ID, entry.id)
        assert claim.until > NOW
        assert machine.custom["imagectl-claim"].endswith(f" id={machine.reference}")
        shown = location.resources(lambda: NOW)
        assert [each.claim for each in shown.found] == [claim]
        with pytest.raises(Conflict):
            location.collect(shown.found[0], SystemClock().now())
    assert ledger.all() == ()
    assert place.peer.machines(entry.name) == []


def test_the_clone_s_lease_is_renewed_there_too(
    place: InVcenter, sshd: SshServer, tmp_path: Path
) -> None:
    ledger = MemoryResources()
    location = with_ledger(place, ledger, every=timedelta(seconds=0.2))
    placed = put(place, tmp_path)
    with location.boot(placed, workspace(tmp_path / "work"), RecordingProgress()):
        (entry,) = ledger.all()
        first = claim_of(place.peer.machines(entry.name)[0])
        until = SystemClock().monotonic() + 30
        while (now := claim_of(place.peer.machines(entry.name)[0])) == first:
            assert SystemClock().monotonic() < until
        assert first is not None
        assert now is not None
        assert now.until > first.until
    assert place.peer.machines(entry.name) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "PowerOnVM_Task", "fault": "InsufficientCpuResourcesFault"},
        {"method": "ReconfigVM_Task", "fault": "GenericVmConfigFault"},
    ],
)
def test_a_clone_that_could_not_be_removed_is_the_janitor_s(
    place: InVcenter, tmp_path: Path, fault: dict[str, str]
) -> None:
    """Also one that was never switched on, and one of which only the first note was made."""
    ledger = MemoryResources()
    location, placed = with_ledger(place, ledger), put(place, tmp_path)
    progress = RecordingProgress()
    stuck = {"method": "Destroy_Task", "do": "task_fault", "fault": "InvalidState"}
    with (
        place.peer.wrong(stuck, {**fault, "do": "task_fault"}),
        pytest.raises(Failed),
        location.boot(placed, workspace(tmp_path / "work"), progress),
    ):
        pass
    assert any("`imagectl janitor apply`" in each for each in progress.notes)
    (entry,) = ledger.all()
    (found,) = location.resources(lambda: NOW).found
    assert found.name == entry.name
    assert found.claim is not None
    assert found.claim.resource == entry.id
    location.collect(found, found.claim.until + timedelta(minutes=6))
    assert place.peer.machines(entry.name) == []
    assert place.peer.machines(NAME), "the template stays"


def test_what_may_not_be_made_is_not_made(place: InVcenter, tmp_path: Path) -> None:
    """There is no room, or the ledger cannot be written."""
    ledger, placed = MemoryResources(), put(place, tmp_path)

    def full(_: object) -> None:
        raise Refused("no more machines", reasons=["there are 200"])

    around = surroundings(place.folder)
    leasing = LedgerLeasing(ledger, lambda: CATALOG_ID, "somebody", SystemClock().now, full)
    object.__setattr__(around, "leasing", lambda: leasing)
    location = open_location(place.location.name, place.settings, around)
    before = place.peer.counts().get("CloneVM_Task", 0)
    errors: list[type[ImagectlError]] = [Refused, CannotTell]
    for error in errors:
        work = workspace(tmp_path / f"work-{error.kind}")
        with pytest.raises(error), location.boot(placed, work, RecordingProgress()):
            pass
        ledger.broken = True
    assert place.peer.counts().get("CloneVM_Task", 0) == before
    assert names(InFolder(place)) == [NAME]


def test_without_the_privilege_for_custom_attributes_it_does_without(
    place: InVcenter, sshd: SshServer, tmp_path: Path
) -> None:
    more = (
        *("VirtualMachine.Provisioning.DeployTemplate", "VirtualMachine.Config.AdvancedConfig"),
        *("VirtualMachine.Config.EditDevice", "VirtualMachine.Interact.PowerOn"),
        "VirtualMachine.Interact.PowerOff",
    )
    placed = put(place, tmp_path)
    ledger = MemoryResources()
    allowed = [*(each for several in PRIVILEGES.values() for each in several), *more]
    with place.account(privileges=allowed):
        location = with_ledger(place, ledger)
        with location.boot(placed, workspace(tmp_path / "work"), RecordingProgress()):
            (entry,) = ledger.all()
            (machine,) = place.peer.machines(entry.name)
            assert "imagectl-claim" not in machine.custom
            assert claim_of(machine) is not None
    assert place.peer.machines(entry.name) == []
