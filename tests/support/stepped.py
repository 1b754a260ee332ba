"""A small project in memory in which every call of a catalog or a location is a step, and a judge
that knows P1 and P2 in words of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from itertools import count
from pathlib import Path

from imagectl.adapters.inputs.store import InputStore
from imagectl.model.change import Change, StepVersion
from imagectl.model.channel import Channel, ReleasePolicy
from imagectl.model.event import Event
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Stock
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import View
from imagectl.services.cleanup import Cleaning
from imagectl.services.ports.catalog import Committed
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.releasing import Releasing
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.clock import FixedClock
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.receipts import MemoryReceipts
from imagectl.testing.store import MemoryStore
from support.interleaving import EVERYTHING, Gate, Step
from support.locks import read_lock

CATALOG_ID = "00000000-0000-4000-8000-000000000000"


class JudgedCatalog(MemoryCatalog):
    """Before a version goes down, looks whether anything protects it just then (P1)."""

    def __init__(self, policy: ReleasePolicy) -> None:
        super().__init__(CATALOG_ID)
        self.policy = policy

    def fork(self) -> JudgedCatalog:
        """Another one that has come as far as this one, and has its events verified."""
        if len(self._verified) < len(self._events):
            assert self.verify() == ()
        other = JudgedCatalog(self.policy)
        other._events = list(self._events)
        other._now = self._now
        other._verified = self._verified
        return other

    def commit(self, change: Change) -> Committed:
        before = self.snapshot()
        committed = super().commit(change)
        if not committed.replayed:
            for each in change.operations:
                if isinstance(each, StepVersion) and each.stage is before.stage(each.version).below:
                    why = protection(before, self.policy, each.version, change.at)
                    assert not why, f"{each.version} goes to {each.stage.value}, though {why}"
        return committed


def protection(now: Snapshot, policy: ReleasePolicy, ref: VersionRef, at: datetime) -> str:
    """Why P1 protects the version, in plain words; empty where it does not. Receipts apart."""
    rule = policy.retention.rule(ref.image)
    for (image, name), channel in now.channels.items():
        if image == ref.image:
            stack = stood(channel)
            known = policy.rule(image, name)
            size = known.rollback_window if known else 3
            if ref.version == stack[-1]:
                return f"{name} points to it"
            if ref.version in stack[-1 - size : -1]:
                return f"it is in the rollback window of {name}"
            if ref.version in stack[-rule.kept_in(name) :]:
                return f"it is among the last of {name}"
    if now.holds.get(ref):
        return "it is held"
    if any(each.until > at for each in now.leases.get(ref, ())):
        return "it is leased"
    if now.intended(ref):
        return "it is being placed"
    if at - now.versions[ref].created < max(rule.min_age, rule.grace):
        return "it is young"
    for child in now.versions.values():
        living = child.parent == ref and now.stage(child.ref) is not Stage.DELETED
        if living and (why := protection(now, policy, child.ref, at)):
            return f"{child.ref} was built on it, and {why}"
    return ""


def stood(channel: Channel) -> list[VersionId]:
    """The versions that stand in a channel, the head last."""
    stack: list[VersionId] = []
    for move in channel.moves:
        stack = [*(each for each in stack if each < move.version), move.version]
    return stack


class JudgedLocation(MemoryLocation):
    """Before something is deleted, looks whether the catalog has buried it just then (P2)."""

    def __init__(self, name: LocationName, catalog: MemoryCatalog) -> None:
        super().__init__(name, catalog=CATALOG_ID)
        self.truth = catalog
        self.deleted = 0

    def fork(self, catalog: MemoryCatalog) -> JudgedLocation:
        """Another one that has the same things."""
        other = copy.copy(self)
        other._held = dict(self._held)
        other._owners = dict(self._owners)
        other.pointers = dict(self.pointers)
        other.marks = dict(self.marks)
        other.truth = catalog
        other.deleted = 0
        return other

    def delete(self, placement: Placement, begin: Begin) -> None:
        now = self.truth.snapshot()
        ref = placement.version
        assert now.stage(ref) is Stage.DELETED, f"{ref} is {now.stage(ref).value}"
        # Where two apply one plan, the slower one finds that it is gone, and may delete nothing.
        buried = [each.placement for each in now.buried(ref) if each.returned is None]
        assert placement in buried, f"{ref} is deleted from {self.name}, and was not buried"
        self.deleted += placement.provider_id in self._held
        super().delete(placement, begin)


class Turn:
    """One actor's gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._has_all = False

    def __call__(self, step: Step) -> None:
        if not self._has_all:
            self._gate(step)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All that is done within is one step, which touches whatever it likes."""
        self(Step(EVERYTHING, writes=True))
        self._has_all = True
        try:
            yield
        finally:
            self._has_all = False


class SteppedCatalog:
    """The catalog, as one actor has it."""

    def __init__(self, inner: MemoryCatalog, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def _step(self, *, writes: bool = False) -> None:
        self._gate(Step("catalog", writes))

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        self._step()
        return self._inner.snapshot(images)

    def commit(self, change: Change) -> Committed:
        self._step(writes=True)
        return self._inner.commit(change)

    def events(self, after: int = 0) -> Iterator[Event]:
        self._step()
        return iter(tuple(self._inner.events(after)))

    def changed(self, since: int, most: int) -> Excerpt | None:
        self._step()
        return self._inner.changed(since, most)

    def stock(self) -> AbstractContextManager[Stock]:
        self._step()
        return self._inner.stock()

    def verify(self) -> tuple[str, ...]:
        # The chain of events is sound whoever is first: nothing here breaks it.
        return ()


class SteppedLocation:
    """A location, as one actor has it. What it says without asking anybody is no step."""

    def __init__(self, inner: MemoryLocation, gate: Turn) -> None:
        self._inner = inner
        self._gate = gate
        self.name = inner.name
        self.takes = inner.takes
        self.unproven = inner.unproven
        self.named = inner.named

    def _step(self, *, writes: bool = False) -> None:
        self._gate(Step(self.name, writes))

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        self._step(writes=True)
        return self._inner.put(version, artifact, source, now, moved)

    def verify(self, placement: Placement, now: datetime) -> Placement:
        self._step()
        return self._inner.verify(placement, now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        self._step()
        self._inner.fetch(placement, to, moved)

    def view(self, now: Callable[[], datetime]) -> View:
        self._step()
        return self._inner.view(now)

    def probe(self) -> Credential:
        return self._inner.probe()

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        return self._inner.boot(placement, work, progress)

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        # A family is what it is for whoever comes last; nothing that is judged here depends on it.
        self._inner.point(image, heads)

    def mark(self, placement: Placement, mark: Mark) -> None:
        # Like a family.
        self._inner.mark(placement, mark)

    def delete(self, placement: Placement, begin: Begin) -> None:
        # One step with its beginning, which is a change of the catalog: who could come between the
        # two is somebody who undeletes, and that is tried elsewhere (``support.upheaval``).
        with self._gate.whole():
            self._inner.delete(placement, begin)


class Stepped:
    """What one actor has of the world."""

    def __init__(
        self,
        catalog: MemoryCatalog,
        location: MemoryLocation,
        store: MemoryStore,
        inputs: InputStore,
        policy: ReleasePolicy,
        now: datetime,
        actor: str,
        gate: Gate,
    ) -> None:
        keys = count(1)
        turn = Turn(gate)
        place = SteppedLocation(location, turn)
        self.policy = policy
        self.store = store
        self.releasing = Releasing(
            SteppedCatalog(catalog, turn),
            {place.name: place},
            (),
            FixedClock(now),
            actor,
            lambda: f"{actor}-{next(keys)}",
        )
        self.cleaning = Cleaning(
            self.releasing,
            store,
            {},
            MemoryReceipts(),
            lambda _: nullcontext(),
            inputs,
            read_lock,
        )


class KeepingStore(MemoryStore):
    """Removes nothing: the worlds that are tried share it."""

    def remove(self, sha256: object) -> None:
        pass
