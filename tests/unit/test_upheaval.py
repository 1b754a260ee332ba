"""P1 and P2 over thousands of random lives of a catalog: see ``support.upheaval``.

Each life is 30 steps of two people, cleanups, clocks, failures and kills. Lives are told apart by
their seed; a failing one prints all that happened in it, and is the same each time.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.upheaval import Life

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.model.retention import Stage
from imagectl.services.ports import Catalog
from imagectl.testing.catalog import MemoryCatalog

ID = "00000000-0000-4000-8000-000000000000"
STEPS = 30


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog in a file, to be copied: making the tables takes longer than a life."""
    path = tmp_path_factory.mktemp("empty") / "catalog.sqlite3"
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


@pytest.mark.parametrize("chunk", range(20))
def test_nothing_protected_or_unknown_is_ever_deleted(
    chunk: int, empty: Path, tmp_path: Path
) -> None:
    """3,000 lives; a life on SQLite takes ten times as long as one in memory."""
    go_on(chunk * 150, 150, empty, tmp_path, on_sqlite=8)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(1, 1001))
def test_nothing_protected_or_unknown_is_deleted_in_a_million_lives(
    chunk: int, empty: Path, tmp_path: Path
) -> None:
    """All of them take hours; ``-k "[7]"`` is the seventh thousand."""
    go_on(chunk * 1000, 1000, empty, tmp_path, on_sqlite=10)


def go_on(first: int, lives: int, empty: Path, folder: Path, *, on_sqlite: int) -> None:
    """That many lives, the last of them on SQLite."""
    count: Counter[str] = Counter()
    for seed in range(first, first + lives - on_sqlite):
        count += live(seed, MemoryCatalog(ID), folder / "life")
    for seed in range(first + lives - on_sqlite, first + lives):
        count += live_on_sqlite(seed, empty, folder)
    check_eventful(count)


def live_on_sqlite(seed: int, empty: Path, folder: Path) -> Counter[str]:
    path = folder / "catalog.sqlite3"
    shutil.copy(empty, path)
    with SqlCatalog(f"sqlite:///{path}") as catalog:
        count = live(seed, catalog, folder / "life")
        assert catalog.verify() == ()
    for each in folder.glob("catalog.sqlite3*"):
        each.unlink()
    return count
