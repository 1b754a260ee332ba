"""The catalog: the truth about versions and channels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from imagectl.model.change import Change
from imagectl.model.event import Event
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import (
    ImageName,
)
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Stock


@dataclass(frozen=True, slots=True)
class Committed:
    """A change is in the catalog. ``replayed``: it was there already, under the same key."""

    generation: int
    replayed: bool


class Catalog(Protocol):
    """The truth: versions, channels, placements, and the chain of events that made them.

    Every commit takes the one head row for writing, so commits are serial; each bumps the
    generation by one and appends one event. Reads see one generation, never a mixture.
    """

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        """All that is known of *images* (of all images where None), at one generation.

        Raises CannotTell where the catalog cannot be read.
        """
        ...

    def commit(self, change: Change) -> Committed:
        """Apply *change*, whole or not at all, durable on return.

        Idempotent by ``change.key``: a key that is already in the catalog changes nothing and
        returns the generation it made then. Raises Conflict where ``change.based_on`` is not the
        current generation, and ImpossibleChange where it contradicts what is recorded; nothing is
        done in both cases. Never retries a conflict by itself.
        """
        ...

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events with a generation above *after*, oldest first."""
        ...

    def changed(self, since: int, most: int) -> Excerpt | None:
        """What consumers may have to be shown anew after generation *since*, at one generation. It
        reads the changes after that and what they name; None where there are more than *most*.

        Raises CannotTell where the catalog cannot be read.
        """
        ...

    def stock(self) -> AbstractContextManager[Stock]:
        """What a cleanup looks at, all of it, at one generation, for as long as the block runs. Of
        a million versions, one image's at a time is in memory.

        Raises CannotTell where the catalog cannot be read.
        """
        ...

    def verify(self) -> tuple[str, ...]:
        """Everything wrong: a broken hash chain, a gap in the generations, tables that differ from
        the fold of the events. Empty means sound."""
        ...
