"""Where a disk's files are, whoever made it; and, where that is not understood, why, in words."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from support import disks
from support.trees import contents

from imagectl.adapters.disk.partitions import (
    BIOS_BOOT,
    EFI_SYSTEM,
    LINUX_DATA,
    MIB,
    ROOT_X86_64,
    Partition,
    encode_table,
)
from imagectl.adapters.disk.root import FileSystem, find_root, open_root
from imagectl.adapters.disk.tree import NotUnderstood
from imagectl.errors import Corrupt

BOOT = UUID("bc13c2ff-59e6-4262-a352-b275fd6f7172")
HOME = UUID("933ac7e1-2eb4-4f13-b844-0e14e2aef915")
WINDOWS = UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")

Write = Callable[[Path, int], None]
"""Puts something into a disk from a byte on."""


@dataclass(frozen=True, slots=True)
class Part:
    kind: UUID | int
    write: Write
    mib: int = 16


def nothing(disk: Path, offset: int) -> None:
    pass


def magic(place: int, text: bytes) -> Write:
    def write(disk: Path, offset: int) -> None:
        with disk.open("r+b") as file:
            file.seek(offset + place)
            file.write(text)

    return write


def ext4(tmp_path: Path, *names: str, size: int = 16) -> Write:
    def write(disk: Path, offset: int) -> None:
        tree = tmp_path / f"tree{offset}"
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(name)
        tree.mkdir(exist_ok=True)
        disks.run(
            *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-d", str(tree)),
            *("-E", f"offset={offset}", "-O", "^orphan_file", str(disk), f"{size}M"),
        )

    return write


def xfs(tmp_path: Path, name: str) -> Write:
    def write(disk: Path, offset: int) -> None:
        content, prototype, own = tmp_path / "c", tmp_path / "prototype", tmp_path / "xfs"
        content.write_text(name)
        prototype.write_text(
            f"boot\n0 0\nd--755 0 0\netc d--755 0 0\n{name} ---644 0 0 {content}\n$\n$\n"
        )
        with own.open("wb") as file:
            file.truncate(320 * MIB)
        disks.run("mkfs.xfs", "-q", "-p", str(prototype), str(own))
        disks.run(
            *("dd", f"if={own}", f"of={disk}", "bs=1M", f"seek={offset // MIB}"),
            *("conv=notrunc,sparse", "status=none"),
        )

    return write


def gpt(out: Path, *parts: Part) -> Path:
    partitions, first = [], 1
    for number, part in enumerate(parts, start=1):
        assert isinstance(part.kind, UUID)
        start, first = first * MIB // 512, first + part.mib
        partitions.append(
            Partition(number, part.kind, UUID(int=number), start, first * MIB // 512 - 1, "")
        )
    size = (first + 1) * MIB
    table = encode_table(size, UUID(int=99), partitions)
    with out.open("wb") as file:
        file.write(table.head)
        file.truncate(size)
        file.seek(size - len(table.tail))
        file.write(table.tail)
    for part, partition in zip(parts, partitions, strict=True):
        part.write(out, partition.offset)
    return out


def mbr(out: Path, *parts: Part, logical: Sequence[Part] = ()) -> Path:
    """Primary partitions, then logical ones in an extended partition, each behind its table."""
    sector = MIB // 512

    def entry(kind: int, first: int, count: int) -> bytes:
        return struct.pack("<B3xB3xII", 0, kind, first, count)

    first, entries, written = 1, [], []
    for part in parts:
        assert isinstance(part.kind, int)
        entries.append(entry(part.kind, first * sector, part.mib * sector))
        written.append((part, first))
        first += part.mib
    start, tables = first, []
    for number, part in enumerate(logical):
        assert isinstance(part.kind, int)
        own = entry(part.kind, sector, part.mib * sector)
        following = first + 1 + part.mib
        more = number + 1 < len(logical)
        link = entry(0x05, (following - start) * sector, 1) if more else bytes(16)
        tables.append((first, own + link))
        written.append((part, first + 1))
        first = following
    if logical:
        entries.append(entry(0x0F, start * sector, (first - start) * sector))
    with out.open("wb") as file:
        file.truncate((first + 1) * MIB)
        for place, table in [(0, b"".join(entries)), *tables]:
            file.seek(place * MIB + 446)
            file.write(table.ljust(64, b"\0") + b"\x55\xaa")
    for part, begin in written:
        part.write(out, begin * MIB)
    return out


def names(disk: Path) -> set[bytes]:
    with open_root(disk) as source:
        return set(contents(source)) - {b"", b"lost+found"}


def cause(disk: Path) -> str:
    with pytest.raises(NotUnderstood) as caught:
        find_root(disk)
    assert caught.value.where == str(disk)
    return caught.value.why


def test_the_one_partition_with_files(tmp_path: Path) -> None:
    """Beside it are those of Debian's and Amazon's images: boot loader, EFI, swap, unused."""
    disk = gpt(
        tmp_path / "disk",
        Part(BIOS_BOOT, magic(0, b"\xeb\x63")),
        Part(EFI_SYSTEM, magic(54, b"FAT16   ")),
        Part(UUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), magic(4086, b"SWAPSPACE2")),
        Part(ROOT_X86_64, ext4(tmp_path, "etc/os-release")),
        Part(LINUX_DATA, nothing),
    )
    found = find_root(disk)
    assert (found.partition.number, found.filesystem) == (4, FileSystem.EXT4)
    assert names(disk) == {b"etc", b"etc/os-release"}


def test_xfs_is_found_and_read(tmp_path: Path) -> None:
    disk = gpt(tmp_path / "disk", Part(LINUX_DATA, xfs(tmp_path, "os-release"), 320))
    assert find_root(disk).filesystem is FileSystem.XFS
    assert names(disk) == {b"etc", b"etc/os-release"}


def test_mbr_primary_and_logical(tmp_path: Path) -> None:
    root = Part(0x83, ext4(tmp_path, "etc/os-release"))
    disk = mbr(tmp_path / "disk", Part(0x82, nothing), root)
    assert find_root(disk).partition.number == 2
    assert names(disk) == {b"etc", b"etc/os-release"}
    disk = mbr(tmp_path / "disk", Part(0x82, nothing), logical=[Part(0x83, nothing), root])
    assert find_root(disk).partition.number == 6
    assert names(disk) == {b"etc", b"etc/os-release"}


def test_a_file_system_on_the_bare_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(16 * MIB))
    ext4(tmp_path, "a")(disk, 0)
    assert find_root(disk).partition.number == 0
    assert names(disk) == {b"a"}


def test_empty_file_systems_beside_it_do_not_count(tmp_path: Path) -> None:
    disk = gpt(
        tmp_path / "disk",
        Part(LINUX_DATA, ext4(tmp_path)),
        Part(LINUX_DATA, ext4(tmp_path, "etc/os-release")),
    )
    assert find_root(disk).partition.number == 2


@pytest.mark.parametrize(
    ("kind", "place", "text", "why"),
    [
        (LINUX_DATA, 512, b"LABELONE", "partition 2 belongs to LVM"),
        (LINUX_DATA, 0x10040, b"_BHRfS_M", "partition 2 is a btrfs file system"),
        (LINUX_DATA, 0, b"LUKS\xba\xbe", "partition 2 is encrypted (LUKS)"),
        (WINDOWS, 3, b"NTFS    ", "partition 2 is an NTFS file system, as Windows has"),
        (LINUX_DATA, 4096, b"\xfc\x4e\x2b\xa9", "partition 2 belongs to a software RAID"),
        (LINUX_DATA, 77, b"?", "partition 2 holds something that is not known"),
    ],
)
def test_what_is_not_understood_is_told_in_words(
    tmp_path: Path, kind: UUID, place: int, text: bytes, why: str
) -> None:
    """P3: though the first partition could be read, the system may be on both."""
    root = Part(LINUX_DATA, ext4(tmp_path, "etc/os-release"))
    disk = gpt(tmp_path / "disk", root, Part(kind, magic(place, text)))
    assert cause(disk).startswith(why)


def test_files_on_several_partitions(tmp_path: Path) -> None:
    disk = gpt(
        tmp_path / "disk",
        Part(LINUX_DATA, ext4(tmp_path, "usr/lib/os-release")),
        Part(BOOT, ext4(tmp_path, "vmlinuz")),
        Part(HOME, ext4(tmp_path, "ann")),
    )
    assert cause(disk) == (
        "its files are on several partitions: partition 1 (ext4) with a system, "
        "partition 2 (ext4) with /boot and partition 3 (ext4) with /home"
    )


def test_several_systems(tmp_path: Path) -> None:
    disk = gpt(
        tmp_path / "disk",
        Part(ROOT_X86_64, ext4(tmp_path, "etc/os-release")),
        Part(ROOT_X86_64, ext4(tmp_path, "etc/os-release")),
    )
    assert cause(disk).startswith("it has more than one system: partition 1 (ext4) with a system")


def test_a_disk_with_nothing_known(tmp_path: Path) -> None:
    for content in (bytes(4 * MIB), b"\xa5" * 4 * MIB, b""):
        (tmp_path / "disk").write_bytes(content)
        assert cause(tmp_path / "disk") in (
            "there is no file system on it that is known",
            "the disk holds something that is not known",
        )


def test_a_partition_table_that_is_damaged(tmp_path: Path) -> None:
    disk = gpt(tmp_path / "disk", Part(LINUX_DATA, ext4(tmp_path, "a")))
    magic(512, b"JUNK")(disk, 0)
    with pytest.raises(Corrupt, match="GPT partition table is damaged"):
        find_root(disk)
    disk = mbr(tmp_path / "disk", logical=[Part(0x83, nothing)])
    magic(MIB + 510, b"\0\0")(disk, 0)
    with pytest.raises(Corrupt, match="MBR partition table is damaged"):
        find_root(disk)
    magic(MIB + 446 + 16, struct.pack("<B3xB3xII", 0, 0x05, 0, 1))(disk, 0)
    magic(MIB + 510, b"\x55\xaa")(disk, 0)
    with pytest.raises(Corrupt, match="MBR partition table is damaged"):
        find_root(disk)
