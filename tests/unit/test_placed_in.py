"""What the catalog has to do with a location."""

from __future__ import annotations

import pytest
from support.examples import (
    NOW,
    begin,
    change,
    confirm,
    end,
    intend,
    place,
    placement,
    record,
    step,
)

from imagectl.model.change import Operation
from imagectl.model.names import LocationName
from imagectl.model.retention import Stage
from imagectl.services.placed_in import is_used, placed_in
from imagectl.testing.catalog import MemoryCatalog

IN = "debian-ci@20261120.1"
OTHER = "debian-base@20261120.1"
LOCAL, DC1 = LocationName("local"), LocationName("dc1")
DOWN = (Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED)


def catalog_of(*operations: Operation) -> MemoryCatalog:
    catalog = MemoryCatalog()
    for number, each in enumerate((record(IN), record(OTHER), *operations)):
        catalog.commit(change(f"key-{number}", number, each))
    return catalog


def test_nothing_is_placed_in_what_was_never_used() -> None:
    for catalog in (MemoryCatalog(), catalog_of(place(OTHER, "dc1"), intend(IN, "dc1"))):
        assert not is_used(catalog, LOCAL)
        assert not list(placed_in(catalog, LOCAL))


@pytest.mark.parametrize(
    "operations",
    [
        (place(IN),),
        (place(OTHER, "dc1"), intend(IN)),
        (place(IN), *step(IN, *DOWN)),
        (place(IN), *step(IN, *DOWN), begin(IN)),
    ],
    ids=["placed", "begun", "buried", "being deleted"],
)
def test_what_may_have_something_is_used(operations: tuple[Operation, ...]) -> None:
    """P3: it may hold what is being placed, or deleted."""
    assert is_used(catalog_of(*operations), LOCAL)


def test_what_was_given_up_or_seen_to_go_uses_nothing() -> None:
    assert not is_used(catalog_of(intend(IN), end(IN)), LOCAL)
    gone = catalog_of(place(IN), *step(IN, *DOWN), begin(IN), confirm(IN, begun=NOW))
    assert not is_used(gone, LOCAL)


def test_each_location_has_its_own() -> None:
    catalog = catalog_of(place(IN), place(OTHER, "dc1"))
    assert list(placed_in(catalog, DC1)) == [placement(OTHER, "dc1")]
    assert list(placed_in(catalog, LOCAL)) == [placement(IN)]
