"""VMware's form: read by qemu-img, and piece by piece against its specification."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.disks import content, sparse_file

from imagectl.adapters.disk import vmdk
from imagectl.adapters.disk.blocks import BLOCK, describe_raw
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed
from imagectl.model.lock import Inputs, LockedToolchain
from imagectl.model.names import Sha256

MIB = 1 << 20
NOWHERE = Toolchain(Path("/nonexistent"), LockedToolchain("trixie", Sha256("0" * 64), Inputs()))
TABLE = 512 * BLOCK
"""Bytes of a disk that one grain table is for."""

DISKS = [
    (4 * MIB, []),
    (4 * MIB, [(0, b"first")]),
    (100 * MIB, [(0, b"a"), (TABLE, b"b"), (2 * TABLE + BLOCK + 7, content(5 * BLOCK))]),
    (300 * MIB, [(5 * TABLE, b"far")]),
    (100 * MIB + 512, [(100 * MIB + 511, b"last")]),
    (8 * MIB, [(0, os.urandom(3 * BLOCK))]),
]


def made(tmp_path: Path, size: int, pieces: Sequence[tuple[int, bytes]]) -> tuple[Path, Path]:
    raw = sparse_file(tmp_path / "in.raw", size, pieces)
    out = tmp_path / "out.vmdk"
    deflate = vmdk.load_deflate(Path("/"))
    with raw.open("rb") as disk, out.open("wb") as file:
        for piece in vmdk.encode(disk.fileno(), size, describe_raw(raw).sha256, deflate):
            assert len(piece) % 512 == 0
            file.write(piece)
    return raw, out


@pytest.mark.parametrize(("size", "pieces"), DISKS)
def test_qemu_reads_the_same_disk(
    tmp_path: Path, size: int, pieces: Sequence[tuple[int, bytes]]
) -> None:
    raw, out = made(tmp_path, size, pieces)
    for command in (
        ["compare", "-f", "raw", "-F", "vmdk", str(raw), str(out)],
        ["check", "-f", "vmdk", str(out)],
    ):
        done = subprocess.run(["qemu-img", *command], capture_output=True, text=True)
        assert (done.returncode, done.stderr, "Warning" in done.stdout) == (0, "", False)


def test_processors_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "all").mkdir()
    pieces = [(number * 3 * BLOCK, content(BLOCK + number)) for number in range(300)]
    _, everywhere = made(tmp_path / "all", 100 * MIB, pieces)
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        _, alone = made(tmp_path / "one", 100 * MIB, pieces)
    finally:
        os.sched_setaffinity(0, processors)
    assert alone.read_bytes() == everywhere.read_bytes()


def test_it_is_built_as_specified(tmp_path: Path) -> None:
    """Read in the other direction than it was written: from the footer to the grains."""
    _, out = made(tmp_path, 100 * MIB, [(0, b"a"), (TABLE + BLOCK, content(BLOCK))])
    stored = out.read_bytes()
    head = stored[:512]
    assert struct.unpack_from("<4sIIQQQQI", head) == (
        b"KDMV",
        3,
        0x30001,
        100 * MIB // 512,
        128,
        1,
        20,
        512,
    )
    assert head[73:77] == b"\n \r\n"
    assert struct.unpack_from("<H", head, 77) == (1,)
    footer, end = stored[-1024:-512], stored[-512:]
    assert end == bytes(512)
    (directory_at,) = struct.unpack_from("<Q", footer, 56)
    assert struct.unpack_from("<Q", head, 56) == (2**64 - 1,)
    assert footer[:56] + footer[64:] == head[:56] + head[64:]
    assert struct.unpack_from("<QII", stored, len(stored) - 1536) == (1, 0, 3)
    assert struct.unpack_from("<QII", stored, (directory_at - 1) * 512) == (1, 0, 2)
    tables = struct.unpack_from("<4I", stored, directory_at * 512)
    assert [bool(table) for table in tables] == [True, True, False, False]
    grain_of: dict[int, bytes] = {}
    for number, table in enumerate(tables):
        if table:
            assert struct.unpack_from("<QII", stored, (table - 1) * 512) == (4, 0, 1)
            for grain, at in enumerate(struct.unpack_from("<512I", stored, table * 512)):
                if at:
                    place, length = struct.unpack_from("<QI", stored, at * 512)
                    assert place == (number * 512 + grain) * 128
                    packed = stored[at * 512 + 12 : at * 512 + 12 + length]
                    grain_of[number * 512 + grain] = zlib.decompress(packed)
    assert grain_of == {0: b"a".ljust(BLOCK, b"\0"), 513: content(BLOCK)}


def test_its_ids_follow_from_what_it_holds(tmp_path: Path) -> None:
    raw, out = made(tmp_path, 4 * MIB, [(0, b"a")])
    text = out.read_bytes()[512 : 21 * 512].rstrip(b"\0").decode()
    assert f"CID={describe_raw(raw).sha256[:8]}\n" in text
    assert 'createType="streamOptimized"' in text
    assert 'RW 8192 SPARSE "disk.vmdk"' in text
    assert "in.raw" not in text


def test_only_whole_sectors(tmp_path: Path) -> None:
    raw = sparse_file(tmp_path / "raw", 1000, [])
    with pytest.raises(BuildFailed, match="1000 bytes cannot be a VMDK"):
        vmdk.write_vmdk(raw, Sha256("0" * 64), NOWHERE, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [raw]


def test_the_zlib_is_the_one_of_the_root(tmp_path: Path) -> None:
    deflate = vmdk.load_deflate(Path("/"))
    assert zlib.decompress(deflate(b"text" * 10_000)) == b"text" * 10_000
    assert zlib.decompress(deflate(b"")) == b""
    broken = tmp_path / "usr/lib/x86_64-linux-gnu/libz.so.1"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no library")
    with pytest.raises(OSError, match="libz"):
        vmdk.load_deflate(tmp_path)
