"""A catalog in which two images' channels are always moved together, to see whether that holds."""

from __future__ import annotations

import time
from functools import partial
from itertools import count

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.errors import Conflict
from imagectl.model.change import Change
from imagectl.model.channel import MoveKind
from imagectl.model.snapshot import Snapshot
from imagectl.services.ports.catalog import Committed
from support.children import Child, Say
from support.examples import BASE, CI, NOW, STABLE, change, move, record

DAY = f"{NOW:%Y%m%d}"
SERIALS = (1, 2, 3)


def begin(catalog: SqlCatalog) -> None:
    """Record the versions that are released later. Leaves the catalog at generation 1."""
    names = [f"{image}@{DAY}.{serial}" for image in (BASE, CI) for serial in SERIALS]
    catalog.commit(change("begin", 0, *(record(name) for name in names)))


def release(key: str, based_on: int) -> Change:
    """A promotion or a rollback of both images' stable to the same serial."""
    to = f"{DAY}.{SERIALS[based_on % len(SERIALS)]}"
    kind = MoveKind.ROLLBACK if based_on % 2 else MoveKind.PROMOTE
    return change(key, based_on, move(BASE, STABLE, to, kind), move(CI, STABLE, to, kind))


def check_together(snapshot: Snapshot) -> None:
    """Both channels have been moved by the same changes."""
    base, ci = snapshot.channel(BASE, STABLE), snapshot.channel(CI, STABLE)
    assert (base.moves if base else ()) == (ci.moves if ci else ())


def compete(url: str, name: str, seconds: float, say: Say) -> None:
    """Release as often as can be; say each generation that it made, and ``conflict``."""
    with SqlCatalog(url) as catalog:
        deadline = time.monotonic() + seconds
        for number in count():
            if time.monotonic() > deadline:
                return
            based_on = catalog.snapshot([]).generation
            try:
                committed = catalog.commit(release(f"{name}-{number}", based_on))
            except Conflict:
                say("conflict")
                continue
            assert committed == Committed(based_on + 1, replayed=False)
            say(str(committed.generation))


def check_race(url: str) -> None:
    """Four processes compete for 2 s: each commit is applied once or refused as a conflict."""
    children = [Child(partial(compete, url, f"process-{number}", 2.0)) for number in range(4)]
    said = [line for child in children for line in child.end()]
    made = sorted(int(line) for line in said if line != "conflict")
    assert "conflict" in said
    assert len(made) > 5
    assert made == list(range(2, len(made) + 2))
    with SqlCatalog(url) as catalog:
        snapshot = catalog.snapshot()
        assert snapshot.generation == len(list(catalog.events())) == len(made) + 1
        check_together(snapshot)
        assert catalog.verify() == ()
