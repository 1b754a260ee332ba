"""What the services need from the outside world. Each port's docstring is its contract.

Errors are those of :mod:`imagectl.errors`. A port says which error means "it is not there"
(:class:`~imagectl.errors.NotFound`) and which means "could not tell"
(:class:`~imagectl.errors.CannotTell`); an implementation never turns one into the other.
Implementations are in ``imagectl.adapters`` and, in memory, in ``imagectl.testing``; one contract
suite in ``tests/contract`` runs over all implementations of a port.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagectl.model.catalog import Change, Snapshot
from imagectl.model.event import Event
from imagectl.model.names import ImageName, LocationName, Sha256
from imagectl.model.version import Artifact, Placement, VersionRef


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...


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

    def verify(self) -> tuple[str, ...]:
        """Everything wrong: a broken hash chain, a gap in the generations, tables that differ from
        the fold of the events. Empty means sound."""
        ...


class Location(Protocol):
    """A place that consumers pull artifacts from."""

    @property
    def name(self) -> LocationName:
        """The name it has in ``imagectl.yaml``."""
        ...

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime
    ) -> Placement:
        """Place the artifact, verify it there, and say how it is named there.

        Idempotent: the same artifact again changes nothing and returns an equal placement (but for
        ``verified``). Atomic: never a half file under a final name. Raises Corrupt where *source*
        is not the artifact, NoSpace or Failed where it could not be placed.
        """
        ...

    def verify(self, placement: Placement, now: datetime) -> Placement:
        """Re-read it live, by its provider id, and return it with ``verified`` renewed.

        Raises NotFound where it is certainly gone, Corrupt where the bytes are others, CannotTell
        where the location could not be read.
        """
        ...


class ArtifactStore(Protocol):
    """Content-addressed files of the project: artifacts, trees, reports and logs."""

    def add(self, source: Path) -> Sha256:
        """Keep a copy of *source* under its digest, durable on return. Idempotent, atomic."""
        ...

    def path(self, sha256: Sha256) -> Path:
        """Where it is kept, after a check that it exists. Raises NotFound."""
        ...

    def verify(self, sha256: Sha256) -> Path:
        """Like ``path``, after hashing it again. Raises NotFound or Corrupt."""
        ...


class Publisher(Protocol):
    """Writes the static tree that consumers read, from a snapshot of the catalog."""

    def publish(self, snapshot: Snapshot) -> None:
        """Make the tree show *snapshot*: immutables first, the entry document last, each atomic.

        Idempotent. A tree that already shows a later generation is left as it is.
        """
        ...

    def published_generation(self) -> int | None:
        """The generation that the tree shows; None where nothing is published yet."""
        ...


class Progress(Protocol):
    """Where long work tells how it is getting on. Never raises, never blocks."""

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        """A new stage has begun, and ends the one before."""
        ...

    def step(self, text: str) -> None:
        """What the current stage is doing now, such as the Ansible task."""
        ...

    def note(self, text: str) -> None:
        """A line that the user should see and that stays."""
        ...
