"""Writes down what is about to be made in locations, and what became of it (P7).

Promises: an artifact is put somewhere only after its intent is in the catalog, under the name that
it will have there; the intent ends in the very change that records the placement. So whenever a
process dies, whatever it may have left in a cloud is known by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Protocol

from imagectl.errors import CannotTell, Conflict
from imagectl.model.change import Change, EndIntent, Operation, RecordIntent, RecordPlacement
from imagectl.model.names import ImageName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Intent, Placement, VersionRef
from imagectl.policy.wording import listed
from imagectl.services.current import check_newest
from imagectl.services.ports.catalog import Catalog, Committed
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.locations import Location
from imagectl.services.ports.published import Publisher
from imagectl.services.releasing import Releasing

ATTEMPTS = 100
"""How often writing is tried where something else changes the catalog each time. What is written
here is true whatever else happens, so unlike a move it may be on top of another change. An attempt
takes milliseconds; with 10 of them, eight processes that published at the same time were seen to
fail, one of six times."""


SETTLED = timedelta(hours=1)
"""How long ago something must have been begun to be given up: longer than a publish takes to show
what it is making in a location, so that one which is running now is not forgotten."""


class Author(Protocol):
    """Who writes to a catalog, and when: any ``Releasing``, or less than that."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def actor(self) -> str: ...

    @property
    def publishers(self) -> Sequence[Publisher]:
        """The trees that may know a later catalog: see ``services.current``."""
        ...

    @property
    def new_key(self) -> Callable[[], str]:
        """Gives a new idempotency key for each change."""
        ...


class Ledger:
    """The intents and placements of one version. It may be used from several threads."""

    def __init__(self, releasing: Releasing, ref: VersionRef) -> None:
        self._releasing = releasing
        self._ref = ref
        self._lock = threading.Lock()

    def begin(self, wanted: Collection[tuple[Location, Artifact]]) -> None:
        """Say that these are about to be made. What has been said already is said again only where
        it was so long ago that somebody might give it up."""

        def operations(snapshot: Snapshot) -> list[Operation]:
            known = {(each.key, each.named): each for each in snapshot.intended(self._ref)}
            said: list[Operation] = []
            for each in (self._intent(location, artifact) for location, artifact in wanted):
                before = known.get((each.key, each.named))
                if before is None:
                    said.append(RecordIntent(each))
                elif each.since - before.since >= SETTLED:
                    said += [EndIntent(before), RecordIntent(each)]
            return said

        names = sorted({location.name for location, _ in wanted})
        self._write("begin to publish", f"{self._ref} to {listed(names)}", operations)

    def finish(self, location: Location, placed: Sequence[tuple[Artifact, Placement]]) -> None:
        """Record what is in *location*, and end the intents that it has come from.

        An intent under another name stays: when the location named things otherwise, or was another
        place, something may have been made there that this does not account for.
        """
        made = {(each.key, location.named(self._ref, artifact)) for artifact, each in placed}

        def operations(snapshot: Snapshot) -> list[Operation]:
            over = [
                EndIntent(each)
                for each in snapshot.intended(self._ref)
                if (each.key, each.named) in made
            ]
            return [*(RecordPlacement(each) for _, each in placed), *over]

        self._write("publish", f"{self._ref} to {location.name}", operations)

    def give_up(self, intents: Collection[Intent]) -> None:
        """End intents without a placement. Those that have ended meanwhile are left out."""

        def operations(snapshot: Snapshot) -> list[Operation]:
            return [EndIntent(each) for each in snapshot.intended(self._ref) if each in intents]

        names = sorted({each.location for each in intents})
        self._write("give up publishing", f"{self._ref} to {listed(names)}", operations)

    def _intent(self, location: Location, artifact: Artifact) -> Intent:
        return Intent(
            self._ref,
            artifact.format,
            artifact.architecture,
            location.name,
            location.named(self._ref, artifact),
            self._releasing.clock.now(),
            self._releasing.actor,
        )

    def _write(
        self, action: str, reason: str, decide: Callable[[Snapshot], Sequence[Operation]]
    ) -> None:
        with self._lock:
            write_down(self._releasing, self._ref.image, action, reason, decide)


def write_down(
    author: Author,
    image: ImageName,
    action: str,
    reason: str,
    decide: Callable[[Snapshot], Sequence[Operation]],
) -> Committed | None:
    """Commit what *decide* makes of the catalog as it is, anew after each conflict; None, and
    nothing is written, where that is nothing. *decide* sees nothing but *image*, and must be as
    right on top of another change as it was before it.

    Raises CannotTell, and writes nothing, where a published tree knows a later catalog.
    """
    check_newest(author.catalog, author.publishers)
    key = author.new_key()
    for attempt in range(ATTEMPTS):
        snapshot = author.catalog.snapshot((image,))
        operations = tuple(decide(snapshot))
        if not operations:
            return None
        now = author.clock.now()
        change = Change(key, snapshot.generation, author.actor, action, reason, now, operations)
        try:
            return commit(author.catalog, change)
        except Conflict:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def commit(catalog: Catalog, change: Change) -> Committed:
    """Commit, once more where the answer was lost: the key makes that safe."""
    try:
        return catalog.commit(change)
    except CannotTell:
        return catalog.commit(change)
