"""P1 and P2 over random lives of a catalog in memory: see ``support.upheaval``.

Each life is 30 steps of two people, cleanups, clocks, failures and kills. Lives are told apart by
their seed; a failing one prints all that happened in it, and is the same each time.

Here are 1,500 lives, which take one processor about a minute (0.04 s each), and 100 on SQLite
(0.4 s each) in ``tests/integration/test_upheaval_sqlite.py``, in another worker. More would make
every run of the suite longer; a million are here for ``make test-long``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.lives import ID, check_eventful, live, live_on_sqlite, make_empty

from imagectl.testing.catalog import MemoryCatalog


@pytest.mark.parametrize("chunk", range(10))
def test_nothing_protected_or_unknown_is_ever_deleted(chunk: int, tmp_path: Path) -> None:
    go_on(chunk * 150, 150, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(2, 1002))
def test_nothing_protected_or_unknown_is_deleted_in_a_million_lives(
    chunk: int, tmp_path: Path
) -> None:
    """All of them take hours; ``-k "[7]"`` is one thousand."""
    go_on(chunk * 1000, 1000, tmp_path, on_sqlite=10)


def go_on(first: int, lives: int, folder: Path, *, on_sqlite: int = 0) -> None:
    """That many lives, the last of them on SQLite."""
    count: Counter[str] = Counter()
    for seed in range(first, first + lives - on_sqlite):
        count += live(seed, MemoryCatalog(ID), folder / "life")
    empty = make_empty(folder) if on_sqlite else folder
    for seed in range(first + lives - on_sqlite, first + lives):
        count += live_on_sqlite(seed, empty, folder / "on-sqlite")
    check_eventful(count)
