"""The form of Google Compute Engine: read by GNU tar and by Python's, and by our own reader."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.disks import content, sparse_file

from imagectl.adapters.disk import blocks, gce
from imagectl.adapters.disk.blocks import BLOCK
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, Corrupt
from imagectl.model.lock import Inputs, LockedToolchain
from imagectl.model.names import Sha256

GIB = 1 << 30
MIB = 1 << 20
NOWHERE = Toolchain(Path("/nonexistent"), LockedToolchain("trixie", Sha256("0" * 64), Inputs()))

FEW = [(0, b"table"), (128 * MIB, content(3 * BLOCK)), (160 * MIB - 1, b"e")]
MANY = [(number * 2 * BLOCK, b"%d" % number) for number in range(200)]


def made(tmp_path: Path, size: int, pieces: Sequence[tuple[int, bytes]]) -> tuple[Path, Path]:
    """A raw disk, and the gzipped tar of it."""
    raw = sparse_file(tmp_path / "in.raw", size, pieces)
    packed = tmp_path / "packed"
    with raw.open("rb") as disk, gzip.open(packed, "wb", compresslevel=1) as file:
        for piece in gce.encode(disk.fileno(), size):
            file.write(piece)
    return raw, packed


@pytest.mark.parametrize("pieces", [[], FEW, MANY, MANY[:4], MANY[:5], MANY[:25], MANY[:26]])
def test_gnu_tar_makes_the_same_disk_of_it(
    tmp_path: Path, pieces: Sequence[tuple[int, bytes]]
) -> None:
    size = 160 * MIB
    raw, packed = made(tmp_path, size, pieces)
    subprocess.run(["tar", "-C", tmp_path, "-xSzf", packed], check=True)
    again = tmp_path / "disk.raw"
    assert blocks.describe_raw(again).sha256 == blocks.describe_raw(raw).sha256
    assert again.stat().st_size == size
    blocks.check_holds(raw, gce.read_gce(packed), packed)


def test_it_is_as_demanded(tmp_path: Path) -> None:
    _, packed = made(tmp_path, 160 * MIB, FEW)
    with tarfile.open(packed, "r:gz") as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.type, member.size) == ("disk.raw", b"S", 160 * MIB)
        assert (member.mtime, member.uid, member.uname) == (0, 0, "root")
    tar_itself = gzip.decompress(packed.read_bytes())
    assert tar_itself[257:265] == b"ustar  \0"
    assert len(tar_itself) % 10240 == 0


def test_a_disk_beyond_octal_numbers(tmp_path: Path) -> None:
    size = 40 * GIB
    raw, packed = made(tmp_path, size, [(0, b"a"), (9 * GIB, b"b"), (size - 1, b"c")])
    with tarfile.open(packed, "r:gz") as tar:
        (member,) = tar.getmembers()
        assert member.size == size
    blocks.check_holds(raw, gce.read_gce(packed), packed)
    listed = subprocess.run(["tar", "-tvzf", packed], check=True, capture_output=True, text=True)
    assert str(size) in listed.stdout


def test_another_disk_is_told(tmp_path: Path) -> None:
    raw, packed = made(tmp_path, 160 * MIB, FEW)
    with raw.open("r+b") as disk:
        disk.seek(128 * MIB + 5)
        disk.write(b"!")
    with pytest.raises(Corrupt, match="does not hold"):
        blocks.check_holds(raw, gce.read_gce(packed), packed)


@pytest.mark.parametrize("at", [0, 1000, 100_000, -6])
def test_a_damaged_file_is_told(tmp_path: Path, at: int) -> None:
    _, packed = made(tmp_path, 160 * MIB, FEW)
    damaged = bytearray(packed.read_bytes())
    damaged[at] ^= 0x10
    packed.write_bytes(damaged)
    with pytest.raises(Corrupt, match="is damaged"):
        list(gce.read_gce(packed))


@pytest.mark.parametrize("length", [0, 5, 100, 2000])
def test_a_truncated_file_is_told(tmp_path: Path, length: int) -> None:
    _, packed = made(tmp_path, 160 * MIB, FEW)
    packed.write_bytes(packed.read_bytes()[:length])
    with pytest.raises(Corrupt, match="is damaged"):
        list(gce.read_gce(packed))


def test_another_tar_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other.raw"), io.BytesIO())
    with pytest.raises(Corrupt, match="is damaged") as caught:
        list(gce.read_gce(tmp_path / "other"))
    assert "disk.raw" in caught.value.why


@pytest.mark.parametrize("size", [GIB + 512, GIB // 2])
def test_only_whole_gibibytes(tmp_path: Path, size: int) -> None:
    raw = sparse_file(tmp_path / "raw", size, [])
    with pytest.raises(BuildFailed, match="cannot be given to Google") as caught:
        gce.write_gce(raw, NOWHERE, tmp_path / "out")
    assert "formats" in caught.value.hint
    assert list(tmp_path.iterdir()) == [raw]
