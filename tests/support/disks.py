"""Small disks for tests, made with this machine's own e2fsprogs."""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from imagectl.adapters import process
from imagectl.adapters.disk.partitions import (
    MIB,
    ROOT_START,
    TAIL,
    Partition,
    encode_table,
    layout,
)
from imagectl.errors import Failed

SIZE = ROOT_START + 24 * MIB + TAIL
IDS = [UUID(int=number << 64 | 0x4000 << 48 | number) for number in range(1, 5)]
SUPERBLOCK = ROOT_START + 1024

FEATURE_COMPAT, FEATURE_INCOMPAT = 0x5C, 0x60
STATE = 0x3A
FREE_INODES = 0x10
INODE_SIZE = 0x58
LOG_CLUSTER_SIZE = 0x1C

NAME = "its_name"
NO_NAMES = (b"../../up", b"a/../../", b"a\0middle")
"""What no file can be called. As long as NAME."""

CAP_SYS_ADMIN = 21
"""capabilities(7): who has it may mount."""


def make_disk(
    out: Path,
    tree: Path,
    *,
    commands: Sequence[str] = (),
    options: Sequence[str] = (),
    partitions: Sequence[Partition] | None = None,
) -> Path:
    """A disk of 153 MiB with the files of *tree*, then changed by debugfs' *commands*: what only
    root may make in a folder (owners, devices, capabilities) anybody may make in an image."""
    table = encode_table(SIZE, IDS[0], partitions or layout(SIZE, *IDS[1:]))
    with out.open("wb") as file:
        file.write(table.head)
        file.truncate(SIZE)
        file.seek(SIZE - len(table.tail))
        file.write(table.tail)
    run(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-d", str(tree)),
        *("-E", f"offset={ROOT_START},root_owner=0:0", "-O", "^orphan_file", *options),
        *(str(out), "24M"),
    )
    if commands:
        text = "".join(f"{command}\n" for command in commands)
        done = subprocess.run(
            [process.find("debugfs"), "-w", "-f", "/dev/stdin", f"{out}?offset={ROOT_START}"],
            input=text.encode("latin-1"),
            capture_output=True,
            check=True,
        )
        complaints = done.stderr.decode().splitlines()[1:]  # after its version
        assert not complaints, complaints
    return out


def run(program: str, *arguments: str) -> None:
    subprocess.run([process.find(program), *arguments], check=True, capture_output=True)


def mount_xfs(disk: Path, at: Path, options: str = "loop") -> None:
    """Mount it by the kernel; skips the test where that is not allowed or not known here. All else
    that goes wrong is an error."""
    try:
        process.run(["mount", "-t", "xfs", "-o", options, str(disk), str(at)])
    except Failed:
        if (reason := _why_no_xfs()) is None:
            raise
        pytest.skip(reason)


def _why_no_xfs() -> str | None:
    """What this process or machine lacks. Asked after the kernel was told to mount some: it loads
    what it needs for that only then."""
    status = Path("/proc/self/status").read_text()
    may = int(status.split("CapEff:")[1].split()[0], 16)
    if not may >> CAP_SYS_ADMIN & 1:
        return "only root mounts XFS, and not in every container"
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]:
        return "a user namespace mounts no XFS"
    if "xfs" not in Path("/proc/filesystems").read_text().split():
        return "this machine's kernel does not know XFS"
    free = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    if free.returncode:
        return f"this machine gives no loop device: {free.stderr.strip()}"
    return None


def rename(disk: Path, name: bytes) -> None:
    """Give the file NAME another one, as no program would."""
    with disk.open("r+b") as file:
        file.seek(file.read().index(os.fsencode(NAME)))
        file.write(name)


def peek(disk: Path, field: int, form: str) -> int:
    """A number of the superblock."""
    with disk.open("rb") as file:
        file.seek(SUPERBLOCK + field)
        (number,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return int(number)


def poke(disk: Path, field: int, form: str, number: int) -> None:
    """Change a number of the superblock. Its checksum is not mended: the reader does not ask."""
    with disk.open("r+b") as file:
        file.seek(SUPERBLOCK + field)
        file.write(struct.pack(form, number))


def content(size: int) -> bytes:
    """Bytes that no two blocks have in common."""
    seed = b"".join(struct.pack("<I", zlib.crc32(struct.pack("<I", n))) for n in range(size // 4))
    return seed.ljust(size, b".")


def sparse_file(path: Path, size: int, pieces: Sequence[tuple[int, bytes]]) -> Path:
    """A file with *pieces*, (offset, content), and holes in between."""
    with path.open("wb") as file:
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)
        file.truncate(size)
    return path
