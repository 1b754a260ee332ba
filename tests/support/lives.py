"""A life of ``support.upheaval``, on a catalog in memory or in SQLite."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.model.retention import Stage
from imagectl.services.ports.catalog import Catalog
from support.upheaval import Life

ID = "00000000-0000-4000-8000-000000000000"
STEPS = 30


def make_empty(folder: Path) -> Path:
    """An empty catalog in a file, to be copied: making the tables takes longer than a life."""
    path = folder / "catalog.sqlite3"
    SqlCatalog(f"sqlite:///{path}", new_id=lambda: ID).close()
    return path


def live(seed: int, catalog: Catalog, folder: Path, steps: int = STEPS) -> Counter[str]:
    """One life, and what happened in it."""
    (folder / "store").mkdir(parents=True)
    life = Life(catalog, folder / "store", seed)
    try:
        life.live(steps)
    except Exception as error:
        told = "\n".join(life.log)
        pytest.fail(f"life {seed}: {type(error).__name__}: {error}\n{told}")
    finally:
        shutil.rmtree(folder)
    return life.count


def check_eventful(count: Counter[str]) -> None:
    """Where nothing goes down, or nothing is in the way, nothing is proven."""
    for each in (
        *(f"to {stage.value}" for stage in list(Stage)[1:]),
        *("deleted from locations", "undone", "undeleted", "kills", "failures"),
        *("views cut short", "catalogs cut short", "Refused", "CannotTell"),
    ):
        assert count[each] > 0, f"in no life: {each}; {dict(count)}"


def live_on_sqlite(seed: int, empty: Path, folder: Path) -> Counter[str]:
    folder.mkdir(exist_ok=True)
    path = folder / "catalog.sqlite3"
    shutil.copy(empty, path)
    with SqlCatalog(f"sqlite:///{path}") as catalog:
        count = live(seed, catalog, folder / "life")
        assert catalog.verify() == ()
    for each in folder.glob("catalog.sqlite3*"):
        each.unlink()
    return count
