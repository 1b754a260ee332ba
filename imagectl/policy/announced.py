"""What consumers are told of what is coming, and when they are refused on purpose.

Promises: in a brownout nobody is refused who has nothing else to go to as things are then; whoever
is refused is told until when, where to go, and how to go on all the same; and what is announced of
others is nobody's noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from imagectl.errors import Refused
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedMove,
    Announcement,
    Brownout,
)
from imagectl.model.names import ChannelName, ImageName, VersionId
from imagectl.policy.wording import ahead, listed, moment, span

DESPITE = "--despite-brownout"
"""The option by which a consumer goes on all the same."""


def notice_of(announcement: Announcement, now: datetime) -> str:
    """What people are told of it, in one line."""
    due = announcement.due
    when = f"{moment(due)}, {ahead(due - now)}" if due > now else f"{moment(due)}, any time now"
    because = f": {announcement.reason}" if announcement.reason else ""
    if isinstance(announcement, AnnouncedMove):
        return f"{announcement.of} goes to {announcement.to} on {when}{because}"
    ends = f"from {moment(due)} on, {ahead(due - now)}" if due > now else f"since {moment(due)}"
    instead = f"; go to {announcement.successor}" if announcement.successor else ""
    said = f"{announcement.of} is not supported {ends}{instead}{because}"
    refused = when_refused(each for each in announcement.brownouts if each.ends > now)
    return f"{said} ({refused})" if refused else said


def when_refused(brownouts: Iterable[Brownout]) -> str:
    """All of them in words, for people who may not know what a brownout is; empty without any."""
    times = [f"from {moment(each.begins)} to {moment(each.ends)}" for each in brownouts]
    return f"refused on purpose {listed(times)}" if times else ""


def concerns(
    announcement: Announcement,
    image: ImageName,
    channel: ChannelName | None,
    version: VersionId,
) -> bool:
    """Whether whoever got *version* of *image*, by *channel* or pinned, should be told of it."""
    if announcement.image != image:
        return False
    if isinstance(announcement, AnnouncedMove):
        return announcement.channel == channel and announcement.to != version
    of = announcement.of
    return of.channel in (None, channel) and of.version in (None, version)


def refused_on_purpose(said: AnnouncedDeprecation, brownout: Brownout, now: datetime) -> Refused:
    """What a consumer gets in a brownout."""
    because = f": {said.reason}" if said.reason else ""
    left = span(brownout.ends - now)
    instead = str(said.successor or said.image)
    return Refused(
        f"{said.of} is refused on purpose until {moment(brownout.ends)}, for {left} more",
        reasons=(
            f"it is not supported from {moment(said.due)} on{because}",
            "this brownout shows who still uses it, while there is time to go elsewhere",
        ),
        where=str(said.of),
        hint=f"go to `imagectl resolve {instead}`; {DESPITE} (or `despite_brownout: true` in the "
        "build config) takes it all the same for now",
    )
