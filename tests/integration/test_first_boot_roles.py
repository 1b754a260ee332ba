"""Real machines make, when they first boot, what no image may hold; and what becomes of a disk
whose layout is not understood.

One image, and a second one that begins with the first one's disk, behind which there is a partition
of LVM.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import UUID

import pytest
from support.installed import answered
from support.projects import new_project

from imagectl.adapters.disk.ext4 import Ext4Source
from imagectl.adapters.disk.partitions import (
    MIB,
    SECTOR,
    TABLE_BYTES,
    Partition,
    decode_table,
    encode_table,
)
from imagectl.adapters.disk.root import LVM, find_root
from imagectl.adapters.disk.tree import NotUnderstood
from imagectl.bootstrap.project import open_project
from imagectl.model.names import Sha256
from imagectl.model.version import Reproducible, Version

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(3600)]


DATABASE = """\
summary: a database server without a database in its image
base: {debian: {suite: bookworm}}
disk_size: 3G
provision:
  roles: [first_boot_snakeoil, first_boot_postgresql, first_boot_postfix]
  playbook: playbooks/secret.yml
suites: [tests/images/test_database.py]
formats: [raw]
locations: {required: [local]}
volatile:
  - path: etc/app/secret
    action: first-boot
    reason: each machine has its own
    command: head -c 16 /dev/urandom | base64 >/etc/app/secret
"""
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.file: {path: /etc/app, state: directory, mode: "0755"}
    - ansible.builtin.copy: {dest: /etc/app/secret, content: "that of the build", mode: "0600"}
"""
DATABASE_SUITE = """\
import pytest


def test_the_machine_is_well(host):
    assert host.run("systemctl is-system-running --wait").stdout.strip() == "running"


@pytest.mark.parametrize("path", [
    "/etc/aliases.db",
    "/etc/app/secret",
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
])
def test_it_has_made_what_the_image_has_not(host, path):
    assert host.file(path).size > 0
    assert "of the build" not in host.file(path).content.decode("latin-1")


def test_its_database_works(host):
    said = host.check_output("runuser -u postgres -- psql -Atc 'select 6 * 7'")
    assert said == "42"


def test_nothing_is_left_unfinished(host):
    assert host.check_output("ls /var/lib/imagectl/unfinished") == ""
"""
KEPT = """\
summary: a disk that is kept as it is
base: {{disk: {{source: given.raw, sha256: {sha256}}}}}
disk_size: 4G
provision: {{roles: [baseline]}}
suites: [tests/images/test_database.py]
formats: [qcow2, raw]
locations: {{required: [local]}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("first-boot") / "images"
    new_project(root).close()
    (root / "images/database").mkdir()
    (root / "images/database/image.yaml").write_text(DATABASE)
    (root / "playbooks/secret.yml").write_text(PLAYBOOK)
    (root / "tests/images/test_database.py").write_text(DATABASE_SUITE)
    return root


def built(root: Path, name: str) -> tuple[Version, Path]:
    """The one version of an image, with its raw disk."""
    answered(root, "build", name)
    project = open_project(root)
    try:
        (version,) = [
            each for each in project.catalog.snapshot().versions.values() if each.image == name
        ]
        (raw,) = [each for each in version.artifacts if each.format.value == "raw"]
        return version, project.store.path(raw.sha256)
    finally:
        project.close()


@pytest.fixture(scope="module")
def database(root: Path) -> tuple[Version, Path]:
    """Its suite has passed on a machine that booted from it."""
    return built(root, "database")


def paths_of(raw: Path, partition: Partition) -> set[bytes]:
    with Ext4Source(raw, partition) as source:
        return {entry.path for entry in source.entries()}


VOLATILE = (
    b"etc/aliases.db",
    b"etc/app/secret",
    b"etc/postgresql/15/main",
    b"etc/ssl/certs/ssl-cert-snakeoil.pem",
    b"etc/ssl/private/ssl-cert-snakeoil.key",
    b"var/lib/postgresql/15/main",
)


def test_the_image_has_nothing_of_what_machines_make(database: tuple[Version, Path]) -> None:
    found = paths_of(database[1], find_root(database[1]).partition)
    assert b"usr/lib/postgresql/15/bin/postgres" in found
    assert not found.intersection(VOLATILE)


def with_lvm(raw: Path, out: Path) -> Path:
    """The disk with a partition more, which begins as LVM's begin."""
    out.write_bytes(raw.read_bytes())
    size = raw.stat().st_size + 65 * MIB
    with out.open("r+b") as file:
        known = decode_table(file.read(TABLE_BYTES))
        first = raw.stat().st_size // SECTOR
        more = Partition(2, LVM, UUID(int=2), first, first + 63 * MIB // SECTOR - 1, "data")
        table = encode_table(size, UUID(int=1), [*known, more])
        file.seek(SECTOR)
        file.write(table.head[SECTOR:])
        file.seek(more.offset + SECTOR)
        file.write(b"LABELONE" + bytes(16) + b"LVM2 001")
        file.truncate(size)
        file.seek(size - len(table.tail))
        file.write(table.tail)
    return out


def test_a_disk_that_is_not_understood_is_kept_as_it_is(
    root: Path, database: tuple[Version, Path]
) -> None:
    given = with_lvm(database[1], root / "given.raw")
    with given.open("rb") as opened:
        sha256 = Sha256(hashlib.file_digest(opened, "sha256").hexdigest())
    (root / "images/kept").mkdir()
    (root / "images/kept/image.yaml").write_text(KEPT.format(sha256=sha256))
    version, raw = built(root, "kept")
    assert version.tree is None
    assert version.origin is not None
    assert version.origin.reproducible is Reproducible.NO
    assert "partition 2 belongs to LVM" in version.origin.cause
    assert version.tests.ok
    assert raw.stat().st_size == 4 << 30
    with pytest.raises(NotUnderstood):
        find_root(raw)
    # Its first partition can be read all the same, and shows that nothing of the build is left:
    # not even what machines make when they first boot, which the build's machine was not to make.
    with raw.open("rb") as opened:
        partition = decode_table(opened.read(TABLE_BYTES))[0]
    found = paths_of(raw, partition)
    assert not found.intersection(VOLATILE)
    assert b"root/.ssh/authorized_keys" not in found
    assert b"etc/apt/apt.conf.d/zz-imagectl-build" not in found
    assert not [path for path in found if path.startswith(b"etc/ssh/ssh_host_")]
