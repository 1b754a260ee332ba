"""P1: four processes at once on one catalog, and no channel ever points to what is deleted.

The real services on SQLite and on PostgreSQL, with a directory as location. Each process promotes,
rolls back, holds, takes down to deletion and brings back, as fast as it can and in its own order.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.children import Child, Say
from support.examples import BASE, BETA, CI, STABLE, change, move, step
from support.locks import read_lock
from support.places import CATALOG_ID, directory
from support.upheaval import Receipts, sign, undisturbed
from support.world import World

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.store import FileStore
from imagectl.errors import Conflict, ImagectlError, ImpossibleChange
from imagectl.model.change import Operation, StepVersion
from imagectl.model.channel import ChannelRule, ReleasePolicy
from imagectl.model.fold import fold
from imagectl.model.retention import RetentionPolicy, RetentionRule, Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.services import protect, undelete, undo
from imagectl.services.apply_cleanup import apply
from imagectl.services.cleanup import Cleaning, planned, scope_of

pytestmark = pytest.mark.integration
pytest_plugins = ["support.postgresql"]

PROCESSES = 4
SECONDS = 10.0
ROUNDS = 12
"""How often they race again where nothing was proven yet: a busy machine does little in a round."""
NEVER = timedelta(0)
POLICY = ReleasePolicy(
    (
        ChannelRule(BETA, entry=True, rollback_window=0),
        ChannelRule(STABLE, source=BETA, rollback_window=0),
    ),
    retention=RetentionPolicy(
        RetentionRule(keep_last=0, min_age=NEVER, unused=NEVER, grace=NEVER),
        max_count=8,
        max_share=1.0,
    ),
)
"""Nothing but heads and holds protects: as much as possible goes down."""


class Racer:
    """One process, and what it does at random."""

    def __init__(self, catalog: SqlCatalog, root: Path, seed: int) -> None:
        self.world = World(
            catalog,
            [directory(root / "local")],
            [],
            FileStore(root / "store"),
            root / "sources",
            POLICY,
            new_key=lambda: uuid.uuid4().hex,
        )
        self.cleaning = Cleaning(
            replace(self.world.releasing, actor=f"racer-{seed}"),
            self.world.store,
            {},
            Receipts(lambda _: None),
            undisturbed,
            InputStore(root / "inputs"),
            read_lock,
        )
        self._chance = random.Random(seed)
        self._root = root

    def race(self, say: Say) -> None:
        count: Counter[str] = Counter()
        deeds: tuple[Callable[[], object], ...] = (
            *(self._promote, self._promote, self._rollback, self._hold, self._unhold),
            *(self._clean, self._clean, self._clean, self._undo, self._undelete),
        )
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            deed = self._chance.choice(deeds)
            try:
                deed()
                count[deed.__name__] += 1
            except ImagectlError as error:
                count[type(error).__name__] += 1
            if wrong := heads_to_what_is_going(self.world.catalog.snapshot()):
                say(f"wrong {wrong}")
        for what, times in count.items():
            say(f"{what} {times}")

    def _any(self) -> VersionRef:
        return self._chance.choice(sorted(self.world.catalog.snapshot().versions))

    def _promote(self) -> None:
        self.world.promote("stable", str(self._any()))

    def _rollback(self) -> None:
        ref = self._any()
        self.world.rollback(self._chance.choice(["beta", "stable"]), ref.image, to=ref.version)

    def _hold(self) -> None:
        protect.hold(self.cleaning.releasing, self._any(), "race")

    def _unhold(self) -> None:
        held = self.world.catalog.snapshot().holds
        for ref in sorted(held)[:2]:
            protect.unhold(self.cleaning.releasing, ref, "race", held[ref][0].by)

    def _clean(self) -> None:
        with planned(self.cleaning, POLICY, scope_of(self.cleaning.releasing)) as plan:
            plan = replace(plan, entries=tuple(plan.entries))
        applied = apply(self.cleaning, POLICY, sign(plan, uuid.uuid4().hex))
        if applied.surprise is not None:
            raise applied.surprise

    def _undo(self) -> None:
        refs = undo.taken_down(self.world.catalog.snapshot())
        if refs:
            undo.undo(self.cleaning.releasing, [self._chance.choice(refs)], "race")

    def _undelete(self) -> None:
        now = self.world.catalog.snapshot()
        refs = [ref for ref in sorted(now.versions) if now.stage(ref) is Stage.DELETED]
        if refs:
            ref = self._chance.choice(refs)
            undelete.undelete(
                self.cleaning.releasing,
                self.world.store,
                ref,
                "race",
                self._root,
                _never_made,
                self.cleaning.undisturbed,
            )


def _never_made(ref: VersionRef) -> None:
    raise AssertionError(f"the store has lost {ref}")


def heads_to_what_is_going(now: Snapshot) -> list[str]:
    return [
        f"{image}:{name} points to {channel.head.version}, which is {stage.value}"
        for (image, name), channel in now.channels.items()
        if (stage := now.stage(VersionRef(image, channel.head.version))) is not Stage.ACTIVE
    ]


def hurry(catalog: SqlCatalog, seed: int, say: Say) -> None:
    """Moves a channel, or deletes or brings back a version, without any service in between."""
    chance, until = random.Random(seed), time.monotonic() + SECONDS / 2
    count: Counter[str] = Counter()
    while time.monotonic() < until:
        now = catalog.snapshot()
        ref = chance.choice(sorted(now.versions))
        if chance.random() < 0.5:
            wanted: tuple[Operation, ...] = (move(ref.image, BETA, str(ref.version)),)
        elif now.stage(ref) is Stage.ACTIVE:
            wanted = step(str(ref))
        else:
            wanted = step(str(ref), Stage.QUARANTINED, Stage.ACTIVE)
        try:
            catalog.commit(change(uuid.uuid4().hex, now.generation, *wanted))
            count["committed"] += 1
        except (Conflict, ImpossibleChange) as error:
            count[type(error).__name__] += 1
        if wrong := heads_to_what_is_going(catalog.snapshot()):
            say(f"wrong {wrong}")
    for what, times in count.items():
        say(f"{what} {times}")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog with four versions of each of two images, in beta one after another."""
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    (tmp_path / "sources").mkdir()
    with SqlCatalog(url, new_id=lambda: CATALOG_ID) as catalog:
        racer = Racer(catalog, tmp_path, 0)
        for serial in range(1, 5):
            for image in (BASE, CI):
                racer.world.built(f"{image}@20261120.{serial}")
    return url


