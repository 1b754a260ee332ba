"""A disk as a source of entries: its XFS root file system, read without mounting it.

The reader is our own. ``dissect.xfs`` 3.13 has no extended attributes, gives what was in
preallocated blocks before for a file's content, and guesses how folders of several blocks are laid
out; it is what the tests compare with.

Nothing is lost in silence: a file system that was not unmounted, or has features that the reader
does not know, is refused, and at the end as many inodes must have been seen as are in use.
Sockets are left out: they mean nothing without the process that made them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from imagectl.adapters.disk.filesystem import (
    damaged,
    kind_of,
    not_known,
    not_unmounted,
    placed,
    walk,
)
from imagectl.adapters.disk.partitions import Partition
from imagectl.adapters.disk.tree import CHUNK, Entry, Kind, zeros
from imagectl.adapters.disk.xfs_attributes import read_attributes
from imagectl.adapters.disk.xfs_inodes import LOCAL, Inode, Volume, device_number
from imagectl.adapters.disk.xfs_log import was_unmounted
from imagectl.errors import Corrupt, Failed

_FOLDER_END = 32 << 30
"""From here on a folder holds its own index, no names."""
_BLOCK_HEADER = 64
_UNUSED = 0xFFFF
_LINK_BLOCKS = 8
"""No target has more blocks: it has 1,024 bytes, a block 512 or more."""
_LINK_HEADER = struct.Struct(">4sIII16sQQQ")


class XfsSource:
    """The XFS in a partition of a raw disk. A context manager: it holds the file open.

    Raises Corrupt where it is damaged, Failed where it was not unmounted, NotUnderstood where it is
    of a kind that cannot be read.
    """

    def __init__(self, raw: Path, partition: Partition) -> None:
        self._raw = raw
        self._file = raw.open("rb", buffering=0)
        try:
            self._volume = self._open(partition)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> XfsSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        seen: set[int] = set()
        try:
            yield from walk(self._volume.superblock.root, self._entry, self._names, seen)
        except (struct.error, IndexError) as error:
            raise damaged(self._raw, str(error)) from error
        except Corrupt as error:
            raise placed(error, self._raw) from error
        self._check_complete(seen)

    def content(self, entry: Entry) -> Iterator[bytes]:
        try:
            yield from self._read(self._volume.inode(entry.inode))
        except Corrupt as error:
            raise placed(error, self._raw) from error

    def _open(self, partition: Partition) -> Volume:
        try:
            volume = Volume(self._file.fileno(), partition.offset)
            clean = was_unmounted(volume)
        except Corrupt as error:
            raise damaged(self._raw, error.what) from None
        except Failed as error:
            raise not_known(self._raw, error.what) from None
        if not clean:
            otherwise = ", mount it once where XFS is known, and unmount it"
            raise not_unmounted(self._raw, "log", otherwise)
        return volume

    def _check_complete(self, seen: set[int]) -> None:
        """P3: what was read is all there is, or it is an error."""
        sb = self._volume.superblock
        used = sb.inodes - sb.free_inodes - len(sb.own_inodes)
        if len(seen) != used:
            raise damaged(self._raw, f"{used} inodes are in use, but {len(seen)} have a name")

    def _entry(self, path: bytes, number: int) -> Entry | None:
        inode = self._volume.inode(number)
        kind = kind_of(inode.mode, number)
        if kind is None:
            return None
        is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
        return Entry(
            path=path,
            kind=kind,
            mode=inode.mode & 0o7777,
            uid=inode.uid,
            gid=inode.gid,
            mtime=inode.mtime,
            size=inode.size if kind is Kind.FILE else 0,
            target=self._target(inode) if kind is Kind.SYMLINK else b"",
            device=device_number(inode.data) if is_device else (0, 0),
            xattrs=read_attributes(self._volume, inode),
            inode=number,
        )

    def _target(self, inode: Inode) -> bytes:
        """In the inode, or in extents of its own, each with a header."""
        if inode.format == LOCAL:
            return inode.data[: inode.size]
        target = b""
        for extent in self._volume.extents(inode):
            if extent.first is None or extent.count > _LINK_BLOCKS:
                raise Corrupt(f"the target of inode {inode.number} is missing")
            data = self._volume.read(extent.first, extent.count * self._volume.superblock.block)
            magic, offset, length, _, _, owner, _, _ = _LINK_HEADER.unpack_from(data)
            if magic != b"XSLM" or offset != len(target) or owner != inode.number:
                raise Corrupt(f"the target of inode {inode.number} is broken")
            target += data[_LINK_HEADER.size : _LINK_HEADER.size + length]
        if len(target) != inode.size:
            raise Corrupt(f"the target of inode {inode.number} is not as long as it says")
        return target

    def _names(self, number: int) -> Iterator[tuple[bytes, int]]:
        """What is in a folder."""
        folder = self._volume.inode(number)
        if folder.format == LOCAL:
            yield from _in_inode(folder.data[: folder.size], self._volume.superblock.has_kinds)
            return
        size = self._volume.superblock.folder_block
        kinds = self._volume.superblock.has_kinds
        pending = b""
        start = 0
        for offset, data in self._folder_data(folder):
            if not pending:
                start = offset
            elif offset != start + len(pending):
                raise Corrupt(f"the folder of inode {number} has half a block")
            pending += data
            while len(pending) >= size:
                block, pending = pending[:size], pending[size:]
                start += size
                yield from _in_block(block, number, kinds)
        if pending:
            raise Corrupt(f"the folder of inode {number} has half a block")

    def _folder_data(self, folder: Inode) -> Iterator[tuple[int, bytes]]:
        """The blocks of a folder that may hold names, with their places in it, in bytes."""
        size = self._volume.superblock.block
        for extent in self._volume.extents(folder):
            for number in range(extent.count):
                offset = (extent.offset + number) * size
                if offset < min(folder.size, _FOLDER_END) and extent.first is not None:
                    yield offset, self._volume.read(extent.first + number, size)

    def _read(self, inode: Inode) -> Iterator[bytes]:
        """A file's bytes, in chunks. What lies beyond its end was only set aside for it."""
        if inode.format == LOCAL:
            yield inode.data[: inode.size]
            return
        size = self._volume.superblock.block
        position = 0
        for extent in self._volume.extents(inode):
            start = min(extent.offset * size, inode.size)
            end = min((extent.offset + extent.count) * size, inode.size)
            if start < position:
                raise Corrupt(f"the extents of inode {inode.number} are not in their order")
            yield from zeros(start - position)
            if extent.first is None:
                yield from zeros(end - start)
            else:
                for at in range(start, end, CHUNK):
                    skip = at - extent.offset * size
                    yield self._volume.read(extent.first, min(CHUNK, end - at), skip)
            position = max(position, end)
        yield from zeros(inode.size - position)


