"""ext4's inodes and where the content of their files is, decoded: there are many of both.

The layouts are those of the kernel's Documentation/filesystems/ext4 (inodes.rst, ifork.rst,
group_descr.rst).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagectl.errors import Corrupt

SIZE = 256
"""Bytes of an inode: the only size that is read here."""

_INODE = struct.Struct("<HHI8xI4xH6xI4x60s4xII6xHHH12xI")
_EXTENT_HEADER = struct.Struct("<HHHH4x")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIH2x")
_MAGIC = 0xF30A
_UNWRITTEN = 0x8000
"""An extent longer than this has that many blocks less, and reads as zeros."""
_MOST_LEVELS = 5
_USES_EXTENTS = 0x80000
_EMPTY = bytes(SIZE - 160)

Runs = Iterator[tuple[int | None, int]]
"""Where content is: (first block, or None where there are zeros; number of blocks)."""


@dataclass(frozen=True, slots=True)
class Inode:
    """What an inode says. ``blocks`` is the root of its extents, or a short link's target."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    mtime_extra: int
    blocks: bytes
    uses_extents: bool
    has_attributes: bool


def decode_inode(data: bytes) -> Inode:
    """The inode that the SIZE bytes *data* are. Raises struct.error where they are fewer."""
    (
        mode,
        uid,
        size,
        mtime,
        gid,
        flags,
        blocks,
        attributes,
        size_high,
        attributes_high,
        uid_high,
        gid_high,
        mtime_extra,
    ) = _INODE.unpack_from(data)
    return Inode(
        mode=mode,
        uid=uid | uid_high << 16,
        gid=gid | gid_high << 16,
        size=size | size_high << 32,
        mtime=mtime,
        mtime_extra=mtime_extra,
        blocks=blocks,
        uses_extents=bool(flags & _USES_EXTENTS),
        has_attributes=bool(attributes or attributes_high) or data[160:] != _EMPTY,
    )


class InodeTable:
    """The inodes of a file system that begins at byte *start* of an open disk.

    ``count``: how many there can be; ``tables``: for each group of ``per_group`` of them, the block
    where they are.
    """

    def __init__(
        self, descriptor: int, start: int, block_size: int, per_group: int, tables: tuple[int, ...]
    ) -> None:
        self._descriptor = descriptor
        self._start = start
        self._block_size = block_size
        self._per_group = per_group
        self._tables = tables

    @property
    def count(self) -> int:
        return self._per_group * len(self._tables)

    def read(self, number: int) -> Inode:
        """The inode of that number, from 1. Raises Corrupt where there is none."""
        if not 1 <= number <= self.count:
            raise Corrupt(f"there is no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        place = self._start + self._tables[group] * self._block_size + index * SIZE
        return decode_inode(os.pread(self._descriptor, SIZE, place))

    def runs(self, inode: Inode) -> Runs:
        """Where the content of a file with extents is. The end may be left out: zeros."""
        position = 0
        for block, length, first in self._extents(inode.blocks, _MOST_LEVELS):
            if block < position:
                raise Corrupt("the extents of a file overlap")
            if block > position:
                yield None, block - position
            unwritten = length > _UNWRITTEN
            length -= _UNWRITTEN if unwritten else 0
            yield None if unwritten else first, length
            position = block + length

    def _extents(self, node: bytes, levels: int) -> Iterator[tuple[int, int, int]]:
        magic, entries, _, depth = _EXTENT_HEADER.unpack_from(node)
        if magic != _MAGIC or depth > levels:
            raise Corrupt("the extents of a file cannot be read")
        for at in range(12, 12 + 12 * entries, 12):
            if depth == 0:
                block, length, high, low = _EXTENT.unpack_from(node, at)
                yield block, length, high << 32 | low
            else:
                _, low, high = _INDEX.unpack_from(node, at)
                place = self._start + (high << 32 | low) * self._block_size
                child = os.pread(self._descriptor, self._block_size, place)
                yield from self._extents(child, depth - 1)


def decode_tables(descriptors: bytes, size: int, count: int) -> tuple[int, ...]:
    """Where the inodes of each group are: *count* group descriptors of *size* bytes (32 or 64)."""
    tables = []
    for at in range(0, count * size, size):
        (low,) = struct.unpack_from("<I", descriptors, at + 8)
        (high,) = struct.unpack_from("<I", descriptors, at + 0x28) if size >= 64 else (0,)
        tables.append(high << 32 | low)
    return tuple(tables)
