"""Showing consumers what changed, and nothing less, whatever else happens to the catalog."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from support.examples import BASE, BETA, CI, NOW, placement, ref, version
from support.releases import LOCAL
from support.troubled import FullDisk

from imagectl.errors import CannotTell, Conflict, Failed
from imagectl.model.change import Change, MoveChannel, RecordPlacement, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import ImageName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.services import show
from imagectl.services.publish import publish_catalog
from imagectl.services.show import catch_up, not_seen
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.published import MemoryPublisher


class Shared(MemoryCatalog):
    """Notes whether all of it is read."""

    wholes = 0

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        self.wholes += images is None
        return super().snapshot(images)


class Strict(MemoryPublisher):
    """A tree in memory that somebody else may have removed."""

    lost = False

    def publish(self, told: Snapshot | Excerpt) -> None:
        if self.lost and isinstance(told, Excerpt):
            raise Conflict("it was removed")
        super().publish(told)


@pytest.fixture
def catalog() -> Shared:
    catalog = Shared()
    for text in ("debian-ci@20261120.1", "debian-base@20261120.1"):
        enter(catalog, text)
    return catalog


@pytest.fixture
def public(catalog: Shared) -> Strict:
    public = Strict()
    publish_catalog(catalog, [public])
    catalog.wholes = 0
    return public


def enter(catalog: MemoryCatalog, text: str) -> None:
    made = version(text)
    head = catalog.snapshot(()).generation
    operations = (
        RecordVersion(made),
        RecordPlacement(placement(text, LOCAL)),
        MoveChannel(made.image, BETA, made.id, MoveKind.ENTRY),
    )
    catalog.commit(Change(f"key-{head}", head, "alice", "test", "", NOW, operations))


def beta(public: MemoryPublisher, image: ImageName) -> VersionId:
    head = public.tree().head(image, BETA)
    assert head is not None
    return head.version


def test_a_tree_begins_with_the_first_change() -> None:
    """P10: keys are made for it then, and not by whoever looks at a new project."""
    catalog, public = Shared(), Strict()
    assert catch_up(catalog, [public]) == 0
    assert public.shown() is None
    enter(catalog, "debian-ci@20261120.1")
    assert catch_up(catalog, [public]) == 1
    assert catch_up(catalog, [public]) == 0


def test_a_tree_that_is_not_mounted_is_not_begun_anew(catalog: Shared, public: Strict) -> None:
    """P2: it is all that tells an older copy of the catalog from the newest."""
    public.files.clear()
    with pytest.raises(CannotTell, match="although channels have moved before") as caught:
        catch_up(catalog, [public])
    assert caught.value.where == public.where
    assert caught.value.hint.startswith("mount it; ")
    enter(catalog, "debian-ci@20261120.2")
    with pytest.raises(CannotTell, match="although channels have moved before"):
        catch_up(catalog, [public])
    assert public.files == {}
    publish_catalog(catalog, [public])  # a person says that it is lost
    assert catch_up(catalog, [public]) == 0


def test_what_a_killed_process_did_not_begin_is_begun() -> None:
    catalog, public = Shared(), Strict()
    recorded = RecordVersion(version("debian-ci@20261119.1"))
    catalog.commit(Change("key", 0, "alice", "test", "", NOW, (recorded,)))
    enter(catalog, "debian-ci@20261120.1")
    assert catch_up(catalog, [public]) == 1


def test_only_what_changed_is_read(catalog: Shared, public: Strict) -> None:
    enter(catalog, "debian-ci@20261120.2")
    assert catch_up(catalog, [public]) == 1
    assert catalog.wholes == 0
    assert beta(public, CI) == ref("debian-ci@20261120.2").version
    assert beta(public, BASE) == ref("debian-base@20261120.1").version
    assert catch_up(catalog, [public]) == 0


@pytest.mark.parametrize("why", ["lost", "many"])
def test_where_that_is_not_enough_everything_is_read(
    catalog: Shared, public: Strict, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    public.lost = why == "lost"
    if why == "many":
        monkeypatch.setattr(show, "MANY", 0)
    enter(catalog, "debian-ci@20261120.2")
    catch_up(catalog, [public])
    assert catalog.wholes == 1
    assert beta(public, CI) == ref("debian-ci@20261120.2").version


def test_each_tree_that_is_not_shown_it_is_named(catalog: Shared, public: Strict) -> None:
    trees: list[MemoryPublisher] = [FullDisk(), public, FullDisk()]
    publish_catalog(catalog, trees)
    for number, tree in ((0, "/srv/one"), (2, "/srv/two")):
        full = trees[number]
        assert isinstance(full, FullDisk)
        full.full, full.place = True, tree
    enter(catalog, "debian-ci@20261120.2")
    with pytest.raises(Failed) as caught:
        catch_up(catalog, trees)
    assert beta(public, CI) == ref("debian-ci@20261120.2").version
    assert list(caught.value.causes) == ["/srv/one", "/srv/two"]
    said = not_seen("it IS revoked", caught.value)
    assert said.what == (
        "it IS revoked, but consumers of 2 of 3 published trees do not see what the catalog has; "
        "those of the others do"
    )
    assert said.why == "\n".join(
        f"{tree}: publishing the catalog: no space left" for tree in ("/srv/one", "/srv/two")
    )
    with pytest.raises(Failed) as caught:
        catch_up(catalog, [trees[0], trees[2]])
    assert caught.value.what.endswith("of 2 of 2 published trees do not see what the catalog has")
    with pytest.raises(Failed) as caught:
        catch_up(catalog, trees[:1])
    said = not_seen("it IS revoked", caught.value)
    assert said.what == "it IS revoked, but consumers do not see it yet"
