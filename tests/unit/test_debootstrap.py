from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.examples import digest
from support.trees import ROOT, ListSource, contents, file, folder

from imagectl.adapters.debootstrap import (
    apt_sources,
    base_files,
    first_boot_files,
    inputs_digest,
    make_base,
)
from imagectl.adapters.disk.tree import Kind, LayeredSource
from imagectl.adapters.mirrors import Mirror, host_mirror
from imagectl.errors import BuildFailed
from imagectl.model.image import DebianBase
from imagectl.model.lock import Archive, Index
from imagectl.model.names import Architecture, Sha256

BASE = DebianBase("bookworm", ("curl",))
MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")


def index(path: str, text: str = "signed", archive: Archive = Archive.DEBIAN) -> Index:
    return Index(archive, path, digest(text), len(text))


INDEXES = (
    index("dists/bookworm/InRelease"),
    index("dists/bookworm-updates/InRelease"),
    index("dists/bookworm-security/InRelease", archive=Archive.SECURITY),
)


def made_from(
    base: DebianBase = BASE,
    mirror: Mirror = MIRROR,
    epoch: int = 7,
    indexes: Sequence[Index] = INDEXES,
) -> Sha256 | None:
    return inputs_digest(base, Architecture.AMD64, mirror, epoch, indexes)


@pytest.mark.parametrize("at", range(len(INDEXES)))
def test_a_base_is_another_when_a_release_of_its_suites_is(at: int) -> None:
    changed = [*INDEXES]
    changed[at] = replace(changed[at], sha256=digest("signed later"))
    assert made_from(indexes=changed) != made_from()


@pytest.mark.parametrize(
    ("base", "mirror", "epoch"),
    [
        (replace(BASE, packages=("wget",)), MIRROR, 7),
        (replace(BASE, components=("main", "contrib")), MIRROR, 7),
        (BASE, Mirror("http://other.example/debian", None), 7),
        (BASE, MIRROR, 8),
    ],
)
def test_a_base_is_another_when_what_it_is_made_with_is(
    base: DebianBase, mirror: Mirror, epoch: int
) -> None:
    assert made_from(base, mirror, epoch) != made_from()


def test_a_base_is_the_same_whatever_else_was_read() -> None:
    """A playbook's own archives, the order, and indexes that the Release files vouch for."""
    more = (
        index("dists/sid/InRelease"),
        index("dists/bookworm/main/binary-amd64/Packages.xz"),
        *reversed(INDEXES),
    )
    assert made_from(indexes=more) == made_from()


def test_without_its_release_it_cannot_be_told_what_a_base_is_made_from() -> None:
    assert made_from(indexes=INDEXES[1:]) is None
    assert made_from(indexes=()) is None


def test_apt_in_the_image_uses_the_same_mirror() -> None:
    text = apt_sources(replace(BASE, components=("main", "contrib")), MIRROR)
    assert (
        text
        == """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
    )


def test_what_is_written_for_apt_is_read_as_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(apt_sources(BASE, MIRROR))
    assert host_mirror(tmp_path, tmp_path / "gone") == MIRROR


def files(epoch: int) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(base_files(epoch))) as archive:
        return {member.name: member for member in archive}


def test_our_own_files() -> None:
    found = files(1000)
    assert found["./etc/machine-id"].size == 0
    assert found["./usr/lib/imagectl/first-boot-keys"].mode == 0o755
    assert found["./etc/fstab"].mode == 0o644
    assert {member.mtime for member in found.values()} == {1000}
    assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}
    assert base_files(1000) == base_files(1000)


def test_every_unit_that_is_enabled_is_ours_or_systemds() -> None:
    found = files(1000)
    targets = {member.linkname for member in found.values() if member.issym()}
    assert targets
    for target in targets:
        ours = f".{target}" in found
        assert ours or target.rpartition("/")[2].startswith("systemd-"), target


def test_a_disk_made_elsewhere_is_given_the_first_boot_unit() -> None:
    elsewhere = ListSource([ROOT, folder(b"etc", mode=0o711), folder(b"usr"), file(b"etc/fstab")])
    found = contents(LayeredSource(elsewhere, first_boot_files(1000)))
    assert found[b"etc"][0].mode == 0o711
    assert found[b"usr/lib/imagectl/first-boot-keys"][0].mode == 0o755
    wanted = b"etc/systemd/system/multi-user.target.wants/first-boot-keys.service"
    assert found[wanted][0].target.removeprefix(b"/") in found
    assert {path for path in found if found[path][0].kind is not Kind.DIRECTORY} == {
        b"etc/fstab",
        b"usr/lib/imagectl/first-boot-keys",
        b"usr/lib/systemd/system/first-boot-keys.service",
        b"etc/systemd/system/ssh.service.requires/first-boot-keys.service",
        wanted,
    }


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="arm64"):
        make_base(BASE, Architecture.ARM64, MIRROR, 1000, tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
