"""The extended attributes of an XFS inode, as ``getxattr`` returns them.

They are in the inode, or in a tree of blocks; long values are in blocks of their own. ACLs are
attributes with a name of their own, and another form than ``getxattr``'s (fs/xfs/xfs_acl.c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from imagectl.adapters.disk.xfs_inodes import LOCAL, Extent, Inode, Volume
from imagectl.errors import Corrupt

_LOCAL_VALUE, _ROOT, _SECURE, _PARENT, _INCOMPLETE = 0x01, 0x02, 0x04, 0x08, 0x80
_ACLS = {
    b"SGI_ACL_FILE": b"system.posix_acl_access",
    b"SGI_ACL_DEFAULT": b"system.posix_acl_default",
}
_LEAF, _NODE = 0x3BEE, 0x3EBE
_HEADER = 80
_NODE_HEADER = 64
_REMOTE = struct.Struct(">4sIII16sQQQ")
_NO_ID = 0xFFFFFFFF

Attribute = tuple[bytes, bytes]


def read_attributes(volume: Volume, inode: Inode) -> tuple[Attribute, ...]:
    """Name and value of each, sorted by name. Raises Corrupt."""
    if not inode.attributes:
        return ()
    try:
        if inode.attribute_format == LOCAL:
            found = _in_inode(inode.attributes)
        elif not inode.attribute_extents:
            found = iter(())
        else:
            found = _in_blocks(volume, inode)
        return tuple(
            sorted(_named(flags, name, value) for flags, name, value in found if _counts(flags))
        )
    except (struct.error, IndexError):
        raise Corrupt(f"the attributes of inode {inode.number} are broken") from None


def _counts(flags: int) -> bool:
    """Not those that a crash has left half written, nor what XFS keeps there for itself."""
    return not flags & (_INCOMPLETE | _PARENT)


def _named(flags: int, name: bytes, value: bytes) -> Attribute:
    if flags & _ROOT:
        if name in _ACLS:
            return _ACLS[name], acl_value(value)
        return b"trusted." + name, value
    return (b"security." if flags & _SECURE else b"user.") + name, value


def _in_inode(fork: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    total, count = struct.unpack_from(">HB", fork)
    at = 4
    for _ in range(count):
        name_length, value_length, flags = fork[at : at + 3]
        at += 3
        name = fork[at : at + name_length]
        value = fork[at + name_length : at + name_length + value_length]
        at += name_length + value_length
        if at > min(total, len(fork)):
            raise IndexError
        yield flags, name, value


def _in_blocks(volume: Volume, inode: Inode) -> Iterator[tuple[int, bytes, bytes]]:
    size = volume.superblock.block
    extents = list(volume.extents(inode, of_attributes=True))

    def block(number: int) -> bytes:
        return volume.read(_place(extents, number), size)

    def info(data: bytes) -> tuple[int, int]:
        forward, _, magic = struct.unpack_from(">IIH", data)
        (owner,) = struct.unpack_from(">Q", data, 48)
        if owner != inode.number:
            raise IndexError
        return forward, magic

    data = block(0)
    forward, magic = info(data)
    for _ in range(8):  # no tree is deeper
        if magic != _NODE:
            break
        (first,) = struct.unpack_from(">I", data, _NODE_HEADER + 4)
        data = block(first)
        forward, magic = info(data)
    seen = 0
    while True:
        if magic != _LEAF:
            raise IndexError
        yield from _in_leaf(volume, inode, extents, data)
        if not forward:
            return
        seen += 1
        if seen > sum(extent.count for extent in extents):
            raise IndexError  # the leaves are linked in a circle
        data = block(forward)
        forward, magic = info(data)


def _in_leaf(
    volume: Volume, inode: Inode, extents: list[Extent], leaf: bytes
) -> Iterator[tuple[int, bytes, bytes]]:
    (count,) = struct.unpack_from(">H", leaf, 56)
    for number in range(count):
        _, at, flags = struct.unpack_from(">IHB", leaf, _HEADER + number * 8)
        if flags & _LOCAL_VALUE:
            value_length, name_length = struct.unpack_from(">HB", leaf, at)
            start = at + 3
            name = leaf[start : start + name_length]
            value = leaf[start + name_length : start + name_length + value_length]
            if len(value) != value_length:
                raise IndexError
        else:
            block, value_length, name_length = struct.unpack_from(">IIB", leaf, at)
            name = leaf[at + 9 : at + 9 + name_length]
            # What is incomplete has no value yet.
            value = (
                b"" if flags & _INCOMPLETE else _remote(volume, inode, extents, block, value_length)
            )
        yield flags, name, value


def _remote(volume: Volume, inode: Inode, extents: list[Extent], block: int, length: int) -> bytes:
    """A value that is in blocks of its own, each with a header."""
    value = b""
    while len(value) < length:
        data = volume.read(_place(extents, block), volume.superblock.block)
        magic, offset, size, _, _, owner, _, _ = _REMOTE.unpack_from(data)
        if magic != b"XARM" or offset != len(value) or owner != inode.number or not size:
            raise IndexError
        value += data[_REMOTE.size : _REMOTE.size + size]
        block += 1
    if len(value) != length:
        raise IndexError
    return value


def _place(extents: list[Extent], number: int) -> int:
    """Where a block of the fork is."""
    for extent in extents:
        if extent.first is not None and 0 <= number - extent.offset < extent.count:
            return extent.first + number - extent.offset
    raise IndexError


def acl_value(stored: bytes) -> bytes:
    """An ACL as ``getxattr`` returns it (version 2), from XFS's own form. Only entries of a named
    user (tag 2) or group (8) have an id."""
    (count,) = struct.unpack_from(">I", stored)
    if len(stored) < 4 + count * 12:
        raise IndexError
    parts = [struct.pack("<I", 2)]
    for number in range(count):
        tag, identity, permissions = struct.unpack_from(">IIH", stored, 4 + number * 12)
        parts.append(
            struct.pack("<HHI", tag, permissions, identity if tag in (0x02, 0x08) else _NO_ID)
        )
    return b"".join(parts)
