"""Packer's own googlecompute and vsphere-clone builders make images in locations, which are tested
there, recorded, placed and released like all others. The other ends: ``peers.google``,
``peers.vsphere``, and an SSH server in place of those in the machines."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from peers.google.calls import Refuse
from peers.google.peer import Google, google
from peers.sshd import SshServer, ssh_server
from peers.vsphere import VCenter, vcenter

from imagectl.adapters.guest import make_keys
from imagectl.adapters.locations import vsphere_boot
from imagectl.adapters.locations.gce import GceLocation
from imagectl.adapters.locations.gce_boot import Login
from imagectl.bootstrap.project import Project
from imagectl.errors import BuildFailed, Corrupt, GuestUnreachable, NotFound, TestsFailed
from imagectl.model.names import ChannelName, Format, ImageName, LocationName
from imagectl.model.version import Placement, Version
from imagectl.services.build import BuildRequest, Delivered, build_and_release
from imagectl.testing.build import RecordingProgress

pytestmark = pytest.mark.integration

NAME = ImageName("ci")
CLOUD = LocationName("cloud")
BETA = ChannelName("beta")
REQUEST = BuildRequest(actor="alice", tool="0.1.0")

CHANNELS = """\
channels:
  beta: {entry: true, gates: [tests]}
  stable: {from: beta, gates: [tests]}
"""
SUITE = """\
def test_what_was_provisioned_is_there(host):
    assert host.run("cat proof").stdout == "provisioned\\n"
"""
SHELL = {"type": "shell", "inline": ["echo provisioned > proof"]}


class Shop:
    """A project with one image, of a template."""

    def __init__(self, root: Path, location: str, packer: str) -> None:
        for folder in ("images/ci", "tests/images", "catalog", "playbooks"):
            (root / folder).mkdir(parents=True)
        self.root = root
        (root / "imagectl.yaml").write_text(f"locations:\n  cloud: {location}\n")
        (root / "catalog/channels.yaml").write_text(CHANNELS)
        (root / "tests/images/test_ci.py").write_text(SUITE)
        (root / "images/ci/image.yaml").write_text(
            f"summary: CI\nsuites: [tests/images/test_ci.py]\npacker: {packer}\n"
        )
        self.project = Project(root)
        self.progress = RecordingProgress()

    @property
    def template(self) -> Path:
        return self.root / "images/ci/template.json"

    def build(self) -> Delivered:
        (image,) = self.project.definitions.load([NAME])
        bench = self.project.workbench(self.progress)
        return build_and_release(
            bench, self.project.releasing, self.project.policy, image, REQUEST, self.progress
        )

    def only_placement(self, version: Version) -> Placement:
        (placement,) = self.project.catalog.snapshot().placed(version.ref)
        return placement

    def verify(self, placement: Placement) -> Placement:
        return self.project.locations[CLOUD].verify(placement, datetime.now(UTC))

    def versions(self) -> int:
        return len(self.project.catalog.snapshot().of(NAME))

    def check_released(self, delivered: Delivered) -> Placement:
        """The version is as all others; its placement."""
        version = delivered.built.version
        assert [each.format for each in version.artifacts] == [Format.NATIVE]
        assert version.tests.passed == 1
        assert version.origin is not None
        assert "images/ci/template.json" in version.origin.cause
        assert self.project.catalog.snapshot().head(NAME, BETA) == version.id
        again = self.build()
        assert (again.built.fresh, again.built.version) == (False, version)
        return self.only_placement(version)


@pytest.fixture
def sshd() -> Iterator[SshServer]:
    with ssh_server() as running:
        yield running


@pytest.fixture(scope="module")
def cloud() -> Iterator[Google]:
    with google() as peer:
        peer.compute.add_image("acme-images", "debian-12", family="debian-12")
        yield peer


@pytest.fixture
def gce(
    cloud: Google, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Packer knows no other addresses than Google's, so it goes through the peer's proxy."""
    monkeypatch.setenv("HTTPS_PROXY", cloud.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(cloud.ca))
    zone = cloud.compute.zones[0]
    key = cloud.accounts.add(tmp_path)
    project = tmp_path / "project"
    location = (
        "{type: gce, project: acme-images, bucket: acme-upload, "
        f"zone: {zone}, endpoint: '{cloud.url}', storage_endpoint: '{cloud.url}', "
        f"credentials: {{file: {key}}}}}"
    )
    packer = (
        "{template: images/ci/template.json, builds: cloud, "
        f"variables: {{zone: {zone}}}, secrets: {{account: {{file: {key}}}}}}}"
    )
    shop = Shop(project, location, packer)
    builder = {
        "type": "googlecompute",
        "account_file": "{{user `account`}}",
        "project_id": "acme-images",
        "source_image": "debian-12",
        "source_image_project_id": ["acme-images"],
        "zone": "{{user `zone`}}",
        "image_name": "ci-{{timestamp}}",
        "ssh_username": "debian",
        "ssh_port": sshd.port,
        "ssh_timeout": "1m",
        "state_timeout": "1m",
    }
    variables = {"account": "", "zone": ""}
    shop.template.write_text(
        json.dumps({"variables": variables, "builders": [builder], "provisioners": [SHELL]})
    )
    there = shop.project.locations[CLOUD]
    assert isinstance(there, GceLocation)
    there.login = Login("root", sshd.port, 30)

    def let_in(instance: dict[str, Any]) -> None:
        for item in instance["metadata"]["items"]:
            if item is not None and item["key"] == "ssh-keys":  # Packer sends a null too
                sshd.authorize(*(line.partition(":")[2] for line in item["value"].splitlines()))

    cloud.compute.started.append(let_in)
    yield shop
    cloud.compute.started.remove(let_in)
    shop.project.close()
    assert cloud.compute.names("instances") == []


