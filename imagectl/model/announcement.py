"""What consumers are told of before it happens: moves of channels, and ends of support.

Nothing happens by an announcement alone. A move that was announced is made by a person's or a
timer's ``promote``, when its time has come; what was announced as deprecated stays where it is, and
is refused on purpose in its brownouts, so that whoever depends on it finds out while there is time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId


class AnnouncedKind(enum.Enum):
    """What is coming, in the word that people type and documents carry."""

    MOVE = "move"
    DEPRECATION = "deprecation"


@dataclass(frozen=True, slots=True)
class Brownout:
    """A time, from ``begins`` until before ``ends``, in which consumers are refused on purpose."""

    begins: datetime
    ends: datetime

    def covers(self, at: datetime) -> bool:
        """Whether *at* is in it."""
        return self.begins <= at < self.ends


@dataclass(frozen=True, slots=True)
class AnnouncedMove:
    """A channel of an image is going to point to a version, not before ``due``.

    ``at``, ``by`` and ``reason`` are those of the announcement.
    """

    image: ImageName
    channel: ChannelName
    to: VersionId
    due: datetime
    at: datetime
    by: str
    reason: str

    @property
    def of(self) -> ImageRef:
        """The channel that moves."""
        return ImageRef(self.image, self.channel)

    @property
    def kind(self) -> AnnouncedKind:
        return AnnouncedKind.MOVE


@dataclass(frozen=True, slots=True)
class AnnouncedDeprecation:
    """A version, a channel of an image or a whole image is not supported any more from ``due`` on.

    ``successor``: an image, or a channel of one, that takes its place; of a version that is what
    its channels point to. ``brownouts`` are in order and apart from each other.
    """

    of: ImageRef
    due: datetime
    successor: ImageRef | None
    brownouts: tuple[Brownout, ...]
    at: datetime
    by: str
    reason: str

    @property
    def image(self) -> ImageName:
        return self.of.image

    @property
    def kind(self) -> AnnouncedKind:
        return AnnouncedKind.DEPRECATION

    def brownout(self, now: datetime) -> Brownout | None:
        """The one that is on at *now*."""
        return next((each for each in self.brownouts if each.covers(now)), None)


Announcement = AnnouncedMove | AnnouncedDeprecation
"""Of each kind there is one at most about the same thing."""


def announced_key(announcement: Announcement) -> tuple[str, str]:
    """What it is about. Announcements of an image are kept in this order."""
    return announcement.kind.value, str(announcement.of)
