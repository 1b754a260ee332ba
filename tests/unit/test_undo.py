"""Bringing back what cleanups took down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.cleanups import Cleanups, open_cleanups
from support.examples import ref
from support.releases import DC1, LOCAL

from imagectl.errors import Conflict, Failed, ImagectlError, NotFound, Refused
from imagectl.model.catalog import BeginDeletion
from imagectl.model.names import Sha256
from imagectl.model.retention import DELETING, Stage
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.wording import moment
from imagectl.services.ports import Mark
from imagectl.services.undo import Undeleted, Unmarked, taken_down, undelete, undo
from imagectl.testing.locations import MemoryLocation

OLD, MIDDLE, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))


@pytest.fixture
def three(tmp_path: Path) -> tuple[Cleanups, MemoryLocation, MemoryLocation]:
    """Three versions in both locations, the last one of them in beta."""
    cleanups, local, dc1 = open_cleanups(tmp_path)
    for text in (OLD, MIDDLE, NEW):
        cleanups.add(text, LOCAL, DC1)
    cleanups.world.enter(ref(NEW))
    return cleanups, local, dc1


@pytest.fixture
def cleanups(three: tuple[Cleanups, MemoryLocation, MemoryLocation]) -> Cleanups:
    return three[0]


@pytest.fixture
def local(three: tuple[Cleanups, MemoryLocation, MemoryLocation]) -> MemoryLocation:
    return three[1]


def never(_: VersionRef) -> None:
    raise AssertionError("nothing has to be made again")


def bring_back(cleanups: Cleanups, remake: Callable[[VersionRef], None] = never) -> Undeleted:
    scratch = cleanups.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return undelete(cleanups.world.releasing, cleanups.stored, ref(OLD), "needed", scratch, remake)


def remaking(cleanups: Cleanups) -> Callable[[VersionRef], None]:
    return lambda each: void(cleanups.stored.add_bytes(f"disk of {each}".encode()))


def void(_: Sha256) -> None:
    """For lambdas that are called for what they do."""


@pytest.mark.parametrize("stage", [Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED])
def test_each_stage_but_the_last_is_undone(
    cleanups: Cleanups, local: MemoryLocation, stage: Stage
) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=stage)
    assert taken_down(cleanups.catalog.snapshot()) == (ref(OLD), ref(MIDDLE))
    before = cleanups.catalog.snapshot().generation
    undone = undo(cleanups.world.releasing, [ref(OLD), ref(MIDDLE)], "a mistake")
    assert [(each, was.stage) for each, was in undone.versions] == [
        (ref(OLD), stage),
        (ref(MIDDLE), stage),
    ]
    assert cleanups.stage(ref(OLD)) is cleanups.stage(ref(MIDDLE)) is Stage.ACTIVE
    assert cleanups.catalog.snapshot().generation == before + 1
    assert set(local.marks.values()) == {Mark.ACTIVE}
    shown = cleanups.published.tree().catalog()
    assert shown.generation == before + 1


def test_a_dry_run_brings_nothing_back(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DEPRECATED)
    before = cleanups.catalog.snapshot()
    undone = undo(cleanups.world.releasing, [ref(OLD)], "", dry_run=True)
    assert [each for each, _ in undone.versions] == [ref(OLD)]
    assert cleanups.catalog.snapshot() == before


def test_an_undo_is_repeated_for_the_marks(cleanups: Cleanups, local: MemoryLocation) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DEPRECATED)
    with local.unreadable():
        first = undo(cleanups.world.releasing, [ref(OLD)], "")
    assert [type(each) for each in first.unmarked] == [Unmarked]
    assert first.unmarked[0].placement.location == LOCAL
    again = undo(cleanups.world.releasing, [ref(OLD)], "")
    assert (again.versions, again.already, again.unmarked) == ((), (ref(OLD),), ())
    assert set(local.marks.values()) == {Mark.ACTIVE, Mark.DEPRECATED}  # MIDDLE is still down


def test_what_is_deleted_is_not_undone_nor_anything_with_it(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.commit_deleted(ref(OLD))
    with pytest.raises(Refused, match="undo"):
        undo(cleanups.world.releasing, [ref(OLD), ref(MIDDLE)], "")
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED


def test_an_unknown_version_is_not_found(cleanups: Cleanups) -> None:
    with pytest.raises(NotFound):
        undo(cleanups.world.releasing, [ref("debian-ci@20200101.1")], "")


def test_a_deleted_version_is_made_again_and_put_where_it_was(
    cleanups: Cleanups, local: MemoryLocation
) -> None:
    was = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    assert local.held(was[0].provider_id) is None
    undeleted = bring_back(cleanups, remaking(cleanups))
    assert undeleted.remade
    assert {each.location for each in undeleted.put} == {LOCAL, DC1}
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    now = cleanups.catalog.snapshot().placed(ref(OLD))
    assert {each.key for each in now} == {each.key for each in was}
    assert local.held(was[0].provider_id) == f"disk of {OLD}".encode()
    assert cleanups.catalog.verify() == ()


def test_the_store_is_asked_before_anything_is_made_again(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    assert not bring_back(cleanups).remade
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_what_is_still_there_is_found_again(cleanups: Cleanups, local: MemoryLocation) -> None:
    """A cleanup was stopped after the first of two locations."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    there = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.commit_deleted(ref(OLD))
    local.delete(there[0])
    artifact = cleanups.catalog.snapshot().versions[ref(OLD)].artifacts[0]
    cleanups.stored.remove(artifact.sha256)
    undeleted = bring_back(cleanups)
    assert [each.location for each in undeleted.found] == [DC1]
    assert [each.location for each in undeleted.put] == [LOCAL]
    assert not undeleted.remade  # the other location has it
    stones = cleanups.catalog.snapshot().buried(ref(OLD))
    assert not any(each.open for each in stones)