def test_an_image_of_googlecompute_is_tested_and_released(
    gce: Shop, cloud: Google, sshd: SshServer
) -> None:
    placement = gce.check_released(gce.build())
    assert {"debian", "root"} <= {each.user for each in sshd.ran()}
    image = cloud.compute.image("acme-images", placement.reference.rpartition("/")[2])
    assert image is not None
    assert image["labels"]["imagectl-image"] == "ci"
    assert placement.provider_id.endswith(f"#{image['id']}")
    assert gce.verify(placement).sha256 == placement.sha256
    assert cloud.strays == []


def test_an_image_that_was_made_again_under_its_name_is_not_the_one(
    gce: Shop, cloud: Google
) -> None:
    placement = gce.only_placement(gce.build().built.version)
    name = placement.reference.rpartition("/")[2]
    cloud.compute.remove(f"projects/acme-images/global/images/{name}")
    cloud.compute.add_image("acme-images", name)
    with pytest.raises((NotFound, Corrupt)):
        gce.verify(placement)


def test_a_suite_that_fails_there_records_nothing(gce: Shop) -> None:
    gce.template.write_text(gce.template.read_text().replace("echo provisioned", "echo nothing"))
    with pytest.raises(TestsFailed) as caught:
        gce.build()
    assert "was made in cloud and is still there" in caught.value.why
    assert gce.versions() == 0


