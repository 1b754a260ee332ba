"""A catalog in memory: nothing but the list of its events, and their fold."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from imagectl.errors import Conflict
from imagectl.formats.events import event_hash, make_event
from imagectl.model.announcement import AnnouncedMove
from imagectl.model.change import Change
from imagectl.model.event import GENESIS, Event
from imagectl.model.excerpt import Excerpt, excerpt_of
from imagectl.model.fold import apply_change, fold
from imagectl.model.names import ImageName, Sha256
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Counted, Kept, Shelf, Shelved, Stock, Whereabouts
from imagectl.model.version import Version, VersionRef
from imagectl.services.ports.catalog import Committed


class MemoryCatalog:
    """Implements ``services.ports.Catalog``. It may be used from several threads."""

    def __init__(self, catalog_id: str = "00000000-0000-4000-8000-000000000000") -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._now = fold(catalog_id, ())
        self._verified: Sequence[Event] = ()
        """The first events, which were found to be as they were made. Nothing changes an event, so
        it is hashed once; whatever comes in the place of one is another."""

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        now = self._now
        return now if images is None else now.only(images)

    def commit(self, change: Change) -> Committed:
        with self._lock:
            for event in self._events:
                if event.change.key == change.key:
                    return Committed(event.generation, replayed=True)
            if change.based_on != self._now.generation:
                raise Conflict(
                    "the catalog has changed since this was decided; nothing was done",
                    where="the catalog in memory",
                    why=f"decided on generation {change.based_on}, "
                    f"now it is {self._now.generation}",
                    hint="run the command again to decide on what is there now",
                )
            previous = self._events[-1].hash if self._events else GENESIS
            event = make_event(self._now.generation + 1, change, previous)
            self._now = replace(apply_change(self._now, change), event=event.hash)
            self._events.append(event)
            return Committed(event.generation, replayed=False)

    def events(self, after: int = 0) -> Iterator[Event]:
        yield from self._events[max(after, 0) :]

    def changed(self, since: int, most: int) -> Excerpt | None:
        with self._lock:
            now, events = self._now, tuple(self._events[since:])
        if len(events) > most:
            return None
        return excerpt_of(now, since, (event.change for event in events))

    @contextlib.contextmanager
    def stock(self) -> Iterator[Stock]:
        now, events = self.snapshot(), tuple(self._events)
        counted = Counted(
            versions=len(now.versions),
            placements=sum(map(len, now.placements.values())),
            moves=sum(len(each.moves) for each in now.channels.values()),
            events=now.generation,
        )
        yield Stock(
            now.catalog_id,
            now.generation,
            counted,
            lambda: _shelves(now),
            lambda: _whereabouts(now),
            lambda generation: _hash(events, generation),
        )

    def verify(self) -> tuple[str, ...]:
        with self._lock:
            events, now = tuple(self._events), self._now
        findings = []
        both = zip(events, self._verified, strict=False)
        known = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], both))
        previous = events[known - 1].hash if known else GENESIS
        for number, event in enumerate(events[known:], start=known + 1):
            if event.generation != number:
                findings.append(f"event {number}: it says that it is event {event.generation}")
            if event.previous != previous:
                findings.append(f"event {number}: it does not follow from event {number - 1}")
            if event_hash(event.generation, event.change, event.previous) != event.hash:
                findings.append(f"event {number}: its content is not what its hash says")
            previous = event.hash
        if not findings and now != fold(now.catalog_id, (event.change for event in events)):
            findings.append("catalog: it is not what its events make")
        if not findings:
            self._verified = events
        return tuple(findings)


def _hash(events: Sequence[Event], generation: int) -> Sha256 | None:
    return next((each.hash for each in events if each.generation == generation), None)


def _shelves(now: Snapshot) -> Iterator[Shelf]:
    for image in now.images:
        yield Shelf(
            image=image,
            versions=tuple(_shelved(now, each) for each in now.of(image)),
            channels={name: each for (of, name), each in now.channels.items() if of == image},
            buried=tuple(
                stone for each in now.of(image) for stone in now.buried(each.ref) if stone.open
            ),
            announced={
                each.channel: each.to
                for each in now.announced.get(image, ())
                if isinstance(each, AnnouncedMove)
            },
        )


def _whereabouts(now: Snapshot) -> Iterator[Whereabouts]:
    for shelf in _shelves(now):
        for each in shelf.versions:
            yield Whereabouts(VersionRef(shelf.image, each.id), each.stage, each.placed)


def _shelved(now: Snapshot, version: Version) -> Shelved:
    ref = version.ref
    staged = now.stages.get(ref)
    until, consumer = max(
        ((each.until, each.consumer) for each in now.leases.get(ref, ())), default=(None, "")
    )
    return Shelved(
        id=version.id,
        created=version.created,
        parent=version.parent,
        stage=now.stage(ref),
        staged=staged.at if staged else version.created,
        placed=tuple(
            Kept(each.location, each.provider_id, each.sha256) for each in now.placed(ref)
        ),
        held=tuple(each.by for each in now.holds.get(ref, ())),
        leased=until,
        leased_by=consumer,
        begun=bool(now.intended(ref)),
        revoked=ref in now.revoked,
    )
