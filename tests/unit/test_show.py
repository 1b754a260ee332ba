"""Showing consumers what changed, and nothing less, whatever else happens to the catalog."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from support.examples import BASE, BETA, CI, NOW, placement, ref, version
from support.releases import LOCAL

from imagectl.errors import Conflict
from imagectl.model.change import Change, MoveChannel, RecordPlacement, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.names import ImageName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.services import show
from imagectl.services.show import catch_up
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.published import MemoryPublisher


class Shared(MemoryCatalog):
    """A catalog that others change: ``meanwhile`` is done before some images are read."""

    meanwhile: Callable[[], object] | None = None
    asked: list[Collection[ImageName] | None]

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        if images and self.meanwhile is not None:
            self.meanwhile()
        if images != ():
            self.asked.append(images)
        return super().snapshot(images)


class Strict(MemoryPublisher):
    """A tree in memory that somebody else may have removed."""

    lost = False

    def publish(self, snapshot: Snapshot, since: int | None = None) -> None:
        if self.lost and since is not None:
            raise Conflict("it was removed")
        super().publish(snapshot, since)


@pytest.fixture
def catalog() -> Shared:
    catalog = Shared()
    catalog.asked = []
    for text in ("debian-ci@20261120.1", "debian-base@20261120.1"):
        enter(catalog, text)
    return catalog


@pytest.fixture
def public(catalog: Shared) -> Strict:
    public = Strict()
    catch_up(catalog, [public])
    catalog.asked.clear()
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


def test_only_the_images_that_changed_are_read(catalog: Shared, public: Strict) -> None:
    enter(catalog, "debian-ci@20261120.2")
    assert catch_up(catalog, [public]) == 1
    assert catalog.asked == [{CI}]
    assert beta(public, CI) == ref("debian-ci@20261120.2").version
    assert beta(public, BASE) == ref("debian-base@20261120.1").version
    assert catch_up(catalog, [public]) == 0


def test_what_changes_while_it_is_read_is_not_left_out(catalog: Shared, public: Strict) -> None:
    """A change of another image must not be taken for shown because its generation is."""
    enter(catalog, "debian-ci@20261120.2")

    def meanwhile() -> None:
        catalog.meanwhile = None
        enter(catalog, "debian-base@20261120.2")

    catalog.meanwhile = meanwhile
    catch_up(catalog, [public])
    assert beta(public, CI) == ref("debian-ci@20261120.2").version
    assert beta(public, BASE) == ref("debian-base@20261120.2").version


def test_where_it_never_rests_everything_is_read(catalog: Shared, public: Strict) -> None:
    enter(catalog, "debian-ci@20261120.2")
    serials = iter(range(2, 100))
    catalog.meanwhile = lambda: enter(catalog, f"debian-base@20261120.{next(serials)}")
    catch_up(catalog, [public])
    assert None in catalog.asked
    head = catalog.snapshot(()).generation
    shown = public.shown()
    assert shown is not None
    assert shown.generation == head
    assert beta(public, BASE).serial == next(serials) - 1


@pytest.mark.parametrize("why", ["lost", "many"])
def test_where_that_is_not_enough_everything_is_read(
    catalog: Shared, public: Strict, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    public.lost = why == "lost"
    if why == "many":
        monkeypatch.setattr(show, "MANY", 0)
    enter(catalog, "debian-ci@20261120.2")
    catch_up(catalog, [public])
    assert catalog.asked[-1] is None
    assert beta(public, CI) == ref("debian-ci@20261120.2").version
