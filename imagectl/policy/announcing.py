"""What may be announced to consumers (P6); ``policy.announced`` says what they are told of it.

Promises: a move is announced only where it could be made as far as can be told now, all of its
gates judged as of the time when it is due; it is moved no earlier than its consumers were told,
unless a person says why; while it stands, its channel is promoted to nothing else; and an end of
support has brownouts only where there is something else to go to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagectl.errors import BadUsage, NotFound, Refused
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedMove,
    Announcement,
    Brownout,
)
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.wording import ahead, listed, moment, nearest, span

LONGEST_BROWNOUT = timedelta(days=1)
"""A brownout shows who depends on something; whoever needs longer should take it away."""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """What a person wants to announce as deprecated, from when on."""

    of: ImageRef
    due: datetime
    successor: ImageRef | None = None
    brownouts: tuple[Brownout, ...] = ()


def not_yet(coming: AnnouncedMove, now: datetime) -> str:
    """That it is too early for what was announced; nothing where its time has come."""
    if now >= coming.due:
        return ""
    return (
        f"announced for {moment(coming.due)}, {ahead(coming.due - now)}; "
        f'`--now --reason "..."` moves it before consumers were told it would'
    )


def another_stands(coming: AnnouncedMove, to: VersionId) -> str:
    """That consumers were told of another version."""
    return (
        f"consumers were told that {coming.channel} goes to {coming.to} on {moment(coming.due)}, "
        f"not to {to}; `imagectl announce withdraw {coming.of}` takes that back"
    )


def earlier_than_told(coming: AnnouncedMove, due: datetime) -> str:
    """That a new announcement would come before what consumers were told; nothing where not."""
    if due >= coming.due:
        return ""
    return (
        f"consumers were told of {moment(coming.due)}; an announcement may be put off, never "
        f"forward: `imagectl announce withdraw {coming.of}` first"
    )


def check_deprecation(snapshot: Snapshot, wanted: Deprecation, now: datetime) -> None:
    """Raise Refused with every reason where that cannot be announced, and NotFound where there is
    no such image, channel or version."""
    _find(snapshot, wanted.of)
    if wanted.successor is not None:
        if wanted.successor.version is not None:
            raise BadUsage(
                f"{wanted.successor} is one version, which gets old itself",
                hint=f"name an image or a channel: --successor {wanted.successor.image}",
            )
        _find(snapshot, wanted.successor)
    reasons = tuple(_unmet(snapshot, wanted, now))
    if reasons:
        raise Refused(f"{wanted.of} was not announced as deprecated", reasons=reasons)


def _find(snapshot: Snapshot, of: ImageRef) -> None:
    from imagectl.policy.promotion import find_image, find_version

    find_image(snapshot, of.image)
    if of.version is not None:
        find_version(snapshot, VersionRef(of.image, of.version))
    known = sorted(name for image, name in snapshot.channels if image == of.image)
    if of.channel is not None and of.channel not in known:
        raise NotFound(
            f"{of.image} has nothing in channel {of.channel}",
            why=f"it is in {listed(known)}",
            hint=nearest(of.channel, known),
        )
    if of.version is None and not known:
        raise NotFound(f"{of.image} has never been released", why="it is in no channel")


def _unmet(snapshot: Snapshot, wanted: Deprecation, now: datetime) -> Iterator[str]:
    of, successor = wanted.of, wanted.successor
    if wanted.due <= now:
        yield f"{moment(wanted.due)} is over"
    if of.version is not None:
        ref = VersionRef(of.image, of.version)
        if snapshot.stage(ref) is Stage.DELETED:
            yield f"{ref} is deleted"
    if successor is not None:
        if within(successor, of):
            yield f"{successor} is a part of what is deprecated, or the same"
        for each in snapshot.announced.get(successor.image, ()):
            if isinstance(each, AnnouncedDeprecation) and within(successor, each.of):
                yield f"{successor} is announced as deprecated itself, for {moment(each.due)}"
    yield from _unfit_brownouts(wanted.brownouts, now)
    if wanted.brownouts:
        if of.version is not None:
            yield from _without_newer(snapshot, VersionRef(of.image, of.version))
        elif successor is None:
            yield f"a brownout of {of} without anything to go to: name it with --successor"
        elif not _usable_heads(snapshot, successor):
            yield f"{successor} has nothing that consumers could go to in a brownout"


def within(part: ImageRef, whole: ImageRef) -> bool:
    """Whether *part* is the same as *whole*, or a channel or version of it."""
    return part.image == whole.image and (
        part == whole or (whole.channel is None and whole.version is None)
    )


def _unfit_brownouts(brownouts: Sequence[Brownout], now: datetime) -> Iterator[str]:
    before: Brownout | None = None
    for each in brownouts:
        if each.begins < now:
            yield f"the brownout of {moment(each.begins)} would begin before it is announced"
        if each.ends - each.begins > LONGEST_BROWNOUT:
            yield (f"the brownout of {moment(each.begins)} is longer than {span(LONGEST_BROWNOUT)}")
        if before is not None and each.begins < before.ends:
            yield f"the brownouts of {moment(before.begins)} and {moment(each.begins)} overlap"
        before = each


def _without_newer(snapshot: Snapshot, ref: VersionRef) -> Iterator[str]:
    """Where consumers of a version have nothing else to go to."""
    heads = {
        name: channel.head.version
        for (image, name), channel in snapshot.channels.items()
        if image == ref.image
    }
    for name in sorted(heads):
        if heads[name] == ref.version:
            yield f"{name} points to {ref}: whoever follows it has no successor to go to"
    if not _usable_heads(snapshot, ImageRef(ref.image)):
        yield f"no channel of {ref.image} has anything that consumers could go to"


def _usable_heads(snapshot: Snapshot, of: ImageRef) -> list[ChannelName]:
    return [
        name
        for (image, name), channel in snapshot.channels.items()
        if image == of.image
        and of.channel in (None, name)
        and VersionRef(image, channel.head.version) not in snapshot.revoked
    ]


def coming_moves(snapshot: Snapshot, channel: ChannelName) -> tuple[AnnouncedMove, ...]:
    """What was announced for the channel, by image."""
    found = (snapshot.coming(image, channel) for image in sorted(snapshot.announced))
    return tuple(each for each in found if each is not None)


def standing_announcements(
    snapshot: Snapshot, images: Sequence[ImageName] = ()
) -> tuple[Announcement, ...]:
    """Everything that is announced (of *images* alone, where some are named), the next first."""
    found = (
        each
        for image, those in snapshot.announced.items()
        if not images or image in images
        for each in those
    )
    return tuple(sorted(found, key=lambda each: (each.due, each.kind.value, str(each.of))))