def raced(
    url: str, race: Callable[[SqlCatalog, int, Say], None], least: Mapping[str, int]
) -> Counter[str]:
    """What all processes did together, in as many rounds as it takes to do the *least* of each.
    Nothing is open when they are forked."""

    def work(seed: int) -> Callable[[Say], None]:
        def alone(say: Say) -> None:
            with SqlCatalog(url) as catalog:
                race(catalog, seed, say)

        return alone

    count: Counter[str] = Counter()
    for first in range(1, ROUNDS * PROCESSES, PROCESSES):
        for child in [Child(work(seed)) for seed in range(first, first + PROCESSES)]:
            for line in child.end():
                what, _, times = line.partition(" ")
                assert what != "wrong", line
                count[what] += int(times)
        with SqlCatalog(url) as catalog:
            assert catalog.verify() == ()
            now, history = catalog.snapshot(), [event.change for event in catalog.events()]
        assert heads_to_what_is_going(now) == []
        assert now == fold(now.catalog_id, history)
        steps = [one for each in history for one in each.operations if isinstance(one, StepVersion)]
        count["deleted"] = sum(each.stage is Stage.DELETED for each in steps)
        if all(count[each] >= times for each, times in least.items()):
            return count
    raise AssertionError(f"nothing was proven in {ROUNDS} rounds: {dict(count)}")


def test_no_channel_ever_points_to_what_is_deleted(url: str, tmp_path: Path) -> None:
    deeds = ("_promote", "_rollback", "_hold", "_clean", "_undo", "_undelete", "deleted")
    raced(
        url,
        lambda catalog, seed, say: Racer(catalog, tmp_path, seed).race(say),
        dict.fromkeys((*deeds, "Conflict"), 1),
    )


def test_nor_where_nothing_is_between_people_and_the_catalog(url: str) -> None:
    least = ("committed", "deleted", "Conflict", "ImpossibleChange")
    raced(url, hurry, dict.fromkeys(least, 4))
