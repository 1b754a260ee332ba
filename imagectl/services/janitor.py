"""Collects what was made to be thrown away and is needed by nobody any more.

Promises: what goes is decided by ``policy.leases`` alone, is read again live right before it goes
(P2), and goes oldest first and not faster than allowed, so that builds beside it are not disturbed.
No failure is passed over in silence, and none keeps the rest from going. An entry of the ledger
ends when its thing was seen to go, or when a complete view shows nothing of it (P3). Killed at any
moment, it can be run again (P7).

It decides nothing without the ledger: that may know of a later lease than a thing's own claim.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from imagectl.errors import CannotTell, Conflict, Denied, ImagectlError, Interrupted, Throttled
from imagectl.model.resource import FoundResource, Resource, ResourceView
from imagectl.policy.leases import SLACK, STUCK, Due, Sorted, is_over, sort_resources
from imagectl.services.abreast import abreast
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.janitor import Machines, Resources

LEDGER_FRESH = 60.0
"""Seconds for which a reading of the ledger is good while things are being collected."""

GIVE_UP = 3
"""After so many things in a row of which nothing could be told, a place is left for this time."""


@dataclass(frozen=True, slots=True)
class Janitoring:
    """What the janitor works with. ``catalog`` is the id of the catalog whose things are ours."""

    ledger: Resources
    places: Sequence[Machines]
    catalog: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Looked:
    """What is in one place. ``view`` and ``found`` are None where ``error`` says why not (P8)."""

    place: str
    view: ResourceView | None
    found: Sorted | None
    error: ImagectlError | None

    @property
    def complete(self) -> bool:
        """Whether everything of the place was seen."""
        return self.view is not None and self.view.complete


@dataclass(frozen=True, slots=True)
class JanitorPlan:
    """What would be collected. ``elsewhere``: entries whose lease is over, of places that were not
    looked at, such as other hosts."""

    at: datetime
    places: tuple[Looked, ...]
    elsewhere: tuple[Resource, ...]

    @property
    def due(self) -> int:
        """How many things there are to collect, as far as could be seen."""
        return sum(len(each.found.due) for each in self.places if each.found is not None)

    @property
    def stuck(self) -> tuple[tuple[str, Due], ...]:
        """What has failed too often, by its place."""
        return tuple(
            (looked.place, due)
            for looked in self.places
            if looked.found is not None
            for due in looked.found.due
            if due.tries >= STUCK
        )

    @property
    def complete(self) -> bool:
        """Whether everything of all places was seen."""
        return all(each.complete for each in self.places)


def plan(janitoring: Janitoring) -> JanitorPlan:
    """Look into all places, and say what would be collected. Changes nothing.

    A place that cannot be read keeps no other from being looked at. Raises CannotTell where the
    ledger cannot be read.
    """
    now = janitoring.clock.now
    views: dict[str, ResourceView | ImagectlError] = {}
    tasks = {each.place: partial(each.resources, now) for each in janitoring.places}
    with abreast(tasks, threading.Event()) as outcomes:
        for place, outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, ImagectlError):
                raise outcome
            views[place] = outcome
    # After the views: what was begun meanwhile is not taken to be gone.
    ledger = janitoring.ledger.all()
    at = now()
    places = []
    for each in janitoring.places:
        seen = views[each.place]
        if isinstance(seen, ImagectlError):
            places.append(Looked(each.place, None, None, seen))
        else:
            found = sort_resources(seen, ledger, janitoring.catalog, at)
            places.append(Looked(each.place, seen, found, None))
    looked_at = {each.place for each in janitoring.places}
    elsewhere = tuple(
        each for each in ledger if each.place not in looked_at and each.until + SLACK < at
    )
    return JanitorPlan(at, tuple(places), elsewhere)


class Outcome(enum.Enum):
    """What became of one thing."""

    COLLECTED = "collected"
    KEPT = "kept"
    """Its lease was renewed, or it is not ours any more: read live, right before."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was to be collected. ``why`` it was kept or has failed; of what was collected,
    what stays of it all the same. ``tries`` counts the failures so far, this one too."""

    place: str
    found: FoundResource
    outcome: Outcome
    why: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done. ``ended``: entries of which there was nothing any more. ``left`` counts what
    is still to be collected, as far as could be seen; ``troubles`` are the places that could not be
    read, or did not answer any more."""

    plan: JanitorPlan
    tried: tuple[Tried, ...]
    ended: tuple[Resource, ...]
    left: int
    troubles: tuple[tuple[str, ImagectlError], ...]

    def having(self, outcome: Outcome) -> tuple[Tried, ...]:
        """Those that ended so."""
        return tuple(each for each in self.tried if each.outcome is outcome)

    @property
    def stuck(self) -> tuple[Tried, ...]:
        """What has failed too often, this time too: people must look at it."""
        return tuple(
            each for each in self.tried if each.outcome is Outcome.FAILED and each.tries >= STUCK
        )

    def went_well(self, place: str) -> bool:
        """Whether all of the place was seen, and nothing there has failed too often."""
        return (
            all(each.complete for each in self.plan.places if each.place == place)
            and all(each != place for each, _ in self.troubles)
            and all(each.place != place for each in self.stuck)
        )


