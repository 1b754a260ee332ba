"""Templates boot as throw-away clones, which go whatever happens."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.sshd import SshServer, ssh_server
from support.examples import NOW
from support.places.place import Fault, artifact_of
from support.places.vsphere import InVcenter, opened
from support.systems import workspace
from support.vsphere_templates import NAME, Made, found, put

from imagectl.adapters.locations import vsphere_boot
from imagectl.adapters.locations.vsphere_marks import read_marks
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Session
from imagectl.errors import (
    CannotTell,
    GuestUnreachable,
    NotFound,
)
from imagectl.model.names import Format
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InVcenter:
    return opened(request, tmp_path)


@pytest.fixture
def made(place: InVcenter, tmp_path: Path) -> Made:
    return place.artifact(tmp_path)


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
