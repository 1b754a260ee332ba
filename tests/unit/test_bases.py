from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pytest

from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.bases import LocalBases
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.store import FileStore
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, NotFound
from imagectl.model.image import DiskBase, Image, Provision
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256
from imagectl.services.ports import Progress, Workspace
from imagectl.testing.build import RecordingProgress

DISK = b"not really a disk"
SHA256 = Sha256(hashlib.sha256(DISK).hexdigest())


def no_mirror() -> Mirror:
    raise AssertionError("a disk needs no mirror")


def no_toolchain(progress: Progress) -> Toolchain:
    raise AssertionError("the toolchain is not needed before the checksum is right")


def make(folder: Path, source: str, sha256: Sha256) -> None:
    bases = LocalBases(
        folder,
        no_mirror,
        FileStore(folder / "store"),
        no_toolchain,
        BaseCache(folder / "bases"),
    )
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
    assert bases.inputs(image) == sha256
    work = Workspace("1", folder, folder, folder / "log", 0)
    bases.make(image, None, work, RecordingProgress())


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