def test_where_it_cannot_be_made_again_it_stays_quarantined(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)

    def fails(_: VersionRef) -> None:
        raise Failed("its base is gone")

    with pytest.raises(Failed, match="its base is gone") as caught:
        bring_back(cleanups, fails)
    assert "undelete" in caught.value.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    assert bring_back(cleanups, remaking(cleanups)).remade
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_one_that_was_made_again_and_is_still_not_there_is_not_active(cleanups: Cleanups) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    with pytest.raises(Failed, match="still has not all of it"):
        bring_back(cleanups, lambda _: None)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_where_a_location_does_not_answer_it_stays_quarantined(
    cleanups: Cleanups, local: MemoryLocation
) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    with local.unreadable(), pytest.raises(ImagectlError):
        bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    bring_back(cleanups)
    assert {each.location for each in cleanups.catalog.snapshot().placed(ref(OLD))} == {LOCAL, DC1}


def test_what_is_not_deleted_is_not_undeleted(cleanups: Cleanups) -> None:
    with pytest.raises(Refused, match="not deleted"):
        bring_back(cleanups)
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    with pytest.raises(Refused, match="not deleted") as caught:
        bring_back(cleanups)
    assert caught.value.hint == f"imagectl cleanup undo {OLD}"


def test_a_location_that_the_project_has_no_more_is_told(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, DC1)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.without(DC1)
    undeleted = bring_back(cleanups, remaking(cleanups))
    assert undeleted.elsewhere == (DC1,)
    assert [each.location for each in undeleted.put] == [LOCAL]


def test_what_may_be_being_deleted_is_brought_back_when_that_is_over(cleanups: Cleanups) -> None:
    """A cleanup was killed in the middle: nobody can tell that from one that takes long."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.commit_deleted(ref(OLD))
    cleanups.commit(BeginDeletion(cleanups.catalog.snapshot().buried(ref(OLD))[0]))
    before = cleanups.catalog.snapshot()
    with pytest.raises(Conflict, match="just being deleted; nothing was done") as caught:
        bring_back(cleanups)
    begun = before.buried(ref(OLD))[0].begun
    assert begun is not None
    assert moment(begun + DELETING + timedelta(minutes=1)) in caught.value.hint
    assert cleanups.catalog.snapshot() == before
    cleanups.world.clock.advance(DELETING)
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_a_cleanup_that_still_deletes_meanwhile_is_noticed(
    three: tuple[Cleanups, MemoryLocation, MemoryLocation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had read the catalog just before, and takes one more."""
    cleanups, local, dc1 = three
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    there = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.commit_deleted(ref(OLD))
    local.delete(there[0])
    put = local.put

    def deleting_first(*arguments: object) -> Placement:
        dc1.delete(there[1])
        return put(*arguments)  # type: ignore[arg-type]  # passed on as they are

    with monkeypatch.context() as patch:
        patch.setattr(local, "put", deleting_first)
        with pytest.raises(Conflict, match="has just been deleted from dc1"):
            bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    for location, placement in ((local, there[0]), (dc1, there[1])):
        location.verify(placement, cleanups.world.clock.now())


def test_undeleted_and_deleted_again_it_comes_back_again(cleanups: Cleanups) -> None:
    for _ in range(2):
        cleanups.bring_down(ref(OLD), to=Stage.DELETED)
        bring_back(cleanups, remaking(cleanups))
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    assert len(cleanups.catalog.snapshot().buried(ref(OLD))) == 4
    assert len(cleanups.catalog.snapshot().placed(ref(OLD))) == 2
