"""The contracts of ``services.ports.Publisher`` and ``PublishedTree``: what is written is read."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from support.examples import BASE, BETA, CI, STABLE
from support.processes import Killer
from support.releases import Book

from imagectl.adapters.published import KEPT_DOCUMENTS, DirectoryPublisher, open_tree
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound, Refused
from imagectl.formats.published_v1.layout import ENTRY
from imagectl.model.names import VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible
from imagectl.services.ports.published import PublishedTree, Publisher
from imagectl.testing.published import MemoryPublisher

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
FIRST, SECOND = (VersionId("20261120", serial) for serial in (1, 2))


class Published(Protocol):
    """A tree, and what can happen to it behind imagectl's back."""

    @property
    def publisher(self) -> Publisher: ...
    @property
    def tree(self) -> PublishedTree: ...
    def paths(self) -> set[str]: ...
    def remove(self, path: str) -> None: ...
    def damage(self, path: str) -> None: ...


def generation(publisher: Publisher) -> int | None:
    """What the tree shows."""
    shown = publisher.shown()
    return shown.generation if shown is not None else None


class InMemory:
    def __init__(self) -> None:
        self.publisher = MemoryPublisher()
        self.tree = self.publisher.tree()

    def paths(self) -> set[str]:
        return set(self.publisher.files)

    def remove(self, path: str) -> None:
        del self.publisher.files[path]

    def damage(self, path: str) -> None:
        self.publisher.files[path] = self.publisher.files[path].replace(b'"', b"'")


