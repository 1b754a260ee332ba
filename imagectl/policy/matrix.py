"""What a CI system runs for an image: with what it has now, and with what is coming.

Promises: both stable and beta are there, and the consumer's own channel or pin; beta may fail, so
that what it breaks is seen early and stops nobody; and never may all of them fail, for then nothing
would be tested: where a consumer has opted into beta, stable may not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from imagectl.model.consumer import Wish
from imagectl.model.names import ChannelName
from imagectl.policy.opting import followed
from imagectl.policy.resolution import DEFAULT_CHANNEL

COMING = ChannelName("beta")
"""The channel in which consumers see what stable will be."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: ``own`` is what the consumer gets without a matrix."""

    wish: Wish
    own: bool
    allowed_to_fail: bool


def cells(wish: Wish, branch: str | None) -> tuple[Cell, ...]:
    """The runs for an image, the consumer's own first."""
    mine = followed(wish, branch)
    needed = DEFAULT_CHANNEL if mine == COMING else mine
    found = [] if mine is not None else [Cell(wish, True, False)]
    both = {DEFAULT_CHANNEL: None, COMING: None}
    for channel in dict.fromkeys((*([mine] if mine else []), *both)):
        follows = replace(wish, channel=channel, version=None, branches={})
        found.append(Cell(follows, channel == mine, channel != needed))
    return tuple(found)
