"""File trees for the tests of disks: in memory, random ones, and what was read from somewhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from imagectl.adapters.disk.tree import Entry, Kind, Source

ROOT = (Entry(b"", Kind.DIRECTORY, 0o755, mtime=1000), b"")


class ListSource:
    """Entries in a given order. Those with the same ``inode`` are one hard-linked file."""

    def __init__(self, files: Sequence[tuple[Entry, bytes]]) -> None:
        self._files = list(files)
        self._content = {entry.inode: content for entry, content in files}

    def entries(self) -> Iterator[Entry]:
        for entry, content in self._files:
            yield replace(entry, size=len(content))

    def content(self, entry: Entry) -> Iterator[bytes]:
        yield self._content[entry.inode]


def file(path: bytes, content: bytes = b"", **fields: Any) -> tuple[Entry, bytes]:
    """A file of its own: its inode number follows from its path."""
    return made(path, Kind.FILE, content, **fields)


def folder(path: bytes, **fields: Any) -> tuple[Entry, bytes]:
    return made(path, Kind.DIRECTORY, **fields)


def made(path: bytes, kind: Kind, content: bytes = b"", **fields: Any) -> tuple[Entry, bytes]:
    entry = Entry(path, kind, 0o755 if kind is Kind.DIRECTORY else 0o644, mtime=1000)
    entry = replace(entry, inode=zlib.crc32(path))
    return replace(entry, **fields), content


def contents(source: Source) -> dict[bytes, tuple[Entry, bytes]]:
    """All of a source, by path. Inode numbers, which only the source understands, are 0."""
    return {
        entry.path: (
            replace(entry, inode=0),
            b"".join(source.content(entry)) if entry.kind is Kind.FILE else b"",
        )
        for entry in source.entries()
    }


_NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"a-b", b"caf\xe9", b"new\nline", b"\xff" * 130, b"x" * 200]),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    ),
)
_XATTRS = st.dictionaries(
    st.sampled_from([b"user.note", b"security.capability", b"trusted.50%=x"]),
    st.binary(max_size=40),
    max_size=2,
)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[Entry, bytes]]:
    """A consistent tree in canonical order: folders, files, links of both kinds, devices."""
    folders = [b""]
    files: dict[bytes, tuple[Entry, bytes]] = {b"": ROOT}
    linkable: list[tuple[Entry, bytes]] = []
    for number in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(folders))
        path = (parent + b"/" if parent else b"") + draw(_NAMES)
        if path in files:
            continue
        kind = draw(st.sampled_from(Kind))
        entry = Entry(
            path,
            kind,
            draw(st.sampled_from([0o644, 0o4755, 0o1777, 0o600])),
            uid=draw(st.sampled_from([0, 42, 65534, 2**31])),
            gid=draw(st.sampled_from([0, 8, 4_000_000])),
            mtime=draw(st.sampled_from([-5, 0, 10**9, 2 * 10**9])),
            target=draw(_NAMES) if kind is Kind.SYMLINK else b"",
            device=(draw(st.integers(0, 255)), draw(st.integers(0, 2000)))
            if kind in (Kind.CHARACTER, Kind.BLOCK)
            else (0, 0),
            xattrs=tuple(draw(_XATTRS).items()),
            inode=number + 1,
        )
        content = draw(st.binary(max_size=1100)) if kind is Kind.FILE else b""
        if kind is Kind.DIRECTORY:
            folders.append(path)
        elif draw(st.booleans()) and linkable:
            first, content = draw(st.sampled_from(linkable))
            entry = replace(first, path=path)
        else:
            linkable.append((entry, content))
        files[path] = (entry, content)
    return [files[path] for path in sorted(files)]
