"""Killed at any moment, the catalog is as before or as after; what was acknowledged stays (P7)."""

from __future__ import annotations

import random
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from support.children import Child, Say
from support.processes import Killer
from support.releasing import begin, check_race, check_together, release

from imagectl.adapters.catalog_sql import SqlCatalog

pytestmark = pytest.mark.integration

TRIES = 200
LONGEST = 0.008
"""When a child is killed after it began or ended a commit, at most, in seconds. A commit takes 2 to
4 ms on an idle machine."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a catalog at generation 1."""
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    with SqlCatalog(url, new_id=lambda: "id") as catalog:
        begin(catalog)
    return url


def release_for_ever(catalog: SqlCatalog, say: Say) -> None:
    for generation in count(1):
        say(f"try {generation}")
        done = catalog.commit(release(f"key-{generation}", generation))
        assert done.generation == generation + 1
        say(f"done {generation}")


def test_kill_9_while_promoting_and_rolling_back(url: str, tmp_path: Path) -> None:
    dice = random.Random(20261121)
    outcomes = {"before": 0, "after": 0}
    acknowledged = 0
    path = tmp_path / "catalog.sqlite3"
    ready = path.read_bytes()
    with SqlCatalog(url) as catalog:
        catalog.commit(release("key-1", 1))  # the SQL is compiled now, for the children too
        for _ in range(TRIES):
            catalog.close()  # nothing is open when the child is forked
            assert [each.name for each in tmp_path.iterdir()] == [path.name]
            path.write_bytes(ready)
            child = Child(partial(release_for_ever, catalog))
            heard = [child.hear() for _ in range(dice.randint(1, 4))]
            time.sleep(dice.uniform(0, LONGEST))
            heard += child.kill()

            tried = [int(line.split()[1]) for line in heard if line.startswith("try ")]
            done = [int(line.split()[1]) for line in heard if line.startswith("done ")]
            assert tried[: len(done)] == done == list(range(1, len(done) + 1))
            acknowledged += len(done)
            snapshot = catalog.snapshot()
            keys = [event.change.key for event in catalog.events(1)]
            assert keys in ([f"key-{each}" for each in done], [f"key-{each}" for each in tried])
            assert snapshot.generation == 1 + len(keys)
            check_together(snapshot)
            assert catalog.verify() == ()

            # The caller does not know whether its last change is in: it tries again.
            last = tried[-1]
            applied = len(keys) == last
            if len(done) < len(tried):
                outcomes["after" if applied else "before"] += 1
            again = catalog.commit(release(f"key-{last}", last))
            assert (again.generation, again.replayed) == (last + 1, applied)
            assert catalog.snapshot([]).generation == last + 1
            check_together(catalog.snapshot())
    # The kills came where they were meant to: in the middle of commits.
    assert acknowledged > TRIES / 2, acknowledged
    assert outcomes["before"] > TRIES / 10, outcomes
    assert outcomes["after"] > 0, outcomes


def make(path: Path) -> None:
    SqlCatalog(f"sqlite:///{path}", new_id=lambda: "first").close()


def test_kill_9_while_making_a_catalog(tmp_path: Path) -> None:
    killer = Killer(5, partial(make, tmp_path / "whole" / "catalog.sqlite3"))
    made = 0
    for number in range(40):
        path = tmp_path / str(number) / "catalog.sqlite3"
        killer.kill(partial(make, path))
        existed = path.exists()
        made += existed
        with SqlCatalog(f"sqlite:///{path}", new_id=lambda: "second") as catalog:
            assert catalog.snapshot().catalog_id == ("first" if existed else "second")
            assert catalog.verify() == ()
    assert 0 < made < 40


def test_processes_that_race_are_applied_once_or_told(url: str) -> None:
    check_race(url)


def test_processes_that_make_the_same_catalog_agree_on_one(tmp_path: Path) -> None:
    for number in range(5):
        url = f"sqlite:///{tmp_path}/{number}/catalog.sqlite3"

        def open_it(say: Say, url: str = url) -> None:
            with SqlCatalog(url, new_id=lambda: str(time.monotonic_ns())) as catalog:
                say(catalog.snapshot().catalog_id)

        children = [Child(open_it) for _ in range(4)]
        assert len({line for child in children for line in child.end()}) == 1
        assert [each.name for each in (tmp_path / str(number)).iterdir()] == ["catalog.sqlite3"]
