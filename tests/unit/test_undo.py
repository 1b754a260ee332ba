"""Bringing back what cleanups took down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.cleanups import Cleanups, open_cleanups
from support.deleting import at_once
from support.examples import CI, ref
from support.releases import DC1, LOCAL

from imagectl.errors import Conflict, Failed, ImagectlError, NotFound, Refused
from imagectl.model.change import BeginDeletion, RecordPlacement, StepVersion
from imagectl.model.names import Sha256
from imagectl.model.retention import DELETING, Receipt, Stage
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.wording import moment
from imagectl.services.marking import MARKS, Unmarked
from imagectl.services.ports.locations import Mark
from imagectl.services.undelete import Undeleted
from imagectl.services.undo import taken_down, undo
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
    return cleanups.undelete(ref(OLD), remake)


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
    with pytest.raises(Refused, match="undo") as caught:
        undo(cleanups.world.releasing, [ref(OLD), ref(MIDDLE)], "")
    assert f"; `imagectl cleanup undo {MIDDLE}` brings back the other one" in caught.value.hint
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED


def test_of_many_others_so_many_are_named_as_can_be_read(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    others = [ref(f"debian-ci@20261112.{number}") for number in range(1, 11)]
    cleanups.add(OLD, LOCAL)
    for each in others:
        cleanups.add(str(each), LOCAL)
    cleanups.commit(*(StepVersion(each, Stage.DEPRECATED) for each in (ref(OLD), *others)))
    for stage in (Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED):
        cleanups.commit(StepVersion(ref(OLD), stage))
    with pytest.raises(Refused, match="nothing was done") as caught:
        undo(cleanups.world.releasing, [ref(OLD), *others], "")
    named = " ".join(map(str, others[:8]))
    assert caught.value.hint.endswith(
        f"; `imagectl cleanup undo {named}` brings back the first 8 of the 10 others"
    )
    undo(cleanups.world.releasing, others[:8], "")
    with pytest.raises(Refused) as caught:
        undo(cleanups.world.releasing, [ref(OLD), *others[8:]], "")
    assert caught.value.hint.endswith(
        f"; `imagectl cleanup undo {others[8]} {others[9]}` brings back the others"
    )


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


def test_what_somebody_put_there_again_need_not_be_made_again(
    cleanups: Cleanups, local: MemoryLocation
) -> None:
    """Out of a backup of the location."""
    (was, _) = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    local.keep(was.provider_id, f"disk of {OLD}".encode(), None)
    undeleted = bring_back(cleanups)
    assert not undeleted.remade
    assert {each.location for each in undeleted.put} == {LOCAL, DC1}
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_what_is_still_there_is_found_again(cleanups: Cleanups, local: MemoryLocation) -> None:
    """A cleanup was stopped after the first of two locations."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    there = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.commit_deleted(ref(OLD))
    local.delete(there[0], at_once)
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


def test_where_locations_fail_the_way_on_is_to_undelete(
    three: tuple[Cleanups, MemoryLocation, MemoryLocation],
) -> None:
    cleanups, local, dc1 = three
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    goes_on = f"`imagectl cleanup undelete {OLD}` goes on where it stopped"
    with local.unreadable(), dc1.unreadable(), pytest.raises(ImagectlError) as both:
        bring_back(cleanups)
    assert both.value.hint == goes_on
    with local.unreadable(), pytest.raises(ImagectlError) as one:
        bring_back(cleanups)
    assert one.value.hint.endswith(goes_on)

    def fails(_: VersionRef) -> None:
        raise Failed("its base is gone", hint="mend the mirror")

    cleanups.bring_down(ref(MIDDLE), to=Stage.DELETED)
    with pytest.raises(Failed) as remaking:
        cleanups.undelete(ref(MIDDLE), fails)
    command = f"`imagectl cleanup undelete {MIDDLE}`"
    assert remaking.value.hint == f"mend the mirror; then {command} goes on where it stopped"


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
    local.delete(there[0], at_once)
    put = local.put

    def deleting_first(*arguments: object) -> Placement:
        dc1.delete(there[1], at_once)
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


