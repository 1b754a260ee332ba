"""A disk as a source of entries: its ext4 root file system, read without mounting it.

``dissect.extfs`` knows the structures on the disk. Folders, times and ACLs are decoded here: it
skips a folder's last entry in some layouts and takes times before 1970 for the far future. Inodes
are decoded in ``inodes``: it takes 50 us for each. Memory grows with one bit for each.

Nothing is lost in silence: a file system that was not unmounted, or has features that the reader
does not know, is refused, and at the end as many inodes must have been seen as are in use.
Sockets are left out: they mean nothing without the process that made them.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dissect.extfs import ExtFS
from dissect.extfs.exceptions import Error as ExtError
from dissect.util.stream import RangeStream

from imagectl.adapters.disk.filesystem import (
    damaged,
    kind_of,
    not_known,
    not_unmounted,
    placed,
    walk,
)
from imagectl.adapters.disk.inodes import SIZE, Inode, InodeTable, Runs, decode_tables
from imagectl.adapters.disk.partitions import Partition
from imagectl.adapters.disk.tree import CHUNK, Entry, Kind, NotUnderstood, display, zeros
from imagectl.errors import Corrupt

ROOT_INODE = 2
RESERVED_INODES = 10
"""Inodes 1 to 10 are ext4's own; the root folder is one of them."""

_NEEDS_RECOVERY = 0x4
_KNOWN_FEATURES = {
    0x2: "filetype",
    0x40: "extents",
    0x80: "64bit",
    0x200: "flex_bg",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
}
_HAS_64BIT = 0x80
_COMPAT_ORPHAN_FILE = 0x1000
_STATE_CLEAN, _STATE_ERRORS = 1, 2

_FOLDER_ENTRY = struct.Struct("<IHBB")
_NO_ID = 0xFFFFFFFF


class Ext4Source:
    """The ext4 in a partition of a raw disk. A context manager: it holds the file open.

    Raises Corrupt where it is damaged, Failed where it was not unmounted, NotUnderstood where it is
    of a kind that cannot be read.
    """

    def __init__(self, raw: Path, partition: Partition) -> None:
        self._raw = raw
        self._partition = partition
        self._file = raw.open("rb", buffering=0)
        try:
            self._filesystem = self._open()
            self._table = self._inode_table()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Ext4Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        seen = _Seen(self._table.count)
        try:
            yield from walk(ROOT_INODE, self._entry, self._names, seen)
        except (ExtError, EOFError, struct.error) as error:
            raise self._corrupt(str(error) or type(error).__name__) from error
        except Corrupt as error:
            raise placed(error, self._raw) from error
        self._check_complete(len(seen))

    def content(self, entry: Entry) -> Iterator[bytes]:
        inode = self._table.read(entry.inode)
        return self._read(self._runs(entry.inode, inode), inode.size)

    def entry(self, path: bytes) -> Entry:
        """The entry of one path. Raises Corrupt where it is not there."""
        number = ROOT_INODE
        for part in path.split(b"/") if path else ():
            found = [child for name, child in self._names(number) if name == part]
            if not found:
                raise self._corrupt(f"there is no {display(path)}")
            number = found[0]
        entry = self._entry(path, number)
        if entry is None:
            raise self._corrupt(f"{display(path)} is a socket")
        return entry

    def _open(self) -> Any:
        logging.getLogger("dissect.extfs").setLevel(logging.CRITICAL)
        part = self._partition
        try:
            filesystem = ExtFS(RangeStream(self._file, part.offset, part.size))
        except NotImplementedError as error:
            # Clusters larger than blocks (bigalloc): sound, and not read by dissect.extfs.
            raise self._unreadable(str(error)) from None
        except (ExtError, EOFError) as error:
            raise self._corrupt(str(error)) from None
        superblock = filesystem.sb
        clean = superblock.s_state & _STATE_CLEAN
        if superblock.s_feature_incompat & _NEEDS_RECOVERY or not clean:
            raise not_unmounted(self._raw, "journal", ": e2fsck -fy on that partition")
        if superblock.s_state & _STATE_ERRORS:
            raise self._corrupt("the kernel has found errors in it and marked it")
        unknown = superblock.s_feature_incompat & ~sum(_KNOWN_FEATURES)
        if unknown:
            raise self._unreadable(f"it has the incompatible features {unknown:#x}")
        if superblock.s_inode_size != SIZE:
            raise self._unreadable(f"its inodes have {superblock.s_inode_size} bytes, not {SIZE}")
        return filesystem

    def _inode_table(self) -> InodeTable:
        superblock = self._filesystem.sb
        has_64bit = superblock.s_feature_incompat & _HAS_64BIT
        size = superblock.s_desc_size if has_64bit and superblock.s_desc_size else 32
        count = self._filesystem.groups_count
        place = self._partition.offset + self._filesystem.groups_offset
        descriptors = os.pread(self._file.fileno(), count * size, place)
        try:
            tables = decode_tables(descriptors, size, count)
        except struct.error:
            raise self._corrupt("the descriptors of its groups end early") from None
        return InodeTable(
            self._file.fileno(),
            self._partition.offset,
            self._filesystem.block_size,
            superblock.s_inodes_per_group,
            tables,
        )

    def _unreadable(self, why: str) -> NotUnderstood:
        known = ", ".join(_KNOWN_FEATURES.values())
        return not_known(self._raw, why, f"known features are {known}")

    def _corrupt(self, why: str) -> Corrupt:
        return damaged(self._raw, why)

    def _check_complete(self, seen: int) -> None:
        """P3: what was read is all there is, or it is an error."""
        superblock = self._filesystem.sb
        used = superblock.s_inodes_count - superblock.s_free_inodes_count
        hidden = RESERVED_INODES - 1
        if superblock.s_feature_compat & _COMPAT_ORPHAN_FILE:
            hidden += 1
        if seen + hidden != used:
            raise self._corrupt(f"{used - hidden} inodes are in use, but {seen} have a name")

    def _names(self, number: int) -> Iterator[tuple[bytes, int]]:
        """What is in a folder. A block's checksum and its index look like unused entries."""
        folder = self._table.read(number)
        size = self._filesystem.block_size
        for data in self._read(self._runs(number, folder), folder.size):
            for start in range(0, len(data), size):
                offset = start
                while offset < start + size:
                    inode, length, name_length, _ = _FOLDER_ENTRY.unpack_from(data, offset)
                    if length < 8 or offset + length > start + size or name_length > length - 8:
                        raise self._corrupt(f"the folder of inode {number} has a broken entry")
                    name = data[offset + 8 : offset + 8 + name_length]
                    if inode and name not in (b".", b".."):
                        yield name, inode
                    offset += length

    def _entry(self, path: bytes, number: int) -> Entry | None:
        inode = self._table.read(number)
        kind = kind_of(inode.mode, number)
        if kind is None:
            return None
        return Entry(
            path=path,
            kind=kind,
            mode=inode.mode & 0o7777,
            uid=inode.uid,
            gid=inode.gid,
            mtime=seconds(inode.mtime, inode.mtime_extra),
            size=inode.size if kind is Kind.FILE else 0,
            target=self._target(number, inode) if kind is Kind.SYMLINK else b"",
            device=device_number(inode.blocks) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
            xattrs=self._xattrs(number) if inode.has_attributes else (),
            inode=number,
        )

    def _target(self, number: int, inode: Inode) -> bytes:
        if inode.size < len(inode.blocks):
            return inode.blocks[: inode.size]
        return b"".join(self._read(self._runs(number, inode), inode.size))

    def _xattrs(self, number: int) -> tuple[tuple[bytes, bytes], ...]:
        found = (
            (os.fsencode(attribute.name), bytes(attribute.value))
            for attribute in self._filesystem.get_inode(number).xattr
        )
        return tuple(
            sorted(
                (name, acl_value(value) if name.startswith(b"system.posix_acl_") else value)
                for name, value in found
            )
        )

    def _runs(self, number: int, inode: Inode) -> Runs:
        if inode.uses_extents:
            return self._table.runs(inode)
        return iter(self._filesystem.get_inode(number).dataruns())

    def _read(self, runs: Runs, left: int) -> Iterator[bytes]:
        """What is in *runs*, in chunks of whole blocks, but for the end of the *left* bytes."""
        block = self._filesystem.block_size
        for first, count in runs:
            length = min(count * block, left)
            left -= length
            if first is None:
                yield from zeros(length)
                continue
            start = self._partition.offset + first * block
            while length:
                chunk = os.pread(self._file.fileno(), min(CHUNK, length), start)
                if not chunk:
                    raise self._corrupt(f"block {first} is beyond the end of the disk")
                yield chunk
                start += len(chunk)
                length -= len(chunk)
        yield from zeros(left)


