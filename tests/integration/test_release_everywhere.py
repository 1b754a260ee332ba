"""One version in five places at the same time: published, verified, promoted and rolled back.

By the real command line, against the other ends in ``tests/peers``. The disks are small and whole.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peers.google.peer import Google, google
from peers.registry import PASSWORD, USER, DockerRegistry, docker_registry
from peers.vsphere import VCenter, vcenter
from support.buckets import make_bucket, s3_server
from support.examples import ref
from support.installed import IMAGECTL
from support.places.gce import BUCKET, PROJECT, archive
from support.places.vsphere import small_ova
from support.projects import new_project, record_version

from imagectl.bootstrap.project import Project, open_project
from imagectl.model.names import Format
from imagectl.services import release

pytestmark = pytest.mark.integration

GOOD, BAD, NEXT = (f"debian-ci@20261120.{serial}" for serial in (1, 2, 3))
EVERYWHERE = ("bucket", "gce-test", "local", "registry", "vsphere-test")
TO = ("--to", "gce-test", "--to", "vsphere-test", "--to", "registry", "--to", "bucket")


@dataclass(frozen=True)
class Fleet:
    """A project whose image has to be in all five places."""

    root: Path
    cloud: Google
    center: VCenter
    registry: DockerRegistry
    environment: Mapping[str, str]

    def imagectl(self, *arguments: str, status: int = 0) -> Any:
        """What the command answers with ``--json``."""
        done = subprocess.run(
            [IMAGECTL, *arguments, "--json"],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        for secret in (PASSWORD, self.center.password, "PRIVATE KEY"):
            assert secret not in done.stdout + done.stderr
        return json.loads(done.stdout)

    def opened(self) -> Project:
        return open_project(self.root)

    def build(self, text: str, seed: int, folder: Path) -> str:
        """A build that has ended, with nothing placed yet."""
        disks = {Format.GCE: folder / "disk.tar.gz", Format.OVA: small_ova(folder, seed)[1]}
        disks[Format.GCE].write_bytes(archive(seed))
        project = self.opened()
        try:
            record_version(project, text, disks=disks, needs=EVERYWHERE)
        finally:
            project.close()
        return text


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("everywhere") / "fleet"
    new_project(root).close()
    with ExitStack() as stack:
        cloud = stack.enter_context(google((PROJECT,), (BUCKET,)))
        center = stack.enter_context(vcenter())
        registry = stack.enter_context(docker_registry())
        s3 = stack.enter_context(s3_server())
        make_bucket(s3, "acme-images")
        key = cloud.accounts.add(tmp_path_factory.mktemp("account"))
        (root / "imagectl.yaml").write_text(
            f"""\
locations:
  local: {{type: directory, path: .imagectl/locations/local}}
  gce-test: {{type: gce, project: {PROJECT}, bucket: {BUCKET}, family_channel: stable,
    endpoint: '{cloud.url}', storage_endpoint: '{cloud.url}', credentials: {{file: {key}}}}}
  vsphere-test: {{type: vsphere, host: {center.host}, port: {center.port}, ca: {center.ca},
    datacenter: DC0, folder: images, datastore: LocalDS_0,
    username: {{env: VC_USER}}, password: {{env: VC_PASSWORD}}}}
  registry: {{type: oci, url: '127.0.0.1:{registry.address[1]}/images', insecure: true,
    username: {{env: REGISTRY_USER}}, password: {{env: REGISTRY_PASSWORD}}}}
  bucket: {{type: s3, url: s3://acme-images/disks, endpoint: '{s3}', region: us-east-1,
    access_key: {{env: S3_KEY}}, secret_key: {{env: S3_SECRET}}}}
