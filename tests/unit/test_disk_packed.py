"""Entries packed small: nothing is lost, the order is that of the paths, memory stays small."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.children import Child
from support.trees import ROOT, ListSource, file, folder, made, trees

from imagectl.adapters.disk.packed import SortedEntries, pack, unpack
from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.errors import Corrupt


@given(trees())
def test_an_entry_comes_out_as_it_went_in(files: list[tuple[Entry, bytes]]) -> None:
    for entry in ListSource(files).entries():
        assert unpack(pack(entry)) == entry


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", Kind.FILE, 0o7777, 2**32 - 1, 2**32 - 1, -(2**31), 2**44, inode=2**40),
        Entry(b"b", Kind.BLOCK, 0o600, device=(4095, 2**20 - 1), xattrs=((b"user.x", b"\0" * 9),)),
        Entry(b"c", Kind.SYMLINK, 0o777, target=b"t" * 4095, xattrs=((b"a", b""), (b"b", b"\0"))),
    ],
)
def test_the_largest_numbers_fit(entry: Entry) -> None:
    assert unpack(pack(entry)) == entry


@given(trees(), st.randoms(use_true_random=False))
def test_they_come_in_the_order_of_their_paths(
    files: list[tuple[Entry, bytes]], order: random.Random
) -> None:
    shuffled = list(files)
    order.shuffle(shuffled)
    found = [entry.path for entry in SortedEntries(ListSource(shuffled))]
    assert found == sorted(entry.path for entry, _ in files)


def test_a_folder_s_files_come_after_siblings_that_a_slash_is_more_than() -> None:
    names = [b"a", b"a-b", b"a/x", b"a0"]
    files = [file(name) if name != b"a" else folder(name) for name in reversed(names)]
    assert [entry.path for entry in SortedEntries(ListSource(files))] == names


def test_shared_inodes_are_those_of_several_paths() -> None:
    files = [
        ROOT,
        folder(b"d", inode=5),
        file(b"e", inode=5),
        file(b"x", b"12", inode=7),
        file(b"y", b"12", inode=7),
        made(b"z", Kind.FIFO, inode=8),
    ]
    entries = SortedEntries(ListSource(files))
    assert entries.shared == {7}
    assert entries.content == 4
    assert len(entries) == 6


def test_a_nul_in_a_path_is_refused() -> None:
    with pytest.raises(Corrupt, match="not a path"):
        SortedEntries(ListSource([ROOT, file(b"a\0b")]))


class Many:
    """A tree of *count* files with paths of 60 bytes."""

    def __init__(self, count: int) -> None:
        self._count = count

    def entries(self) -> Iterator[Entry]:
        yield ROOT[0]
        for number in range(self._count):
            path = b"%07d-%s" % (number * 7919 % self._count, b"x" * 52)
            yield Entry(path, Kind.FILE, 0o644, mtime=10**9, size=number, inode=number + 10**6)

    def content(self, entry: Entry) -> Iterator[bytes]:
        yield bytes(entry.size)


def test_an_entry_takes_less_than_200_bytes() -> None:
    def measure(say: object) -> None:
        before = resident()
        entries = SortedEntries(Many(200_000))
        assert len(entries) == 200_001
        assert (resident() - before) / 200_000 < 200

    Child(measure).end()


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
