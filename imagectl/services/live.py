"""Look whether placements are still what the catalog says, in their locations, now (P6).

Promises: locations are asked at the same time, each one thing after the other; every placement gets
an answer, and "could not tell" is never taken for "gone" (P2, P3). Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Thread

from imagectl.errors import CannotTell, Conflict, Corrupt, ImagectlError, NotFound
from imagectl.model.names import Architecture, Format, LocationName
from imagectl.model.place import Takes
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, VersionRef
from imagectl.services.abreast import abreast
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.locations import Location

PATIENCE = 2
"""After how many unanswered questions in a row a location is asked no more in one go: each may take
its whole deadline."""

LIVE_PATIENCE = 45.0
"""Seconds for which a location that does not answer is asked again where somebody waits for the
answer in order to roll back, or metrics do: long enough for a hiccup, and short enough for a bad
night."""

TOLD_AGAIN = 5.0
"""Seconds between two words about what is being waited for."""

Waiting = Callable[[Sequence[LocationName]], None]
"""Is told which locations have not answered yet."""

Key = tuple[VersionRef, Format, Architecture, LocationName]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a location said of a placement: it renewed, or what is wrong with it. One of them is
    None."""

    placement: Placement
    renewed: Placement | None
    trouble: ImagectlError | None

    @property
    def wrong(self) -> bool:
        """It is certainly gone, or something else. False where that could not be told."""
        return isinstance(self.trouble, NotFound | Corrupt | Conflict)

    @property
    def words(self) -> str:
        """What is wrong, and what to type, in one line; empty where nothing is."""
        at, trouble = self.placement, self.trouble
        again = f"`imagectl publish {at.version} --to {at.location}` puts it there"
        match trouble:
            case None:
                return ""
            case NotFound():
                return f"{at.version} is gone from {at.location} ({at.provider_id}); {again}"
            case Corrupt():
                because = f": {trouble.why}" if trouble.why else ""
                return (
                    f"{at.version} is corrupt in {at.location} ({at.provider_id}){because}; "
                    f"{again} once it is moved away"
                )
            case Conflict():
                return (
                    f"{at.version} is not in {at.location}: {at.provider_id} is somebody else's "
                    f"({trouble.what})"
                )
            case _:
                return f"{at.version} in {at.location}: cannot tell: {trouble.said}"


def takes_of(locations: Mapping[LocationName, Location]) -> Takes:
    """The formats that each location takes."""
    return {name: location.takes for name, location in locations.items()}


def look(
    locations: Mapping[LocationName, Location],
    placements: Iterable[Placement],
    clock: Clock,
    waiting: Waiting = lambda _: None,
) -> Mapping[Key, Looked]:
    """Ask the location of each placement about it. All locations are among *locations*.

    *waiting* is told every few seconds, from another thread, which have not answered yet.
    """
    by_location: dict[LocationName, dict[Key, Placement]] = {}
    for each in placements:
        by_location.setdefault(each.location, {})[each.key] = each

    def ask(name: LocationName) -> list[Looked]:
        return _ask(locations[name], [*by_location[name].values()], clock)

    found: dict[Key, Looked] = {}
    tasks = {name: partial(ask, name) for name in by_location}
    with _telling(tasks, waiting) as open_ones, abreast(tasks, Event()) as outcomes:
        for name, outcome in outcomes:
            open_ones.discard(name)
            if isinstance(outcome, Exception):
                raise outcome
            found |= {each.placement.key: each for each in outcome}
    return {key: found[key] for those in by_location.values() for key in those}


@contextmanager
def _telling(names: Iterable[LocationName], waiting: Waiting) -> Iterator[set[LocationName]]:
    """Tells *waiting* of the names that are still in the set which the block is given."""
    still = set(names)
    over = Event()

    def tell() -> None:
        while not over.wait(TOLD_AGAIN):
            waiting(sorted(still))

    teller = Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield still
    finally:
        over.set()
        teller.join()


def _ask(location: Location, placements: Sequence[Placement], clock: Clock) -> list[Looked]:
    answers: list[Looked] = []
    unanswered = 0
    for placement in placements:
        if unanswered == PATIENCE:
            last = answers[-1].trouble
            answers.append(Looked(placement, None, last))
            continue
        try:
            answers.append(Looked(placement, location.verify(placement, clock.now()), None))
            unanswered = 0
        except (NotFound, Corrupt, Conflict) as problem:
            answers.append(Looked(placement, None, problem))
            unanswered = 0
        except CannotTell as problem:
            answers.append(Looked(placement, None, problem))
            unanswered += 1
        except ImagectlError as problem:  # it failed to look: that says nothing either
            unknown = CannotTell(
                problem.what, where=problem.where, why=problem.why, hint=problem.hint
            )
            answers.append(Looked(placement, None, unknown))
            unanswered += 1
    return answers


def still_recorded(placement: Placement, snapshot: Snapshot) -> bool:
    """Whether the catalog still has what was verified, but for when and how it is reached."""
    return any(
        replace(known, verified=placement.verified, reference=placement.reference) == placement
        for known in snapshot.placed(placement.version)
    )
