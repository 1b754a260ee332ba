"""What a promotion, a rollback or an arrival in the entry channel is going to do, and why.

A plan considers images one by one and says of each what happens to it. Nothing is left out
silently: moved, kept and held back together are all images that were considered.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.version import VersionRef


class Verdict(enum.Enum):
    """What happens to one image's channel."""

    MOVE = "move"
    KEEP = "keep"
    HELD_BACK = "held-back"


@dataclass(frozen=True, slots=True)
class Decision:
    """One image's channel: where it points (``before``), the version considered, and why.

    ``to`` is None where there is no version to consider. The reasons of a move say which rules are
    met; those of an image held back, every rule that is not. Of a move, ``required`` are the
    locations where the version has to be, and ``way_back`` the earlier versions that have to be
    there too, so that it can be taken back.
    """

    image: ImageName
    channel: ChannelName
    before: VersionId | None
    to: VersionId | None
    verdict: Verdict
    reasons: tuple[str, ...]
    required: tuple[LocationName, ...] = ()
    way_back: tuple[VersionId, ...] = ()

    @property
    def target(self) -> VersionRef:
        """The version considered. Only where there is one: always so for a move."""
        assert self.to is not None
        return VersionRef(self.image, self.to)


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """What one command does to one channel of the images it considered, sorted by image."""

    kind: MoveKind
    channel: ChannelName
    decisions: tuple[Decision, ...]

    @property
    def moves(self) -> tuple[Decision, ...]:
        return self._those(Verdict.MOVE)

    @property
    def kept(self) -> tuple[Decision, ...]:
        """Images for which there is nothing to do."""
        return self._those(Verdict.KEEP)

    @property
    def held_back(self) -> tuple[Decision, ...]:
        return self._those(Verdict.HELD_BACK)

    def _those(self, verdict: Verdict) -> tuple[Decision, ...]:
        return tuple(each for each in self.decisions if each.verdict is verdict)

    @property
    def steps(self) -> tuple[Decision, ...]:
        """The decisions without their reasons: two plans with equal steps do the same."""
        return tuple(replace(each, reasons=()) for each in self.decisions)

    def holding_back(self, failures: Mapping[ImageName, tuple[str, ...]]) -> ReleasePlan:
        """The same plan, with those images held back for those reasons."""
        return replace(
            self,
            decisions=tuple(
                replace(each, verdict=Verdict.HELD_BACK, reasons=failures[each.image])
                if each.image in failures
                else each
                for each in self.decisions
            ),
        )


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """``promote CHANNEL [IMAGE[@VERSION]...] [--from CHANNEL]``. No targets means all images; where
    moves of the channel are announced, the announced ones.

    ``due``: it is not moved now, but announced for then. ``early``: what was announced may move
    before its time.
    """

    channel: ChannelName
    targets: tuple[ImageRef, ...] = ()
    source: ChannelName | None = None
    due: datetime | None = None
    early: bool = False


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """``rollback CHANNEL [IMAGE...] [--to VERSION]``. No images means those that the channel's
    latest change moved: what was released together goes back together."""

    channel: ChannelName
    images: tuple[ImageName, ...] = ()
    to: VersionId | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a consumer is given at one location."""

    location: LocationName
    format: Format
    architecture: Architecture
    reference: str
    sha256: Sha256
