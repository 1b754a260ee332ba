"""Rebuilding: the same bytes or none, from what is kept of a version alone (P7, P9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.workshop import (
    CHILD,
    IMAGE,
    OPAQUE,
    Workshop,
    open_workshop,
    origin,
    tree_of,
)

from imagectl.errors import BuildFailed, Conflict, Corrupt, Failed, NotFound
from imagectl.model.change import Change, RecordVersion
from imagectl.model.image import Provision
from imagectl.model.lock import Access
from imagectl.model.names import ImageName, Sha256, VersionId
from imagectl.model.version import Version, VersionRef
from imagectl.services.publish import place
from imagectl.services.rebuild import RebuildRequest, rebuild
from imagectl.testing.build import RecordingProgress
from imagectl.testing.store import MemoryStore


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


def lose_all(shop: Workshop, version: Version) -> None:
    shop.lose(tree_of(version), *(each.sha256 for each in version.artifacts))


def test_what_was_deleted_is_made_again_to_the_byte(shop: Workshop) -> None:
    """The definition was thrown away since, its lock too, and upstream is gone."""
    version = shop.deliver().built.version
    before = shop.files()
    lose_all(shop, version)
    shop.clock.advance(timedelta(days=400))
    shop.definitions.define(replace(IMAGE, provision=Provision()))
    (shop.definitions.project / "images/debian/image.lock").unlink()
    shop.equipper.upstream.gone = True
    (rebuilt,) = shop.rebuild(version.ref, offline=True)
    assert rebuilt.comparison.same
    assert rebuilt.restored == ("qcow2", "raw", "tree")
    assert shop.files() == before
    conditions = shop.equipper.used[-1]
    assert (conditions.access, conditions.fresh) == (Access.OFFLINE, True)
    assert conditions.project != shop.definitions.project
    for artifact in version.artifacts:
        shop.store.verify(artifact.sha256)
    assert len(place(shop.releasing, shop.store, version.ref).placements) == 2


def test_nothing_that_is_there_is_said_to_be_put_back(shop: Workshop) -> None:
    version = shop.build().version
    shop.lose(version.artifacts[1].sha256)
    assert shop.rebuild(version.ref)[0].restored == ("raw",)
    assert shop.rebuild(version.ref)[0].restored == ()
    assert shop.equipper.used[-1].access is Access.LOCKED


def test_verify_changes_nothing(shop: Workshop) -> None:
    version = shop.build().version
    lose_all(shop, version)
    before = shop.files()
    (rebuilt,) = shop.rebuild(version.ref, verify=True)
    assert rebuilt.comparison.same
    assert rebuilt.restored == ()
    assert shop.files() == before


def test_other_bytes_are_explained_and_never_put_back(shop: Workshop) -> None:
    version = shop.build().version
    shop.lose(*(each.sha256 for each in version.artifacts))
    before = shop.files()
    shop.equipper.noise = ["var/id: 2"]
    (rebuilt,) = shop.rebuild(version.ref)
    assert not rebuilt.comparison.same
    assert rebuilt.restored == ()
    assert [each.what for each in rebuilt.comparison.deviations] == [
        "tree",
        "raw disk",
        "qcow2",
        "raw",
    ]
    assert rebuilt.comparison.differences is not None
    (difference,) = rebuilt.comparison.differences
    assert difference.path == "var/id"
    assert "add var/id to `volatile`" in difference.advice
    assert "var/id: content differs" in rebuilt.log.read_text()
    assert shop.files() == before


def test_other_bytes_are_told_where_the_recorded_tree_is_gone(shop: Workshop) -> None:
    version = shop.build().version
    lose_all(shop, version)
    shop.equipper.noise = ["var/id: 2"]
    (rebuilt,) = shop.rebuild(version.ref)
    assert rebuilt.comparison.differences is None
    assert "only digests are left" in rebuilt.comparison.cause


def test_the_same_tree_compressed_otherwise_is_not_the_same(shop: Workshop) -> None:
    """Children are built on the file that the catalog names: another one would not be found."""
    version = shop.build().version
    assert version.tree is not None
    stored = replace(version.tree, stored=shop.store.add_bytes(b"the same, by another zstd"))
    (shop.stored / version.tree.stored).unlink()
    other = replace(version, tree=stored, ref=VersionRef(version.image, VersionId("20270101", 1)))
    record(shop, other)
    (rebuilt,) = shop.rebuild(other.ref)
    (deviation,) = rebuilt.comparison.deviations
    assert deviation.what == "compressed tree"
    assert rebuilt.restored == ()


def record(shop: Workshop, version: Version) -> None:
    generation = shop.catalog.snapshot().generation
    shop.catalog.commit(
        Change("k", generation, "a", "build", "", version.created, (RecordVersion(version),))
    )


def test_another_imagectl_is_told(shop: Workshop) -> None:
    version = shop.build().version
    shop.rebuild(version.ref)
    assert not any("imagectl 0.1.0" in note for note in shop.progress.notes)
    shop.rebuild(version.ref, tool="0.2.0")
    assert any("built by imagectl 0.1.0, and this is 0.2.0" in n for n in shop.progress.notes)


# --- ancestors ---------------------------------------------------------------------------------


def family(shop: Workshop) -> tuple[Version, Version]:
    """A parent and its child, of which all disks and trees are lost."""
    parent = shop.deliver().built.version
    child = shop.build(CHILD).version
    lose_all(shop, parent)
    lose_all(shop, child)
    return parent, child


def test_a_parent_whose_tree_is_gone_is_made_again_first(shop: Workshop) -> None:
    parent, child = family(shop)
    shop.equipper.upstream.gone = True
    first, second = shop.rebuild(child.ref, offline=True)
    assert (first.version, second.version) == (parent, child)
    assert first.comparison.same
    assert second.comparison.same
    assert "1 of 2: debian@20261120.1: its tree is needed, and gone" in shop.progress.notes
    assert "2 of 2: child@20261120.1" in shop.progress.notes
    shop.store.verify(tree_of(parent))


def test_a_parent_whose_tree_is_there_is_left_alone(shop: Workshop) -> None:
    shop.deliver()
    child = shop.build(CHILD).version
    lose_all(shop, child)
    (rebuilt,) = shop.rebuild(child.ref)
    assert rebuilt.version == child


def test_a_parent_that_comes_out_otherwise_ends_it(shop: Workshop) -> None:
    parent, child = family(shop)
    shop.equipper.noise = ["var/id: 2"]
    (rebuilt,) = shop.rebuild(child.ref)
    assert rebuilt.version == parent
    assert not rebuilt.comparison.same


def test_verify_does_not_make_parents(shop: Workshop) -> None:
    parent, child = family(shop)
    with pytest.raises(NotFound, match=f"the file tree of {parent.ref}") as caught:
        shop.rebuild(child.ref, verify=True)
    assert caught.value.hint == f"imagectl rebuild {parent.ref}"


# --- what cannot be ----------------------------------------------------------------------------


def test_an_unknown_version_is_not_found(shop: Workshop) -> None:
    with pytest.raises(NotFound, match=r"there is no version debian@20200101\.1"):
        shop.rebuild(VersionRef(ImageName("debian"), VersionId("20200101", 1)))


def test_a_version_from_before_locks_says_so(shop: Workshop) -> None:
    version = shop.build().version
    old = replace(version, origin=None, ref=VersionRef(version.image, VersionId("20270101", 1)))
    record(shop, old)
    with pytest.raises(Failed, match="cannot be made again") as caught:
        shop.rebuild(old.ref)
    assert "before imagectl kept what versions are made from" in caught.value.why
    assert "imagectl build debian --force" in caught.value.hint


def test_a_disk_that_was_kept_as_it_was_says_so(shop: Workshop) -> None:
    version = shop.build(OPAQUE).version
    runs = shop.equipper.runs
    with pytest.raises(Failed, match="cannot be made again") as caught:
        shop.rebuild(version.ref)
    assert "LVM" in caught.value.why
    assert shop.equipper.runs == runs


def test_lost_sources_are_told(shop: Workshop) -> None:
    version = shop.build().version
    shop.lose(origin(version).source)
    with pytest.raises(NotFound, match="the sources of debian@"):
        shop.rebuild(version.ref)


def test_changed_sources_are_corrupt(shop: Workshop) -> None:
    version = shop.build().version
    (shop.stored / origin(version).source).write_text("playbooks of somebody else")
    with pytest.raises(Corrupt):
        shop.rebuild(version.ref)
    assert shop.equipper.runs == 1


def test_lost_inputs_are_told(shop: Workshop) -> None:
    version = shop.build().version
    shop.equipper.kept.clear()
    with pytest.raises(NotFound, match="the input store lacks"):
        shop.rebuild(version.ref, offline=True)
    shop.equipper.upstream.edition = "two"
    with pytest.raises(BuildFailed, match="is not what was locked"):
        shop.rebuild(version.ref)


def test_a_build_of_the_same_image_meanwhile_is_a_conflict(shop: Workshop) -> None:
    version = shop.build().version
    with shop.workspaces.open(version.image, wait=False), pytest.raises(Conflict):
        shop.rebuild(version.ref)


@pytest.mark.parametrize("stage", ["tools", "base", "provision", "disk", "compare", "keep"])
def test_killed_at_any_stage_the_next_one_ends_as_if_it_had_not_been(
    shop: Workshop, stage: str
) -> None:
    version = shop.build().version
    before = shop.files()
    lose_all(shop, version)

    class Killing(RecordingProgress):
        def stage(self, name: str, expected_seconds: float | None = None) -> None:
            if name == stage:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(shop.bench, version.ref, RebuildRequest("0.1.0"), Killing())
    assert shop.files() < before
    assert shop.rebuild(version.ref)[0].comparison.same
    assert shop.files() == before


@pytest.mark.parametrize("put_back", [0, 1, 2])
def test_killed_between_two_files_the_store_has_only_what_it_should_have(
    shop: Workshop, put_back: int
) -> None:
    version = shop.build().version
    before = shop.files()
    lose_all(shop, version)
    missing = len(before) - len(shop.files())

    class Dying(MemoryStore):
        left = put_back

        def adopt(self, source: Path) -> Sha256:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().adopt(source)

    bench = replace(shop.bench, store=Dying(shop.stored))
    with pytest.raises(KeyboardInterrupt):
        rebuild(bench, version.ref, RebuildRequest("0.1.0"), shop.progress)
    assert shop.files() < before
    assert len(before) - len(shop.files()) == missing - put_back
    assert shop.rebuild(version.ref)[0].comparison.same
    assert shop.files() == before
