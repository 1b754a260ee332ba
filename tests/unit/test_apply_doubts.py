"""Applying a cleanup plan while the world is in disorder: what is not done, and told of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.cleanups import CATALOG_ID, Cleanups, digest_of, open_cleanups
from support.examples import CI, ref
from support.locks import TOOL, TOOLCHAIN, input_of, keep_input, lock_of, lose_input
from support.releases import DC1, LOCAL

from imagectl.cli.cleanup.apply import applied_lines
from imagectl.errors import CannotTell, Failed, ImagectlError, Refused
from imagectl.model.change import Change, HoldVersion, LeaseVersion, RestoreVersion, RevokeVersion
from imagectl.model.names import Sha256
from imagectl.model.retention import Stage
from imagectl.model.signature import SignedPlan
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Stock
from imagectl.model.version import Placement
from imagectl.model.view import View
from imagectl.services.apply_cleanup import Applied
from imagectl.services.cleanup import planned, scope_of
from imagectl.services.ports.catalog import Committed
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.plans import signed

OLD, MIDDLE, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))
BASE = "debian-base@20261110.1"


@pytest.fixture
def place() -> MemoryLocation:
    return MemoryLocation(LOCAL, catalog=CATALOG_ID)


@pytest.fixture
def cleanups(tmp_path: Path, place: MemoryLocation) -> Cleanups:
    """Three versions in *local*, the last one of them in beta."""
    made, _, _ = open_cleanups(tmp_path, place)
    for text in (OLD, MIDDLE, NEW):
        made.add(text, LOCAL)
    made.world.enter(ref(NEW))
    return made


def quarantined(cleanups: Cleanups) -> SignedPlan:
    """The plan that deletes OLD and MIDDLE."""
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    return cleanups.plan()


def done(applied: Applied) -> list[str]:
    return [str(each.version) for each in applied.done]


# --- what consumers are shown ---


def test_nothing_is_deleted_while_consumers_may_still_be_given_it(
    cleanups: Cleanups, place: MemoryLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6: the published tree cannot be written, so nobody was told that it is quarantined."""

    def broken(_: Snapshot, __: int | None = None) -> None:
        raise Failed("the tree cannot be written")

    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.OBSOLETE)
    with monkeypatch.context() as patched:
        patched.setattr(cleanups.published, "publish", broken)
        cleanups.pass_days(1.01)
        cleanups.apply(cleanups.plan())
        cleanups.pass_days(1.01)
        plan = cleanups.plan()
        applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "nothing is deleted" in applied.surprise.what
    assert "catalog publish" in applied.surprise.hint
    assert cleanups.stage(ref(OLD)) is cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED
    assert len(place.view(cleanups.world.clock.now).found) == 3
    assert done(cleanups.apply(plan)) == [OLD, MIDDLE]


def test_a_begun_deletion_waits_for_consumers_too(
    cleanups: Cleanups, place: MemoryLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Snapshot, __: int | None = None) -> None:
        raise Failed("the tree cannot be written")

    quarantined(cleanups)
    cleanups.commit_deleted(ref(OLD))
    cleanups.commit(HoldVersion(ref(MIDDLE)))
    plan = cleanups.plan()
    assert not plan.steps  # which would stop at it first
    monkeypatch.setattr(cleanups.published, "publish", broken)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "nothing is deleted" in applied.surprise.what
    assert applied.deleted == ()
    assert len(place.view(cleanups.world.clock.now).found) == 3


# --- what has changed since the plan was signed ---


def test_what_was_published_elsewhere_since_then_stays(cleanups: Cleanups) -> None:
    """P4: people have signed that it goes from *local*, and nothing about dc1."""
    plan = quarantined(cleanups)
    cleanups.world.place(ref(OLD), LOCAL, DC1)
    applied = cleanups.apply(plan)
    assert done(applied) == [MIDDLE]
    assert [each.why for each in applied.fallen_out] == [
        "it was placed in dc1 since the plan was signed"
    ]
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


