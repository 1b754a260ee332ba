"""A picture of what channels pointed to over time, as SVG that fits any width.

All that is horizontal is in percent, so a phone shows the same text as a desktop, not a smaller
one. The picture ends with the day, so that it is drawn anew once a day; while there are a few days
only, with the hour. The moves are told beside it, for whoever cannot see it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagectl.model.channel import Channel, MoveKind
from imagectl.model.names import VersionId
from imagectl.policy.wording import moment

LONGEST = timedelta(days=120)
"""What was before is in the history alone."""

SHORT = timedelta(days=4)
"""Of a time as short as that, half a day that is still to come would be a lie."""

SHORTEST = timedelta(hours=2)
"""The first hour of a project is not drawn as if it were all of time, nor as a sliver of a day."""

ROW, TOP = 56, 24
"""Pixels: from one channel to the next, and of what is above the first."""

LEGIBLE = 9.0
"""Percent of the width that a bar needs for its version to be written on it."""

_STEPS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 48, 168, 336, 720, 1440, 2880))


@dataclass(frozen=True, slots=True)
class Bar:
    """For how long a channel pointed to a version. ``x`` and ``width`` in percent."""

    version: VersionId
    kind: str
    """A word for style sheets: a move forward, one back, or a version that is revoked by now."""
    x: float
    width: float
    label: str
    tip: str


@dataclass(frozen=True, slots=True)
class Row:
    """One channel. ``y`` is where its bars begin, in pixels."""

    channel: str
    y: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A time below the bars. ``x`` in percent."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture. ``height`` in pixels."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    height: int
    begins: datetime


def draw(
    channels: Sequence[Channel], revoked: Collection[VersionId], now: datetime
) -> Timeline | None:
    """The picture of these channels of one image; None where there is nothing to show."""
    if not channels:
        return None
    first = min(each.moves[0].at for each in channels)
    hour = now.replace(minute=0, second=0, microsecond=0)
    ends = hour + timedelta(hours=1)
    if ends - first > SHORT:
        ends = hour.replace(hour=0) + timedelta(days=1)
    ends = max(ends, *(each.head.at for each in channels))
    begins = max(first, ends - LONGEST)
    begins = min(begins, ends - SHORTEST)
    length = (ends - begins).total_seconds()

    def across(at: datetime) -> float:
        return round(100 * max(0.0, (at - begins).total_seconds()) / length, 2)

    rows = []
    for number, channel in enumerate(channels):
        bars = []
        until = [*(each.at for each in channel.moves[1:]), ends]
        for move, end in zip(channel.moves, until, strict=True):
            x, width = across(move.at), round(across(end) - across(move.at), 2)
            if width <= 0:
                continue
            kind = "back" if move.kind is MoveKind.ROLLBACK else "forth"
            kind = "revoked" if move.version in revoked else kind
            tip = f"{channel.name}: {move.version} since {moment(move.at)}"
            label = str(move.version) if width >= LEGIBLE else ""
            bars.append(Bar(move.version, kind, x, width, label, tip))
        rows.append(Row(channel.name, TOP + number * ROW, tuple(bars)))
    height = TOP + len(rows) * ROW
    return Timeline(tuple(rows), _ticks(begins, ends), height, begins)


def _ticks(begins: datetime, ends: datetime) -> tuple[Tick, ...]:
    """Four or five round times."""
    length = ends - begins
    step = next((each for each in _STEPS if length / each <= 5), _STEPS[-1])
    hours = step < timedelta(days=1)
    midnight = begins.replace(hour=0, minute=0, second=0, microsecond=0)
    found, at = [], midnight
    while at < ends:
        x = round(100 * (at - begins) / length, 2)
        if 0 <= x <= 92:  # what begins further right would be cut off
            found.append(Tick(x, f"{at:%d %b %H:%M}" if hours else f"{at:%d %b}"))
        at += step
    return tuple(found)
