"""What changes have to do with what consumers are shown, and the part of the catalog that it takes.

Promises: whoever publishes what an excerpt has, on top of what was shown before those changes,
shows what the whole catalog says; and it is as large as the changes, whatever the catalog has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    BeginDeletion,
    Change,
    ConfirmGone,
    EndIntent,
    EndLease,
    ForgetPlacement,
    HoldVersion,
    LeaseVersion,
    MoveChannel,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
    WithdrawAnnouncement,
    announced_of,
)
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Concerned:
    """What may have to be shown anew: ``versions`` that are, or are to be had, in another way;
    channels that were ``moved``; and images of which other things are ``announced``."""

    versions: frozenset[VersionRef]
    moved: frozenset[tuple[ImageName, ChannelName]]
    announced: frozenset[ImageName]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What consumers may have to be shown anew after the generation ``since``: these ``versions``,
    and what is announced of these images.

    ``snapshot`` is at one generation. It has these versions, and those that its channels point to;
    of each channel that was moved since then, or points to one of these versions, the last move and
    no other; and the announcements of these images. Of all else, nothing is to be taken from it.
    """

    since: int
    snapshot: Snapshot
    versions: frozenset[VersionRef]
    announced: frozenset[ImageName]


def concerned(changes: Iterable[Change]) -> Concerned:
    """What *changes* have to do with what consumers are shown."""
    versions: set[VersionRef] = set()
    moved: set[tuple[ImageName, ChannelName]] = set()
    announced: set[ImageName] = set()
    for change in changes:
        announced |= announced_of(change)
        for operation in change.operations:
            match operation:
                case RecordVersion(version=version):
                    versions.add(version.ref)
                case RecordPlacement(placement=placement) | ForgetPlacement(placement=placement):
                    versions.add(placement.version)
                case StepVersion(version=ref) | RevokeVersion(version=ref):
                    versions.add(ref)
                case RestoreVersion(version=ref):
                    versions.add(ref)
                case MoveChannel(image=image, channel=channel):
                    moved.add((image, channel))
                case RecordIntent() | EndIntent() | BeginDeletion() | ConfirmGone():
                    pass
                case HoldVersion() | UnholdVersion() | LeaseVersion() | EndLease():
                    pass
                case AnnounceMove() | AnnounceDeprecation() | WithdrawAnnouncement():
                    pass
                case _:
                    assert_never(operation)
    return Concerned(frozenset(versions), frozenset(moved), frozenset(announced))


def excerpt_of(snapshot: Snapshot, since: int, changes: Iterable[Change]) -> Excerpt:
    """What a whole *snapshot* has of what *changes*, those after generation *since*, concern."""
    what = concerned(changes)
    channels = {
        at: replace(channel, moves=(channel.head,))
        for at, channel in snapshot.channels.items()
        if at in what.moved or VersionRef(at[0], channel.head.version) in what.versions
    }
    heads = {VersionRef(image, each.head.version) for (image, _), each in channels.items()}
    refs = what.versions | heads
    found = replace(
        snapshot,
        versions=_of(refs, snapshot.versions),
        channels=channels,
        placements=_of(refs, snapshot.placements),
        intents=_of(refs, snapshot.intents),
        stages=_of(refs, snapshot.stages),
        holds=_of(refs, snapshot.holds),
        leases=_of(refs, snapshot.leases),
        revoked=_of(refs, snapshot.revoked),
        tombstones=_of(refs, snapshot.tombstones),
        announced={
            image: each for image, each in snapshot.announced.items() if image in what.announced
        },
    )
    return Excerpt(since, found, what.versions, what.announced)


def _of(refs: Collection[VersionRef], parts: Mapping[VersionRef, T]) -> dict[VersionRef, T]:
    return {ref: parts[ref] for ref in sorted(refs) if ref in parts}
