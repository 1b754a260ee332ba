"""XFS as it is on a disk: the superblock, inodes, and where a file's bytes are.

All of it is big-endian. The places are those of "XFS Algorithms & Data Structures" (the kernel's
documentation project, 3rd edition) and the kernel's fs/xfs/libxfs/xfs_format.h. Only version 5,
the default since 2014, is known; damage is Corrupt, what is not known is Failed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagectl.errors import Corrupt, Failed

MAGIC = b"XFSB"
NO_INODE = (1 << 64) - 1

_SUPERBLOCK = struct.Struct(">4sIQQQ16sQQQQIIIIIHHHH12s8B4QQQHBBIIIBBHIIIIIII")
_CORE = struct.Struct(">HHBBHIII4x8xQQQQQIIHBBIHHIII8x8xQ")
_CORE_SIZE = 176
_EXTENT = struct.Struct(">QQ")
_BTREE = struct.Struct(">4sHHQQQQ16sQII")
_SINCE_1901 = 1 << 31

_KNOWN_FEATURES = {
    0x1: "ftype",
    0x2: "sparse inodes",
    0x4: "meta_uuid",
    0x8: "bigtime",
    0x20: "nrext64",
    0x40: "exchange",
    0x80: "parent pointers",
}
_FTYPE = 0x1
_REALTIME = 0x1
_BIGTIME, _NREXT64 = 0x8, 0x10

DEVICE, LOCAL, EXTENTS, BTREE = range(4)
"""How a fork is kept: a device number, in the inode itself, a list of extents, a tree of them."""


@dataclass(frozen=True, slots=True)
class Superblock:
    """What is true of the whole file system. Sizes in bytes, places in blocks."""

    block: int
    blocks: int
    uuid: bytes
    log_start: int
    log_blocks: int
    root: int
    group_blocks: int
    groups: int
    inode_size: int
    inodes_per_block_bits: int
    group_bits: int
    inodes: int
    free_inodes: int
    folder_block: int
    has_kinds: bool
    own_inodes: frozenset[int]
    """Inodes that are no files: bitmaps and quotas."""


@dataclass(frozen=True, slots=True)
class Extent:
    """*count* blocks of a fork from its block *offset* on. ``first`` is where they are; None where
    they were never written and so are zeros."""

    offset: int
    first: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Inode:
    """One inode. ``mtime`` in whole seconds since 1970."""

    number: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    format: int
    attribute_format: int
    data: bytes
    """The data fork: content, extents, or the root of their tree."""
    attributes: bytes
    """The attribute fork; empty where there is none."""
    extents: int
    attribute_extents: int


def decode_superblock(sector: bytes) -> Superblock:
    """The superblock. Raises Failed where it is of a kind that cannot be read, Corrupt."""
    if len(sector) < 264 or sector[:4] != MAGIC:
        raise Corrupt("there is no XFS superblock")
    (
        _,
        block,
        blocks,
        _rt_blocks,
        rt_extents,
        uuid,
        log_start,
        root,
        rt_bitmap,
        rt_summary,
        _rt_extent_size,
        group_blocks,
        groups,
        _,
        log_blocks,
        version,
        _sector,
        inode_size,
        per_block,
        _name,
        *rest,
    ) = _SUPERBLOCK.unpack_from(sector)
    block_bits, _, inode_bits, per_block_bits, group_bits = rest[0:5]
    in_progress = rest[6]
    inodes, free = rest[8:10]
    user_quota, group_quota = rest[12:14]
    folder_bits = rest[20]
    incompatible = rest[28]
    project_quota = struct.unpack_from(">Q", sector, 232)[0]
    if version & 0xF != 5:
        raise Failed(f"its XFS is of version {version & 0xF}; only version 5 can be read")
    unknown = incompatible & ~sum(_KNOWN_FEATURES)
    if unknown:
        why = "is marked as in need of xfs_repair" if unknown == 0x10 else f"has {unknown:#x}"
        raise Failed(f"its XFS {why}, and knows no more than {', '.join(_KNOWN_FEATURES.values())}")
    if not log_start or rt_extents:
        raise Failed("its XFS has its log or files on another device")
    if (
        in_progress
        or not 9 <= block_bits <= 16
        or block != 1 << block_bits
        or inode_size != 1 << inode_bits
        or not 256 <= inode_size <= block
        or per_block != block // inode_size
        or per_block != 1 << per_block_bits
        or not 0 < group_blocks <= 1 << group_bits
        or groups * group_blocks < blocks
        or folder_bits + block_bits > 16
    ):
        raise Corrupt("the XFS superblock contradicts itself")
    own = frozenset({rt_bitmap, rt_summary, user_quota, group_quota, project_quota})
    return Superblock(
        block=block,
        blocks=blocks,
        uuid=uuid,
        log_start=log_start,
        log_blocks=log_blocks,
        root=root,
        group_blocks=group_blocks,
        groups=groups,
        inode_size=inode_size,
        inodes_per_block_bits=per_block_bits,
        group_bits=group_bits,
        inodes=inodes,
        free_inodes=free,
        folder_block=block << folder_bits,
        has_kinds=bool(incompatible & _FTYPE),
        own_inodes=own - {0, NO_INODE},
    )


class Volume:
    """A file system's blocks and inodes. *start*: where it begins in the open file, in bytes."""

    def __init__(self, file: int, start: int) -> None:
        self._file = file
        self._start = start
        self.superblock = decode_superblock(os.pread(file, 512, start))

    def read(self, block: int, length: int, skip: int = 0) -> bytes:
        """*length* bytes of a block that is counted over all groups, *skip* bytes into it."""
        place = self._start + block * self.superblock.block + skip
        data = os.pread(self._file, length, place)
        if len(data) != length:
            raise Corrupt(f"block {block} is beyond the end of the disk")
        return data

    def linear(self, block: int) -> int:
        """A block by its group and its place there, counted over all groups."""
        sb = self.superblock
        group, place = block >> sb.group_bits, block & (1 << sb.group_bits) - 1
        if group >= sb.groups or place >= sb.group_blocks:
            raise Corrupt(f"there is no block {block}")
        return group * sb.group_blocks + place

    def inode(self, number: int) -> Inode:
        sb = self.superblock
        slot = number & (1 << sb.inodes_per_block_bits) - 1
        block = self.linear(number >> sb.inodes_per_block_bits)
        raw = self.read(block, sb.inode_size, slot * sb.inode_size)
        (
            magic,
            mode,
            version,
            form,
            _,
            uid,
            gid,
            _links,
            _atime,
            mtime,
            _ctime,
            size,
            _blocks,
            _hint,
            extents,
            attribute_extents,
            fork,
            attribute_form,
            _,
            _,
            flags,
            _,
            _,
            _crc,
            flags2,
        ) = _CORE.unpack_from(raw)
        own = struct.unpack_from(">Q", raw, 152)[0]
        if magic != 0x494E or version != 3 or own != number:
            raise Corrupt(f"there is no inode {number}")
        if flags & _REALTIME:
            raise Failed("its XFS has files on a realtime device")
        if flags2 & _NREXT64:
            (many,) = struct.unpack_from(">Q", raw, 24)
            extents, attribute_extents = many, extents
        split = _CORE_SIZE + fork * 8 if fork else sb.inode_size
        if split > sb.inode_size:
            raise Corrupt(f"inode {number} is longer than it can be")
        return Inode(
            number=number,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=seconds(mtime, bool(flags2 & _BIGTIME)),
            size=size,
            format=form,
            attribute_format=attribute_form,
            data=raw[_CORE_SIZE:split],
            attributes=raw[split:],
            extents=extents,
            attribute_extents=attribute_extents,
        )

    def extents(self, inode: Inode, *, of_attributes: bool = False) -> Iterator[Extent]:
        """Where a fork's blocks are, in the order of their offsets."""
        fork = inode.attributes if of_attributes else inode.data
        form = inode.attribute_format if of_attributes else inode.format
        count = inode.attribute_extents if of_attributes else inode.extents
        if form == EXTENTS:
            if count * _EXTENT.size > len(fork):
                raise Corrupt(f"inode {inode.number} has more extents than room")
            yield from self._decode(fork, 0, count)
        elif form == BTREE:
            level, children = struct.unpack_from(">HH", fork)
            first = 4 + (len(fork) - 4) // 16 * 8
            yield from self._below(inode.number, level, fork, first, children)
        else:
            raise Corrupt(f"inode {inode.number} has no extents")

    def _below(
        self, owner: int, level: int, node: bytes, first: int, count: int
    ) -> Iterator[Extent]:
        """The extents below a node of *level*, whose *count* pointers begin at byte *first*."""
        for (pointer,) in struct.iter_unpack(">Q", _part(node, first, count * 8)):
            child = self.read(self.linear(pointer), self.superblock.block)
            magic, child_level, records, _, _, _, _, _, of, _, _ = _BTREE.unpack_from(child)
            if magic != b"BMA3" or child_level != level - 1 or of != owner:
                raise Corrupt(f"the extents of inode {owner} are broken")
            if child_level == 0:
                yield from self._decode(child, _BTREE.size, records)
            else:
                pointers = _BTREE.size + (self.superblock.block - _BTREE.size) // 16 * 8
                yield from self._below(owner, child_level, child, pointers, records)

    def _decode(self, data: bytes, start: int, count: int) -> Iterator[Extent]:
        for high, low in _EXTENT.iter_unpack(_part(data, start, count * _EXTENT.size)):
            block = (high & 0x1FF) << 43 | low >> 21
            unwritten = bool(high >> 63)
            yield Extent(
                offset=(high & (1 << 63) - 1) >> 9,
                first=None if unwritten else self.linear(block),
                count=low & 0x1FFFFF,
            )


def _part(data: bytes, start: int, length: int) -> bytes:
    part = data[start : start + length]
    if len(part) != length:
        raise Corrupt("a list of extents ends early")
    return part


def seconds(stamp: int, big: bool) -> int:
    """A time in whole seconds since 1970: 32 signed bits and nanoseconds, or (bigtime) nanoseconds
    since 1901."""
    if big:
        return stamp // 1_000_000_000 - _SINCE_1901
    high = stamp >> 32
    return high - (1 << 32) if high & _SINCE_1901 else high


def device_number(fork: bytes) -> tuple[int, int]:
    """Major and minor of a device inode, which XFS keeps as System V did: 14 bits and 18."""
    (number,) = struct.unpack_from(">I", fork)
    return number >> 18 & 0x3FFF, number & 0x3FFFF
