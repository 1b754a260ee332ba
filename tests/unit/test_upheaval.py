"""P1 and P2 over random lives of a catalog in memory: see ``support.upheaval``.

Each life is 30 steps of two people, cleanups, clocks, failures and kills. Lives are told apart by
their seed; a failing one prints all that happened in it, and is the same each time.

Here are 1,500 lives, which take one processor about a minute (0.04 s each). Others are on SQLite,
in ``tests/integration/test_upheaval_sqlite.py``: any number of them with ``make test-histories``.
"""

from __future__ import annotations

from collections import Counter

import pytest
from support.lives import ID, check_eventful, folder_of_lives, live

from imagectl.testing.catalog import MemoryCatalog


@pytest.mark.parametrize("chunk", range(10))
def test_nothing_protected_or_unknown_is_ever_deleted(chunk: int) -> None:
    count: Counter[str] = Counter()
    with folder_of_lives() as folder:
        for seed in range(chunk * 150, chunk * 150 + 150):
            count += live(seed, MemoryCatalog(ID), folder / "life")
    check_eventful(count)
