"""What a cleanup is going to do to versions, and why (P4).

Every version and every placement in the plan's scope is in it once. Nothing is left out silently:
what is kept says by what, what goes says why, and what the catalog does not know is listed apart.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from imagectl.model.names import ChannelName, ImageName, LocationName, Sha256
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.stock import Kept
from imagectl.model.version import VersionRef


class Because(enum.Enum):
    """Why a version is kept (P1), in the word that people and JSON are shown."""

    CHANNEL = "channel"
    """A channel points to it."""
    WINDOW = "window"
    """It is in a channel's rollback window."""
    KEPT_LAST = "keep-last"
    """It is among the last that stand in a channel."""
    SHOWN = "shown"
    """Consumers of a channel still get it: that it points elsewhere waits for signatures."""
    ANNOUNCED = "announced"
    """A channel is announced to point to it."""
    HELD = "held"
    LEASED = "leased"
    PARENT = "parent"
    """A protected version was built on it."""
    RESOLVED = "resolved"
    """A consumer resolved it lately."""
    YOUNG = "young"
    PLACING = "placing"
    """Something of it is just being placed."""
    WAITING = "waiting"
    """It has not been at its stage for long enough."""
    NEEDED = "needed"
    """It would be deleted, but what was built on it is not deleted yet, and takes it to rebuild."""
    ELSEWHERE = "elsewhere"
    """It would be taken away, but it is also in locations that the plan is not about."""
    CAPPED = "capped"
    """It would go, but a plan takes no more at once."""
    DELETED = "deleted"
    """Nothing is left to take away but its history, which stays."""

    @property
    def protects(self) -> bool:
        """It holds against everything (P1); the others say only that it is not its turn."""
        return self not in (
            Because.WAITING,
            Because.NEEDED,
            Because.ELSEWHERE,
            Because.CAPPED,
            Because.DELETED,
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, and in what: a channel's name, a person, a consumer, a child, a time. ``until``:
    when it ends by itself, None where it does not; the file of a plan does not have it."""

    because: Because
    detail: str = ""
    until: datetime | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.because.value}: {self.detail}" if self.detail else self.because.value


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. ``to`` is the stage that it goes down to, None where it is kept; then
    ``reasons`` say why, each one that holds. ``missing`` are placements that the catalog has, and a
    complete view did not show."""

    version: VersionRef
    stage: Stage
    to: Stage | None
    reasons: tuple[Reason, ...]
    placed: tuple[Kept, ...] = ()
    missing: tuple[Kept, ...] = ()

    @property
    def protected(self) -> bool:
        return any(each.because.protects for each in self.reasons)


UNMARKED = "it has no marks of imagectl's"
"""Why a thing is not known that does not say whose it is."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something in a location that the catalog does not know: never touched (P2).

    ``why`` says what is known of it: no marks, another catalog's, or this one's for a version or
    placement that is not recorded. ``size`` in bytes.
    """

    location: LocationName
    provider_id: str
    name: str
    why: str
    size: int | None = None
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """One location's view as a plan relies on it (P3). ``digest`` is over all that was found;
    ``expected`` counts the placements that the catalog has there, ``seen`` those that were found,
    ``found`` all things, foreign ones too, but no notes of what is gone: those of all images,
    whatever the scope says, since a listing is complete for all of them or proves nothing. ``at``:
    when the listing began."""

    location: LocationName
    scope: str
    digest: Sha256
    expected: int
    seen: int
    found: int
    requests: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """What a plan is about. Nothing outside of it is considered, and nothing outside follows from
    what is inside (INCIDENTS D). Empty ``images``: all; ``locations`` are all that are read.

    A version whose placements are not all in these locations goes down no further than QUARANTINED.
    ``narrowed``: somebody has named the locations; then it goes down no further than OBSOLETE, so
    that those who have it from another location still get it, and versions that are in none of them
    are not in the scope at all.
    """

    images: tuple[ImageName, ...]
    locations: tuple[LocationName, ...]
    narrowed: bool = False


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """What a plan is asked for. ``only``: these versions at most are taken down, which is how an
    earlier plan is judged again; None: all that are due. ``before``: the catalog's generation
    before the first view began; None where that is not known. ``shown``: what consumers are given
    by channels that wait for signatures, whatever the catalog points to by now."""

    scope: Scope
    author: str
    only: frozenset[VersionRef] | None = None
    before: int | None = None
    shown: Mapping[VersionRef, Collection[ChannelName]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """A plan, as a file holds it.

    It is bound to the catalog, its generation and the views; it expires; nobody but its author and
    those who approve it have signed it. ``entries`` gives each version in the scope anew each time,
    sorted by image, oldest first: there may be a million, so a plan that is just being made has
    them only while the catalog's stock is open, and each time reads it again. ``unfinished`` are
    tombstones of earlier plans whose things may still be there. ``resolved`` counts the versions
    that consumers have left receipts of, and ``receipts`` is where. Times are aware, in UTC.
    """

    catalog_id: str
    generation: int
    made: datetime
    expires: datetime
    author: str
    scope: Scope
    sights: tuple[Sight, ...]
    entries: Iterable[Entry]
    unknown: tuple[Unknown, ...]
    unfinished: tuple[Tombstone, ...]
    resolved: int = 0
    receipts: str = ""