@dataclass(slots=True)
class Pace:
    """Not more than *rate* things a minute. ``sleep`` is given seconds."""

    rate: float
    clock: Clock
    sleep: Callable[[float], None]
    _next: float = field(default=float("-inf"))

    def wait(self) -> None:
        """Until the next one may go."""
        ahead = self._next - self.clock.monotonic()
        if ahead > 0:
            self.sleep(ahead)
        self._next = self.clock.monotonic() + 60.0 / self.rate


def apply(
    janitoring: Janitoring,
    pace: Pace,
    limit: int | None = None,
    tell: Callable[[Tried], None] = lambda _: None,
) -> Applied:
    """Look into all places, and collect what is due, at most *limit* things.

    *tell* is given each as it is done. Raises CannotTell where the ledger cannot be read or
    written: then nothing more is done.
    """
    planned = plan(janitoring)
    round_ = _Round(janitoring, pace, tell, limit)
    troubles: list[tuple[str, ImagectlError]] = []
    ended: list[Resource] = []
    places = {each.place: each for each in janitoring.places}
    for looked in planned.places:
        if looked.found is None:
            assert looked.error is not None
            troubles.append((looked.place, looked.error))
            continue
        for entry in looked.found.gone:
            janitoring.ledger.end(entry.id)
            ended.append(entry)
        stopped = round_.collect(places[looked.place], looked.found.due)
        if stopped is not None:
            troubles.append((looked.place, stopped))
    done = sum(each.outcome is not Outcome.FAILED for each in round_.tried)
    return Applied(planned, tuple(round_.tried), tuple(ended), planned.due - done, tuple(troubles))


def forget(ledger: Resources, place: str, now: datetime) -> tuple[Resource, ...]:
    """End the entries of a place that is no more, such as a host that was scrapped, and say which:
    those whose lease is over. Whether it is no more, only people know."""
    entries = tuple(
        each for each in ledger.all() if each.place == place and each.until + SLACK < now
    )
    for each in entries:
        ledger.end(each.id)
    return entries


class _Round:
    """One round of collecting, over all places."""

    def __init__(
        self,
        janitoring: Janitoring,
        pace: Pace,
        tell: Callable[[Tried], None],
        limit: int | None,
    ) -> None:
        self._ledger = janitoring.ledger
        self._clock = janitoring.clock
        self._pace = pace
        self._tell = tell
        self._limit = limit
        self._entries: dict[str, Resource] = {}
        self._read = float("-inf")
        self.tried: list[Tried] = []

    def collect(self, place: Machines, due: Sequence[Due]) -> ImagectlError | None:
        """Collect what is *due* in *place*, in that order; why it was left, where it was."""
        in_the_dark = 0
        for each in due:
            if self._limit is not None and len(self.tried) >= self._limit:
                return None
            self._pace.wait()
            tried, error = self._collect(place, each)
            self.tried.append(tried)
            self._tell(tried)
            if isinstance(error, Denied | Throttled):
                return error  # it would say the same of all others
            in_the_dark = in_the_dark + 1 if isinstance(error, CannotTell) else 0
            if in_the_dark == GIVE_UP:
                return error
        return None

    def _collect(self, place: Machines, due: Due) -> tuple[Tried, ImagectlError | None]:
        entry = self._entry(due.claim.resource)
        now = self._clock.now()
        if not is_over(due.claim, entry, now):
            return Tried(place.place, due.found, Outcome.KEPT, "its lease was renewed"), None
        try:
            stays = place.collect(due.found, now)
        except Interrupted:
            raise
        except Conflict as conflict:
            why = conflict.why or conflict.what
            return Tried(place.place, due.found, Outcome.KEPT, why), None
        except ImagectlError as error:
            return self._failed(place, due, entry, error), error
        if entry is not None:
            self._ledger.end(entry.id)
        return Tried(place.place, due.found, Outcome.COLLECTED, stays or ""), None

    def _failed(
        self, place: Machines, due: Due, entry: Resource | None, error: ImagectlError
    ) -> Tried:
        why = error.said
        if entry is None:
            # A ledger that was lost: the thing's own claim makes its entry again, so that failures
            # are counted.
            now = self._clock.now()
            found = due.found
            entry = Resource(
                due.claim.resource,
                found.kind,
                place.place,
                found.name,
                "found by the janitor, of which the ledger knew nothing",
                "janitor",
                found.created or now,
                due.claim.until,
            )
            self._ledger.begin(entry)
        self._ledger.failed(entry.id, why)
        entry = replace(entry, tries=entry.tries + 1, trouble=why)
        self._entries[entry.id] = entry
        return Tried(place.place, due.found, Outcome.FAILED, why, entry.tries)

    def _entry(self, id: str) -> Resource | None:
        """What the ledger says of it now, or said less than ``LEDGER_FRESH`` ago."""
        now = self._clock.monotonic()
        if now - self._read > LEDGER_FRESH:
            self._entries = {each.id: each for each in self._ledger.all()}
            self._read = now
        return self._entries.get(id)


def rounds(every: timedelta, clock: Clock, sleep: Callable[[float], None]) -> Iterator[None]:
    """Once at the beginning of each *every*, for ever; what is late is not made up for."""
    while True:
        began = clock.monotonic()
        yield
        rest = every.total_seconds() - (clock.monotonic() - began)
        if rest > 0:
            sleep(rest)
