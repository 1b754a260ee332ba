"""What of deleted versions the artifact store keeps, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path

import pytest
from support.cleanups import CATALOG_ID, Cleanups, digest_of, open_cleanups
from support.examples import CI, ref
from support.locks import lock_of
from support.releases import LOCAL

from imagectl.model.change import ConfirmGone, HoldVersion, StepVersion
from imagectl.model.names import ImageName, Sha256
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible
from imagectl.services.clear_store import clear_store, final_ones
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.store import MemoryStore

OLD, MIDDLE, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))
BULK = {digest_of(f"{what} of {text}") for what in ("disk", "tree") for text in (OLD, MIDDLE)}


class Watched(MemoryCatalog):
    """A catalog in which something else happens just before it is read whole."""

    def __init__(self) -> None:
        super().__init__(CATALOG_ID)
        self.before_reading: list[Callable[[], None]] = []

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        if images and self.before_reading:
            self.before_reading.pop()()
        return super().snapshot(images)


@pytest.fixture
def cleanups(tmp_path: Path) -> Cleanups:
    """Two versions that nobody needs, and the one in beta."""
    cleanups, _, _ = open_cleanups(tmp_path)
    for text in (OLD, MIDDLE, NEW):
        cleanups.add(text, LOCAL)
    cleanups.world.enter(ref(NEW))
    return cleanups


@pytest.mark.parametrize("reproducible", [Reproducible.NO, Reproducible.UNPROVEN])
def test_what_is_not_proven_to_come_out_the_same_keeps_its_disks(
    tmp_path: Path, reproducible: Reproducible
) -> None:
    """P5: with a tree, and a lock, and other bytes each time."""
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, reproducible=reproducible)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    before = cleanups.files()
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    assert "built" in final_ones(cleanups.catalog, plan.steps)[ref(OLD)]
    cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.DELETED
    assert cleanups.files() == before


def test_what_a_build_kept_from_being_cleared_goes_the_next_time(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    cleanups.building.add(CI)
    applied = cleanups.apply(cleanups.plan())
    assert applied.cleared.spared == {CI: "another build of debian-ci is running"}
    assert cleanups.files() >= BULK
    cleanups.building.clear()
    cleanups.pass_days(1.01)
    applied = cleanups.apply(cleanups.plan())
    assert applied.done == ()
    assert set(applied.cleared.removed) == BULK
    assert not cleanups.files() & BULK


def test_a_plan_about_one_image_clears_nothing_of_others(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    assert clear_store(cleanups.cleaning, (ImageName("other"),)).removed == ()
    assert clear_store(cleanups.cleaning).removed == (digest_of(f"disk of {OLD}"),)


@pytest.mark.parametrize("both", [False, True])
def test_applying_a_plan_about_one_image_clears_nothing_of_others(
    cleanups: Cleanups, both: bool
) -> None:
    """INCIDENTS D: what deleted versions of another image left in the store is not its business,
    whether or not it has something of its own to clear."""
    other = ImageName("other")
    cleanups.add("other@20261111.1", LOCAL)
    cleanups.bring_down(ref(OLD), ref(MIDDLE), ref("other@20261111.1"), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    own = []
    if both:
        cleanups.stored.add_bytes(b"disk of other@20261111.1")
        own = [digest_of("disk of other@20261111.1")]
    applied = cleanups.apply(cleanups.plan(images=(other,)))
    assert applied.surprise is None
    assert list(applied.cleared.removed) == own
    cleanups.stored.verify(digest_of(f"disk of {OLD}"))


def test_while_nothing_is_left_no_build_is_kept_waiting(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.DELETED)
    cleanups.building.add(CI)
    assert clear_store(cleanups.cleaning).spared == {}


def test_the_tree_that_a_child_is_compared_with_stays(tmp_path: Path) -> None:
    """A child that stands could otherwise not be told apart from what it was built on."""
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL)
    cleanups.add("child@20261113.1", parent=OLD)
    cleanups.commit(
        *(StepVersion(ref(OLD), each) for each in tuple(Stage)[1:]), reason="by somebody's hand"
    )
    for each in cleanups.catalog.snapshot().buried(ref(OLD)):
        cleanups.commit(ConfirmGone(each))
    assert clear_store(cleanups.cleaning).removed == (digest_of(f"disk of {OLD}"),)
    assert digest_of(f"tree of {OLD}") in cleanups.files()


def test_what_may_still_be_in_a_location_stays_in_the_store_too(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    cleanups.commit_deleted(ref(OLD))
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]
    assert clear_store(cleanups.cleaning).removed == ()


def test_what_is_a_document_of_another_version_stays(tmp_path: Path) -> None:
    """The same bytes may be one version's disk, and another's lock."""
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, disk=lock_of(NEW))
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    assert digest_of(lock_of(NEW)) in cleanups.files()
    assert digest_of(f"tree of {OLD}") not in cleanups.files()


def test_a_version_that_comes_while_it_is_read_keeps_what_it_needs(tmp_path: Path) -> None:
    catalog = Watched()
    cleanups, _, _ = open_cleanups(tmp_path, catalog=catalog)
    cleanups.add(OLD, LOCAL)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())

    def comes() -> None:
        cleanups.add("another@20261113.1", disk=f"disk of {OLD}")

    # The list of images is read already, and has no `another`.
    catalog.before_reading += [comes, lambda: None]
    assert clear_store(cleanups.cleaning).removed == ()
    cleanups.stored.verify(digest_of(f"disk of {OLD}"))


def test_what_is_needed_again_between_two_removals_stays(
    cleanups: Cleanups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: all was read, and one file is removed, when somebody brings the versions back."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.DELETED)
    for text in (OLD, MIDDLE):
        cleanups.stored.add_bytes(f"disk of {text}".encode())
    store, gone = cleanups.stored, []
    remove = MemoryStore.remove

    def removing(self: MemoryStore, sha256: Sha256) -> None:
        remove(self, sha256)
        gone.append(sha256)
        for text in (OLD, MIDDLE):
            cleanups.commit(StepVersion(ref(text), Stage.QUARANTINED))

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "remove", removing)
        assert list(clear_store(cleanups.cleaning).removed) == gone
    assert len(gone) == 1
    kept = {digest_of(f"disk of {text}") for text in (OLD, MIDDLE)} - set(gone)
    for each in kept:
        store.verify(each)


def test_a_catalog_that_never_rests_spares_the_image(
    cleanups: Cleanups, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    path = MemoryStore.path

    def changing(self: MemoryStore, sha256: Sha256) -> Path:
        cleanups.world.clock.advance(timedelta(seconds=1))
        cleanups.commit(HoldVersion(ref(NEW)))
        return path(self, sha256)

    monkeypatch.setattr(MemoryStore, "path", changing)
    cleared = clear_store(cleanups.cleaning)
    assert cleared.removed == ()
    assert cleared.spared == {CI: "the catalog kept changing while it was read"}
