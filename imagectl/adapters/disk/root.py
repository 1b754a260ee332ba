"""Which part of a disk holds its root file system, whoever made the disk.

Understood is a disk whose files are all on one partition (or on the bare disk), as ext4 or XFS.
Anything else that holds files, or might, is told in words: P3, a tree that lacks a part of the
system is worse than none. Swap, EFI and boot loader partitions hold nothing of a tree.
"""

from __future__ import annotations

import contextlib
import enum
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from imagectl.adapters.disk.ext4 import Ext4Source
from imagectl.adapters.disk.partitions import (
    BIOS_BOOT,
    EFI_SYSTEM,
    LINUX_DATA,
    ROOT_X86_64,
    SECTOR,
    TABLE_BYTES,
    Partition,
    decode_table,
)
from imagectl.adapters.disk.tree import Entry, Kind, NotUnderstood, Source
from imagectl.adapters.disk.xfs import XfsSource
from imagectl.errors import Corrupt

SWAP = UUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
LVM = UUID("e6d6d379-f507-44c2-a23c-238f2a3df928")
RAID = UUID("a19d880f-05fc-4d3b-a006-743f0f84911e")

_MBR_TYPES = {0x82: SWAP, 0x83: LINUX_DATA, 0x8E: LVM, 0xEF: EFI_SYSTEM, 0xFD: RAID}
_MBR_EXTENDED = {0x05, 0x0F, 0x85}
_MBR_GPT = 0xEE
_MBR_ENTRY = struct.Struct("<B3xB3xII")

_PLACES = {
    UUID("bc13c2ff-59e6-4262-a352-b275fd6f7172"): "/boot",
    UUID("8484680c-9521-48c6-9c11-b0720656f69e"): "/usr",
    UUID("933ac7e1-2eb4-4f13-b844-0e14e2aef915"): "/home",
    UUID("3b8f8425-20e0-4f3b-907f-1a25a76f98e8"): "/srv",
    UUID("4d21b016-b534-45c2-a9fb-5c16e091fd2d"): "/var",
}
"""Types that name where a partition is mounted (the Discoverable Partitions Specification)."""

_LOOKED_AT = 0x10050
"""How many bytes of a partition's beginning tell what is in it."""

_OS_RELEASE = (b"etc/os-release", b"usr/lib/os-release")


class FileSystem(enum.Enum):
    """A file system that can be read."""

    EXT4 = "ext4"
    XFS = "XFS"


@dataclass(frozen=True, slots=True)
class Root:
    """A root file system, and where it is."""

    partition: Partition
    filesystem: FileSystem


OpenSource = Ext4Source | XfsSource


def open_root(raw: Path) -> OpenSource:
    """The root file system of a raw disk. Errors are those of ``find_root`` and of its source."""
    return _open(raw, find_root(raw))


def _open(raw: Path, root: Root) -> OpenSource:
    match root.filesystem:
        case FileSystem.EXT4:
            return Ext4Source(raw, root.partition)
        case FileSystem.XFS:
            return XfsSource(raw, root.partition)


def find_root(raw: Path) -> Root:
    """Where the disk's one file system with files is.

    Raises NotUnderstood with the cause in words, Corrupt where the partition table is damaged, and
    what reading the others' file systems does where there are several.
    """
    with raw.open("rb", buffering=0) as file:
        partitions = read_partitions(file.fileno())
        if not partitions:
            partitions = (_whole(file.fileno()),)
        found: list[Root] = []
        for partition in partitions:
            if partition.type in (BIOS_BOOT, SWAP):
                continue
            start = os.pread(file.fileno(), min(_LOOKED_AT, partition.size), partition.offset)
            known = _look(start)
            if isinstance(known, FileSystem):
                found.append(Root(partition, known))
            elif known:
                raise _not_understood(raw, f"{_name(partition)} {known}")
            elif any(start) and partition.type in (LINUX_DATA, ROOT_X86_64, *_PLACES):
                raise _not_understood(raw, f"{_name(partition)} holds something that is not known")
    if len(found) > 1:
        found = [root for root in found if _has_files(raw, root)] or found[:1]
    if not found:
        raise _not_understood(raw, "there is no file system on it that is known")
    if len(found) > 1:
        raise _not_understood(raw, _several(raw, found))
    return found[0]


def read_partitions(file: int) -> tuple[Partition, ...]:
    """The partitions of an open disk, by GPT or MBR; none where there is no table. Corrupt."""
    head = os.pread(file, TABLE_BYTES, 0)
    if head[SECTOR : SECTOR + 8] == b"EFI PART":
        return decode_table(head)
    if head[510:512] != b"\x55\xaa" or _look(head):
        return ()  # or it is the boot sector of a file system
    found: list[Partition] = []
    for number in range(1, 5):
        status, kind, first, count = _MBR_ENTRY.unpack_from(head, 446 + (number - 1) * 16)
        if kind == _MBR_GPT:
            raise Corrupt("the disk's GPT partition table is damaged", why="its header is missing")
        if status not in (0, 0x80):
            return ()
        if kind in _MBR_EXTENDED:
            found += _logical(file, first)
        elif kind and count:
            found.append(_partition(number, kind, first, count))
    return tuple(sorted(found, key=lambda partition: partition.number))


