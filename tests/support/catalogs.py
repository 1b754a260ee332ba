"""A pytest plugin: new, empty catalogs of every implementation of ``services.ports.Catalog``.

PYTEST_DONT_REWRITE: suites import names from here too, before pytest loads it as a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.services.ports.catalog import Catalog
from imagectl.testing.catalog import MemoryCatalog

pytest_plugins = ["support.postgresql"]

ID = "3f6c1f0e-5c0d-4b53-9d8e-000000000001"
"""The id that each of them has."""

Fresh = Callable[[], Catalog]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fresh]:
    """Makes new, empty catalogs."""
    numbers = count(1)
    with ExitStack() as opened:

        def make() -> Catalog:
            if request.param == "memory":
                return MemoryCatalog(ID)
            url = f"sqlite:///{tmp_path}/{next(numbers)}/catalog.sqlite3"
            if request.param == "postgresql":
                url = request.getfixturevalue("postgresql").schema()
            return opened.enter_context(SqlCatalog(url, new_id=lambda: ID))

        yield make


@pytest.fixture
def catalog(fresh: Fresh) -> Catalog:
    return fresh()
