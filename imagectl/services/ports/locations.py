"""Where artifacts are put, and where consumers pull them from."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from imagectl.model.names import (
    ChannelName,
    Format,
    ImageName,
    LocationName,
)
from imagectl.model.version import (
    Artifact,
    Placement,
    VersionRef,
)
from imagectl.model.view import View
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

Moved = Callable[[int], None]
"""Is told how many bytes of an artifact have been moved so far, from any thread."""


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a location takes us for. ``expires`` is aware, in UTC; None: never, or nobody tells."""

    identity: str
    expires: datetime | None = None


class Mark(enum.Enum):
    """How consumers are warned off an artifact in its location. Each can be taken back."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    OBSOLETE = "obsolete"
    QUARANTINED = "quarantined"
    """It is about to go: where the location can, it gives it to nobody any more."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A throw-away machine that runs an artifact, and how to get in over SSH.

    ``key`` is the private key's file; ``known_hosts`` that of the host's key, or None where the
    location cannot tell it beforehand.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path | None


Begin = Callable[[], None]
"""Says that something is about to be taken away. What it raises ends the deletion, in which nothing
has been taken away since it was called before."""


class Location(Protocol):
    """A place that consumers pull artifacts from.

    Every method may take long, retries what is worth retrying (throttling, 5xx, lost connections)
    until a deadline, and is safe to call again after any failure or kill: names are derived from
    the version and the location, so that what was made before is found and not made twice. Only
    what carries this catalog's ownership marks is ever changed (P2). Beside what each method says,
    all raise Denied where the credentials do not do, Throttled where the provider asked for
    patience longer than the deadline, and CannotTell where the location could not be read.
    """

    @property
    def name(self) -> LocationName:
        """The name it has in ``imagectl.yaml``."""
        ...

    @property
    def takes(self) -> frozenset[Format]:
        """The formats that it can hold."""
        ...

    @property
    def unproven(self) -> tuple[str, ...]:
        """What verifying here cannot prove, for people. Empty where it reads the bytes."""
        ...

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        """What the artifact will be called there. Needs no network: it is written down before
        anything is made (P7)."""
        ...

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        """Place the artifact, verify it there, and say how it is named there.

        Idempotent: the same artifact again changes nothing and returns an equal placement (but for
        ``verified``). Atomic: never a half file under a final name. A big upload goes on where it
        was broken off. Raises Corrupt where *source* is not the artifact or other bytes have its
        place, Conflict where something that is not ours has its name, NoSpace or Failed where it
        could not be placed.
        """
        ...

    def verify(self, placement: Placement, now: datetime) -> Placement:
        """Re-read it live, by its provider id, and return it with ``verified`` renewed.

        Raises NotFound where it is certainly gone, or was placed when the location's settings meant
        another place; Corrupt where the bytes are others; CannotTell where the location could not
        be read.
        """
        ...

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        """Bring the artifact back as the new file *to*, checked against its digest: whole, or not
        there. Raises Unsupported where the location does not give bytes back, else as ``verify``.
        """
        ...

    def view(self, now: Callable[[], datetime]) -> View:
        """All that is there, foreign things too, every page of every scope (P3).

        What could not be read is a gap of the view, not an error; raises Denied and CannotTell only
        where nothing could be read at all.
        """
        ...

    def probe(self) -> Credential:
        """Log in, and see whether the credential can do all that is needed. Changes nothing.

        Raises Denied (missing, wrong, expired or too narrow, in words of their own).
        """
        ...

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        """A throw-away machine of the artifact, removed when the block is left, whatever happens.

        Raises Unsupported where the location does not run machines, GuestUnreachable where it does
        not come up, else as ``verify``.
        """
        ...

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        """Make the location's own pointers (families) show the channels' heads, and nothing for a
        channel that *heads* does not have. Idempotent. Nothing happens where there are no such
        pointers."""
        ...

    def mark(self, placement: Placement, mark: Mark) -> None:
        """Warn consumers off, or take the warning back. Idempotent. Nothing happens where the
        location has no such marks. Raises NotFound."""
        ...

    def delete(self, placement: Placement, begin: Begin) -> None:
        """Delete what the placement names, after reading live that it is ours, and that artifact
        (P2). Idempotent: what is gone already is no error. Raises Conflict where it is not ours.

        *begin* is called just before each request that takes something away, and nothing is asked
        or read between the two; such a request is tried again for ``patience`` at most."""
        ...


@runtime_checkable
class Workshop(Protocol):
    """A location in which cloud builders make images: beside what ``Location`` asks, it describes
    them. To such a location ``put`` of a NATIVE artifact makes nothing: it reads the thing that the
    description in *source* names, marks it as ours, and returns its placement, whose
    ``provider_id`` is the description's ``id`` and whose ``sha256`` and ``size`` are those of the
    description. ``verify`` reads the thing again: where it has another description now, it is
    Corrupt. ``fetch`` is Unsupported."""

    def describe(self, built: str, to: Path) -> None:
        """Write the description (``formats.native_v1``) of what a builder made here to the new file
        *to*. *built* is what the builder calls it: an image's name, a template's. Changes nothing.

        Raises NotFound where there is no such thing, and what every method of a location raises.
        """
        ...