def test_a_quota_that_is_over_is_told_in_packers_words(gce: Shop, cloud: Google) -> None:
    said = Refuse(403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 8.0 in region europe-west1.")
    with (
        cloud.during(said, "compute.instances.insert"),
        pytest.raises(BuildFailed, match="the Packer template failed") as caught,
    ):
        gce.build()
    assert "Quota 'CPUS' exceeded" in caught.value.why
    assert gce.versions() == 0


def test_what_is_built_elsewhere_than_the_location_means_is_not_found(
    gce: Shop, cloud: Google
) -> None:
    cloud.compute.add_project("acme-other")
    cloud.compute.add_image("acme-other", "debian-12")
    text = gce.template.read_text().replace("acme-images", "acme-other")
    gce.template.write_text(text)
    with pytest.raises(NotFound) as caught:
        gce.build()
    assert "ci-" in caught.value.what
    assert gce.versions() == 0


@pytest.fixture(scope="module")
def vsphere() -> Iterator[VCenter]:
    with vcenter() as running:
        running.fill(1, "base")
        yield running


@contextmanager
def guests(vsphere: VCenter, sshd: SshServer) -> Iterator[None]:
    """Machines that do what cloud-init would: take keys from ``guestinfo`` when they run, and only
    then answer over SSH."""
    stop = threading.Event()

    def look() -> None:
        seen: set[str] = set()
        while not stop.wait(0.05):
            for each in vsphere.machines():
                data = each.extra_config.get("guestinfo.userdata")
                if data and each.power_state == "poweredOn" and each.reference not in seen:
                    seen.add(each.reference)
                    said = json.loads(base64.b64decode(data).decode().partition("\n")[2])
                    sshd.become(said["ssh_keys"]["ed25519_private"])
                    for user in said["users"]:
                        sshd.authorize(*user["ssh_authorized_keys"])
                    vsphere_boot.SSH_PORT = sshd.port

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def dc(
    vsphere: VCenter, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setattr(vsphere_boot, "SSH_PORT", 1)
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    key = tmp_path / "login"
    key.mkdir()
    keys = make_keys(key)
    sshd.authorize(keys.public)
    location = (
        f"{{type: vsphere, host: {vsphere.host}, port: {vsphere.port}, ca: '{vsphere.ca}', "
        "datacenter: DC0, folder: images, datastore: LocalDS_0, "
        f"username: {{env: VC_USER}}, password: {{env: VC_PASSWORD}}}}"
    )
    monkeypatch.setenv("VC_USER", vsphere.user)
    packer = (
        "{template: images/ci/template.json, builds: cloud, "
        "secrets: {user: {env: VC_USER}, password: {env: VC_PASSWORD}}}"
    )
    shop = Shop(tmp_path / "project", location, packer)
    builder = {
        "type": "vsphere-clone",
        "vcenter_server": f"{vsphere.host}:{vsphere.port}",
        "username": "{{user `user`}}",
        "password": "{{user `password`}}",
        "insecure_connection": True,
        "datacenter": "DC0",
        "cluster": "DC0_C0",
        "datastore": "LocalDS_0",
        "folder": "images",
        "template": "images/base",
        "convert_to_template": True,
        "vm_name": "ci-{{timestamp}}",
        "communicator": "ssh",
        "ssh_username": "debian",
        "ssh_private_key_file": str(keys.private),
        "ssh_port": sshd.port,
        "ssh_timeout": "1m",
        "ip_settle_timeout": "0s",
    }
    variables = {"user": "", "password": ""}
    shop.template.write_text(
        json.dumps({"variables": variables, "builders": [builder], "provisioners": [SHELL]})
    )
    with guests(vsphere, sshd):
        yield shop
    shop.project.close()
    assert [each.name for each in vsphere.machines() if "boot" in each.name] == []


def test_a_template_of_vsphere_clone_is_tested_and_released(
    dc: Shop, vsphere: VCenter, sshd: SshServer
) -> None:
    placement = dc.check_released(dc.build())
    assert {"debian", "root"} <= {each.user for each in sshd.ran()}
    (made,) = vsphere.machines(placement.reference.rpartition("/")[2])
    assert made.template
    assert made.instance_uuid in placement.provider_id
    assert "ci" in made.annotation
    assert dc.verify(placement).sha256 == placement.sha256
    log = "".join(path.read_text() for path in (dc.root / ".imagectl/logs").iterdir())
    assert vsphere.password not in log.replace("secrets", "")


def test_a_template_that_never_comes_up_records_nothing(
    dc: Shop, vsphere: VCenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vsphere_boot, "BOOT_SECONDS", 1.0)
    document = json.loads(dc.template.read_text())
    document["builders"][0]["communicator"] = "none"
    dc.template.write_text(json.dumps({**document, "provisioners": []}))
    vsphere.settings(guest_ip="")
    try:
        with pytest.raises(GuestUnreachable) as caught:
            dc.build()
    finally:
        vsphere.settings(guest_ip="127.0.0.1")
    assert "was made in cloud and is still there" in caught.value.why
    assert dc.versions() == 0
