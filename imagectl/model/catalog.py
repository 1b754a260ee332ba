"""What the catalog knows at one generation, and the changes that lead to the next.

``apply_change`` is the whole meaning of a change. Every catalog, in memory or in SQL, must agree
with it: the catalog is the fold of its changes, and ``catalog verify`` checks exactly that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from imagectl.errors import ImpossibleChange
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import ChannelName, ImageName, Sha256, VersionId
from imagectl.model.retention import (
    Hold,
    Lease,
    Revocation,
    Stage,
    Staged,
    Tombstone,
)
from imagectl.model.version import Intent, Placement, Version, VersionRef


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog at one generation. Versions are ordered oldest first."""

    catalog_id: str
    generation: int
    versions: Mapping[VersionRef, Version] = field(default_factory=dict)
    channels: Mapping[tuple[ImageName, ChannelName], Channel] = field(default_factory=dict)
    placements: Mapping[VersionRef, tuple[Placement, ...]] = field(default_factory=dict)
    intents: Mapping[VersionRef, tuple[Intent, ...]] = field(default_factory=dict)
    stages: Mapping[VersionRef, Staged] = field(default_factory=dict)
    """Versions that have ever been taken down a stage; all others are active."""
    holds: Mapping[VersionRef, tuple[Hold, ...]] = field(default_factory=dict)
    leases: Mapping[VersionRef, tuple[Lease, ...]] = field(default_factory=dict)
    """Of consumers, those that are over too until somebody ends them: only time tells."""
    revoked: Mapping[VersionRef, Revocation] = field(default_factory=dict)
    tombstones: Mapping[VersionRef, tuple[Tombstone, ...]] = field(default_factory=dict)
    event: Sha256 | None = field(default=None, compare=False)
    """The hash of the event that made this generation; None where no catalog has committed it."""

    @property
    def images(self) -> tuple[ImageName, ...]:
        """The images with at least one version, sorted."""
        return tuple(sorted({ref.image for ref in self.versions}))

    def of(self, image: ImageName) -> tuple[Version, ...]:
        """The image's versions, oldest first."""
        return tuple(self.versions[ref] for ref in sorted(self.versions) if ref.image == image)

    def channel(self, image: ImageName, channel: ChannelName) -> Channel | None:
        """The image's channel, or None where nothing has been released there yet."""
        return self.channels.get((image, channel))

    def head(self, image: ImageName, channel: ChannelName) -> VersionId | None:
        """What the channel points to, or None where nothing has been released there yet."""
        found = self.channels.get((image, channel))
        return found.head.version if found else None

    def placed(self, ref: VersionRef) -> tuple[Placement, ...]:
        """The version's placements, in the order they were first recorded."""
        return self.placements.get(ref, ())

    def intended(self, ref: VersionRef) -> tuple[Intent, ...]:
        """What was begun for the version and neither recorded nor given up yet, oldest first."""
        return self.intents.get(ref, ())

    def stage(self, ref: VersionRef) -> Stage:
        """How far the version is on its way down."""
        staged = self.stages.get(ref)
        return staged.stage if staged else Stage.ACTIVE

    def buried(self, ref: VersionRef) -> tuple[Tombstone, ...]:
        """The version's tombstones, oldest first, those of things that are gone too."""
        return self.tombstones.get(ref, ())

    def only(self, images: Collection[ImageName]) -> Snapshot:
        """The same generation with nothing but what concerns *images*."""
        wanted = frozenset(images)
        return replace(
            self,
            versions={ref: each for ref, each in self.versions.items() if ref.image in wanted},
            channels={at: each for at, each in self.channels.items() if at[0] in wanted},
            placements={ref: each for ref, each in self.placements.items() if ref.image in wanted},
            intents={ref: each for ref, each in self.intents.items() if ref.image in wanted},
            stages={ref: each for ref, each in self.stages.items() if ref.image in wanted},
            holds={ref: each for ref, each in self.holds.items() if ref.image in wanted},
            leases={ref: each for ref, each in self.leases.items() if ref.image in wanted},
            revoked={ref: each for ref, each in self.revoked.items() if ref.image in wanted},
            tombstones={ref: each for ref, each in self.tombstones.items() if ref.image in wanted},
        )


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """Add a version. It must be new."""

    version: Version


