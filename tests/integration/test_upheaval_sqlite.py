"""The same lives as in ``tests/unit/test_upheaval.py``, each on a SQLite catalog of its own.

100 of them are in ``make test``. ``make test-histories`` goes on from there, on all processors:

- ``LIVES`` says how many lives (10,000, in every run of CI: 43 minutes of one processor, since a
  life takes 0.25 s of it; a million take three days), and ``FIRST_LIFE`` the seed of the first
  (100), to go on where another run has ended;
- the lives' seeds are the tests' names, 250 in each;
- ``make test-histories LIVES=1 FIRST_LIFE=SEED`` is one life alone, such as one that failed.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from support.lives import LivesOnSqlite, check_eventful, folder_of_lives

pytestmark = pytest.mark.integration

IN_EVERY_RUN = 100
AT_ONCE = 250
"""Lives in one test: about a minute, so that no processor is left alone for long at the end."""

FIRST = int(os.environ.get("FIRST_LIFE") or IN_EVERY_RUN)
END = FIRST + int(os.environ.get("LIVES") or 10_000)
CHUNKS = [range(at, min(at + AT_ONCE, END)) for at in range(FIRST, END, AT_ONCE)]


def live_all(seeds: range) -> Counter[str]:
    """What happened in these lives, together."""
    count: Counter[str] = Counter()
    with folder_of_lives() as folder, LivesOnSqlite(folder) as lives:
        for seed in seeds:
            count += lives.live(seed)
    return count


def test_nothing_protected_or_unknown_is_ever_deleted_from_sqlite() -> None:
    check_eventful(live_all(range(IN_EVERY_RUN)))


@pytest.mark.long
@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_nothing_protected_or_unknown_is_deleted_in_a_great_many_lives(seeds: range) -> None:
    count = live_all(seeds)
    if len(seeds) == AT_ONCE:
        check_eventful(count)