def _logical(file: int, start: int) -> Iterator[Partition]:
    """The partitions in an extended one: a chain of tables, each with one and the next's place."""
    place = start
    for number in range(5, 65):
        table = os.pread(file, SECTOR, place * SECTOR)
        if table[510:512] != b"\x55\xaa":
            raise Corrupt("the disk's MBR partition table is damaged", why="its chain is broken")
        _, kind, first, count = _MBR_ENTRY.unpack_from(table, 446)
        if kind and count:
            yield _partition(number, kind, place + first, count)
        _, more, following, _ = _MBR_ENTRY.unpack_from(table, 462)
        if more not in _MBR_EXTENDED:
            return
        place = start + following
    raise Corrupt("the disk's MBR partition table is damaged", why="its chain has no end")


def _partition(number: int, kind: int, first: int, count: int) -> Partition:
    uuid = _MBR_TYPES.get(kind, UUID(int=kind))
    return Partition(number, uuid, UUID(int=0), first, first + count - 1, "")


def _whole(file: int) -> Partition:
    """The disk as if it were one partition, number 0."""
    sectors = os.fstat(file).st_size // SECTOR
    return Partition(0, LINUX_DATA, UUID(int=0), 0, max(sectors - 1, 0), "")


def _look(start: bytes) -> FileSystem | str:
    """What begins so: a file system that can be read, what else it is, or nothing that counts."""

    def at(place: int, magic: bytes) -> bool:
        return start[place : place + len(magic)] == magic

    if at(0x438, b"\x53\xef"):
        return FileSystem.EXT4
    if at(0, b"XFSB"):
        return FileSystem.XFS
    for place, magic, what in _OTHERS:
        if at(place, magic):
            return what
    return ""


_OTHERS = (
    (0x10040, b"_BHRfS_M", "is a btrfs file system; ext4 and XFS can be read"),
    (0, b"LUKS\xba\xbe", "is encrypted (LUKS)"),
    *((place, b"LABELONE", "belongs to LVM") for place in range(0, 4 * SECTOR, SECTOR)),
    (4096, b"\xfc\x4e\x2b\xa9", "belongs to a software RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "belongs to a software RAID"),
    (3, b"NTFS    ", "is an NTFS file system, as Windows has"),
    (3, b"-FVE-FS-", "is encrypted (BitLocker)"),
    (0x400, b"\x10\x20\xf5\xf2", "is an F2FS file system; ext4 and XFS can be read"),
    (0x400, b"\xe2\xe1\xf5\xe0", "is an EROFS file system; ext4 and XFS can be read"),
    (0, b"hsqs", "is a squashfs; ext4 and XFS can be read"),
    (0x8001, b"CD001", "is an ISO 9660 file system; ext4 and XFS can be read"),
    (0x10034, b"ReIsEr", "is a ReiserFS; ext4 and XFS can be read"),
)
"""Where in its beginning a partition says what it is, as libblkid looks for it."""


def _has_files(raw: Path, root: Root) -> bool:
    with _open(raw, root) as source:
        return any(entry.path not in (b"", b"lost+found") for entry in source.entries())


def _several(raw: Path, found: list[Root]) -> str:
    """In words, why the disk has more than one part that counts."""
    parts, systems = [], 0
    for root in found:
        with _open(raw, root) as source:
            is_system = _has_system(source)
        systems += is_system
        what = "a system" if is_system else _PLACES.get(root.partition.type, "other files")
        parts.append(f"{_name(root.partition)} ({root.filesystem.value}) with {what}")
    last = parts.pop()
    if systems > 1:
        return f"it has more than one system: {', '.join(parts)} and {last}"
    return f"its files are on several partitions: {', '.join(parts)} and {last}"


def _has_system(source: Source) -> bool:
    return any(
        entry.path in _OS_RELEASE and entry.kind in (Kind.FILE, Kind.SYMLINK)
        for entry in _until_found(source)
    )


def _until_found(source: Source) -> Iterator[Entry]:
    # What is wrong with it, those who read it whole will say.
    with contextlib.suppress(Corrupt):
        yield from source.entries()


def _name(partition: Partition) -> str:
    return f"partition {partition.number}" if partition.number else "the disk"


def _not_understood(raw: Path, why: str) -> NotUnderstood:
    return NotUnderstood("the disk's files cannot be read", where=str(raw), why=why)
