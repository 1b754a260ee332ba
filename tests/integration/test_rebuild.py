"""The same bytes again, for real: all the way through Packer, QEMU and Ansible (P9).

How incident A could have ended: a version was deleted, everywhere; the project's definition is
another one by now; the mirror is gone. One command makes it again, to the same sha256, and puts it
back where consumers pull it from. It is not booted there: these bytes booted, and passed their
tests, when they were built. Each takes six minutes and more; in every run, the README's tour makes
a version again, to the same bytes.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from peers.registry import PASSWORD, USER, docker_registry
from support.installed import answered
from support.projects import new_project, release
from support.toolchains import share_toolchain

from imagectl.bootstrap.project import open_project
from imagectl.model.version import Placement, Reproducible, Version

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(2400)]

GONE = """
mirror:
  debian: http://127.0.0.1:9/debian
  security: http://127.0.0.1:9/debian-security
"""
SMALL = """\
summary: a small image whose playbook also fetches
base: {debian: {suite: bookworm}}
disk_size: 2G
build: {cpus: 1}
provision: {playbook: playbooks/small.yml}
suites: [tests/images/test_small.py]
formats: [qcow2, gce]
locations: {required: [local]}
"""
PLAYBOOK = """\
- hosts: all
  tasks:
    - name: Install a package
      ansible.builtin.apt:
        name: tree
        update_cache: true
"""
SUITE = "def test_has_tree(host):\n    assert host.check_output('tree --version')\n"


def only_version(root: Path) -> Version:
    project = open_project(root)
    try:
        (version,) = project.catalog.snapshot().versions.values()
        return version
    finally:
        project.close()


def placements(root: Path, version: Version) -> Sequence[Placement]:
    project = open_project(root)
    try:
        placed = project.catalog.snapshot().placed(version.ref)
    finally:
        project.close()
    assert {each.location for each in placed} == {"local", "registry"}
    return placed


def pulled(root: Path, placement: Placement, to: Path) -> str:
    """The digest of what a consumer gets there."""
    project = open_project(root)
    try:
        project.locations[placement.location].fetch(placement, to, lambda _: None)
    finally:
        project.close()
    with to.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    to.unlink()
    return found


def clean_up(root: Path, version: Version) -> None:
    """Let newer versions come, and cleanups take this one down, until nothing of it is left but
    what it takes to make it again."""
    (root / "catalog/channels.yaml").write_text(
        "channels: {beta: {entry: true, rollback_window: 1}}\n"
        "retention: {keep_last: 1, min_age: 0s, unused: 0s, grace: 0s, max_share: 100%}\n"
    )
    project = open_project(root)
    try:
        for number in (1, 2):
            release(project, f"small@{version.id.day}.{version.id.serial + number}")
    finally:
        project.close()
    plan = str(root / "plan.json")
    for _ in range(4):
        answered(root, "cleanup", "plan", "--out", plan)
        answered(root, "cleanup", "apply", plan)


def lose_disks(root: Path, version: Version) -> None:
    """The store keeps the disks of a version as long as nobody has seen it made twice."""
    assert version.tree is not None
    for digest in (*(each.sha256 for each in version.artifacts), version.tree.stored):
        for path in (root / ".imagectl/store").rglob(digest):
            path.unlink()


def assert_no_disks(root: Path, version: Version) -> None:
    assert version.tree is not None
    digests = [*(each.sha256 for each in version.artifacts), version.tree.stored]
    assert not [path for each in digests for path in (root / ".imagectl").rglob(each)]


def make_gone(root: Path) -> None:
    """Everything that the version came from, but for what imagectl keeps of it; and a newer
    definition."""
    settings = root / "imagectl.yaml"
    settings.write_text(settings.read_text() + GONE)
    (root / "playbooks/small.yml").write_text("- hosts: nobody\n")
    (root / "images/small/image.lock").unlink()


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rebuild") / "images"
    new_project(root).close()
    share_toolchain(tmp_path_factory, root)
    (root / "images/small").mkdir()
    (root / "images/small/image.yaml").write_text(SMALL)
    (root / "playbooks/small.yml").write_text(PLAYBOOK)
    (root / "tests/images/test_small.py").write_text(SUITE)
    return root


@pytest.fixture
def registry(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second place for the image: Debian's docker-registry, as the location ``registry``."""
    monkeypatch.setenv("REGISTRY_USER", USER)
    monkeypatch.setenv("REGISTRY_PASSWORD", PASSWORD)
    with docker_registry() as running:
        settings = root / "imagectl.yaml"
        settings.write_text(
            settings.read_text().replace(
                "locations:\n",
                f"""locations:
  registry: {{type: oci, url: '127.0.0.1:{running.address[1]}/images', insecure: true,
    username: {{env: REGISTRY_USER}}, password: {{env: REGISTRY_PASSWORD}}}}
""",
            )
        )
        yield


@pytest.mark.parametrize("twice", [False, True])
def test_a_version_that_was_deleted_is_made_again_offline(
    twice: bool, root: Path, registry: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(root, "build", "small", *(["--twice"] if twice else []))
    version = only_version(root)
    assert version.tests.ok
    assert version.origin is not None
    assert version.origin.reproducible is (Reproducible.YES if twice else Reproducible.UNPROVEN)
    answered(root, "publish", str(version.ref), "--to", "registry")
    clean_up(root, version)
    if not twice:
        lose_disks(root, version)
    assert_no_disks(root, version)
    make_gone(root)
    back = answered(root, "cleanup", "undelete", str(version.ref))
    assert back["version"] == str(version.ref)
    for placement in placements(root, version):
        artifact = next(each for each in version.artifacts if each.format is placement.format)
        found = pulled(root, placement, tmp_path / "pulled")
        with capsys.disabled():
            sys.stdout.write(
                f"\n{version.ref} {artifact.format.value} in {placement.location}"
                f"\n  built   {artifact.sha256}\n  rebuilt {found}\n"
            )
        assert found == artifact.sha256
    shown = answered(root, "show", str(version.ref))
    assert shown["keeping"]["stage"]["stage"] == "active"
    assert [path.name for path in (root / ".imagectl/runs").iterdir()] == []
