"""Applying a cleanup plan: each guard between a decision and a deletion."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.cleanups import CATALOG_ID, CLEANING, Cleanups, digest_of, open_cleanups
from support.examples import CI, ref
from support.releases import DC1, LOCAL

from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound, Refused
from imagectl.model.change import Change, ConfirmGone, HoldVersion, RecordPlacement, StepVersion
from imagectl.model.retention import Approver, Receipt, Stage
from imagectl.model.signature import SignedPlan
from imagectl.model.version import Placement, VersionRef
from imagectl.model.view import View
from imagectl.services.ports.catalog import Committed
from imagectl.services.ports.locations import Begin, Mark
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation

OLD, MIDDLE, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))


class Watched(MemoryLocation):
    """A location in which something happens just before or after a call."""

    def __init__(self) -> None:
        super().__init__(LOCAL, catalog=CATALOG_ID)
        self.before_verify: list[Callable[[], None]] = []
        self.before_delete: list[Callable[[], None]] = []
        self.begun: list[Callable[[], None]] = []
        self.deletes = True
        self.asked: list[Placement] = []
        self.deleted: list[Placement] = []
        self.viewed = 0
        self.scope = "all"

    def view(self, now: Callable[[], datetime]) -> View:
        self.viewed += 1
        return replace(super().view(now), scope=self.scope)

    def verify(self, placement: Placement, now: datetime) -> Placement:
        while self.before_verify:
            self.before_verify.pop()()
        return super().verify(placement, now)

    def delete(self, placement: Placement, begin: Begin) -> None:
        self.asked.append(placement)
        while self.before_delete:
            self.before_delete.pop()()

        def begun() -> None:
            begin()
            while self.begun:
                self.begun.pop()()

        if self.deletes:
            super().delete(placement, begun)
        self.deleted.append(placement)


class Interfering(MemoryCatalog):
    """A catalog in which somebody else is faster than the next commit of a kind."""

    def __init__(self) -> None:
        super().__init__(CATALOG_ID)
        self.before_commit: list[Callable[[], None]] = []

    def commit(self, change: Change) -> Committed:
        if change.action == "cleanup apply" and self.before_commit:
            self.before_commit.pop()()
        return super().commit(change)


@pytest.fixture
def place() -> Watched:
    return Watched()


@pytest.fixture
def catalog() -> Interfering:
    return Interfering()


@pytest.fixture
def cleanups(tmp_path: Path, place: Watched, catalog: Interfering) -> Cleanups:
    """Three versions in *local*, the last one of them in beta."""
    made, _, _ = open_cleanups(tmp_path, place, catalog)
    for text in (OLD, MIDDLE, NEW):
        made.add(text, LOCAL)
    made.world.enter(ref(NEW))
    return made


def versions(entries: Collection[object]) -> list[str]:
    return [str(getattr(each, "version", None)) for each in entries]


def quarantined(cleanups: Cleanups) -> SignedPlan:
    """The plan that deletes OLD and MIDDLE."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    assert [(str(each.version), each.to) for each in plan.steps] == [
        (OLD, Stage.DELETED),
        (MIDDLE, Stage.DELETED),
    ]
    return plan


# --- the way down ---


def test_versions_go_down_a_stage_at_a_time(cleanups: Cleanups, place: Watched) -> None:
    marks = {
        Stage.DEPRECATED: Mark.DEPRECATED,
        Stage.OBSOLETE: Mark.OBSOLETE,
        Stage.QUARANTINED: Mark.QUARANTINED,
    }
    held = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    for stage, mark in marks.items():
        cleanups.pass_days(1.01)
        applied = cleanups.apply(cleanups.plan())
        assert versions(applied.done) == [OLD, MIDDLE]
        assert cleanups.stage(ref(OLD)) is stage
        assert place.marks[held.provider_id] is mark
        assert place.held(held.provider_id) is not None
    cleanups.pass_days(1.01)
    applied = cleanups.apply(cleanups.plan())
    assert cleanups.stage(ref(OLD)) is cleanups.stage(ref(MIDDLE)) is Stage.DELETED
    assert [each.was_there for each in applied.deleted] == [True, True]
    assert place.held(held.provider_id) is None
    assert all(each.gone for each in cleanups.catalog.snapshot().buried(ref(OLD)))
    assert cleanups.stage(ref(NEW)) is Stage.ACTIVE
    assert cleanups.catalog.verify() == ()
    assert not cleanups.plan().steps


