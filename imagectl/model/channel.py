"""Channels: named pointers over versions, and the rules for moving them.

A channel's history is only ever appended to. A rollback is a move like any other, to an earlier
version; nothing is taken back or rewritten.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imagectl.model.names import ChannelName, ImageName, VersionId
from imagectl.model.retention import RetentionPolicy


class MoveKind(enum.Enum):
    """Why a channel was moved."""

    ENTRY = "entry"
    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Gate(enum.Enum):
    """A condition of promotion, in the word that ``channels.yaml`` uses."""

    TESTS = "tests"
    """Its suites have passed on the booted artifact."""
    REPRODUCIBLE = "reproducible"
    """Built twice from one lock, it was the same bytes."""
    ROLLBACK_READY = "rollback_ready"
    """The channel's rollback window is in every location that it requires. Asked of every move
    forward, whether it is named or not (P6)."""


@dataclass(frozen=True, slots=True)
class Move:
    """One step of a channel's history. ``at`` is aware, in UTC."""

    version: VersionId
    kind: MoveKind
    at: datetime
    by: str
    reason: str
    generation: int
    """The catalog generation that this move made."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One image's channel: its history, oldest first, never empty."""

    image: ImageName
    name: ChannelName
    moves: tuple[Move, ...]

    @property
    def head(self) -> Move:
        """The latest move: what the channel points to now."""
        return self.moves[-1]


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """How one channel is released, from ``catalog/channels.yaml``.

    ``entry``: builds that pass arrive here. ``source``: where promotion takes versions from.
    ``soak``: minimum time that a version has been in the source channel before it may be promoted.
    ``rollback_window``: how many earlier versions must stay ready to go back to.
    """

    name: ChannelName
    entry: bool = False
    source: ChannelName | None = None
    gates: tuple[Gate, ...] = (Gate.TESTS,)
    soak: timedelta = timedelta(0)
    rollback_window: int = 3


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """``catalog/channels.yaml``: the channels in file order, and exceptions for single images."""

    channels: tuple[ChannelRule, ...]
    images: Mapping[ImageName, Mapping[ChannelName, ChannelRule]] = field(default_factory=dict)
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)

    def rule(self, image: ImageName, channel: ChannelName) -> ChannelRule | None:
        """The rule for that image's channel; None where there is no such channel."""
        special = self.images.get(image, {}).get(channel)
        if special is not None:
            return special
        return next((rule for rule in self.channels if rule.name == channel), None)

    @property
    def entry(self) -> ChannelName:
        """The channel that builds arrive in. There is exactly one (checked when parsed)."""
        return next(rule.name for rule in self.channels if rule.entry)

    @property
    def names(self) -> tuple[ChannelName, ...]:
        return tuple(rule.name for rule in self.channels)
