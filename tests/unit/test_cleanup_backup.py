"""A backup of the catalog that was brought back is found out before anything is taken away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.cleanups import Cleanups, open_cleanups
from support.examples import ref
from support.releases import LOCAL

from imagectl.errors import CannotTell, Failed
from imagectl.model.change import HoldVersion
from imagectl.model.retention import Receipt, Stage
from imagectl.services.protect import hold
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.receipts import MemoryReceipts

OLD, MIDDLE, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))


@pytest.fixture
def restored(tmp_path: Path) -> Cleanups:
    """OLD was held after the backup that was brought back."""
    catalog = MemoryCatalog()
    made, _, _ = open_cleanups(tmp_path, catalog=catalog)
    for each in (OLD, MIDDLE, NEW):
        made.add(each, LOCAL)
    made.world.enter(ref(NEW))
    made.bring_down(ref(OLD), ref(MIDDLE), to=Stage.QUARANTINED)
    backup = list(catalog._events), catalog._now
    hold(made.world.releasing, ref(OLD), "needed in court")
    made.pass_days(1.01)
    catalog._events, catalog._now = backup
    return made


def test_a_backup_is_older_than_what_was_published(restored: Cleanups) -> None:
    with pytest.raises(CannotTell, match="the catalog is older than what was published from it"):
        restored.plan()


def test_a_published_tree_that_is_not_mounted_is_no_published_tree(restored: Cleanups) -> None:
    restored.published.files.clear()
    with pytest.raises(CannotTell, match="consumers are shown nothing") as caught:
        restored.plan()
    assert "mount it" in caught.value.hint
    assert restored.stage(ref(OLD)) is Stage.QUARANTINED


def test_nobody_publishes_a_backup_where_the_tree_is_not_mounted(restored: Cleanups) -> None:
    """It would show the backup's generation, and the backup pass for the newest."""
    restored.published.files.clear()
    with pytest.raises(Failed, match="IS held, but its generation is not published yet") as caught:
        hold(restored.world.releasing, ref(NEW), "to be sure")
    assert "may not be mounted" in caught.value.why
    assert restored.published.files == {}
    with pytest.raises(CannotTell, match="consumers are shown nothing"):
        restored.plan()


def test_where_nothing_was_ever_released_nothing_need_be_published(tmp_path: Path) -> None:
    made, _, _ = open_cleanups(tmp_path)
    made.add(OLD, LOCAL)
    made.published.files.clear()
    made.pass_days(1.01)
    assert [each.version for each in made.plan().steps] == [ref(OLD)]


def test_fewer_receipts_than_a_plan_rested_on_are_a_doubt(tmp_path: Path) -> None:
    """P8: another checkout applies it, and has not been told where consumers leave theirs."""
    made, _, _ = open_cleanups(tmp_path)
    for each in (OLD, MIDDLE, NEW):
        made.add(each, LOCAL)
    made.world.enter(ref(NEW))
    made.pass_days(1.01)
    made.receipts.add(Receipt(ref(NEW), "ci-1", made.world.clock.now()))
    made.cleaning = replace(made.cleaning, receipts_at="/mnt/receipts")
    plan = made.plan()
    assert (plan.plan.resolved, plan.plan.receipts) == (1, "/mnt/receipts")
    made.cleaning = replace(made.cleaning, receipts=MemoryReceipts(), receipts_at="/tmp/none")
    with pytest.raises(CannotTell, match="there are fewer receipts") as caught:
        made.apply(plan)
    assert caught.value.where == "/tmp/none"
    assert made.stage(ref(OLD)) is Stage.ACTIVE


def test_a_backup_that_has_moved_on_is_not_the_newest(restored: Cleanups) -> None:
    """The tree is still that of the generation that is lost."""
    for _ in range(2):
        restored.commit(HoldVersion(ref(NEW)))
    with pytest.raises(CannotTell, match="it went another way"):
        restored.plan()
    assert restored.stage(ref(OLD)) is Stage.QUARANTINED
