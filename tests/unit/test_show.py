"""Showing consumers what changed, and nothing less, whatever else happens to the catalog."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from support.examples import BASE, BETA, CI, NOW, placement, ref, version
from support.releases import LOCAL

from imagectl.errors import Conflict
from imagectl.model.change import Change, MoveChannel, RecordPlacement, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import ImageName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.services import show
from imagectl.services.show import catch_up
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
    catch_up(catalog, [public])
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