# --- the last copy ---


def test_the_last_copy_of_what_cannot_be_made_again_is_not_deleted(tmp_path: Path) -> None:
    """P5: it was built on another machine, or the store was lost."""
    cleanups, place, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, remakeable=False)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    disk = digest_of(f"disk of {OLD}")
    cleanups.stored.remove(disk)
    applied = cleanups.apply(cleanups.plan())
    assert isinstance(applied.surprise, Failed)
    assert "its qcow2 disk cannot be read" in applied.surprise.what
    assert f"imagectl hold {OLD}" in applied.surprise.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED
    assert place.held(f"memory-{disk}") is not None


# --- what it takes to make it again ---


@pytest.mark.parametrize(
    ("lost", "said"), [(input_of(OLD), f"https://mirror.example/{OLD}"), (TOOL, "tool_1_amd64.deb")]
)
def test_what_was_made_from_inputs_that_are_gone_is_not_deleted(
    cleanups: Cleanups, lost: str, said: str
) -> None:
    """P5, P9: only the input store can make it again, once upstream has moved on."""
    plan = quarantined(cleanups)
    lose_input(cleanups.inputs, lost)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert "1 input cannot be found in the input store" in applied.surprise.what
    assert said in applied.surprise.why
    assert f"imagectl hold {OLD}" in applied.surprise.hint
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


