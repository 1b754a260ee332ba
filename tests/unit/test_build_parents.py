"""Images that are built on other images: which version, what is told of it, and how it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.workshop import (
    CHILD,
    SAME_INPUTS,
    Workshop,
    open_workshop,
    tree_of,
)

from imagectl.errors import Corrupt, NotFound, Refused, TestsFailed
from imagectl.model.image import ParentBase
from imagectl.model.lock import LockedParentBase
from imagectl.model.names import (
    Sha256,
    parse_image_ref,
)
from imagectl.model.retention import Lease
from imagectl.model.version import VersionRef
from imagectl.services.build import PARENT_LEASE
from imagectl.services.protect import revoke
from imagectl.testing.build import RecordingProgress


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


def test_a_child_is_built_on_its_parents_channel(shop: Workshop) -> None:
    with pytest.raises(NotFound, match="debian:beta does not exist yet") as caught:
        shop.build(CHILD)
    assert caught.value.hint == "imagectl build debian && imagectl promote beta debian"
    parent = shop.deliver().built.version
    child = shop.build(CHILD).version
    assert child.parent == parent.ref
    assert parent.tree is not None
    assert shop.locked(CHILD).base == LockedParentBase(parent.ref, parent.tree.sha256)
    assert not shop.build(CHILD).fresh


def test_a_newer_parent_is_told_and_not_taken(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.build(CHILD)
    newer = shop.deliver(SAME_INPUTS).built.version
    shop.progress.notes.clear()
    assert not shop.build(CHILD).fresh
    (note,) = shop.progress.notes
    assert note == (
        f"debian:beta is {newer.id} by now, and the lock has {parent.id}: "
        "`imagectl lock child --update` takes it"
    )
    assert shop.build(CHILD, force=True).version.parent == parent.ref
    shop.lock(CHILD, update=True)
    assert shop.build(CHILD).version.parent == newer.ref


def test_an_unknown_parent_version_is_told(shop: Workshop) -> None:
    image = replace(CHILD, base=ParentBase(parse_image_ref("debian@20200101.1")))
    with pytest.raises(NotFound, match=r"debian@20200101\.1 does not exist"):
        shop.build(image)


def test_a_parent_whose_tree_is_gone_is_told_before_anything_is_built(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.lose(tree_of(parent))
    with pytest.raises(NotFound, match=r"the file tree of debian@20261120\.1 is not in") as caught:
        shop.build(CHILD)
    assert caught.value.hint == "imagectl rebuild debian@20261120.1"


def test_a_lock_that_names_another_catalogs_parent_is_told(shop: Workshop) -> None:
    shop.deliver()
    shop.build(CHILD)
    lock = shop.locked(CHILD)
    assert isinstance(lock.base, LockedParentBase)
    shop.definitions.write_lock(replace(lock, base=replace(lock.base, tree=Sha256("f" * 64))))
    with pytest.raises(Corrupt, match="is not the parent that child was locked with"):
        shop.build(CHILD)


class Watching(RecordingProgress):
    """Looks at each stage who has leased the parent."""

    def __init__(self, shop: Workshop, parent: VersionRef) -> None:
        super().__init__()
        self._shop = shop
        self._parent = parent
        self.seen: dict[str, tuple[Lease, ...]] = {}

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        super().stage(name, expected_seconds)
        self.seen[name] = self._shop.catalog.snapshot().leases.get(self._parent, ())


def test_a_parent_is_leased_while_it_is_built_on(shop: Workshop) -> None:
    """P1: until the child is recorded, nothing else keeps a cleanup away from its parent."""
    parent = shop.deliver().built.version
    watching = Watching(shop, parent.ref)
    shop.progress = watching
    shop.build(CHILD)
    for name in ("check", "provision", "prove", "keep"):
        (lease,) = watching.seen[name]
        assert lease.consumer.endswith(" of child")
        assert lease.until == shop.clock.now() + PARENT_LEASE
    assert shop.catalog.snapshot().leases == {}


def test_a_parent_is_free_again_also_when_the_build_fails(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.progress = watching = Watching(shop, parent.ref)
    shop.prover.failing.add("test_up")
    with pytest.raises(TestsFailed):
        shop.build(CHILD)
    assert watching.seen["prove"]
    assert shop.catalog.snapshot().leases == {}


def test_nothing_is_built_on_what_was_revoked(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.build(CHILD)
    revoke(shop.releasing, parent.ref, "a hole", even_if_released=True)
    with pytest.raises(Refused, match="child cannot be built on debian@") as caught:
        shop.build(CHILD, force=True)
    assert "was revoked on 2026-11-20 09:00 UTC by alice: a hole" in caught.value.reasons[0]
    assert "imagectl lock child --update" in caught.value.hint
