"""Old files of a published tree: what goes with them, and what stays whoever has made them (P2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.examples import CI, NOW, STABLE
from support.releases import Book
from support.signed_trees import directory_publisher, directory_tree

from imagectl.adapters.published.directory import DirectoryPlace, DirectoryTree
from imagectl.adapters.published.publisher import KEPT_STATES
from imagectl.adapters.published.thinning import thin_out
from imagectl.errors import Corrupt
from imagectl.formats.tuf_roles import METADATA

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"


class FullTree:
    """A published tree in a folder of a project, with as many states as are kept: the first of them
    goes with the next one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = NOW
        self.book = Book()
        self.book.built(ONE)
        self.book.moved(STABLE, ONE)
        for _ in range(KEPT_STATES):
            self.publish()
        assert len(list((root / METADATA).glob("*.snapshot.json"))) == KEPT_STATES

    def promote(self) -> None:
        self.book.built(TWO)
        self.book.moved(STABLE, TWO)

    def publish(self) -> None:
        self.now += timedelta(days=8)
        directory_publisher(self.root, lambda: self.now).publish(self.book.snapshot)

    def last(self) -> int:
        """The number of the newest state."""
        snapshots = (self.root / METADATA).glob("*.snapshot.json")
        return max(int(each.name.split(".")[0]) for each in snapshots)

    def tree(self) -> DirectoryTree:
        return directory_tree(self.root, self.now)

    def read_all(self) -> None:
        tree = self.tree()
        head, index = tree.head(CI, STABLE), tree.index(CI)
        assert head is not None
        assert index is not None
        assert index.versions
        for document in index.versions.values():
            tree.version(document)


@pytest.fixture
def full(tmp_path: Path) -> FullTree:
    return FullTree(tmp_path / "public")


def planted(**signed: object) -> bytes:
    return json.dumps({"signed": signed}).encode()


@pytest.mark.parametrize(
    "name",
    ["../../root", "../../root.json", "root.json", "channel-/../../../root.json", "timestamp.json"],
)
def test_an_old_file_that_somebody_planted_takes_nothing_else_away(
    full: FullTree, name: str
) -> None:
    """Old snapshots are not verified: whoever may write there says what they name."""
    outside = full.root.parent / "root.json"
    outside.write_bytes(planted())
    lists = {"json": {"version": "../../root"}, name: {"version": 1}, "targets.json": 1}
    (full.root / METADATA / "1.snapshot.json").write_bytes(planted(meta=lists))
    full.promote()
    full.publish()
    assert outside.exists()
    assert (full.root / METADATA / "1.root.json").exists()
    assert not (full.root / METADATA / "1.snapshot.json").exists(), "the state itself is an old one"
    full.read_all()


def test_an_old_list_that_somebody_planted_takes_nothing_else_away(full: FullTree) -> None:
    (version,) = (full.root / "versions").rglob("*.json")
    digest = version.stem
    folder = version.parent.relative_to(full.root)
    outside = full.root.parent / f"{digest}.index.json"
    outside.write_bytes(planted())
    named = (f"{folder}/json", "../index.json", "images/../../index.json", "/index.json")
    targets: dict[str, object] = {each: {"hashes": {"sha256": digest}} for each in named}
    letters = full.root / "versions" / "sha256" / "ab" / f"{'ab' * 32}.json"
    letters.parent.mkdir(exist_ok=True)
    letters.write_bytes(b"{}")  # whose folder could be the name of a document's
    targets["versions/sha256/ab/json"] = {"hashes": {"sha256": "ab" * 32}}
    targets |= {"images/a/index.json": {"hashes": 5}, "images/b/index.json": 5}
    (full.root / METADATA / "1.images.json").write_bytes(planted(targets=targets))
    lists = {"images.json": {"version": 1}}
    (full.root / METADATA / "1.snapshot.json").write_bytes(planted(meta=lists))
    full.promote()
    full.publish()
    assert version.exists()
    assert letters.exists()
    assert outside.exists()
    assert not (full.root / METADATA / "1.images.json").exists()
    full.read_all()


def test_states_that_somebody_made_up_do_not_take_the_place_of_what_is_read(
    full: FullTree,
) -> None:
    """With numbers that ours would have had, and more than are kept."""
    metadata = full.root / METADATA
    last = full.last()
    slow = full.tree()
    assert slow.catalog().generation == full.book.snapshot.generation
    for more in range(1, KEPT_STATES + 5):
        (metadata / f"{last + more}.snapshot.json").write_bytes(planted(meta={}))
    full.promote()
    full.publish()
    assert (metadata / f"{last}.snapshot.json").exists()
    head = slow.head(CI, STABLE)
    assert head is not None
    assert f"{CI}@{head.version}" == ONE, "whoever has begun to read it can go on"
    full.read_all()


def test_another_name_of_the_newest_state_does_not_make_it_an_old_one(full: FullTree) -> None:
    """Planted while it is being published."""
    last = full.last()
    for more in range(1, KEPT_STATES + 5):
        (full.root / METADATA / f"{'0' * more}{last}.snapshot.json").write_bytes(planted(meta={}))
    thin_out(DirectoryPlace(full.root), KEPT_STATES, last)
    full.read_all()


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x" * 300, "a/../b", "A", "."])
def test_a_name_that_no_file_can_have_keeps_nobody_from_publishing(
    full: FullTree, bad: str
) -> None:
    lists = {f"image-{bad}.json": {"version": 1}, "images.json": {"version": 1}}
    lists |= {f"channel-{version}.json": {"version": version} for version in (-1, 10**999)}
    (full.root / METADATA / "1.snapshot.json").write_bytes(planted(meta=lists))
    targets = {f"images/{bad}/index.json": {"hashes": {"sha256": "a" * 64}}}
    (full.root / METADATA / "1.images.json").write_bytes(planted(targets=targets))
    full.promote()
    full.publish()
    assert not (full.root / METADATA / "1.images.json").exists(), "it is an old list of ours"
    full.read_all()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"5", b'{"signed": {"meta": [5]}}', b"[" * 10**5, b"\xff"]
)
def test_an_old_file_that_is_no_metadata_keeps_nobody_from_publishing(
    full: FullTree, data: bytes
) -> None:
    for number in range(1, KEPT_STATES + 5):
        (full.root / METADATA / f"{number}.snapshot.json").write_bytes(data)
    (full.root / METADATA / "\u00b2.snapshot.json").write_bytes(data)
    full.promote()
    full.publish()
    assert full.tree().catalog().generation == full.book.snapshot.generation
    kept = list((full.root / METADATA).glob("[0-9]*.snapshot.json"))
    assert len(kept) == KEPT_STATES


@pytest.mark.parametrize("path", ["../x.json", "images/../../x.json", "/x.json"])
def test_no_file_of_a_tree_is_outside_of_it(tmp_path: Path, path: str) -> None:
    root = tmp_path / "public"
    root.mkdir()
    outside = tmp_path / "x.json"
    outside.write_bytes(b"")
    place = DirectoryPlace(root)
    uses: tuple[Callable[[str], object], ...] = (
        place.read,
        place.remove,
        place.names,
        lambda path: place.sizes([path]),
        lambda path: place.write(path, b"new"),
        lambda path: place.claim(path, b"new"),
        lambda path: place.replace(path, b"new", b""),
    )
    for use in uses:
        with pytest.raises(Corrupt, match="outside"):
            use(path)
    assert outside.read_bytes() == b""
