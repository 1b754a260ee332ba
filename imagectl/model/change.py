"""What can be changed in the catalog: operations, and the change that holds them together.

Each operation says here what it is for and when it can be; ``model.fold`` sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagectl.model.announcement import AnnouncedKind, Brownout
from imagectl.model.channel import MoveKind
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.version import Intent, Placement, Version, VersionRef


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """Add a version. It must be new."""

    version: Version


@dataclass(frozen=True, slots=True)
class RecordPlacement:
    """Add or renew a placement of a known version."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class ForgetPlacement:
    """The location of a placement is no more, a person says: nobody counts on it from now on. It is
    not deleted by that, and whether it is there is not known. For what is quarantined only, and not
    protected: consumers are not shown a version that is not where it has to be (P1)."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class RecordIntent:
    """Say what is about to be made, before it is (P7). The version is known, and nothing is being
    made yet for the same placement under the same name."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class EndIntent:
    """An open intent is one no longer: its placement is recorded by the same change, or it has been
    given up."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class MoveChannel:
    """Append a move to a channel's history."""

    image: ImageName
    channel: ChannelName
    to: VersionId
    kind: MoveKind


@dataclass(frozen=True, slots=True)
class StepVersion:
    """Take a version one stage down, bring one that is not deleted back to ACTIVE, or bring a
    deleted one back to QUARANTINED, where it can be put into locations again (P5): not while
    somebody may be deleting one of its placements.

    DELETED buries all its placements in the same step. No stage below ACTIVE is for what a channel
    points to, what is held, or leased when the change is made, or what is being placed (P1).
    """

    version: VersionRef
    stage: Stage


@dataclass(frozen=True, slots=True)
class BeginDeletion:
    """The location is asked next to delete what an open tombstone of a deleted version names: until
    that is over, nobody brings the version back. Again: the time is renewed."""

    tombstone: Tombstone


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """The location has said that what a tombstone names is not there any more."""

    tombstone: Tombstone


@dataclass(frozen=True, slots=True)
class HoldVersion:
    """Protect a version that is not deleted, in the name of the change's actor. Again: its reason
    and time are renewed."""

    version: VersionRef


@dataclass(frozen=True, slots=True)
class UnholdVersion:
    """Take back the hold that *by* has."""

    version: VersionRef
    by: str


@dataclass(frozen=True, slots=True)
class LeaseVersion:
    """A consumer works with a version, which consumers can have, until a time. Again: renewed."""

    version: VersionRef
    consumer: str
    until: datetime


@dataclass(frozen=True, slots=True)
class EndLease:
    """A consumer is done, or its lease is over."""

    version: VersionRef
    consumer: str


@dataclass(frozen=True, slots=True)
class RevokeVersion:
    """A version is unsafe. It may be what a channel points to."""

    version: VersionRef


@dataclass(frozen=True, slots=True)
class RestoreVersion:
    """It is safe after all."""

    version: VersionRef


@dataclass(frozen=True, slots=True)
class AnnounceMove:
    """Say that a channel is going to point to a version, not before ``due``, which is to come. It
    could be moved there now. Again: version, time and reason are renewed. It is over when the
    channel is moved to that version, or the version is revoked."""

    image: ImageName
    channel: ChannelName
    to: VersionId
    due: datetime


@dataclass(frozen=True, slots=True)
class AnnounceDeprecation:
    """Say that a version, a channel or an image is not supported any more from ``due`` on, which is
    to come. Again: all of it is renewed. It is over when the version is deleted."""

    of: ImageRef
    due: datetime
    successor: ImageRef | None
    brownouts: tuple[Brownout, ...]


@dataclass(frozen=True, slots=True)
class WithdrawAnnouncement:
    """What was announced of that kind is not going to happen."""

    of: ImageRef
    kind: AnnouncedKind


Operation = (
    RecordVersion
    | RecordPlacement
    | ForgetPlacement
    | RecordIntent
    | EndIntent
    | MoveChannel
    | StepVersion
    | BeginDeletion
    | ConfirmGone
    | HoldVersion
    | UnholdVersion
    | LeaseVersion
    | EndLease
    | RevokeVersion
    | RestoreVersion
    | AnnounceMove
    | AnnounceDeprecation
    | WithdrawAnnouncement
)


@dataclass(frozen=True, slots=True)
class Change:
    """A set of operations that happen together or not at all, and who asked for them and why.

    ``key`` makes it idempotent: a change whose key is already in the catalog is not applied again.
    ``based_on`` is the generation it was decided on; where the catalog has moved on, it is refused
    as a conflict and never rebased.
    """

    key: str
    based_on: int
    actor: str
    action: str
    reason: str
    at: datetime
    operations: tuple[Operation, ...]


def mentioned(
    change: Change,
) -> tuple[frozenset[VersionRef], frozenset[tuple[ImageName, ChannelName]]]:
    """The versions and channels that a change names, parents of new versions among them.
    ``apply_change`` looks at nothing else, but for the channels of ``all_channels_of`` and the
    announcements of ``announced_of``."""
    refs = set()
    channels = set()
    for operation in change.operations:
        if isinstance(operation, RecordVersion):
            refs.add(operation.version.ref)
            if operation.version.parent is not None:
                refs.add(operation.version.parent)
        elif isinstance(operation, RecordPlacement | ForgetPlacement):
            refs.add(operation.placement.version)
        elif isinstance(operation, RecordIntent | EndIntent):
            refs.add(operation.intent.version)
        elif isinstance(operation, MoveChannel):
            refs.add(VersionRef(operation.image, operation.to))
            channels.add((operation.image, operation.channel))
        elif isinstance(operation, BeginDeletion | ConfirmGone):
            refs.add(operation.tombstone.placement.version)
        elif isinstance(operation, AnnounceMove):
            refs.add(VersionRef(operation.image, operation.to))
        elif isinstance(operation, AnnounceDeprecation | WithdrawAnnouncement):
            if operation.of.version is not None:
                refs.add(VersionRef(operation.of.image, operation.of.version))
            if operation.of.channel is not None:
                channels.add((operation.of.image, operation.of.channel))
        else:
            refs.add(operation.version)
    return frozenset(refs), frozenset(channels)


def all_channels_of(change: Change) -> frozenset[ImageName]:
    """The images all of whose channels ``apply_change`` looks at: to take a version down, or to
    forget where it is, it must be known that none points to it (P1); and an image that is announced
    to end has something in one of them."""
    images = set()
    for operation in change.operations:
        if isinstance(operation, StepVersion):
            images.add(operation.version.image)
        elif isinstance(operation, ForgetPlacement):
            images.add(operation.placement.version.image)
        elif isinstance(operation, AnnounceDeprecation) and operation.of.version is None:
            images.add(operation.of.image)
    return frozenset(images)


def announced_of(change: Change) -> frozenset[ImageName]:
    """The images whose announcements ``apply_change`` looks at: those that are announced something
    of, or whose announcements may be over by the change."""
    images = set()
    for operation in change.operations:
        match operation:
            case MoveChannel(image=image) | AnnounceMove(image=image):
                images.add(image)
            case AnnounceDeprecation(of=of) | WithdrawAnnouncement(of=of):
                images.add(of.image)
            case StepVersion(version=ref) | RevokeVersion(version=ref):
                images.add(ref.image)
            case ForgetPlacement(placement=placement):
                images.add(placement.version.image)
            case _:
                pass
    return frozenset(images)
