"""The contracts of ``services.ports.Publisher`` and ``PublishedTree``: what is written is read."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import obstore
import pytest
from support.bucket_trees import bucket_publisher, bucket_tree, contents, store
from support.examples import BASE, BETA, CI, NOW, STABLE
from support.processes import Killer
from support.releases import Book
from support.signed_trees import directory_publisher, directory_tree

from imagectl.adapters.published.publisher import KEPT_STATES
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound, Refused
from imagectl.formats.tuf_roles import METADATA, TIMESTAMP_PATH
from imagectl.model.names import VersionId
from imagectl.model.published import Warned
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible
from imagectl.services.ports.published import PublishedTree, Publisher
from imagectl.testing.published import ENTRY, MemoryPublisher

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
        self.publisher = directory_publisher(root)
        self.tree = directory_tree(root, NOW)

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


class InBucket:
    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.publisher = bucket_publisher(url, folder)
        self.tree = bucket_tree(url, folder, NOW)

    def paths(self) -> set[str]:
        return set(contents(self.url))

    def remove(self, path: str) -> None:
        obstore.delete(store(self.url), path)

    def damage(self, path: str) -> None:
        changed = contents(self.url)[path].replace(b'"', b"'")
        obstore.put(store(self.url), path, changed)


@pytest.fixture(params=["memory", "directory", "s3", "gs"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    match request.param:
        case "memory":
            return InMemory()
        case "directory":
            return OnDisk(tmp_path / "public")
        case kind:
            url: str = request.getfixturevalue(f"{kind}_tree")
            return InBucket(url, tmp_path)


@pytest.fixture
def book() -> Book:
    book = Book()
    book.built(ONE)
    book.moved(STABLE, ONE)
    return book


def stable(tree: PublishedTree) -> VersionId:
    """Where stable leads, through every document on the way."""
    tree.catalog()
    head = tree.head(CI, STABLE)
    index = tree.index(CI)
    assert head is not None
    assert index is not None
    assert index.versions[head.version] == head.document
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
    index = published.tree.index(CI)
    assert index is not None
    plain, made = (published.tree.version(index.versions[each]) for each in (FIRST, SECOND))
    assert plain.origin is None
    assert plain.inside is None
    assert made.origin is not None
    assert (made.origin.reproducible, made.origin.cause) == (Reproducible.NO, "/etc/x differs")
    assert made.inside is not None


def test_an_empty_catalog_can_be_published(published: Published) -> None:
    published.publisher.publish(Snapshot("id", 0))
    assert generation(published.publisher) == 0
    assert published.tree.catalog().generation == 0
    assert list(published.tree.images()) == []
    assert published.tree.index(CI) is None
    assert published.tree.head(CI, STABLE) is None
    assert published.tree.warnings(CI) == {}


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


def test_a_missing_or_changed_file_is_named_and_can_be_repaired(
    published: Published, book: Book
) -> None:
    published.publisher.publish(book.snapshot)
    files = sorted(published.paths() - {TIMESTAMP_PATH, ENTRY})
    # What a reader of stable does not come by, and roots before the first.
    others = (".beta.json", ".channel-beta.json", ".root.json", ".lock")
    on_the_way = [path for path in files if not path.endswith(others)]
    assert len(on_the_way) in (4, 9)
    for once in on_the_way:
        for harm in (published.remove, published.damage):
            path = newest(published, once)
            harm(path)
            with pytest.raises(Corrupt) as caught:
                stable(published.tree)
            assert caught.value.where.endswith(path)
            published.publisher.publish(book.snapshot)
            assert stable(published.tree) == FIRST


def newest(published: Published, path: str) -> str:
    """The path of that metadata now: a repair signs it anew. Documents keep theirs."""
    folder, _, name = path.rpartition("/")
    if folder != METADATA:
        return path
    role = name.partition(".")[2]
    return max(
        each for each in published.paths() if each.startswith(folder) and each.endswith(f".{role}")
    )


def test_only_what_changed_need_be_given(published: Published, book: Book) -> None:
    book.built("debian-base@20261120.1")
    published.publisher.publish(book.snapshot)
    since = book.snapshot.generation
    book.built(TWO)
    book.moved(STABLE, TWO)
    published.publisher.publish(book.excerpt(since))
    assert generation(published.publisher) == book.snapshot.generation
    assert stable(published.tree) == SECOND
    assert set(published.tree.images()) == {BASE, CI}
    assert published.tree.head(BASE, BETA) is not None
    assert set(published.tree.channels(CI)) == {BETA, STABLE}
    assert set(published.tree.channels(BASE)) == {BETA}


def test_what_changed_is_not_enough_where_nothing_is_published(
    published: Published, book: Book
) -> None:
    with pytest.raises(Conflict, match="does not show generation 1"):
        published.publisher.publish(book.excerpt(1))
    assert published.publisher.shown() is None


def test_a_revocation_changes_no_index_and_no_channel(published: Published, book: Book) -> None:
    """Nobody else has to sign for a warning."""
    published.publisher.publish(book.snapshot)
    before = published.paths()
    book.revoked(ONE, reason="a hole")
    published.publisher.publish(book.snapshot)
    published.tree.catalog()
    warning = published.tree.warnings(CI)[FIRST]
    assert (warning.warned, warning.reason) == (Warned.REVOKED, "a hole")
    new = published.paths() - before
    assert not [path for path in new if "index.json" in path or "/channels/" in path]
    assert stable(published.tree) == FIRST


def test_a_timestamp_that_is_damaged_is_not_built_upon(tmp_path: Path, book: Book) -> None:
    """It alone says which generation is shown. Where all is said anew, it is, too."""
    on_disk = OnDisk(tmp_path / "public")
    on_disk.publisher.publish(book.snapshot)
    on_disk.damage(TIMESTAMP_PATH)
    with pytest.raises(Corrupt, match=TIMESTAMP_PATH):
        on_disk.tree.catalog()
    with pytest.raises(Corrupt, match=TIMESTAMP_PATH):
        on_disk.publisher.publish(book.excerpt(book.snapshot.generation))
    on_disk.publisher.publish(book.snapshot)
    assert stable(on_disk.tree) == FIRST


def test_a_missing_tree_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no published catalog in") as caught:
        directory_tree(tmp_path / "public").catalog()
    assert "`imagectl catalog publish`" in caught.value.hint
    assert "--catalog" in caught.value.hint


def test_a_tree_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, book: Book) -> None:
    root = tmp_path / "public"
    (root / TIMESTAMP_PATH).mkdir(parents=True)
    with pytest.raises(CannotTell, match="cannot be read"):
        directory_tree(root).catalog()
    with pytest.raises(CannotTell, match="cannot be read"):
        directory_publisher(root).publish(book.snapshot)


def test_a_tree_that_cannot_be_written_is_one_clear_error(tmp_path: Path, book: Book) -> None:
    (tmp_path / "public").write_text("not a folder")
    with pytest.raises((Failed, CannotTell)) as caught:
        directory_publisher(tmp_path / "public").publish(book.snapshot)
    assert str(tmp_path / "public") in caught.value.where


def test_anybody_may_read_the_files(tmp_path: Path, book: Book) -> None:
    old = os.umask(0o077)
    try:
        directory_publisher(tmp_path / "public").publish(book.snapshot)
    finally:
        os.umask(old)
    files = (tmp_path / "public").rglob("*.json")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files}
    assert modes == {0o644}


def test_a_promotion_writes_six_small_files(tmp_path: Path, book: Book) -> None:
    for serial in range(2, 40):
        book.built(f"debian-ci@20261120.{serial}")
        book.built(f"debian-base@20261120.{serial}")
    on_disk = OnDisk(tmp_path / "public")
    on_disk.publisher.publish(book.snapshot)
    inodes = {path: (on_disk.root / path).stat().st_ino for path in on_disk.paths()}
    since = book.snapshot.generation
    book.moved(STABLE, "debian-ci@20261120.39")
    on_disk.publisher.publish(book.excerpt(since))
    written = {
        path for path in on_disk.paths() if (on_disk.root / path).stat().st_ino != inodes.get(path)
    }
    names = sorted(path.rpartition("/")[2].partition(".")[2] for path in written)
    assert names == [
        "catalog.json",  # what the catalog is at
        "catalog.json",  # and who says so
        "channel-stable.json",
        "json",  # the timestamp
        "snapshot.json",
        "stable.json",
    ]
    assert sum((on_disk.root / path).stat().st_size for path in written) < 5000


def test_old_states_are_thinned_out_but_not_what_a_kept_one_names(
    tmp_path: Path, book: Book
) -> None:
    on_disk = OnDisk(tmp_path / "public")
    book.built("debian-base@20261120.1")
    on_disk.publisher.publish(book.snapshot)
    others = [on_disk.root / "images" / CI / "channels" / name for name in ("x.json", "a.b.json")]
    for other in others:
        other.write_text("somebody's own file")
    slow = directory_tree(on_disk.root, NOW)
    for serial in range(2, KEPT_STATES + 10):
        if serial == 10:
            slow.catalog()
        book.built(f"debian-ci@20261120.{serial}")
        on_disk.publisher.publish(book.snapshot)
        if serial == 10 + KEPT_STATES - 2:
            assert slow.head(CI, BETA) is not None  # it has begun that long ago
    folder = on_disk.root / "images" / CI
    assert len(list(folder.glob("*.index.json"))) == KEPT_STATES
    assert len(list(folder.glob("channels/*.beta.json"))) == KEPT_STATES
    assert len(list(folder.glob("channels/*.stable.json"))) == 1
    assert len(list((on_disk.root / "metadata").glob("*.snapshot.json"))) == KEPT_STATES
    assert len(list((on_disk.root / "metadata").glob("*.channel-stable.json"))) == 1
    assert all(other.exists() for other in others)
    assert stable(on_disk.tree) == FIRST
    assert on_disk.tree.head(BASE, BETA) is not None


def test_killed_at_any_moment_readers_find_the_state_before_or_after(tmp_path: Path) -> None:
    """P7. 60 kills of a publication that brings two new versions and moves both images."""
    book = Book()
    texts = [f"debian-{name}@20261120.1" for name in ("base", "ci")]
    for text in texts:
        book.built(text)
    book.moved(STABLE, *texts)
    root = tmp_path / "public"
    publisher = directory_publisher(root)
    publisher.publish(book.snapshot)

    def both() -> set[VersionId]:
        tree = directory_tree(root, NOW)
        found = set()
        for name in (BASE, CI):
            head = tree.head(name, STABLE)
            assert head is not None
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
