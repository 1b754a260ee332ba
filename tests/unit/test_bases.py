from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pytest
from support.supplies import session

from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.bases import LocalBases
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.store import FileStore
from imagectl.errors import BuildFailed, ImagectlError, NotFound
from imagectl.model.image import DiskBase, Image, Provision
from imagectl.model.lock import Access
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256
from imagectl.services.ports.workspaces import Workspace
from imagectl.testing.build import RecordingProgress

DISK = b"not really a disk"
SHA256 = Sha256(hashlib.sha256(DISK).hexdigest())


def make(folder: Path, source: str, sha256: Sha256, access: Access = Access.RECORD) -> None:
    """Up to the point at which a disk that is the right one would need the toolchain."""
    image = Image(
        ImageName("given"),
        "x",
        DiskBase(source, sha256),
        Architecture.AMD64,
        1 << 30,
        Provision(),
        (PurePosixPath("t.py"),),
        (Format.QCOW2,),
        (LocationName("local"),),
    )
    work = Workspace("1", folder / "work", folder, folder / "log", 0)
    work.folder.mkdir(exist_ok=True)
    with session(folder, folder, access=access) as ours:
        bases = LocalBases(
            ours,
            FileStore(folder / "store"),
            BaseCache(folder / "bases"),
            PackerTemplates(folder, folder / "packer-cache"),
        )
        bases.make(image, None, work, RecordingProgress())


def kept(folder: Path) -> InputStore:
    return InputStore(folder / "inputs")


def test_a_wrong_checksum_is_told_with_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DISK)
    wrong = Sha256("0" * 64)
    with pytest.raises(BuildFailed, match="not the one that was meant") as caught:
        make(tmp_path, "disk.img", wrong)
    assert SHA256 in caught.value.why
    assert wrong in caught.value.why
    assert caught.value.where == "disk.img"


def test_a_missing_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="not there"):
        make(tmp_path, "no-such-disk.img", SHA256)


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="cannot be fetched") as caught:
        make(tmp_path, "http://127.0.0.1:9/disk.img", SHA256)
    assert "refused" in caught.value.why


def test_the_right_disk_is_kept_for_the_next_build_and_for_rebuilds(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(DISK)
    with pytest.raises(ImagectlError, match="converting the base disk to raw"):  # no toolchain
        make(tmp_path, "disk.img", SHA256)
    assert kept(tmp_path).verify(SHA256).read_bytes() == DISK
    disk.unlink()
    with pytest.raises(ImagectlError, match="converting the base disk to raw"):
        make(tmp_path, "disk.img", SHA256, Access.OFFLINE)


def test_a_disk_that_is_wrong_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DISK)
    with pytest.raises(BuildFailed):
        make(tmp_path, "disk.img", Sha256("0" * 64))
    assert list(kept(tmp_path).digests()) == []


def test_a_kept_disk_that_was_damaged_is_had_again(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DISK)
    with pytest.raises(ImagectlError, match="converting"):
        make(tmp_path, "disk.img", SHA256)
    stored = kept(tmp_path).find(SHA256)
    stored.chmod(0o600)
    stored.write_bytes(b"flipped")
    with pytest.raises(ImagectlError, match="converting"):
        make(tmp_path, "disk.img", SHA256)
    assert kept(tmp_path).verify(SHA256).read_bytes() == DISK


def test_offline_a_disk_that_is_not_kept_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DISK)
    with pytest.raises(NotFound, match="not in the input store"):
        make(tmp_path, "disk.img", SHA256, Access.OFFLINE)
