"""The same lives as in ``tests/unit/test_upheaval.py``, each on a SQLite catalog of its own.

400 of them are in every run, which take one processor about 100 s: a life takes five times as long
as in memory. ``make test-long`` goes on from there:

- ``LIVES`` says how many lives (10,000, about 45 minutes of one processor; a million take three
  days of it), and ``FIRST_LIFE`` the seed of the first (400), to go on where another run has ended;
- the lives' seeds are the tests' names, 500 in each, and every hundred lives the terminal says so;
- ``make test-long LIVES=1 FIRST_LIFE=SEED ARGS="-k a_great_many"`` is one life alone, such as one
  that failed.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
from support.lives import LivesOnSqlite, check_eventful, folder_of_lives

pytestmark = pytest.mark.integration

IN_EVERY_RUN = 400
AT_ONCE = 500
"""Lives in one test, which may take ten minutes."""

FIRST = int(os.environ.get("FIRST_LIFE") or IN_EVERY_RUN)
END = FIRST + int(os.environ.get("LIVES") or 10_000)
CHUNKS = [range(at, min(at + AT_ONCE, END)) for at in range(FIRST, END, AT_ONCE)]


def name(seeds: range) -> str:
    return f"{seeds[0]}-{seeds[-1]}"


@pytest.mark.parametrize(
    "seeds", [range(at, at + 100) for at in range(0, IN_EVERY_RUN, 100)], ids=name
)
def test_nothing_protected_or_unknown_is_ever_deleted_from_sqlite(seeds: range) -> None:
    count: Counter[str] = Counter()
    with folder_of_lives() as folder, LivesOnSqlite(folder) as lives:
        for seed in seeds:
            count += lives.live(seed)
    check_eventful(count)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seeds", CHUNKS, ids=name)
def test_nothing_protected_or_unknown_is_deleted_in_a_great_many_lives(
    seeds: range, capsys: pytest.CaptureFixture[str]
) -> None:
    count: Counter[str] = Counter()
    with folder_of_lives() as folder, LivesOnSqlite(folder) as lives:
        for done, seed in enumerate(seeds, start=1):
            count += lives.live(seed)
            if done % 100 == 0 or seed == seeds[-1]:
                gone = count["deleted from locations"]
                said = f"lives {seeds[0]}-{seed} of {FIRST}-{END - 1}: {gone} deletions, all due"
                with capsys.disabled():
                    sys.stdout.write(f"\n{said}")
                    sys.stdout.flush()
    if len(seeds) == AT_ONCE:
        check_eventful(count)