class OnDisk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.publisher = DirectoryPublisher(root)
        self.tree = open_tree(root)

    def paths(self) -> set[str]:
        return {
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def damage(self, path: str) -> None:
        file = self.root / path
        file.write_bytes(file.read_bytes().replace(b'"', b"'"))


@pytest.fixture(params=["memory", "directory"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    return InMemory() if request.param == "memory" else OnDisk(tmp_path / "public")


@pytest.fixture
def book() -> Book:
    book = Book()
    book.built(ONE)
    book.moved(STABLE, ONE)
    return book


def stable(tree: PublishedTree) -> VersionId:
    """Where stable leads, through every document on the way."""
    image = tree.catalog().images[CI]
    head = tree.head(image, STABLE)
    assert tree.index(image).versions[head.version] == head.document
    assert tree.version(head.document).ref.version == head.version
    return head.version


def test_nothing_is_published_at_first(published: Published) -> None:
    assert published.publisher.shown() is None
    with pytest.raises(NotFound):
        published.tree.catalog()


def test_what_is_published_is_read(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    assert generation(published.publisher) == 2
    assert published.tree.catalog().generation == 2
    assert stable(published.tree) == FIRST


def test_consumers_are_told_how_a_version_was_made(published: Published, book: Book) -> None:
    book.built(TWO, reproducible=Reproducible.NO, cause="/etc/x differs")
    published.publisher.publish(book.snapshot)
    documents = published.tree.index(published.tree.catalog().images[CI]).versions
    plain, made = (published.tree.version(documents[each]) for each in (FIRST, SECOND))
    assert plain.origin is None
    assert plain.inside is None
    assert made.origin is not None
    assert (made.origin.reproducible, made.origin.cause) == (Reproducible.NO, "/etc/x differs")
    assert made.inside is not None


def test_an_empty_catalog_can_be_published(published: Published) -> None:
    published.publisher.publish(Snapshot("id", 0))
    assert generation(published.publisher) == 0
    assert published.tree.catalog().images == {}


def test_publishing_again_changes_nothing(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    before = published.paths()
    published.publisher.publish(book.snapshot)
    assert published.paths() == before


def test_a_later_generation_replaces_an_earlier_one(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    book.built(TWO)
    book.moved(STABLE, TWO)
    published.publisher.publish(book.snapshot)
    assert stable(published.tree) == SECOND


def test_a_tree_never_goes_back(published: Published, book: Book) -> None:
    earlier = book.snapshot
    book.built(TWO)
    book.moved(STABLE, TWO)
    published.publisher.publish(book.snapshot)
    before = published.paths()
    published.publisher.publish(earlier)
    assert generation(published.publisher) == book.snapshot.generation
    assert stable(published.tree) == SECOND
    assert published.paths() == before


def test_a_tree_of_another_catalog_is_left_as_it_is(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    with pytest.raises(Refused, match="shows another catalog"):
        published.publisher.publish(replace(book.snapshot, catalog_id="other", generation=9))
    assert published.tree.catalog().catalog_id == "id"


def test_what_may_not_be_published_changes_nothing(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    book.built(TWO, failed=1)
    with pytest.raises(Refused, match="cannot be published"):
        published.publisher.publish(book.snapshot)
    assert stable(published.tree) == FIRST


def test_a_missing_or_changed_document_is_named_and_can_be_repaired(
    published: Published, book: Book
) -> None:
    published.publisher.publish(book.snapshot)
    documents = sorted(published.paths() - {ENTRY})
    on_the_way = [path for path in documents if not path.endswith(".beta.json")]
    assert (len(documents), len(on_the_way)) == (4, 3)
    for path in on_the_way:
        for harm in (published.remove, published.damage):
            harm(path)
            with pytest.raises(Corrupt) as caught:
                stable(published.tree)
            assert caught.value.where.endswith(path)
            published.publisher.publish(book.snapshot)
            assert stable(published.tree) == FIRST


def test_an_entry_that_is_damaged_is_not_built_upon(published: Published, book: Book) -> None:
    published.publisher.publish(book.snapshot)
    published.damage(ENTRY)
    with pytest.raises(Corrupt, match=ENTRY):
        published.tree.catalog()
    with pytest.raises(Corrupt, match=ENTRY):
        published.publisher.publish(book.snapshot)
    published.remove(ENTRY)
    published.publisher.publish(book.snapshot)
    assert stable(published.tree) == FIRST


def test_a_missing_tree_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no published catalog in") as caught:
        open_tree(tmp_path).catalog()
    assert "`imagectl catalog publish`" in caught.value.hint
    assert "--catalog" in caught.value.hint


def test_a_tree_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, book: Book) -> None:
    (tmp_path / ENTRY).mkdir()
    with pytest.raises(CannotTell, match="cannot be read"):
        open_tree(tmp_path).catalog()
    with pytest.raises(CannotTell, match="cannot be read"):
        DirectoryPublisher(tmp_path).publish(book.snapshot)


def test_a_tree_that_cannot_be_written_is_one_clear_error(tmp_path: Path, book: Book) -> None:
    (tmp_path / "public").write_text("not a folder")
    with pytest.raises((Failed, CannotTell)) as caught:
        DirectoryPublisher(tmp_path / "public").publish(book.snapshot)
    assert str(tmp_path / "public") in caught.value.where


def test_anybody_may_read_the_files(tmp_path: Path, book: Book) -> None:
    old = os.umask(0o077)
    try:
        DirectoryPublisher(tmp_path / "public").publish(book.snapshot)
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.json")}
    assert modes == {0o644}


def test_a_promotion_writes_two_small_files(tmp_path: Path, book: Book) -> None:
    for serial in range(2, 40):
        book.built(f"debian-ci@20261120.{serial}")
        book.built(f"debian-base@20261120.{serial}")
    on_disk = OnDisk(tmp_path)
    on_disk.publisher.publish(book.snapshot)
    inodes = {path: (tmp_path / path).stat().st_ino for path in on_disk.paths()}
    book.moved(STABLE, "debian-ci@20261120.39")
    on_disk.publisher.publish(book.snapshot)
    written = {
        path for path in on_disk.paths() if (tmp_path / path).stat().st_ino != inodes.get(path)
    }
    assert len(written) == 2
    assert ENTRY in written
    assert sum((tmp_path / path).stat().st_size for path in written) < 2000


def test_old_states_are_thinned_out_but_not_those_of_others(tmp_path: Path, book: Book) -> None:
    on_disk = OnDisk(tmp_path)
    book.built("debian-base@20261120.1")
    on_disk.publisher.publish(book.snapshot)
    others = [tmp_path / "images" / CI / "channels" / name for name in ("x.json", "x.beta.json")]
    for other in others:
        other.write_text("somebody's own file")
    first = open_tree(tmp_path).catalog()
    for serial in range(2, 16):
        book.built(f"debian-ci@20261120.{serial}")
        on_disk.publisher.publish(book.snapshot)
        if serial == KEPT_DOCUMENTS - 1:
            open_tree(tmp_path).head(first.images[CI], BETA)  # one that reads slowly
    folder = tmp_path / "images" / CI
    assert len(list(folder.glob("*.index.json"))) == KEPT_DOCUMENTS
    assert len(list(folder.glob("channels/*.beta.json"))) == KEPT_DOCUMENTS + 1
    assert len(list(folder.glob("channels/*.stable.json"))) == 1
    assert all(other.exists() for other in others)
    assert stable(on_disk.tree) == FIRST
    assert on_disk.tree.catalog().images[BASE] == first.images[BASE]


def test_killed_at_any_moment_readers_find_the_state_before_or_after(tmp_path: Path) -> None:
    """P7. 60 kills of a publication that brings two new versions and moves both images."""
    book = Book()
    texts = [f"debian-{name}@20261120.1" for name in ("base", "ci")]
    for text in texts:
        book.built(text)
    book.moved(STABLE, *texts)
    root = tmp_path / "public"
    publisher = DirectoryPublisher(root)
    publisher.publish(book.snapshot)

    def both() -> set[VersionId]:
        tree = open_tree(root)
        images = tree.catalog().images
        found = set()
        for name in (BASE, CI):
            head = tree.head(images[name], STABLE)
            assert tree.version(head.document).ref.version == head.version
            found.add(head.version)
        return found

    killer: Killer | None = None
    before = 0
    for serial in range(2, 62):
        texts = [f"debian-{name}@20261120.{serial}" for name in ("base", "ci")]
        for text in texts:
            book.built(text)
        book.moved(STABLE, *texts)

        def publish() -> None:
            publisher.publish(book.snapshot)

        if killer is None:
            killer = Killer(4, publish)
        else:
            killer.kill(publish)
        (shown,) = both()
        assert serial - 1 <= shown.serial <= serial
        before += shown.serial < serial
        publish()
        assert both() == {VersionId("20261120", serial)}
    assert killer is not None
    assert killer.killed >= 20, "the kills came too late to prove anything"
    assert before >= 5
    assert not list((root / ".partial").iterdir())
