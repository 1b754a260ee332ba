"""Packer's own vsphere-clone builder runs to its end against the vCenter for tests, with the SSH
server for tests in the place of the guest's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from peers.sshd import SshServer, ssh_server
from peers.vsphere import VCenter, vcenter

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def vsphere() -> Iterator[VCenter]:
    with vcenter() as running:
        running.fill(1, "base", annotation="the base", custom={"imagectl-image": "base"})
        yield running


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with ssh_server() as running:
        yield running


def template(vsphere: VCenter, **builder: object) -> dict[str, object]:
    clone = {
        "type": "vsphere-clone",
        "vcenter_server": f"{vsphere.host}:{vsphere.port}",
        "username": vsphere.user,
        "password": vsphere.password,
        "insecure_connection": True,
        "datacenter": "DC0",
        "cluster": "DC0_C0",
        "datastore": "LocalDS_0",
        "folder": "images",
        "template": "images/base",
        "convert_to_template": True,
        **builder,
    }
    return {"builders": [clone]}


def packer(template: Mapping[str, object], work: Path) -> subprocess.CompletedProcess[str]:
    file = work / "template.json"
    file.write_text(json.dumps(template))
    return subprocess.run(
        ["packer", "build", "-machine-readable", str(file)],
        cwd=work,
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(work),
            "TMPDIR": str(work),
            "CHECKPOINT_DISABLE": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def key(folder: Path) -> Path:
    """A new private key; the public one is beside it."""
    path = folder / "key"
    command = [
        "ssh-keygen",
        "-q",
        "-t",
        "rsa",
        "-b",
        "2048",
        "-m",
        "PEM",
        "-N",
        "",
        "-f",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


def test_a_template_is_cloned_provisioned_over_ssh_and_kept(
    vsphere: VCenter, sshd: SshServer, tmp_path: Path
) -> None:
    identity = key(tmp_path)
    sshd.authorize(identity.with_suffix(".pub").read_text())
    built = template(
        vsphere,
        vm_name="made",
        communicator="ssh",
        ssh_username="debian",
        ssh_private_key_file=str(identity),
        ssh_port=sshd.port,
        ssh_timeout="1m",
        ip_settle_timeout="0s",
    )
    provisioner = {"type": "shell", "inline": ["echo provisioned > proof"]}
    done = packer({**built, "provisioners": [provisioner]}, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (sshd.home / "proof").read_text() == "provisioned\n"
    assert {each.user for each in sshd.ran()} == {"debian"}
    (made,) = vsphere.machines("made")
    assert (made.template, made.folder, made.datacenter) == (True, "images", "DC0")
    assert made.power_state == "poweredOff"
    assert ",artifact,0,id,made\n" in done.stdout


def test_without_a_communicator(vsphere: VCenter, tmp_path: Path) -> None:
    done = packer(template(vsphere, vm_name="plain", communicator="none"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = vsphere.machines("plain")
    assert made.template


def test_what_goes_wrong_in_vcenter_goes_wrong_in_packer(vsphere: VCenter, tmp_path: Path) -> None:
    rule = {"method": "CloneVM_Task", "do": "task_fault", "fault": "NoDiskSpace"}
    with vsphere.wrong({**rule, "fields": {"Datastore": "LocalDS_0"}}):
        done = packer(template(vsphere, vm_name="failed", communicator="none"), tmp_path)
    assert done.returncode != 0
    assert not vsphere.machines("failed")


def test_a_password_that_is_wrong(vsphere: VCenter, tmp_path: Path) -> None:
    wrong = template(vsphere, vm_name="locked", communicator="none", password="guess")
    done = packer(wrong, tmp_path)
    assert done.returncode != 0
    assert "incorrect user name or password" in done.stdout
