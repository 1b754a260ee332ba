"""What protects a version, and how it goes: facts that people and cleanups add to it (P1, P5).

A version goes down one stage at a time; each stage can be undone but the last. Before anything of
it is deleted, a tombstone for each of its placements is in the catalog (P2), and tombstones are
kept for ever.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imagectl.model.names import ChannelName, ImageName
from imagectl.model.version import Placement, VersionRef


class Stage(enum.Enum):
    """How far a version is on its way down."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    """It can be had; consumers are told to move on."""
    OBSOLETE = "obsolete"
    """As before, and locations that can refuse new uses of it do so."""
    QUARANTINED = "quarantined"
    """Consumers are given it no more, though all of it is still there."""
    DELETED = "deleted"
    """Its placements are buried; what is needed to make it again is kept."""

    @property
    def below(self) -> Stage | None:
        """The next stage on the way down; None below the last."""
        order = tuple(Stage)
        at = order.index(self) + 1
        return order[at] if at < len(order) else None


@dataclass(frozen=True, slots=True)
class Staged:
    """The stage that a version is at, since when, and who brought it there. ``at`` is aware, in
    UTC."""

    stage: Stage
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's protection of a version against any cleanup: one for each person."""

    version: VersionRef
    by: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A consumer's claim on a version until a time: it works with it. Times are aware, in UTC."""

    version: VersionRef
    consumer: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Revocation:
    """A version is unsafe: resolving it is an error until it is restored."""

    version: VersionRef
    by: str
    at: datetime
    reason: str


DELETING = timedelta(minutes=15)
"""For how long a begun deletion may still take something away. Each request to take something away
is begun in the catalog just before, and is tried again for 300 seconds at most (a location's
patience); its last try may take 60 more. What is left is for clocks that differ."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A placement that the catalog has decided to delete, written before it is (P2).

    It ends in one of two ways: ``gone`` is when the location confirmed that it is not there any
    more, ``returned`` when it was recorded as placed again. Until then it is ``open``: whether it
    is there is not known. ``begun`` is when somebody said last that the location is now asked to
    delete it. ``reason`` names the plan. Times are aware, in UTC.
    """

    placement: Placement
    at: datetime
    by: str
    reason: str
    begun: datetime | None = None
    gone: datetime | None = None
    returned: datetime | None = None

    @property
    def open(self) -> bool:
        return self.gone is None and self.returned is None

    def is_being_deleted(self, at: datetime) -> bool:
        """Whether somebody may be deleting it at that time. Who was killed may be, for a while."""
        return self.open and self.begun is not None and at < self.begun + DELETING


@dataclass(frozen=True, slots=True)
class Receipt:
    """A consumer has resolved a version: when last."""

    version: VersionRef
    consumer: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long versions of one image are kept, from ``catalog/channels.yaml``.

    ``keep_last``: in each channel, that many of the versions that stand are kept (those that exist
    whatever their age); ``channels`` has other numbers for some channels. ``min_age``: what is
    younger is kept. ``unused``: what a consumer resolved within that time is kept. ``grace``: how
    long a version stays at each stage before it goes down by one more.
    """

    keep_last: int = 5
    min_age: timedelta = timedelta(days=30)
    unused: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(days=14)
    channels: Mapping[ChannelName, int] | None = None

    def kept_in(self, channel: ChannelName) -> int:
        """How many versions of that channel are kept."""
        return (self.channels or {}).get(channel, self.keep_last)


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may sign plans: a name, and an Ed25519 public key, 64 hexadecimal digits."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What cleanups may do at most, and the rules by image.

    ``max_count`` and ``max_share`` (of the versions in the plan's scope, 0 to 1) cap how many
    versions plans take down by a stage within ``expires``, together; a share allows one at least.
    ``expires``: how long a plan can be applied. ``approvals``: how many people other than its
    author have to sign a plan. ``approvers``: whose signatures count; where there are none, an
    author is whoever signs.
    """

    default: RetentionRule = field(default_factory=RetentionRule)
    images: Mapping[ImageName, RetentionRule] | None = None
    max_count: int = 5
    max_share: float = 0.1
    expires: timedelta = timedelta(hours=24)
    approvals: int = 0
    approvers: tuple[Approver, ...] = ()

    def rule(self, image: ImageName) -> RetentionRule:
        """The rule for that image."""
        return (self.images or {}).get(image, self.default)