def test_a_dry_run_changes_nothing(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    before = cleanups.catalog.snapshot()
    applied = cleanups.apply(plan, dry_run=True)
    assert versions(applied.done) == [OLD, MIDDLE]
    assert cleanups.catalog.snapshot() == before


def test_applied_again_it_does_nothing_more(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    cleanups.apply(plan)
    before = cleanups.catalog.snapshot()
    again = cleanups.apply(plan)
    assert (again.done, versions(again.before)) == ((), [OLD, MIDDLE])
    assert cleanups.catalog.snapshot() == before
    assert len(place.deleted) == 2


# --- what the plan must be ---


def test_a_plan_expires(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    cleanups.pass_days(1)
    with pytest.raises(Refused, match="expired"):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_a_plan_expires_as_policy_says_now(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    retention = replace(CLEANING.retention, expires=timedelta(minutes=5))
    cleanups.policy = replace(CLEANING, retention=retention)
    cleanups.world.clock.advance(timedelta(minutes=6))
    with pytest.raises(Refused, match="expired"):
        cleanups.apply(plan)


def test_a_plan_of_tomorrow_is_not_applied(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    ahead = replace(plan, plan=replace(plan.plan, made=plan.plan.made + timedelta(hours=1)))
    with pytest.raises(CannotTell, match="still to come"):
        cleanups.apply(ahead)


def test_a_plan_needs_the_signatures_that_policy_asks_for(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    approvers = (Approver("alice", "a" * 64), Approver("carol", "c" * 64))
    retention = replace(CLEANING.retention, approvals=1, approvers=approvers)
    cleanups.policy = replace(CLEANING, retention=retention)
    with pytest.raises(Refused, match="not signed by enough"):
        cleanups.apply(plan)
    (author,) = plan.signatures
    for others in ((), (author, author), (replace(author, by="mallory"),)):
        with pytest.raises(Refused, match="not signed by its author") as refused:
            cleanups.apply(replace(plan, signatures=others))
        (reason,) = refused.value.reasons
        assert reason.endswith(f"exactly one author's signature, in the name of {author.by}")
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_a_plan_takes_down_no_more_than_policy_allows_now(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    cleanups.policy = replace(CLEANING, retention=replace(CLEANING.retention, max_count=1))
    with pytest.raises(Refused, match="more than"):
        cleanups.apply(plan)


def test_a_plan_of_another_catalog_is_not_applied(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    other = replace(plan, plan=replace(plan.plan, catalog_id="another"))
    with pytest.raises(CannotTell, match="another catalog"):
        cleanups.apply(other)


def test_a_catalog_that_is_older_than_the_plan_proves_nothing(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    ahead = replace(plan, plan=replace(plan.plan, generation=plan.plan.generation + 100))
    with pytest.raises(CannotTell, match="older than the plan"):
        cleanups.apply(ahead)


def test_a_catalog_that_is_not_sound_proves_nothing(
    cleanups: Cleanups, catalog: Interfering, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quarantined(cleanups)
    monkeypatch.setattr(catalog, "verify", lambda: ("event 3: it is not what its hash says",))
    with pytest.raises(CannotTell, match="not sound"):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


# --- what has changed since ---


def test_what_is_held_since_the_plan_stays(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    cleanups.commit(HoldVersion(ref(OLD)))
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert [(str(each.entry.version), each.why) for each in applied.fallen_out] == [
        (OLD, "held: bob")
    ]
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_what_was_brought_back_is_not_taken_down_again(cleanups: Cleanups) -> None:
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    cleanups.apply(plan)
    cleanups.commit(StepVersion(ref(OLD), Stage.ACTIVE))
    cleanups.policy = replace(
        CLEANING,
        retention=replace(
            CLEANING.retention, default=replace(CLEANING.retention.default, grace=timedelta())
        ),
    )
    applied = cleanups.apply(plan)
    assert [each.why for each in applied.fallen_out] == [
        "this plan has taken it down before, and it was brought back since"
    ]
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE


def test_a_hold_that_comes_between_judgement_and_step_wins(
    cleanups: Cleanups, catalog: Interfering
) -> None:
    plan = quarantined(cleanups)
    catalog.before_commit.append(lambda: cleanups.commit(HoldVersion(ref(OLD))))
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_a_child_that_comes_between_judgement_and_step_protects_its_parent(
    cleanups: Cleanups, catalog: Interfering, place: Watched
) -> None:
    """The catalog itself does not look at children: only judging again does."""
    plan = quarantined(cleanups)
    catalog.before_commit.append(lambda: void(cleanups.add("child@20261113.1", DC1, parent=OLD)))
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert "parent" in applied.fallen_out[0].why
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_an_undo_that_comes_between_judgement_and_step_wins(
    cleanups: Cleanups, catalog: Interfering
) -> None:
    plan = quarantined(cleanups)
    catalog.before_commit.append(
        lambda: cleanups.commit(StepVersion(ref(MIDDLE), Stage.ACTIVE), reason="needed")
    )
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [OLD]
    assert "is active now" in applied.fallen_out[0].why
    assert cleanups.stage(ref(MIDDLE)) is Stage.ACTIVE


def void(_: object) -> None:
    """For lambdas that are called for what they do."""


def test_a_placement_that_comes_in_between_is_not_deleted_unseen(
    cleanups: Cleanups, catalog: Interfering
) -> None:
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    catalog.before_commit.append(
        lambda: cleanups.commit(RecordPlacement(replace(there, location=DC1)))
    )
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert "dc1" in applied.fallen_out[0].why


def test_what_a_consumer_has_resolved_meanwhile_stays(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    cleanups.receipts.add(Receipt(ref(OLD), "ci", cleanups.world.clock.now()))
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert "resolved" in applied.fallen_out[0].why


def test_other_changes_hold_nothing_up(cleanups: Cleanups, catalog: Interfering) -> None:
    """Verifying heads, which cron does all the time, is no reason to judge again."""
    plan = quarantined(cleanups)
    head = cleanups.catalog.snapshot().placed(ref(NEW))[0]
    for _ in range(2):
        catalog.before_commit.append(lambda: cleanups.commit(RecordPlacement(head)))
    assert versions(cleanups.apply(plan).done) == [OLD, MIDDLE]


# --- surprises ---


def test_the_first_surprise_ends_it(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    place.before_verify.append(lambda: place.damage(there))
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Corrupt)
    assert versions(applied.left) == [MIDDLE]
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED
    assert place.held(there.provider_id) is not None
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    assert not cleanups.catalog.snapshot().buried(ref(OLD))
    assert f"imagectl hold {OLD}" in applied.surprise.hint


def test_a_surprise_in_an_unfinished_deletion_holds_up_nothing_else(
    cleanups: Cleanups, place: Watched
) -> None:
    quarantined(cleanups)
    cleanups.commit_deleted(ref(OLD))
    there = cleanups.catalog.snapshot().buried(ref(OLD))[0].placement
    place.damage(there)
    applied = cleanups.apply(cleanups.plan())
    assert isinstance(applied.surprise, Corrupt)
    assert "by hand" in applied.surprise.hint
    assert versions(applied.done) == [MIDDLE]
    assert place.held(there.provider_id) is not None
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_it_goes_on_where_it_was_killed(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)

    def die() -> None:
        raise KeyboardInterrupt

    place.before_delete.append(die)
    with pytest.raises(KeyboardInterrupt):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.DELETED
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]
    again = cleanups.apply(plan)
    assert (versions(again.before), versions(again.done)) == ([OLD], [MIDDLE])
    assert len(again.deleted) == 2
    assert all(each.gone for each in cleanups.catalog.snapshot().buried(ref(OLD)))


def test_another_plan_finishes_what_one_has_begun(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    place.before_delete.append(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cleanups.apply(plan)
    cleanups.pass_days(2)
    another = cleanups.plan()
    assert [str(each.placement.version) for each in another.plan.unfinished] == [OLD]
    assert len(cleanups.apply(another).deleted) == 2


def test_what_another_cleanup_has_begun_since_is_left_to_it(
    cleanups: Cleanups, place: Watched
) -> None:
    """P4: nobody has signed it with this plan."""
    plan = quarantined(cleanups)
    cleanups.commit_deleted(ref(OLD))
    there = cleanups.catalog.snapshot().buried(ref(OLD))[0].placement
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [MIDDLE]
    assert [each.tombstone.placement.version for each in applied.deleted] == [ref(MIDDLE)]
    assert place.held(there.provider_id) is not None
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_a_deletion_that_did_not_work_is_not_counted(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    place.deletes = False
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "still in local" in applied.surprise.what
    assert applied.deleted == ()
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_what_nobody_owns_after_its_deletion_is_not_counted_as_gone(
    cleanups: Cleanups, place: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: our mark went, and the thing stayed."""
    plan = quarantined(cleanups)
    place.deletes = False
    view = place.view

    def unowned(now: Callable[[], datetime]) -> View:
        seen = view(now)
        found = (replace(each, owner=None) for each in seen.found)
        return replace(seen, found=tuple(found)) if place.asked else seen

    monkeypatch.setattr(place, "view", unowned)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "nobody says there whose it is" in applied.surprise.why
    assert applied.deleted == ()
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_a_view_with_gaps_does_not_say_whose_what_stayed_is(
    cleanups: Cleanups, place: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: it shows another owner, and may not show us."""
    plan = quarantined(cleanups)
    place.deletes = False
    view = place.view

    def partly(now: Callable[[], datetime]) -> View:
        seen = view(now)
        found = tuple(
            replace(each, owner=replace(each.owner, version=ref(NEW)))
            for each in seen.found
            if each.owner is not None
        )
        gaps = ("its second page was not read",)
        return replace(seen, found=found, gaps=gaps) if place.asked else seen

    monkeypatch.setattr(place, "view", partly)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, CannotTell)
    assert "second page" in applied.surprise.why
    assert applied.deleted == ()
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_what_was_undeleted_meanwhile_is_not_deleted(
    cleanups: Cleanups, place: Watched, catalog: Interfering
) -> None:
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]

    def bring_back() -> None:
        cleanups.commit(StepVersion(ref(OLD), Stage.QUARANTINED))

    # The location is asked once more when the catalog has decided.
    catalog.before_commit.append(lambda: place.before_verify.append(bring_back))
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Conflict)
    assert "brought back" in applied.surprise.what
    assert place.held(there.provider_id) is not None
    assert place.asked == []


def test_what_is_undeleted_at_the_very_last_moment_is_not_deleted(
    cleanups: Cleanups, place: Watched
) -> None:
    """The cleanup has read all that it reads, and asks the location now."""
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    place.before_delete.append(lambda: cleanups.commit(StepVersion(ref(OLD), Stage.QUARANTINED)))
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Conflict)
    assert "brought back" in applied.surprise.what
    assert place.held(there.provider_id) is not None
    assert place.deleted == []


def test_what_is_undeleted_before_a_second_try_is_not_deleted(
    cleanups: Cleanups, place: Watched
) -> None:
    """The first deletion had no effect: until the next, the version may have been brought back."""
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    place.deletes = False

    def bring_back() -> None:
        cleanups.commit(StepVersion(ref(OLD), Stage.QUARANTINED))
        place.deletes = True

    place.before_delete.append(lambda: place.before_verify.append(bring_back))
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Conflict)
    assert place.held(there.provider_id) is not None
    assert len(place.asked) == 1


def test_what_is_being_deleted_is_not_undeleted_meanwhile(
    cleanups: Cleanups, place: Watched
) -> None:
    plan = quarantined(cleanups)
    refused = []

    def remake(version: VersionRef) -> None:
        pytest.fail(f"{version} is made again")

    def bring_back() -> None:
        with pytest.raises(Conflict, match="just being deleted") as caught:
            cleanups.undelete(ref(OLD), remake)
        refused.append(caught.value)

    place.begun.append(bring_back)
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert len(refused) == 1
    assert len(applied.deleted) == 2
    stones = cleanups.catalog.snapshot().buried(ref(OLD))
    assert [(each.begun is not None, each.open) for each in stones] == [(True, False)]


def test_what_another_cleanup_deletes_at_the_last_moment_is_passed_over(
    cleanups: Cleanups, place: Watched
) -> None:
    plan = quarantined(cleanups)

    def be_faster() -> None:
        (stone,) = cleanups.catalog.snapshot().buried(ref(OLD))
        cleanups.commit(ConfirmGone(stone))

    place.before_delete.append(be_faster)
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert [each.tombstone.placement.version for each in applied.deleted] == [ref(MIDDLE)]


def test_what_another_cleanup_deletes_before_a_second_try_is_no_surprise(
    cleanups: Cleanups, place: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quarantined(cleanups)
    place.deletes = False
    view = place.view

    def be_faster(now: Callable[[], datetime]) -> View:
        seen = view(now)
        if place.asked and not place.deletes:
            (stone,) = cleanups.catalog.snapshot().buried(ref(OLD))
            place.lose(stone.placement)
            cleanups.commit(ConfirmGone(stone))
            place.deletes = True
        return seen

    monkeypatch.setattr(place, "view", be_faster)
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert versions(applied.done) == [OLD, MIDDLE]


def test_what_is_gone_already_is_told_apart(cleanups: Cleanups, place: Watched) -> None:
    plan = quarantined(cleanups)
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    place.before_verify.append(lambda: place.lose(there))
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert [each.was_there for each in applied.deleted] == [False, True]


def test_a_location_that_means_another_place_proves_no_absence(
    cleanups: Cleanups, place: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = quarantined(cleanups)

    def elsewhere(_: Placement, __: Begin) -> None:
        raise NotFound("it is not in what location local means now")

    monkeypatch.setattr(place, "delete", elsewhere)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, CannotTell)
    assert [each.open for each in cleanups.catalog.snapshot().buried(ref(OLD))] == [True]


def test_nothing_is_done_where_a_location_is_another_place_now(
    cleanups: Cleanups, place: Watched
) -> None:
    plan = quarantined(cleanups)
    place.scope = "another project"
    with pytest.raises(CannotTell, match="another place"):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_nothing_is_done_where_receipts_cannot_be_read(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    cleanups.receipts.readable = False
    with pytest.raises(CannotTell):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_a_receipt_that_comes_after_a_minute_of_deleting_counts(
    cleanups: Cleanups, place: Watched
) -> None:
    """What consumers resolve is not in the catalog, so time alone calls for another judgement."""
    plan = quarantined(cleanups)

    def deleting_takes_long() -> None:
        cleanups.world.clock.advance(timedelta(minutes=2))
        cleanups.receipts.add(Receipt(ref(MIDDLE), "ci", cleanups.world.clock.now()))

    place.before_delete.append(deleting_takes_long)
    applied = cleanups.apply(plan)
    assert versions(applied.done) == [OLD]
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED


def test_nothing_is_done_where_a_location_cannot_be_read(
    cleanups: Cleanups, place: Watched
) -> None:
    plan = quarantined(cleanups)
    before = cleanups.catalog.snapshot()
    with place.unreadable(), pytest.raises(CannotTell):
        cleanups.apply(plan)
    assert cleanups.catalog.snapshot() == before


def test_nothing_is_done_where_a_protected_placement_is_not_seen(
    cleanups: Cleanups, place: Watched
) -> None:
    plan = quarantined(cleanups)
    place.lose(cleanups.catalog.snapshot().placed(ref(NEW))[0])
    with pytest.raises(CannotTell, match="saw 2 of 3 in local"):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_what_cannot_be_made_again_any_more_is_not_deleted(cleanups: Cleanups) -> None:
    """P5: the store has lost its sources."""
    plan = quarantined(cleanups)
    origin = cleanups.catalog.snapshot().versions[ref(OLD)].origin
    assert origin is not None
    cleanups.stored.remove(origin.source)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "sources" in applied.surprise.what
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


# --- scope ---


def test_no_other_location_is_read_or_touched(tmp_path: Path, place: Watched) -> None:
    cleanups, _, dc1 = open_cleanups(tmp_path, place)
    cleanups.add(OLD, LOCAL, DC1)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.pass_days(1.01)
    applied = cleanups.apply(cleanups.plan(DC1))
    assert versions(applied.done) == [OLD]
    assert place.viewed == 0
    assert not place.marks
    assert set(dc1.marks.values()) == {Mark.DEPRECATED}


# --- the artifact store ---


def test_the_store_keeps_what_it_takes_to_make_it_again(cleanups: Cleanups) -> None:
    before = cleanups.files()
    plan = quarantined(cleanups)
    applied = cleanups.apply(plan)
    gone = {digest_of(f"{what} of {text}") for what in ("disk", "tree") for text in (OLD, MIDDLE)}
    assert set(applied.cleared.removed) == gone
    assert before - cleanups.files() == gone


def test_the_store_keeps_what_another_version_needs(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, disk="the same disk")
    cleanups.add(NEW, DC1, disk="the same disk")
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    assert digest_of("the same disk") in cleanups.files()
    assert digest_of(f"tree of {OLD}") not in cleanups.files()


def test_the_store_keeps_all_of_what_cannot_be_made_again(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, remakeable=False)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    before = cleanups.files()
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    assert cleanups.files() == before


def test_the_store_is_left_alone_while_a_build_runs(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    before = cleanups.files()
    cleanups.building.add(CI)
    applied = cleanups.apply(plan)
    assert cleanups.files() == before
    assert applied.cleared.spared == {CI: "another build of debian-ci is running"}
    cleanups.building.clear()
    assert cleanups.apply(plan).cleared.removed
