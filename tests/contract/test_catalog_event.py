"""By which event of its own a catalog knows each of its generations: over every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.examples import CI, change, hold, record

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.services.ports.catalog import Catalog
from imagectl.testing.catalog import MemoryCatalog

pytest_plugins = ["support.postgresql"]

ID = "3f6c1f0e-5c0d-4b53-9d8e-000000000001"
ONE = "debian-ci@20261120.1"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    if request.param == "memory":
        yield MemoryCatalog(ID)
        return
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").schema()
    with SqlCatalog(url, new_id=lambda: ID) as made:
        yield made


def test_each_generation_has_its_event(catalog: Catalog) -> None:
    assert catalog.snapshot().event is None
    catalog.commit(change("a", 0, record(ONE)))
    catalog.commit(change("b", 1, hold(ONE)))
    first, second = catalog.events()
    assert catalog.snapshot().event == catalog.snapshot((CI,)).event == second.hash
    with catalog.stock() as stock:
        assert stock.event(1) == first.hash
        assert stock.event(2) == second.hash
        assert stock.event(0) is stock.event(3) is None
