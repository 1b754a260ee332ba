"""Whatever is done in whatever order: channels point to what works, and history only grows.

Hypothesis builds, breaks, promotes, rolls back, publishes and resolves at random, in memory and on
SQLite. After every step, every channel of every image is resolved as a consumer would (P6).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from support.examples import BASE, BETA, CI, STABLE
from support.releases import DC1, LOCAL, soaking
from support.world import World

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.consumer.resolving import resolve
from imagectl.errors import Corrupt, Failed, NotFound, Refused
from imagectl.model.channel import Channel, MoveKind
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.release import Verdict
from imagectl.model.version import VersionRef
from imagectl.policy.readiness import NO_WAY_BACK
from imagectl.policy.resolution import Resolution, ResolutionRequest
from imagectl.policy.standing import standing
from imagectl.services.ports.catalog import Catalog
from imagectl.services.publish import publish_catalog
from imagectl.services.release import Released
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

ID = "00000000-0000-4000-8000-000000000000"
DAY = timedelta(days=1)
IMAGES = st.sampled_from([BASE, CI])
PLACES = st.sampled_from([(LOCAL,), (LOCAL, DC1)])


class ReleaseMachine(RuleBasedStateMachine):
    """On ports in memory."""

    def make_catalog(self) -> Catalog:
        return MemoryCatalog(ID)

    @initialize(soak=st.sampled_from([timedelta(0), DAY]))
    def begin(self, soak: timedelta) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "store").mkdir()
        self.locations = {name: MemoryLocation(name) for name in (LOCAL, DC1)}
        self.public = MemoryPublisher()
        self.world = World(
            self.make_catalog(),
            list(self.locations.values()),
            [self.public],
            MemoryStore(self.folder / "store"),
            self.folder,
            soaking(soak),
        )
        self.serials: dict[ImageName, int] = {}
        self.failing: set[VersionRef] = set()
        self.lost: set[VersionRef] = set()
        self.before = self.world.catalog.snapshot()
        self.old_snapshots = [self.before]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.catalog.verify() == ()
        events = list(self.world.catalog.events())
        assert [each.generation for each in events] == list(range(1, len(events) + 1))
        shutil.rmtree(self.folder)

    def next_version(self, image: ImageName) -> str:
        self.serials[image] = self.serials.get(image, 0) + 1
        return f"{image}@20261120.{self.serials[image]}"

    def moved(self, done: Released) -> None:
        """What every move has to have been, when it was made."""
        now = self.world.catalog.snapshot()
        for decision in done.plan.decisions:
            channel = now.channel(decision.image, decision.channel)
            if decision.verdict is not Verdict.MOVE:
                continue
            assert channel is not None
            assert channel.head.version == decision.to
            assert channel.head.kind is done.plan.kind
            if done.plan.kind is not MoveKind.ROLLBACK:
                assert decision.before is None or decision.target.version > decision.before
            assert decision.required, "what works is somewhere"
            for version in (decision.target.version, *decision.way_back):
                self.is_in(VersionRef(decision.image, version), decision.required)
            if done.plan.kind is not MoveKind.ROLLBACK:
                stands = standing(channel).earlier
                assert decision.way_back == stands[: len(decision.way_back)]
                assert len(decision.way_back) == min(3, len(stands)), "one can go back from it"

    def is_in(self, ref: VersionRef, locations: Collection[LocationName]) -> None:
        """The version is in all of them, live."""
        placed = {each.location: each for each in self.world.catalog.snapshot().placed(ref)}
        for name in locations:
            self.locations[name].verify(placed[name], placed[name].verified)

    @rule(image=IMAGES, places=PLACES)
    def build(self, image: ImageName, places: tuple[LocationName, ...]) -> None:
        made = self.world.recorded(self.next_version(image), needs=places)
        self.world.place(made.ref)
        refused: Refused | None = None
        try:
            done = self.world.arrive(made.ref)
        except Refused as error:
            refused = error
        else:
            self.moved(done)
            assert done.plan.moves, "a build that passed arrives"
        if refused is not None:
            assert all(NO_WAY_BACK in reason for reason in refused.reasons)
            assert any(each.image == image for each in self.lost), "a build that passed arrives"

    @rule(image=IMAGES, placed=st.booleans())
    def build_with_failing_tests(self, image: ImageName, placed: bool) -> None:
        made = self.world.recorded(self.next_version(image), failed=1)
        self.failing.add(made.ref)
        if placed:
            self.world.place(made.ref)
        try:
            self.world.enter(made.ref)
        except Refused:
            return
        raise AssertionError("a version with failing tests has entered")

    @rule(image=IMAGES, placed=st.booleans())
    def build_that_is_interrupted(self, image: ImageName, placed: bool) -> None:
        made = self.world.recorded(self.next_version(image), needs=(LOCAL, DC1))
        if placed:
            self.world.place(made.ref)

    @rule(data=st.data())
    def enter_late(self, data: st.DataObject) -> None:
        refs = sorted(self.world.catalog.snapshot().versions)
        if refs:
            with suppress(Refused):
                self.moved(self.world.enter(data.draw(st.sampled_from(refs))))

    @rule(data=st.data(), dry_run=st.booleans())
    def promote(self, data: st.DataObject, dry_run: bool) -> None:
        now = self.world.catalog.snapshot()
        named = data.draw(st.sampled_from(["", *map(str, sorted(now.versions)), *now.images]))
        try:
            done = self.world.promote("stable", *filter(None, [named]), dry_run=dry_run)
        except Refused:
            assert self.world.catalog.snapshot() == now
            return
        if dry_run or not done.plan.moves:
            assert self.world.catalog.snapshot() == now
        else:
            self.moved(done)

    @rule(data=st.data(), channel=st.sampled_from([BETA, STABLE]))
    def rollback(self, data: st.DataObject, channel: ChannelName) -> None:
        now = self.world.catalog.snapshot()
        heads = [image for image, name in now.channels if name == channel]
        images = data.draw(st.lists(st.sampled_from(heads), unique=True)) if heads else []
        to = None
        if len(images) == 1 and data.draw(st.booleans()):
            to = data.draw(st.sampled_from(now.of(images[0]))).id
        try:
            done = self.world.rollback(channel, *images, to=to)
        except NotFound:
            assert not heads
        except Refused:
            assert self.world.catalog.snapshot() == now
        else:
            self.moved(done)
            for move in done.plan.moves:
                history = now.channel(move.image, channel)
                assert history is not None
                assert move.to in {each.version for each in history.moves}
                assert to is not None or (move.before and move.target.version < move.before)

    @rule(data=st.data(), gone=st.booleans())
    def something_happens_to_an_artifact(self, data: st.DataObject, gone: bool) -> None:
        now = self.world.catalog.snapshot()
        placed = [each for all_of_it in now.placements.values() for each in all_of_it]
        # Locations are filled at the same time; what follows must not hang on which was first.
        placed.sort(key=lambda each: each.key)
        placed = [each for each in placed if each.version not in self.lost]
        if placed:
            chosen = data.draw(st.sampled_from(placed))
            location = self.locations[chosen.location]
            (location.lose if gone else location.damage)(chosen)
            self.lost.add(chosen.version)

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def place_again(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.lost)))
        try:
            self.world.place(chosen)
        except Failed as error:
            if any(not isinstance(each, Corrupt) for each in error.causes.values() or [error]):
                raise
            return
        self.lost.discard(chosen)

    @rule()
    def time_passes(self) -> None:
        self.world.clock.advance(DAY)

    @rule(data=st.data())
    def a_slow_process_publishes_what_it_saw(self, data: st.DataObject) -> None:
        self.old_snapshots.append(self.world.catalog.snapshot())
        self.public.publish(data.draw(st.sampled_from(self.old_snapshots)))

    @rule()
    def the_published_tree_is_lost_and_made_good(self) -> None:
        self.public.files.clear()
        publish_catalog(self.world.catalog, [self.public])

    @invariant()
    def every_channel_resolves_to_what_works(self) -> None:
        if not hasattr(self, "world"):
            return
        now = self.world.catalog.snapshot()
        for (image, name), channel in now.channels.items():
            found = self.resolved(ResolutionRequest(image, name, location=LOCAL))
            assert found.ref == VersionRef(image, channel.head.version)
            version = now.versions[found.ref]
            assert version.tests.ok
            assert set(version.required_locations) <= {
                each.location for each in now.placed(found.ref)
            }
            assert found.sha256 == version.artifacts[0].sha256

    @invariant()
    def failing_versions_are_never_resolvable(self) -> None:
        for bad in sorted(getattr(self, "failing", ())):
            try:
                self.resolved(ResolutionRequest(bad.image, version=bad.version))
            except NotFound:
                continue
            raise AssertionError(f"{bad} can be resolved")

    @invariant()
    def history_is_only_appended_to(self) -> None:
        if not hasattr(self, "world"):
            return
        now = self.world.catalog.snapshot()
        assert self.before.generation <= now.generation
        assert self.before.versions.items() <= now.versions.items()
        for where, channel in self.before.channels.items():
            assert begins_with(now.channels[where], channel)
        self.before = now

    def resolved(self, request: ResolutionRequest) -> Resolution:
        return resolve(self.public.tree(), request, self.world.clock.now())


def begins_with(channel: Channel, earlier: Channel) -> bool:
    return channel.moves[: len(earlier.moves)] == earlier.moves


class SqlReleaseMachine(ReleaseMachine):
    """The same on SQLite."""

    def make_catalog(self) -> Catalog:
        url = f"sqlite:///{self.folder}/catalog.sqlite3"
        self.sql = SqlCatalog(url, new_id=lambda: ID)
        return self.sql

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "sql"):
            self.sql.close()


TestInMemory = ReleaseMachine.TestCase
TestInMemory.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOnSqlite = SqlReleaseMachine.TestCase
TestOnSqlite.settings = settings(
    max_examples=18,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
