"""The same lives as in ``tests/unit/test_upheaval.py``, each on a SQLite catalog of its own.

100 of them, which take one processor about 40 s: a life takes ten times as long as in memory.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.lives import check_eventful, live_on_sqlite, make_empty

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("chunk", range(2))
def test_nothing_protected_or_unknown_is_ever_deleted_from_sqlite(
    chunk: int, tmp_path: Path
) -> None:
    empty = make_empty(tmp_path)
    count: Counter[str] = Counter()
    for seed in range(1500 + chunk * 50, 1550 + chunk * 50):
        count += live_on_sqlite(seed, empty, tmp_path / "on-sqlite")
    check_eventful(count)
