"""What a channel pointed to at some time."""

from __future__ import annotations

from datetime import datetime

from imagectl.errors import BadUsage, NotFound
from imagectl.model.channel import Channel, Move
from imagectl.model.names import ChannelName, ImageName
from imagectl.policy.wording import moment


def move_then(
    image: ImageName, name: ChannelName, channel: Channel | None, at: datetime, now: datetime
) -> Move:
    """The move that made the channel point to what it pointed to at that time.

    Raises BadUsage where that is still to come, and NotFound where it pointed to nothing yet.
    """
    if at > now:
        raise BadUsage(
            f"{moment(at)} is still to come",
            why=f"it is {moment(now)} here",
            hint="--at says what a channel pointed to, not what it will",
        )
    moves = channel.moves if channel is not None else ()
    # times are shown, and so typed, in whole seconds
    found = [move for move in moves if move.at.replace(microsecond=0) <= at]
    if not found:
        first = f"its first move was at {moment(moves[0].at)}" if moves else "it never did"
        raise NotFound(f"{name} of {image} pointed to nothing at {moment(at)}", why=first)
    return max(found, key=lambda move: move.generation)
