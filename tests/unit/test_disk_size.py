"""A tree with a million files: all of them, in their order, whatever order they came in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.systems import workspace

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.compare import TreeComparer
from imagectl.adapters.disk.members import read_members
from imagectl.adapters.disk.rules import RULES
from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.testing.build import RecordingProgress

EPOCH = 2_000_000_000
FOLDERS = 1000
FILES = 1000
"""In each folder."""


class Many:
    """Files in folders, all of the same few bytes; every tenth one has an owner and an
    attribute of its own. *step* is prime to their number: it mixes up their order."""

    def __init__(self, step: int) -> None:
        self._step = step

    def entries(self) -> Iterator[Entry]:
        yield Entry(b"", Kind.DIRECTORY, 0o755)
        for number in range(FOLDERS):
            yield Entry(b"%d" % number, Kind.DIRECTORY, 0o755, inode=number + 1)
        for count in range(FOLDERS * FILES):
            number = count * self._step % (FOLDERS * FILES)
            entry = Entry(
                b"%d/caf\xe9-%d" % (number % FOLDERS, number // FOLDERS),
                Kind.FILE,
                0o644,
                mtime=number,
                size=3,
                inode=10_000 + number,
            )
            if number % 10 == 0:
                entry = replace(entry, uid=number, xattrs=((b"user.n", b"%d" % number),))
            yield entry

    def content(self, entry: Entry) -> Iterator[bytes]:
        yield b"%03d" % (entry.inode % 1000)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_million_files(tmp_path: Path) -> None:
    trees = [write_tree(Many(step), RULES, EPOCH, tmp_path / f"{step}") for step in (1, 7919)]
    assert trees[0].sha256 == trees[1].sha256
    assert trees[0].entries == 1 + FOLDERS + FOLDERS * FILES
    told, expected = hashlib.sha256(), hashlib.sha256()
    with trees[0].path.open("rb") as file:
        for member in read_members(file, trees[0].path):
            told.update(repr(replace(member.entry, inode=0)).encode())
    for entry in sorted(Many(1).entries(), key=lambda entry: entry.path):
        expected.update(repr(replace(entry, inode=0)).encode())
    assert told.digest() == expected.digest()
    with TarSource(trees[1].path) as source:
        assert sum(1 for _ in source.entries()) == trees[1].entries
    work = workspace(tmp_path / "work")
    found = TreeComparer("h").compare(trees[0].path, trees[1].path, work, RecordingProgress())
    assert found == ()
