"""What a consumer hears of what is coming, in words, or as a refusal on purpose."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from imagectl.model.announcement import AnnouncedDeprecation, Announcement
from imagectl.model.names import ChannelName, ImageName, VersionId
from imagectl.model.published import PublishedHead, PublishedWarning
from imagectl.model.version import VersionRef
from imagectl.policy.announced import concerns, notice_of, refused_on_purpose
from imagectl.policy.resolution import Choice, ResolutionRequest


class Tree(Protocol):
    """What is needed of a published tree, verified: see ``consumer.SignedTree``."""

    def channels(self, image: ImageName) -> Collection[ChannelName]: ...
    def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None: ...
    def warnings(self, image: ImageName) -> Mapping[VersionId, PublishedWarning]: ...
    def announcements(self) -> tuple[Announcement, ...]: ...


def hear(
    tree: Tree, choice: Choice, ref: VersionRef, request: ResolutionRequest, now: datetime
) -> tuple[str, ...]:
    """What whoever gets *ref* is told of, where it has asked for that.

    Raises Refused in a brownout, unless the consumer insists or has nothing else to go to now.
    """
    told = [
        each
        for each in tree.announcements()
        if concerns(each, ref.image, choice.channel, ref.version)
    ]
    ending = [each for each in told if isinstance(each, AnnouncedDeprecation)]
    for each in () if request.despite_brownout else ending:
        brownout = each.brownout(now)
        if brownout is not None and _has_successor(tree, each, ref):
            raise refused_on_purpose(each, brownout, now)
    return tuple(notice_of(each, now) for each in told) if request.notices else ()


def _has_successor(tree: Tree, said: AnnouncedDeprecation, ref: VersionRef) -> bool:
    """Whether there is something that can be had instead. A version that a channel points to has no
    successor there, whatever else the image has."""
    if said.of.version is not None:
        heads = _heads(tree, ref.image, tree.channels(ref.image))
        return ref.version not in {each.version for each in heads} and _usable(tree, heads)
    if said.successor is None:
        return False
    image, channel = said.successor.image, said.successor.channel
    heads = _heads(tree, image, tree.channels(image) if channel is None else (channel,))
    others = [each for each in heads if (each.image, each.version) != (ref.image, ref.version)]
    return _usable(tree, others)


def _heads(tree: Tree, image: ImageName, channels: Collection[ChannelName]) -> list[PublishedHead]:
    heads = (tree.head(image, each) for each in channels)
    return [each for each in heads if each is not None]


def _usable(tree: Tree, heads: Collection[PublishedHead]) -> bool:
    """Whether one of these may be had."""
    for each in heads:
        warning = tree.warnings(each.image).get(each.version)
        if warning is None or not warning.warned.taken_away:
            return True
    return False
