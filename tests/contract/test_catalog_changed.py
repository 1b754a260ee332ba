"""The contract of ``services.ports.Catalog.changed``, over every implementation of it: what the
whole catalog says of what changed, and nothing more."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import ID, Fresh
from support.examples import BETA, CI, STABLE, change, hold, move, place, record, ref, revoke
from support.strategies import histories

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.errors import CannotTell
from imagectl.model.change import Change
from imagectl.model.excerpt import excerpt_of
from imagectl.services.ports.catalog import Catalog

pytest_plugins = ["support.catalogs"]

ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(most=10), data=st.data())
def test_it_says_what_the_whole_catalog_says(
    fresh: Fresh, history: list[Change], data: st.DataObject
) -> None:
    catalog = fresh()
    for each in history:
        catalog.commit(each)
    since = data.draw(st.integers(0, len(history)))
    found = catalog.changed(since, len(history))
    whole = catalog.snapshot()
    assert found == excerpt_of(whole, since, history[since:])
    assert found is not None
    assert found.snapshot.event == whole.event


def fill(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE), place(ONE), move(CI, BETA, "20261120.1")))
    catalog.commit(change("b", 1, record(TWO), place(TWO), move(CI, BETA, "20261120.2")))


def test_of_a_channel_that_moved_there_is_the_head_and_what_it_points_to(catalog: Catalog) -> None:
    fill(catalog)
    catalog.commit(change("c", 2, move(CI, STABLE, "20261120.1")))
    found = catalog.changed(2, 1)
    assert found is not None
    assert found.versions == frozenset()
    assert list(found.snapshot.versions) == [ref(ONE)]
    assert list(found.snapshot.channels) == [(CI, STABLE)]
    assert found.snapshot.placed(ref(ONE))


def test_whatever_points_to_a_version_that_changed_is_there(catalog: Catalog) -> None:
    fill(catalog)
    catalog.commit(change("c", 2, revoke(TWO)))
    found = catalog.changed(2, 1)
    assert found is not None
    assert found.versions == {ref(TWO)}
    (channel,) = found.snapshot.channels.values()
    assert (channel.name, len(channel.moves)) == (BETA, 1)


def test_what_consumers_do_not_see_changes_nothing(catalog: Catalog) -> None:
    fill(catalog)
    catalog.commit(change("c", 2, hold(ONE)))
    found = catalog.changed(2, 1)
    assert found is not None
    assert found.snapshot.generation == 3
    assert not found.snapshot.versions
    assert not found.versions


def test_too_many_changes_are_not_read(catalog: Catalog) -> None:
    fill(catalog)
    assert catalog.changed(0, 1) is None
    assert catalog.changed(1, 1) is not None


def test_a_channel_without_its_moves_is_not_passed_over(tmp_path: Path) -> None:
    """P8. What an event names is there, or the catalog is damaged."""
    with SqlCatalog(f"sqlite:///{tmp_path}/c.sqlite3", new_id=lambda: ID) as catalog:
        fill(catalog)
        with sqlite3.connect(tmp_path / "c.sqlite3") as database:
            database.execute("DELETE FROM moves")
        database.close()
        with pytest.raises(CannotTell, match="cannot be read"):
            catalog.changed(1, 9)


def test_an_answer_is_of_one_generation(catalog: Catalog) -> None:
    fill(catalog)
    found = catalog.changed(0, 9)
    assert found is not None
    catalog.commit(change("c", 2, hold(ONE)))
    assert found.snapshot.generation == 2
