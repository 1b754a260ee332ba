"""A canonical tar as a file tree that can be looked into, without unpacking it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.tree import Entry, Kind

TEXT_LIMIT = 64 << 20
"""Bytes of one file that are read into memory at most; a large dpkg status file has 3 MB."""

LINKS = 40
"""How many symbolic links one path may lead through, as Linux has it (path_resolution(7))."""


class Tree:
    """The entries by their path, and their content. A context manager: it holds the tar open."""

    def __init__(self, tar: Path) -> None:
        self._source = TarSource(tar)
        self.entries: Mapping[bytes, Entry] = {}

    def __enter__(self) -> Tree:
        self.entries = {entry.path: entry for entry in self._source.entries()}
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.__exit__(*exc)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file, in chunks."""
        return self._source.content(entry)

    def find(self, path: bytes) -> Entry | None:
        """What is at *path*, symbolic links on the way and at its end followed within the tree."""
        found: list[bytes] = []
        left = path.split(b"/")[::-1]
        links = 0
        while left:
            name = left.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                found = found[:-1]
                continue
            entry = self.entries.get(b"/".join([*found, name]))
            if entry is None:
                return None
            if entry.kind is Kind.SYMLINK:
                links += 1
                if links > LINKS:
                    return None
                if entry.target.startswith(b"/"):
                    found = []
                left += entry.target.split(b"/")[::-1]
            else:
                found.append(name)
        return self.entries.get(b"/".join(found))

    def text(self, path: bytes) -> str:
        """A file's text, or nothing where there is no such file. Odd bytes are replaced."""
        entry = self.find(path)
        return self.text_of(entry) if entry is not None and entry.kind is Kind.FILE else ""

    def text_of(self, entry: Entry) -> str:
        """A file's text; nothing of it where it has more than ``TEXT_LIMIT`` bytes."""
        if entry.size > TEXT_LIMIT:
            return ""
        return b"".join(self.content(entry)).decode("utf-8", "replace")

    def matching(self, pattern: str) -> Iterator[Entry]:
        """The entries whose path matches a pattern as of fnmatch: ``*`` also matches slashes."""
        text = pattern.encode()
        for path, entry in self.entries.items():
            if fnmatch.fnmatchcase(path, text):
                yield entry


def readable(path: bytes) -> str:
    """A path or name of the tree as text, nothing lost: see ``model.contents.Listed``."""
    return path.decode("utf-8", "surrogateescape")
