"""Entries of a tree as small as they can be: about 150 bytes each, sorted by their paths.

A million entries as objects would take a gigabyte.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

from imagectl.adapters.disk.tree import Entry, Kind, Source, display
from imagectl.errors import Corrupt

_KINDS = tuple(Kind)
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}
_FIXED = struct.Struct("<BHIIqQQH")
_DEVICE = struct.Struct("<II")
_XATTR = struct.Struct("<HI")


class SortedEntries:
    """All entries of *source* in the order of their paths, bytes compared as numbers.

    ``shared``: the inodes that several paths have; ``content``: bytes of all files. Raises Corrupt
    for a path with a NUL in it.
    """

    def __init__(self, source: Source) -> None:
        self._records: list[bytes] = []
        self.content = 0
        inodes = array("Q")
        for entry in source.entries():
            self._records.append(pack(entry))
            self.content += entry.size
            if entry.kind is not Kind.DIRECTORY:
                inodes.append(entry.inode)
        self._records.sort()
        self.shared = _repeated(inodes)

    def __iter__(self) -> Iterator[Entry]:
        return map(unpack, self._records)

    def __len__(self) -> int:
        return len(self._records)


def _repeated(numbers: array[int]) -> frozenset[int]:
    found = set()
    before = -1
    for number in sorted(numbers):
        if number == before:
            found.add(number)
        before = number
    return frozenset(found)


def pack(entry: Entry) -> bytes:
    """An entry as bytes that sort as paths do: a NUL, which no path has, is less than all else."""
    if b"\0" in entry.path:
        raise Corrupt(f"{display(entry.path)} is not a path that a file system can have")
    text = entry.target
    if entry.kind is Kind.CHARACTER or entry.kind is Kind.BLOCK:
        text = _DEVICE.pack(*entry.device)
    fixed = _FIXED.pack(
        _NUMBER_OF[entry.kind],
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime,
        entry.size,
        entry.inode,
        len(text),
    )
    record = b"%s\0%s%s" % (entry.path, fixed, text)
    for name, value in entry.xattrs:
        record += _XATTR.pack(len(name), len(value)) + name + value
    return record


def unpack(record: bytes) -> Entry:
    """The entry again."""
    end = record.index(0)
    number, mode, uid, gid, mtime, size, inode, length = _FIXED.unpack_from(record, end + 1)
    at = end + 1 + _FIXED.size
    text = record[at : at + length]
    at += length
    xattrs = []
    while at < len(record):
        name_length, value_length = _XATTR.unpack_from(record, at)
        at += _XATTR.size
        middle = at + name_length
        xattrs.append((record[at:middle], record[middle : middle + value_length]))
        at = middle + value_length
    kind = _KINDS[number]
    is_device = kind is Kind.CHARACTER or kind is Kind.BLOCK
    return Entry(
        record[:end],
        kind,
        mode,
        uid,
        gid,
        mtime,
        size,
        b"" if is_device else text,
        _DEVICE.unpack(text) if is_device else (0, 0),
        tuple(xattrs),
        inode,
    )
