"""A backup of the catalog that was brought back is found out before anything is taken away."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.cleanups import Cleanups, open_cleanups
from support.examples import ref
from support.releases import LOCAL

from imagectl.errors import CannotTell
from imagectl.model.retention import Stage
from imagectl.services.protect import hold, take_lease
from imagectl.testing.catalog import MemoryCatalog

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


def test_where_nothing_was_ever_released_nothing_need_be_published(tmp_path: Path) -> None:
    made, _, _ = open_cleanups(tmp_path)
    made.add(OLD, LOCAL)
    made.published.files.clear()
    made.pass_days(1.01)
    assert [each.version for each in made.plan().steps] == [ref(OLD)]


def test_a_backup_that_has_moved_on_is_not_the_newest(restored: Cleanups) -> None:
    """Leases are not published: the tree is still that of the generation that is lost."""
    for job in ("ci-1", "ci-2"):
        take_lease(restored.world.releasing, ref(NEW), job, timedelta(hours=1))
    with pytest.raises(CannotTell, match="it went another way"):
        restored.plan()
    assert restored.stage(ref(OLD)) is Stage.QUARANTINED