def began_to_undelete(cleanups: Cleanups) -> None:
    """A cleanup was killed right after its decision, and an undelete right after its own."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.commit_deleted(ref(OLD))
    cleanups.commit(StepVersion(ref(OLD), Stage.QUARANTINED))


def test_an_undelete_that_was_interrupted_is_no_case_for_an_undo(cleanups: Cleanups) -> None:
    """P6: it is recorded nowhere, so nobody could get it."""
    began_to_undelete(cleanups)
    with pytest.raises(Refused, match="cannot be brought back by an undo") as caught:
        undo(cleanups.world.releasing, [ref(OLD)], "")
    assert f"imagectl cleanup undelete {OLD}" in caught.value.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    assert len(cleanups.catalog.snapshot().placed(ref(OLD))) == 2


def test_what_is_back_in_one_of_two_locations_is_no_case_for_an_undo(
    cleanups: Cleanups, local: MemoryLocation
) -> None:
    """P5: active with one placement less, no command would put the other there again."""
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.stored.add_bytes(f"disk of {OLD}".encode())
    with local.unreadable(), pytest.raises(ImagectlError):
        bring_back(cleanups)
    cleanups.commit(
        *(
            RecordPlacement(each.placement)
            for each in cleanups.catalog.snapshot().buried(ref(OLD))
            if each.placement.location == DC1
        )
    )
    with pytest.raises(Refused, match="cannot be brought back by an undo") as caught:
        undo(cleanups.world.releasing, [ref(OLD)], "")
    assert f"not back in {LOCAL}" in str(caught.value.reasons)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    assert len(cleanups.catalog.snapshot().placed(ref(OLD))) == 2


def test_what_came_back_without_a_location_that_is_gone_can_be_undone(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, DC1)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.without(DC1)
    bring_back(cleanups, remaking(cleanups))
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    undo(cleanups.world.releasing, [ref(OLD)], "")
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_one_that_was_made_active_too_early_is_still_undeleted(cleanups: Cleanups) -> None:
    began_to_undelete(cleanups)
    cleanups.commit(StepVersion(ref(OLD), Stage.ACTIVE))
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    assert not any(each.open for each in cleanups.catalog.snapshot().buried(ref(OLD)))


def test_an_undelete_that_was_interrupted_stops_no_cleanup(cleanups: Cleanups) -> None:
    began_to_undelete(cleanups)
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    assert plan.plan.unfinished == ()
    cleanups.receipts.add(Receipt(ref(OLD), "ci", cleanups.world.clock.now()))
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert cleanups.stage(ref(MIDDLE)) is Stage.DELETED


def test_what_came_back_in_part_comes_back_in_full_the_next_time(
    three: tuple[Cleanups, MemoryLocation, MemoryLocation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: brought back to one of two locations, deleted again, and brought back."""
    cleanups, local, dc1 = three
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    there = cleanups.catalog.snapshot().placed(ref(OLD))
    cleanups.commit_deleted(ref(OLD))
    dc1.lose(there[1])
    cleanups.stored.remove(there[1].sha256)

    def fails(*_: object) -> None:
        raise Failed("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(local, "fetch", fails)
        with pytest.raises(Failed, match="no space"):
            bring_back(cleanups, fails)
    assert [each.location for each in cleanups.catalog.snapshot().placed(ref(OLD))] == [LOCAL]
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    bring_back(cleanups, remaking(cleanups))
    for location, each in zip(
        (local, dc1),
        sorted(cleanups.catalog.snapshot().placed(ref(OLD)), key=lambda one: one.location != LOCAL),
        strict=True,
    ):
        location.verify(each, cleanups.world.clock.now())


def test_what_would_be_nowhere_is_not_undeleted(cleanups: Cleanups) -> None:
    """P6: none of its locations is in the project any more."""
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    before = cleanups.catalog.snapshot()
    cleanups.without(LOCAL)
    cleanups.without(DC1)
    with pytest.raises(Refused, match="nothing was done") as caught:
        bring_back(cleanups, remaking(cleanups))
    assert len(caught.value.reasons) == 2
    assert cleanups.catalog.snapshot() == before


def test_where_a_channel_requires_a_location_that_is_gone_it_stays_quarantined(
    cleanups: Cleanups,
) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    releasing = cleanups.world.releasing
    cleanups.without(DC1)
    with pytest.raises(Refused, match="stays quarantined") as caught:
        bring_back(cleanups, remaking(cleanups))
    assert "dc1" in caught.value.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    assert [each.location for each in cleanups.catalog.snapshot().placed(ref(OLD))] == [LOCAL]
    cleanups.world.releasing = releasing
    bring_back(cleanups)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


@pytest.mark.parametrize("dry_run", [False, True])
def test_consumers_are_not_given_what_is_not_there(
    cleanups: Cleanups, local: MemoryLocation, dry_run: bool
) -> None:
    """P6: somebody removed it by hand while it was quarantined."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    local.lose(cleanups.catalog.snapshot().placed(ref(OLD))[0])
    with pytest.raises(Refused, match="what is not there; nothing was done") as caught:
        undo(cleanups.world.releasing, [ref(OLD), ref(MIDDLE)], "", dry_run=dry_run)
    assert f"imagectl publish {OLD} --to local" in caught.value.hint
    assert f"`imagectl cleanup undo {MIDDLE}` brings back the other one" in caught.value.hint
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED
    cleanups.world.place(ref(OLD), LOCAL)
    undo(cleanups.world.releasing, [ref(OLD)], "")
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_what_cannot_be_looked_at_stays_quarantined(
    cleanups: Cleanups, local: MemoryLocation
) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    with local.unreadable(), pytest.raises(ImagectlError):
        undo(cleanups.world.releasing, [ref(OLD)], "")
    cleanups.without(LOCAL)
    cleanups.without(DC1)
    with pytest.raises(Refused, match="what is not there") as caught:
        undo(cleanups.world.releasing, [ref(OLD)], "")
    assert "imagectl.yaml" in caught.value.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_while_the_store_is_cleared_nothing_is_undeleted(cleanups: Cleanups) -> None:
    """P5: or it would lose what it has just found there."""
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    cleanups.building.add(CI)
    with pytest.raises(Conflict, match="just now; nothing was done"):
        bring_back(cleanups, remaking(cleanups))
    assert cleanups.stage(ref(OLD)) is Stage.DELETED


@pytest.mark.parametrize("applying", [False, True])
def test_who_marks_last_marks_what_the_catalog_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, applying: bool
) -> None:
    """A cleanup and an undo mark at the same time; either may be the slower one."""
    cleanups, local, _ = open_cleanups(tmp_path)
    for text in (OLD, NEW):
        cleanups.add(text, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.OBSOLETE)
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    mark = local.mark
    waiting = [True]

    def undoing() -> None:
        undo(cleanups.world.releasing, [ref(OLD)], "")

    def stepping_down() -> None:
        cleanups.commit(StepVersion(ref(OLD), Stage.DEPRECATED))
        mark(cleanups.catalog.snapshot().placed(ref(OLD))[0], Mark.DEPRECATED)

    def slowly(placement: Placement, marked: Mark) -> None:
        if waiting:
            waiting.clear()
            (undoing if applying else stepping_down)()
        mark(placement, marked)

    monkeypatch.setattr(local, "mark", slowly)
    if applying:
        assert cleanups.apply(plan).unmarked == ()
    else:
        undoing()
    (placement,) = cleanups.catalog.snapshot().placed(ref(OLD))
    stage = cleanups.stage(ref(OLD))
    assert stage is (Stage.ACTIVE if applying else Stage.DEPRECATED)
    assert local.marks[placement.provider_id] is MARKS[stage]