"""
        )
        (root / "catalog/channels.yaml").write_text(
            "channels:\n"
            "  beta: {entry: true, rollback_window: 1}\n"
            "  stable: {from: beta, gates: [tests, rollback_ready], rollback_window: 1}\n"
        )
        environment = {
            "VC_USER": center.user,
            "VC_PASSWORD": center.password,
            "REGISTRY_USER": USER,
            "REGISTRY_PASSWORD": PASSWORD,
            "S3_KEY": "test",
            "S3_SECRET": "test",
        }
        yield Fleet(root, cloud, center, registry, environment)


def test_a_version_goes_everywhere_and_back(fleet: Fleet, tmp_path: Path) -> None:
    for seed, text in enumerate((GOOD, BAD), start=1):
        fleet.build(text, seed, tmp_path)
        placed = fleet.imagectl("publish", text, *TO)["placements"]
        where = {(each["location"], each["format"]) for each in placed}
        assert where == {
            ("gce-test", "gce"),
            ("vsphere-test", "ova"),
            *((name, each) for name in ("bucket", "local", "registry") for each in ("gce", "ova")),
        }
        assert all(each["new"] for each in placed)
        enter(fleet, text)
        moved = fleet.imagectl("promote", "stable", text)
        assert moved["generation"] is not None
    assert fleet.cloud.compute.image(PROJECT, "debian-ci-20261120-2-amd64")

    again = fleet.imagectl("publish", BAD, *TO)["placements"]
    assert not any(each["new"] for each in again)

    verified = fleet.imagectl("verify")
    assert verified["ok"]
    stable = next(each for each in verified["channels"] if each["channel"] == "stable")
    assert stable["required"] == sorted(EVERYWHERE)
    assert {each["version"] for each in stable["checked"]} == {"20261120.1", "20261120.2"}

    assert fleet.imagectl("rollback", "stable", "--check")
    fleet.imagectl("rollback", "stable", "--reason", "broken DNS")
    for location in EVERYWHERE:
        wanted = "ova" if location == "vsphere-test" else "gce"
        pulled = ("--location", location, "--format", wanted)
        resolved = fleet.imagectl("resolve", "debian-ci:stable", *pulled)
        assert resolved["version"] == GOOD.partition("@")[2]

    path = f"projects/{PROJECT}/global/images/debian-ci-20261120-"
    good, bad = f"{path}1-amd64", f"{path}2-amd64"

    def families() -> list[str]:
        return [fleet.cloud.compute.resources[each].get("family", "") for each in (good, bad)]

    assert families() == ["debian-ci-stable", ""]
    for image, family in ((good, ""), (bad, "debian-ci-stable")):
        fleet.cloud.compute.resources[image]["family"] = family  # as a killed rollback leaves it
    verified = fleet.imagectl("verify")
    assert (verified["ok"], verified["behind"]) == (True, [])
    assert families() == ["debian-ci-stable", ""]


def test_what_is_lost_in_one_place_is_told_and_stops_a_release(
    fleet: Fleet, tmp_path: Path
) -> None:
    """P6. Somebody deletes the image that stable points to from one project."""
    fleet.build(NEXT, 3, tmp_path)
    fleet.imagectl("publish", NEXT)
    enter(fleet, NEXT)
    image = f"projects/{PROJECT}/global/images/debian-ci-20261120-1-amd64"
    fleet.cloud.compute.remove(image)

    verified = fleet.imagectl("verify", "stable", status=1)
    (lost,) = [
        each
        for channel in verified["channels"]
        for each in channel["checked"]
        if each["state"] != "good"
    ]
    assert (lost["version"], lost["location"], lost["state"]) == (
        "20261120.1",
        "gce-test",
        "missing",
    )
    refused = fleet.imagectl("promote", "stable", NEXT, status=3)["error"]
    assert any("20261120.1" in each and "gce-test" in each for each in refused["reasons"])

    fleet.imagectl("publish", GOOD)
    assert fleet.imagectl("verify", "stable")["ok"]
    fleet.imagectl("promote", "stable", NEXT)


def enter(fleet: Fleet, text: str) -> None:
    """What the end of a build does: the version arrives in the entry channel."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in fleet.environment.items():
            patched.setenv(name, value)
        project = fleet.opened()
        try:
            release.enter(project.releasing, project.policy, ref(text))
        finally:
            project.close()
