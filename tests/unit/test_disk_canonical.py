"""The canonical tar is the identity of an image: the same files, the same bytes (P9)."""

from __future__ import annotations

import hashlib
import random
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trees import ROOT, ListSource, contents, file, folder, made, trees

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import describe_tree, write_tree
from imagectl.adapters.disk.rules import Action, Rule
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, LayeredSource, MemorySource
from imagectl.errors import Corrupt
from imagectl.model.image import Edit

EPOCH = 1_500_000_000
every_tree = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(
    files: Sequence[tuple[Entry, bytes]], out: Path, *rules: Rule, epoch: int = EPOCH
) -> CanonicalTree:
    return write_tree(ListSource(files), rules, epoch, out)


def read(tree: CanonicalTree) -> dict[bytes, tuple[Entry, bytes]]:
    with TarSource(tree.path) as source:
        return contents(source)


@every_tree
@given(trees(), st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter(
    tmp_path: Path, files: list[tuple[Entry, bytes]], order: random.Random
) -> None:
    shuffled = list(files)
    order.shuffle(shuffled)
    assert write(files, tmp_path / "a").sha256 == write(shuffled, tmp_path / "b").sha256


@every_tree
@given(trees())
def test_a_canonical_tree_is_its_own_canonical_tree(
    tmp_path: Path, files: list[tuple[Entry, bytes]]
) -> None:
    first = write(files, tmp_path / "a")
    with TarSource(first.path) as source:
        second = write_tree(source, (), EPOCH, tmp_path / "b")
    assert (second.sha256, second.size, second.entries) == (first.sha256, first.size, first.entries)


@every_tree
@given(trees())
def test_nothing_is_lost_but_what_is_clamped(
    tmp_path: Path, files: list[tuple[Entry, bytes]]
) -> None:
    expected = {
        entry.path: (
            replace(
                entry,
                inode=0,
                size=len(content),
                mtime=max(0, min(entry.mtime, EPOCH)),
                xattrs=tuple(sorted(entry.xattrs)),
            ),
            content,
        )
        for entry, content in files
    }
    assert read(write(files, tmp_path / "a")) == expected


@every_tree
@given(trees())
def test_other_programs_read_the_same(tmp_path: Path, files: list[tuple[Entry, bytes]]) -> None:
    tree = write(files, tmp_path / "a")
    with tarfile.open(tree.path, "r:", errors="surrogateescape") as archive:
        names = [member.name.encode("utf-8", "surrogateescape") for member in archive]
    assert names == [b"." if not entry.path else b"./" + entry.path for entry, _ in files]


def test_the_result_describes_the_file(tmp_path: Path) -> None:
    tree = write([ROOT, file(b"a", b"x" * 3000)], tmp_path / "a")
    written = tree.path.read_bytes()
    assert tree.sha256 == hashlib.sha256(written).hexdigest()
    assert tree.size == len(written)
    assert tree.size % 512 == 0
    assert tree.entries == 2
    assert describe_tree(tree.path) == tree


def test_the_bytes_do_not_change_from_release_to_release(tmp_path: Path) -> None:
    """Identities are recorded for years: a change of the encoding needs a reason and a word in
    the changelog."""
    files = [
        ROOT,
        folder(b"d", mode=0o2750, gid=42),
        file(b"d/caf\xe9", b"coffee\n", xattrs=((b"user.b", b"\0\xff"), (b"user.a", b"=\n"))),
        file(b"d/" + b"n" * 120, b"", uid=2**31, mtime=2**31),
        made(b"l", Kind.SYMLINK, target=b"d/caf\xe9"),
        made(b"z", Kind.CHARACTER, device=(1, 300)),
    ]
    tree = write(files, tmp_path / "a")
    assert tree.sha256 == "9aa3035c0f489e4aa78f969e1012fb1573facc1d3ff5d576b5090825d28239e7"


def test_hard_links_begin_at_the_first_path(tmp_path: Path) -> None:
    linked = [file(name, b"text", inode=7) for name in (b"c", b"b", b"d")]
    tree = write([ROOT, *linked], tmp_path / "a")
    with tarfile.open(tree.path) as archive:
        assert archive.getmember("./b").isreg()
        assert archive.getmember("./c").linkname == "./b"
        assert archive.getmember("./d").linkname == "./b"


def test_hard_links_begin_at_the_first_path_that_is_kept(tmp_path: Path) -> None:
    linked = [file(name, b"text", inode=7) for name in (b"a", b"b", b"c")]
    tree = write([ROOT, *linked], tmp_path / "a", Rule("a", Action.DROP, "test"))
    assert read(tree)[b"b"][1] == b"text"
    with tarfile.open(tree.path) as archive:
        assert archive.getmember("./c").linkname == "./b"


def test_a_dropped_folder_takes_everything_with_it(tmp_path: Path) -> None:
    files = [ROOT, folder(b"a"), folder(b"a/b"), file(b"a/b/c"), file(b"ab")]
    tree = write(files, tmp_path / "a", Rule("a", Action.DROP, "test"))
    assert set(read(tree)) == {b"", b"ab"}


def test_an_emptied_file_is_as_old_as_the_build(tmp_path: Path) -> None:
    files = [ROOT, file(b"log", b"secret", mode=0o640, uid=3, mtime=5)]
    entry, content = read(write(files, tmp_path / "a", Rule("log", Action.EMPTY, "t")))[b"log"]
    assert content == b""
    assert (entry.mode, entry.uid, entry.mtime) == (0o640, 3, EPOCH)


def test_only_files_are_emptied(tmp_path: Path) -> None:
    files = [ROOT, folder(b"log"), made(b"log/l", Kind.SYMLINK, target=b"x")]
    tree = write(files, tmp_path / "a", Rule("log/**", Action.EMPTY, "test"))
    assert read(tree)[b"log/l"][0].target == b"x"


def test_a_rewritten_file_has_the_new_length(tmp_path: Path) -> None:
    rule = Rule("conf", Action.REWRITE, "test", (Edit(r"^a=.*$", "a=longer"), Edit(r"^b.*\n", "")))
    tree = write([ROOT, file(b"conf", b"x\na=1\nb=2\nc\n")], tmp_path / "a", rule)
    assert read(tree)[b"conf"][1] == b"x\na=longer\nc\n"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([ROOT, file(b"a"), file(b"a")], "/a is there twice"),
        ([ROOT, folder(b".."), file(b"../etc")], "not a path"),
        ([ROOT, file(b"a\0b")], "not a path"),
        ([ROOT, file(b"a/b")], "/a/b is not in a folder"),
        ([ROOT, made(b"a", Kind.SYMLINK, target=b"/etc"), file(b"a/b")], "/a/b is not in a folder"),
        ([file(b"", b"")], "the root of the tree is not a folder"),
        ([file(b"a")], "/a is not in a folder"),
    ],
)
def test_a_tree_that_does_not_hold_together_is_refused(
    tmp_path: Path, files: list[tuple[Entry, bytes]], why: str
) -> None:
    with pytest.raises(Corrupt, match=why):
        write(files, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stored", [b"", b"1234", b"123456"])
def test_content_must_be_as_long_as_it_says(tmp_path: Path, stored: bytes) -> None:
    class Liar(ListSource):
        def content(self, entry: Entry) -> Iterator[bytes]:
            yield stored

    with pytest.raises(Corrupt, match="/a is not as long as its 5 bytes"):
        write_tree(Liar([ROOT, file(b"a", b"12345")]), (), EPOCH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(ListSource):
        def content(self, entry: Entry) -> Iterator[bytes]:
            yield b"12"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tree(Interrupted([ROOT, file(b"a", b"12345")]), (), EPOCH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_upper_layer_replaces_what_is_below() -> None:
    below = ListSource([ROOT, file(b"a", b"old"), file(b"b", b"kept", inode=0)])
    above = MemorySource([file(b"a", b"new"), file(b"c", b"more")])
    found = contents(LayeredSource(below, above))
    assert {path: content for path, (_, content) in found.items()} == {
        b"": b"",
        b"a": b"new",
        b"b": b"kept",
        b"c": b"more",
    }
