"""What a channel's history amounts to: which versions stand, and which were rolled back from.

A history is only appended to, so after two rollbacks it reads 1, 2, 3, 2, 1. Read as "the move
before the last", the next rollback would go to 2, which was just left for being bad. Here the moves
are folded instead: an arrival puts a version on top, a rollback takes off everything above the
version it goes to. What is left stands; what was taken off was rolled back from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import VersionId


@dataclass(frozen=True, slots=True)
class Standing:
    """``since``: the versions that stand, oldest first, and when each came to stay. The last one is
    the head, and the one before it what a rollback goes to. ``left``: the rollbacks that left the
    versions which do not stand any more."""

    since: Mapping[VersionId, datetime]
    left: Mapping[VersionId, Move]

    @property
    def earlier(self) -> tuple[VersionId, ...]:
        """What a rollback can go to, the nearest first."""
        return tuple(self.since)[-2::-1]


def standing(channel: Channel | None) -> Standing:
    """Fold a channel's moves. The versions that stand always rise: none is above a newer one."""
    since: dict[VersionId, datetime] = {}
    left: dict[VersionId, Move] = {}
    for move in channel.moves if channel else ():
        # Those that stand rise, so the last are the highest: histories are long, and read often.
        above = list(takewhile(move.version.__lt__, reversed(since)))
        for version in reversed(above):
            del since[version]
            if move.kind is MoveKind.ROLLBACK:
                left[version] = move
        since.setdefault(move.version, move.at)
        left.pop(move.version, None)
    return Standing(since, left)
