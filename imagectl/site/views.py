"""What pages say of images, channels and versions, put together once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import ImagectlError, Refused
from imagectl.model.announcement import AnnouncedDeprecation, AnnouncedMove, Announcement
from imagectl.model.channel import Channel, ChannelRule
from imagectl.model.names import ChannelName, ImageName, ImageRef, LocationName, VersionId
from imagectl.model.release import PromotionRequest
from imagectl.model.retention import Revocation, Staged
from imagectl.model.version import Placement, Version, VersionRef
from imagectl.policy.announcing import standing_announcements
from imagectl.policy.promotion import plan_promotion
from imagectl.policy.readiness import out_of_reach, rule_of, way_back
from imagectl.policy.standing import standing
from imagectl.site.sources import Sources


@dataclass(frozen=True, slots=True)
class Waiting:
    """The version that a channel gets next. ``soaked`` is when its time in the source is over.

    ``since`` when it is in the source is None where it is not there any more. ``unmet``: every rule
    that keeps it from being promoted then, or when it is due where it was ``announced``.
    """

    version: VersionId
    source: ChannelName
    since: datetime | None
    soaked: datetime | None
    unmet: tuple[str, ...]
    announced: AnnouncedMove | None


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel of an image; ``channel`` is None where nothing was released there yet."""

    image: ImageName
    name: ChannelName
    rule: ChannelRule
    channel: Channel | None
    head: Version | None
    revoked: Revocation | None
    way_back: tuple[VersionId, ...]
    waiting: Waiting | None
    announced: tuple[Announcement, ...]

    @property
    def state(self) -> str:
        """In a word of ``badges.COLOURS``."""
        return "none" if self.head is None else "bad" if self.revoked else "good"

    @property
    def said(self) -> str:
        """The version, or why there is none to be had."""
        if self.head is None:
            return "nothing yet"
        return f"{self.head.id} revoked" if self.revoked else str(self.head.id)


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version, what points to it, and how it is kept. ``staged`` is None where it is active."""

    version: Version
    channels: tuple[ChannelName, ...]
    revoked: Revocation | None
    staged: Staged | None
    placements: tuple[Placement, ...]
    missing: tuple[LocationName, ...]
    before: VersionRef | None
    after: VersionRef | None
    live: bool
    """Whether a channel points to it or may be rolled back to it."""

    @property
    def ref(self) -> VersionRef:
        return self.version.ref

    @property
    def size(self) -> int:
        """Bytes of all its artifacts."""
        return sum(each.size for each in self.version.artifacts)


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image. ``versions``: newest first. ``announced``: all of it and its parts, the next
    first."""

    name: ImageName
    channels: tuple[ChannelView, ...]
    versions: tuple[VersionView, ...]
    announced: tuple[Announcement, ...]

    @property
    def newest(self) -> Version:
        return self.versions[0].version

    @property
    def summary(self) -> str:
        return self.newest.summary


def images(sources: Sources) -> tuple[ImageView, ...]:
    """Every image that has a version, by name."""
    versions: dict[ImageName, list[Version]] = {}
    for ref in sorted(sources.snapshot.versions):
        versions.setdefault(ref.image, []).append(sources.snapshot.versions[ref])
    return tuple(_image(sources, name, its) for name, its in sorted(versions.items()))


def _image(sources: Sources, name: ImageName, versions: list[Version]) -> ImageView:
    snapshot, policy = sources.snapshot, sources.policy
    known = {channel for image, channel in snapshot.channels if image == name}
    announced = standing_announcements(snapshot, [name])
    known |= {each.channel for each in announced if isinstance(each, AnnouncedMove)}
    order = [*policy.names, *sorted(known.difference(policy.names))]
    gone = out_of_reach(snapshot, name)
    channels = tuple(_channel(sources, name, each, gone) for each in order)
    heads: dict[VersionId, list[ChannelName]] = {}
    live: set[VersionId] = set()
    for each in channels:
        if each.head is not None:
            heads.setdefault(each.head.id, []).append(each.name)
            live.update((each.head.id, *each.way_back))
    refs = [each.ref for each in versions]
    neighbours = zip([None, *refs[:-1]], [*refs[1:], None], strict=True)
    views = []
    for version, (before, after) in zip(versions, neighbours, strict=True):
        staged = snapshot.stages.get(version.ref)
        placements = snapshot.placed(version.ref)
        there = {each.location for each in placements}
        deleted = staged is not None and staged.stage.below is None
        views.append(
            VersionView(
                version=version,
                channels=tuple(heads.get(version.id, ())),
                revoked=snapshot.revoked.get(version.ref),
                staged=staged if staged is not None and staged.stage.value != "active" else None,
                placements=placements,
                missing=()
                if deleted
                else tuple(each for each in version.required_locations if each not in there),
                before=before,
                after=after,
                live=version.id in live,
            )
        )
    return ImageView(name, channels, tuple(reversed(views)), announced)


def _channel(
    sources: Sources, image: ImageName, name: ChannelName, gone: frozenset[VersionId]
) -> ChannelView:
    snapshot = sources.snapshot
    channel = snapshot.channel(image, name)
    rule = (
        rule_of(sources.policy, channel)
        if channel is not None
        else sources.policy.rule(image, name) or ChannelRule(name)
    )
    ref = VersionRef(image, channel.head.version) if channel is not None else None
    head = ref.version if ref is not None else None
    announced = tuple(
        each for each in standing_announcements(snapshot, [image]) if _is_about(each, name, head)
    )
    return ChannelView(
        image=image,
        name=name,
        rule=rule,
        channel=channel,
        head=snapshot.versions[ref] if ref is not None else None,
        revoked=snapshot.revoked.get(ref) if ref is not None else None,
        way_back=way_back(channel, rule, without=gone) if channel is not None else (),
        waiting=_waiting(sources, image, rule, channel),
        announced=announced,
    )


def _is_about(announced: Announcement, channel: ChannelName, head: VersionId | None) -> bool:
    """Whether who follows the channel should know of it, which may point to nothing yet."""
    if isinstance(announced, AnnouncedDeprecation):
        of = announced.of
        return of.channel in (None, channel) and of.version in (None, head)
    return announced.channel == channel


def _waiting(
    sources: Sources, image: ImageName, rule: ChannelRule, channel: Channel | None
) -> Waiting | None:
    """What was announced for the channel; else what its source has, where that is newer than what
    the channel has."""
    if rule.source is None:
        return None
    source = sources.snapshot.channel(image, rule.source)
    if source is None:
        return None
    announced = sources.snapshot.coming(image, rule.name)
    version = announced.to if announced is not None else source.head.version
    if announced is None and channel is not None and version <= channel.head.version:
        return None
    since = standing(source).since.get(version)
    named = ImageRef(image, version=version if announced is not None else None)
    request = PromotionRequest(rule.name, targets=(named,))
    soaked = since + rule.soak if rule.soak and since is not None else None
    due = announced.due if announced is not None else None
    then = max(each for each in (sources.now, since, soaked, due) if each is not None)
    unmet: tuple[str, ...] = ()
    try:
        plan_promotion(sources.snapshot, sources.policy, sources.takes, request, then)
    except Refused as refused:
        unmet = tuple(each.removeprefix(f"{image}: ") for each in refused.reasons)
    except ImagectlError as trouble:
        unmet = (trouble.what,)
    return Waiting(version, rule.source, since, soaked, unmet, announced)