def test_where_the_tools_are_here_their_packages_may_be_gone(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    lose_input(cleanups.inputs, TOOL)
    keep_input(cleanups.inputs, TOOLCHAIN)
    assert done(cleanups.apply(plan)) == [OLD, MIDDLE]


def test_what_has_no_lock_that_can_be_read_is_not_deleted(tmp_path: Path) -> None:
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(OLD, LOCAL, lock="this is no lock")
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    applied = cleanups.apply(cleanups.plan())
    assert isinstance(applied.surprise, Failed)
    assert "its lock cannot be read" in applied.surprise.what
    assert cleanups.stage(ref(OLD)) is Stage.QUARANTINED


@pytest.fixture
def child(tmp_path: Path) -> Cleanups:
    """A quarantined version that was built on one that is held, whose file tree is gone."""
    cleanups, _, _ = open_cleanups(tmp_path)
    cleanups.add(BASE, LOCAL)
    cleanups.commit(HoldVersion(ref(BASE)))
    cleanups.add(OLD, LOCAL, parent=BASE)
    cleanups.add(NEW, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    cleanups.stored.remove(digest_of(f"tree of {BASE}"))
    return cleanups


def test_a_parent_whose_tree_is_gone_can_be_made_again_before_it(child: Cleanups) -> None:
    assert done(child.apply(child.plan())) == [OLD]


def test_what_was_built_on_what_cannot_be_made_again_is_not_deleted(child: Cleanups) -> None:
    lose_input(child.inputs, input_of(BASE))
    applied = child.apply(child.plan())
    assert isinstance(applied.surprise, Failed)
    assert f"the lock of {BASE}, which it is built on," in applied.surprise.what
    assert child.stage(ref(OLD)) is Stage.QUARANTINED


def test_what_was_built_on_a_tree_that_is_damaged_is_not_deleted(child: Cleanups) -> None:
    child.folder.joinpath("store", digest_of(f"tree of {BASE}")).write_text("something else")
    applied = child.apply(child.plan())
    assert isinstance(applied.surprise, Failed)
    assert f"the file tree of {BASE}, which it is built on," in applied.surprise.what
    assert child.stage(ref(OLD)) is Stage.QUARANTINED


# --- one thing that is not as expected ---


def test_two_places_are_both_told_of(tmp_path: Path) -> None:
    """Begun deletions that do not end are no reason to keep another version."""
    cleanups, place, dc1 = open_cleanups(tmp_path)
    for text in (OLD, MIDDLE, NEW):
        cleanups.add(text, LOCAL, DC1)
    cleanups.world.enter(ref(NEW))
    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    cleanups.commit_deleted(ref(OLD))
    for each in cleanups.catalog.snapshot().buried(ref(OLD)):
        (place if each.placement.location == LOCAL else dc1).damage(each.placement)
    applied = cleanups.apply(cleanups.plan())
    assert applied.surprise is not None
    assert set(applied.surprise.causes) == {LOCAL, DC1}
    assert all(each.hint for each in applied.surprise.causes.values())
    assert len(applied.deleted) == 2


def test_the_step_that_ended_it_is_told(cleanups: Cleanups) -> None:
    plan = quarantined(cleanups)
    cleanups.stored.remove(digest_of(lock_of(OLD)))
    applied = cleanups.apply(plan)
    assert applied.stopped_at is not None
    assert applied.stopped_at.version == ref(OLD)
    assert [each.version for each in applied.left] == [ref(MIDDLE)]
    lines = "\n".join(applied_lines(applied, Path("plan.json")))
    assert re.search(rf"{OLD} +quarantined +deleted +NOT done: the surprise", lines)


@pytest.mark.parametrize("broken_after", [0, 2])
def test_a_store_that_cannot_be_cleared_loses_nothing_of_what_is_told(
    cleanups: Cleanups, monkeypatch: pytest.MonkeyPatch, broken_after: int
) -> None:
    """After something was done nothing is raised, and what was removed until then is told."""
    before = cleanups.files()
    remove = cleanups.stored.remove
    removed: list[Sha256] = []

    def breaking(sha256: Sha256) -> None:
        if len(removed) == broken_after:
            raise Failed("the store cannot be written")
        remove(sha256)
        removed.append(sha256)

    plan = quarantined(cleanups)
    monkeypatch.setattr(cleanups.stored, "remove", breaking)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, Failed)
    assert applied.cleared.removed == tuple(removed)
    assert before - cleanups.files() == set(removed)
    assert "apply the plan again" in applied.surprise.hint
    assert applied.stopped_at is None
    assert done(applied) == [OLD, MIDDLE]
    assert len(applied.deleted) == 2


# --- a dry run ---


def test_a_dry_run_tells_what_would_be_finished(cleanups: Cleanups, place: MemoryLocation) -> None:
    quarantined(cleanups)
    cleanups.commit_deleted(ref(OLD))
    cleanups.commit(HoldVersion(ref(MIDDLE)))
    plan = cleanups.plan()
    applied = cleanups.apply(plan, dry_run=True)
    assert [each.placement.version for each in applied.would_finish] == [ref(OLD)]
    lines = "\n".join(applied_lines(applied, Path("plan.json")))
    assert f"{OLD} in local (" in lines
    assert "nothing to do" not in lines
    assert len(place.view(cleanups.world.clock.now).found) == 3
    assert len(cleanups.apply(plan).deleted) == 1


# --- what takes long ---


@pytest.mark.parametrize(
    ("takes", "during", "surprise", "says"),
    [
        (timedelta(minutes=16), Stage.QUARANTINED, CannotTell, "too long"),
        (timedelta(minutes=16), Stage.DELETED, CannotTell, "too long"),
        (timedelta(hours=30), Stage.DELETED, Refused, "expired"),
    ],
)
def test_what_was_true_at_the_beginning_has_to_be_true_still(
    cleanups: Cleanups,
    place: MemoryLocation,
    monkeypatch: pytest.MonkeyPatch,
    takes: timedelta,
    during: Stage,
    surprise: type[ImagectlError],
    says: str,
) -> None:
    plan = quarantined(cleanups)
    verify = place.verify

    def slow(placement: Placement, now: datetime) -> Placement:
        if placement.version == ref(OLD) and cleanups.stage(ref(OLD)) is during:
            cleanups.world.clock.advance(takes)
        return verify(placement, now)

    monkeypatch.setattr(place, "verify", slow)
    applied = cleanups.apply(plan)
    assert isinstance(applied.surprise, surprise)
    assert says in applied.surprise.what
    assert applied.surprise.hint
    assert cleanups.stage(ref(OLD)) is during
    assert cleanups.stage(ref(MIDDLE)) is Stage.QUARANTINED


def test_a_location_that_is_listed_slowly_can_be_cleaned_up(
    cleanups: Cleanups, place: MemoryLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow registry takes an hour; nothing has changed in the catalog meanwhile."""
    view = place.view

    def slow(now: Callable[[], datetime]) -> View:
        began = now()
        cleanups.world.clock.advance(timedelta(hours=1))
        return replace(view(now), began=began)

    cleanups.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    cleanups.pass_days(1.01)
    monkeypatch.setattr(place, "view", slow)
    applied = cleanups.apply(cleanups.plan())
    assert applied.surprise is None
    assert done(applied) == [OLD, MIDDLE]
    assert len(applied.deleted) == 2


class Busy(MemoryCatalog):
    """A catalog in which something happens after each reading of all of it, or before a step."""

    def __init__(self) -> None:
        super().__init__(CATALOG_ID)
        self.after_stock: Callable[[], None] | None = None
        self.before_step: list[Callable[[], None]] = []

    @contextmanager
    def stock(self) -> Iterator[Stock]:
        with super().stock() as stock:
            yield stock
        if self.after_stock is not None:
            self.after_stock()

    def commit(self, change: Change) -> Committed:
        if change.action == "cleanup apply" and self.before_step:
            self.before_step.pop()()
        return super().commit(change)


@pytest.mark.parametrize("busy", [NEW, "other@20261113.1", "due@20261113.1"])
def test_what_protects_others_does_not_keep_it_judging(tmp_path: Path, busy: str) -> None:
    """CI leases another version, of the plan or not, faster than everything can be read."""
    catalog = Busy()
    cleanups, _, _ = open_cleanups(tmp_path, None, catalog)
    for text in (OLD, NEW, "other@20261113.1"):
        cleanups.add(text, LOCAL)
    if busy.startswith("due"):
        cleanups.add(busy, LOCAL)
    cleanups.world.enter(ref(NEW))
    cleanups.commit(HoldVersion(ref("other@20261113.1")))
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    leased: list[str] = []

    def lease() -> None:
        leased.append(f"ci-{len(leased)}")
        until = cleanups.world.clock.now() + timedelta(hours=1)
        cleanups.commit(LeaseVersion(ref(busy), leased[-1], until))
        if busy.startswith("other"):
            cleanups.commit(RevokeVersion(ref(busy)), RestoreVersion(ref(busy)))

    catalog.after_stock = lease
    applied = cleanups.apply(plan)
    assert applied.surprise is None
    assert done(applied) == [OLD]
    assert len(leased) < 10


def test_another_image_that_was_built_on_it_makes_it_judge_again(tmp_path: Path) -> None:
    """P1: the child was there before, and unprotected; now it is held."""
    catalog = Busy()
    cleanups, _, _ = open_cleanups(tmp_path, None, catalog)
    for text in (OLD, NEW):
        cleanups.add(text, LOCAL)
    cleanups.add("child@20261113.1", LOCAL, parent=OLD)
    cleanups.add("grandchild@20261113.1", LOCAL, parent="child@20261113.1")
    cleanups.world.enter(ref(NEW))
    cleanups.pass_days(1.01)
    scope = scope_of(cleanups.world.releasing, (CI,))
    with planned(cleanups.cleaning, cleanups.policy, scope) as made:
        plan = signed(made)
    assert [str(each.version) for each in plan.steps] == [OLD]
    held = HoldVersion(ref("grandchild@20261113.1"))
    catalog.before_step.append(lambda: cleanups.commit(held))
    applied = cleanups.apply(plan)
    assert done(applied) == []
    assert "parent" in applied.fallen_out[0].why
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