@dataclass(frozen=True, slots=True)
class RecordPlacement:
    """Add or renew a placement of a known version."""

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
    points to, what is held, or what is leased when the change is made (P1).
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


Operation = (
    RecordVersion
    | RecordPlacement
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
    ``apply_change`` looks at nothing else, but for the channels of ``all_channels_of``."""
    refs = set()
    channels = set()
    for operation in change.operations:
        if isinstance(operation, RecordVersion):
            refs.add(operation.version.ref)
            if operation.version.parent is not None:
                refs.add(operation.version.parent)
        elif isinstance(operation, RecordPlacement):
            refs.add(operation.placement.version)
        elif isinstance(operation, RecordIntent | EndIntent):
            refs.add(operation.intent.version)
        elif isinstance(operation, MoveChannel):
            refs.add(VersionRef(operation.image, operation.to))
            channels.add((operation.image, operation.channel))
        elif isinstance(operation, BeginDeletion | ConfirmGone):
            refs.add(operation.tombstone.placement.version)
        else:
            refs.add(operation.version)
    return frozenset(refs), frozenset(channels)


def all_channels_of(change: Change) -> frozenset[ImageName]:
    """The images all of whose channels ``apply_change`` looks at: to take a version down, it must
    be known that none points to it (P1)."""
    return frozenset(
        operation.version.image
        for operation in change.operations
        if isinstance(operation, StepVersion)
    )


def apply_change(snapshot: Snapshot, change: Change) -> Snapshot:
    """The catalog after *change*, one generation on. Raises ImpossibleChange."""
    draft = _Draft(
        **{name: dict(getattr(snapshot, name)) for name in _PARTS},
    )
    draft.apply(change, snapshot.generation + 1)
    return draft.snapshot(snapshot.catalog_id, snapshot.generation + 1)


def fold(catalog_id: str, changes: Iterable[Change]) -> Snapshot:
    """The catalog that *changes* make from nothing, the first being generation 1.

    The same as ``apply_change`` over and over, in time that grows with the number of changes only.
    Raises ImpossibleChange.
    """
    draft = _Draft()
    generation = 0
    for generation, change in enumerate(changes, start=1):
        draft.apply(change, generation)
    return draft.snapshot(catalog_id, generation)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A catalog in the making. A change that is impossible leaves it half done: throw it away."""

    versions: dict[VersionRef, Version] = field(default_factory=dict)
    channels: dict[tuple[ImageName, ChannelName], Channel] = field(default_factory=dict)
    placements: dict[VersionRef, tuple[Placement, ...]] = field(default_factory=dict)
    intents: dict[VersionRef, tuple[Intent, ...]] = field(default_factory=dict)
    stages: dict[VersionRef, Staged] = field(default_factory=dict)
    holds: dict[VersionRef, tuple[Hold, ...]] = field(default_factory=dict)
    leases: dict[VersionRef, tuple[Lease, ...]] = field(default_factory=dict)
    revoked: dict[VersionRef, Revocation] = field(default_factory=dict)
    tombstones: dict[VersionRef, tuple[Tombstone, ...]] = field(default_factory=dict)

    def snapshot(self, catalog_id: str, generation: int) -> Snapshot:
        return Snapshot(
            catalog_id,
            generation,
            event=None,
            **{name: MappingProxyType(getattr(self, name)) for name in _PARTS},
        )

    def apply(self, change: Change, generation: int) -> None:
        if not change.operations:
            raise ImpossibleChange("a change without operations")
        for operation in change.operations:
            match operation:
                case RecordVersion(version):
                    self._record(version)
                case RecordPlacement(placement):
                    self._place(placement, change)
                case RecordIntent(intent):
                    self._intend(intent)
                case EndIntent(intent):
                    self._end(intent)
                case MoveChannel():
                    self._move(operation, change, generation)
                case StepVersion(ref, stage):
                    self._step(ref, stage, change)
                case BeginDeletion(tombstone):
                    self._begin_deletion(tombstone, change)
                case ConfirmGone(tombstone):
                    self._confirm(tombstone, change)
                case HoldVersion(ref):
                    self._hold(ref, change)
                case UnholdVersion(ref, by):
                    self._unhold(ref, by)
                case LeaseVersion(ref, consumer, until):
                    self._lease(ref, consumer, until, change)
                case EndLease(ref, consumer):
                    self._end_lease(ref, consumer)
                case RevokeVersion(ref):
                    self._revoke(ref, change)
                case RestoreVersion(ref):
                    self._restore(ref)

    def _record(self, version: Version) -> None:
        if version.ref in self.versions:
            raise ImpossibleChange(f"{version.ref} is already recorded; versions do not change")
        if version.parent is not None and self._stage(version.parent) is Stage.DELETED:
            raise ImpossibleChange(
                f"{version.ref} was built on {version.parent}, which has been deleted meanwhile"
            )
        self.versions[version.ref] = version

    def _known(self, ref: VersionRef, what: str) -> None:
        if ref not in self.versions:
            raise ImpossibleChange(f"{what} {ref}, which is not recorded")

    def _stage(self, ref: VersionRef) -> Stage:
        staged = self.stages.get(ref)
        return staged.stage if staged else Stage.ACTIVE

    def _present(self, ref: VersionRef, what: str) -> None:
        self._known(ref, what)
        if self._stage(ref) is Stage.DELETED:
            raise ImpossibleChange(f"{what} {ref}, which has been deleted")

    def _place(self, placement: Placement, change: Change) -> None:
        self._present(placement.version, "a placement of")
        known = self.placements.get(placement.version, ())
        if any(each.key == placement.key for each in known):
            known = tuple(placement if each.key == placement.key else each for each in known)
        else:
            known = (*known, placement)
        self.placements[placement.version] = known
        if placement.version in self.tombstones:
            # It is there again: whoever goes on with an old deletion must not take it for its own.
            self.tombstones[placement.version] = tuple(
                replace(each, returned=change.at)
                if each.open and each.placement.key == placement.key
                else each
                for each in self.tombstones[placement.version]
            )

    def _intend(self, intent: Intent) -> None:
        self._present(intent.version, "an intent for")
        known = self.intents.get(intent.version, ())
        if any((each.key, each.named) == (intent.key, intent.named) for each in known):
            raise ImpossibleChange(
                f"{intent.version} is already being made in {intent.location} as {intent.named}"
            )
        self.intents[intent.version] = (*known, intent)

    def _end(self, intent: Intent) -> None:
        known = self.intents.get(intent.version, ())
        if intent not in known:
            raise ImpossibleChange(
                f"{intent.version} is not being made in {intent.location} as {intent.named}"
            )
        _keep(self.intents, intent.version, (each for each in known if each != intent))

    def _move(self, operation: MoveChannel, change: Change, generation: int) -> None:
        ref = VersionRef(operation.image, operation.to)
        if ref not in self.versions:
            raise ImpossibleChange(f"{operation.channel} cannot point to {ref}: not recorded")
        if (stage := self._stage(ref)) is not Stage.ACTIVE:
            raise ImpossibleChange(
                f"{operation.channel} cannot point to {ref}: it is {stage.value}"
            )
        if ref in self.revoked:
            raise ImpossibleChange(f"{operation.channel} cannot point to {ref}: it is revoked")
        move = Move(
            operation.to, operation.kind, change.at, change.actor, change.reason, generation
        )
        where = (operation.image, operation.channel)
        before = self.channels.get(where)
        self.channels[where] = (
            replace(before, moves=(*before.moves, move))
            if before
            else Channel(operation.image, operation.channel, (move,))
        )

    def _step(self, ref: VersionRef, stage: Stage, change: Change) -> None:
        self._known(ref, "a stage for")
        now = self._stage(ref)
        up = (
            stage is Stage.QUARANTINED
            if now is Stage.DELETED
            else stage is Stage.ACTIVE and now is not Stage.ACTIVE
        )
        if not up:
            if stage is not now.below:
                raise ImpossibleChange(f"{ref} cannot go from {now.value} to {stage.value}")
            self._check_unprotected(ref, change)
        for each in self.tombstones.get(ref, ()) if now is Stage.DELETED else ():
            if each.is_being_deleted(change.at):
                raise ImpossibleChange(
                    f"{ref} cannot come back: it is being deleted from {each.placement.location}"
                )
        if stage is Stage.DELETED:
            stones = (
                Tombstone(each, change.at, change.actor, change.reason)
                for each in self.placements.pop(ref, ())
            )
            _keep(self.tombstones, ref, (*self.tombstones.get(ref, ()), *stones))
        self.stages[ref] = Staged(stage, change.at, change.actor, change.reason)

    def _check_unprotected(self, ref: VersionRef, change: Change) -> None:
        """P1's last line of defence: what policy has decided cannot get past this."""
        for (image, name), channel in self.channels.items():
            if image == ref.image and channel.head.version == ref.version:
                raise ImpossibleChange(f"{ref} is protected: {name} points to it")
        for hold in self.holds.get(ref, ()):
            raise ImpossibleChange(f"{ref} is protected: held by {hold.by}")
        for lease in self.leases.get(ref, ()):
            if lease.until > change.at:
                raise ImpossibleChange(f"{ref} is protected: leased by {lease.consumer}")
        for intent in self.intents.get(ref, ()):
            raise ImpossibleChange(f"{ref} is protected: it is being placed in {intent.location}")

    def _begin_deletion(self, tombstone: Tombstone, change: Change) -> None:
        # Never earlier than before: somebody else's, by another clock, may be under way.
        begun = max(change.at, tombstone.begun or change.at)
        self._change_waiting(tombstone, replace(tombstone, begun=begun))

    def _confirm(self, tombstone: Tombstone, change: Change) -> None:
        self._change_waiting(tombstone, replace(tombstone, gone=change.at))

    def _change_waiting(self, tombstone: Tombstone, changed: Tombstone) -> None:
        ref = tombstone.placement.version
        known = self.tombstones.get(ref, ())
        if tombstone not in known or not tombstone.open or self._stage(ref) is not Stage.DELETED:
            raise ImpossibleChange(
                f"{ref} in {tombstone.placement.location} is not waiting to be deleted"
            )
        self.tombstones[ref] = tuple(changed if each == tombstone else each for each in known)

    def _hold(self, ref: VersionRef, change: Change) -> None:
        self._present(ref, "a hold on")
        others = [each for each in self.holds.get(ref, ()) if each.by != change.actor]
        self.holds[ref] = (*others, Hold(ref, change.actor, change.at, change.reason))

    def _unhold(self, ref: VersionRef, by: str) -> None:
        known = self.holds.get(ref, ())
        if by not in {each.by for each in known}:
            raise ImpossibleChange(f"{ref} is not held by {by}")
        _keep(self.holds, ref, (each for each in known if each.by != by))

    def _lease(self, ref: VersionRef, consumer: str, until: datetime, change: Change) -> None:
        self._known(ref, "a lease of")
        if (stage := self._stage(ref)) in (Stage.QUARANTINED, Stage.DELETED):
            raise ImpossibleChange(f"{ref} cannot be leased: it is {stage.value}")
        if until <= change.at:
            raise ImpossibleChange(f"a lease of {ref} that is over before it begins")
        known = self.leases.get(ref, ())
        before = next((each for each in known if each.consumer == consumer), None)
        others = [each for each in known if each.consumer != consumer]
        since = before.since if before else change.at
        self.leases[ref] = (*others, Lease(ref, consumer, since, until))

    def _end_lease(self, ref: VersionRef, consumer: str) -> None:
        known = self.leases.get(ref, ())
        if consumer not in {each.consumer for each in known}:
            raise ImpossibleChange(f"{ref} is not leased by {consumer}")
        _keep(self.leases, ref, (each for each in known if each.consumer != consumer))

    def _revoke(self, ref: VersionRef, change: Change) -> None:
        self._known(ref, "a revocation of")
        if ref in self.revoked:
            raise ImpossibleChange(f"{ref} is already revoked")
        self.revoked[ref] = Revocation(ref, change.actor, change.at, change.reason)

    def _restore(self, ref: VersionRef) -> None:
        if self.revoked.pop(ref, None) is None:
            raise ImpossibleChange(f"{ref} is not revoked")


_PARTS = tuple(each.name for each in fields(_Draft))
"""What a snapshot consists of, beside its identity and generation."""

_T = TypeVar("_T")


def _keep(known: dict[VersionRef, tuple[_T, ...]], ref: VersionRef, rest: Iterable[_T]) -> None:
    """A version that has none of them any more has no entry."""
    left = tuple(rest)
    if left:
        known[ref] = left
    else:
        known.pop(ref, None)