def _in_inode(fork: bytes, kinds: bool) -> Iterator[tuple[bytes, int]]:
    """The names of a folder that is small enough for its inode."""
    count, large = fork[0], fork[1]
    number = struct.Struct(">Q" if large else ">I")
    at = 2 + number.size
    for _ in range(count):
        length = fork[at]
        name = fork[at + 3 : at + 3 + length]
        at += 3 + length + (1 if kinds else 0)
        (child,) = number.unpack_from(fork, at)
        at += number.size
        yield _checked(name, length), child


def _in_block(block: bytes, owner: int, kinds: bool) -> Iterator[tuple[bytes, int]]:
    """The names in one block of a folder."""
    magic = block[:4]
    (of,) = struct.unpack_from(">Q", block, 40)
    if magic not in (b"XDB3", b"XDD3") or of != owner:
        raise Corrupt(f"the folder of inode {owner} is broken")
    end = len(block)
    if magic == b"XDB3":  # the only block of a folder has the folder's index at its end
        (count,) = struct.unpack_from(">I", block, end - 8)
        end -= 8 + count * 8
    at = _BLOCK_HEADER
    while at < end:
        tag, length = struct.unpack_from(">HH", block, at)
        if tag == _UNUSED:
            if length < 8 or length % 8:
                raise Corrupt(f"the folder of inode {owner} has a broken gap")
            at += length
            continue
        child, length = struct.unpack_from(">QB", block, at)
        name = block[at + 9 : at + 9 + length]
        at += -(-(9 + length + (1 if kinds else 0) + 2) // 8) * 8
        if at > end:
            raise Corrupt(f"the folder of inode {owner} has a broken entry")
        if name not in (b".", b".."):
            yield _checked(name, length), child


def _checked(name: bytes, length: int) -> bytes:
    if len(name) != length:
        raise Corrupt("a name of a folder ends early")
    return name
