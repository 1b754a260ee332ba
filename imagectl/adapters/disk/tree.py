"""What a file tree is made of, and the two sides of it: where entries come from, what they become.

Paths are bytes without a leading slash, as on any Linux file system; the root itself is ``b""``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from imagectl.errors import Failed
from imagectl.services.ports.building import CanonicalTree as CanonicalTree

CHUNK = 1 << 20
"""Bytes of content that are in memory at a time."""


class Kind(enum.Enum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path with everything an image keeps of it.

    ``inode`` is the same for the names of one hard-linked file and different for everything else;
    only the source that made the entry knows more about it. ``mtime`` is in whole seconds since
    1970, ``size`` in bytes (0 but for files). ``xattrs`` are sorted by name, values as
    ``getxattr`` returns them.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    inode: int = 0


class NotUnderstood(Failed):
    """A disk, or a file system, of a kind that cannot be read. ``why`` is the cause, for people."""


class Source(Protocol):
    """A file tree that can be read: a tar, a disk, or a few files in memory."""

    def entries(self) -> Iterator[Entry]:
        """All entries, in any order. Raises Corrupt where the source is damaged."""
        ...

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The ``entry.size`` bytes of a file, in chunks. Holes are zeros."""
        ...


def display(path: bytes) -> str:
    """The path as people should see it: with a leading slash, odd bytes escaped."""
    return "/" + path.decode("utf-8", "backslashreplace").replace("\n", "\\n")


def zeros(length: int) -> Iterator[bytes]:
    """*length* zero bytes, in chunks."""
    while length > 0:
        yield bytes(min(length, CHUNK))
        length -= CHUNK


class MemorySource:
    """Files that we bring ourselves."""

    def __init__(self, files: Sequence[tuple[Entry, bytes]]) -> None:
        self._entries = [
            replace(entry, inode=number, size=len(content))
            for number, (entry, content) in enumerate(files)
        ]
        self._content = [content for _, content in files]

    def entries(self) -> Iterator[Entry]:
        yield from self._entries

    def content(self, entry: Entry) -> Iterator[bytes]:
        yield self._content[entry.inode]


class LayeredSource:
    """Two sources as one: what *above* has replaces what *below* has at the same path, but for
    folders that both have, which stay as they are below."""

    def __init__(self, below: Source, above: Source) -> None:
        self._layers = (below, above)

    def entries(self) -> Iterator[Entry]:
        above = {entry.path: entry for entry in self._layers[1].entries()}
        for entry in self._layers[0].entries():
            other = above.get(entry.path)
            if other is not None:
                if not entry.kind is other.kind is Kind.DIRECTORY:
                    continue
                del above[entry.path]
            yield replace(entry, inode=entry.inode * 2)
        for entry in above.values():
            yield replace(entry, inode=entry.inode * 2 + 1)

    def content(self, entry: Entry) -> Iterator[bytes]:
        layer = self._layers[entry.inode % 2]
        return layer.content(replace(entry, inode=entry.inode // 2))