class _Seen:
    """Implements ``filesystem.Numbers``, with a bit for each of *count* inodes."""

    def __init__(self, count: int) -> None:
        self._bits = bytearray(count // 8 + 1)

    def add(self, number: int, /) -> None:
        self._bits[number >> 3] |= 1 << (number & 7)

    def __contains__(self, number: int, /) -> bool:
        return bool(self._bits[number >> 3] >> (number & 7) & 1)

    def __len__(self) -> int:
        return int.from_bytes(self._bits).bit_count()


def seconds(low: int, extra: int) -> int:
    """An ext4 time in whole seconds since 1970: 32 signed bits, and 2 more in *extra*."""
    signed = low - (1 << 32) if low & 1 << 31 else low
    return signed + ((extra & 0b11) << 32)


def device_number(blocks: bytes) -> tuple[int, int]:
    """Major and minor of a device inode: 16 bits in the first word, or 32 in the second."""
    old, new = struct.unpack_from("<II", blocks)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def acl_value(stored: bytes) -> bytes:
    """An ACL as ``getxattr`` returns it (version 2), from ext4's shorter form (version 1).

    The forms are those of fs/ext4/acl.c and include/uapi/linux/posix_acl_xattr.h. Only entries of
    a named user (tag 2) or group (8) have an id on the disk. Raises Corrupt.
    """
    try:
        (version,) = struct.unpack_from("<I", stored)
        if version != 1:
            raise Corrupt(f"an ACL of the unknown version {version}")
        parts = [struct.pack("<I", 2)]
        offset = 4
        while offset < len(stored):
            tag, permissions = struct.unpack_from("<HH", stored, offset)
            offset += 4
            identity = _NO_ID
            if tag in (0x02, 0x08):
                (identity,) = struct.unpack_from("<I", stored, offset)
                offset += 4
            parts.append(struct.pack("<HHI", tag, permissions, identity))
    except struct.error:
        raise Corrupt("an ACL ends early") from None
    return b"".join(parts)
