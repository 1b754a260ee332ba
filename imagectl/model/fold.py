"""What changes make of the catalog.

``apply_change`` is the whole meaning of a change. Every catalog, in memory or in SQL, must agree
with it: the catalog is the fold of its changes, and ``catalog verify`` checks exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from imagectl.errors import ImpossibleChange
from imagectl.model.announcement import (
    AnnouncedDeprecation,
    AnnouncedKind,
    AnnouncedMove,
    Announcement,
    announced_key,
)
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
)
from imagectl.model.channel import Channel, Move
from imagectl.model.names import ChannelName, ImageName, ImageRef
from imagectl.model.retention import Hold, Lease, Revocation, Stage, Staged, Tombstone
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Intent, Placement, Version, VersionRef


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
    announced: dict[ImageName, tuple[Announcement, ...]] = field(default_factory=dict)

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
                case ForgetPlacement(placement):
                    self._forget(placement, change)
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
                case AnnounceMove():
                    self._announce_move(operation, change)
                case AnnounceDeprecation():
                    self._announce_deprecation(operation, change)
                case WithdrawAnnouncement(of, kind):
                    self._withdraw(of, kind)

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

    def _forget(self, placement: Placement, change: Change) -> None:
        ref = placement.version
        known = self.placements.get(ref, ())
        if placement not in known:
            raise ImpossibleChange(f"{ref} is not recorded in {placement.location} as that")
        if (stage := self._stage(ref)) is not Stage.QUARANTINED:
            raise ImpossibleChange(f"{ref} cannot be forgotten anywhere: it is {stage.value}")
        self._check_unprotected(ref, change)
        _keep(self.placements, ref, (each for each in known if each != placement))

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

    def _check_usable(self, operation: MoveChannel | AnnounceMove) -> None:
        ref = VersionRef(operation.image, operation.to)
        if ref not in self.versions:
            raise ImpossibleChange(f"{operation.channel} cannot point to {ref}: not recorded")
        if (stage := self._stage(ref)) is not Stage.ACTIVE:
            raise ImpossibleChange(
                f"{operation.channel} cannot point to {ref}: it is {stage.value}"
            )
        if ref in self.revoked:
            raise ImpossibleChange(f"{operation.channel} cannot point to {ref}: it is revoked")

    def _move(self, operation: MoveChannel, change: Change, generation: int) -> None:
        self._check_usable(operation)
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

        made = (operation.channel, operation.to)
        self._end_moves(operation.image, lambda each: (each.channel, each.to) == made)

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
            gone = (AnnouncedKind.DEPRECATION.value, str(ref))
            self._end_announced(ref.image, lambda each: announced_key(each) == gone)
        self.stages[ref] = Staged(stage, change.at, change.actor, change.reason)

    def _check_unprotected(self, ref: VersionRef, change: Change) -> None:
        """P1's last line of defence: what policy has decided cannot get past this."""
        for (image, name), channel in self.channels.items():
            if image == ref.image and channel.head.version == ref.version:
                raise ImpossibleChange(f"{ref} is protected: {name} points to it")
        for announced in self.announced.get(ref.image, ()):
            if isinstance(announced, AnnouncedMove) and announced.to == ref.version:
                raise ImpossibleChange(f"{ref} is protected: announced for {announced.channel}")
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
        self._end_moves(ref.image, lambda each: each.to == ref.version)

    def _restore(self, ref: VersionRef) -> None:
        if self.revoked.pop(ref, None) is None:
            raise ImpossibleChange(f"{ref} is not revoked")

    def _announce_move(self, operation: AnnounceMove, change: Change) -> None:
        self._check_usable(operation)
        self._announce(
            AnnouncedMove(
                operation.image,
                operation.channel,
                operation.to,
                operation.due,
                change.at,
                change.actor,
                change.reason,
            )
        )

    def _announce_deprecation(self, operation: AnnounceDeprecation, change: Change) -> None:
        of = operation.of
        if of.version is not None:
            self._present(VersionRef(of.image, of.version), "a deprecation of")
        elif not any(
            image == of.image and of.channel in (None, name) for image, name in self.channels
        ):
            raise ImpossibleChange(f"a deprecation of {of}, where nothing was released")
        if operation.successor is not None and operation.successor.version is not None:
            raise ImpossibleChange(f"{of} cannot be succeeded by one version")
        before = None
        for each in operation.brownouts:
            if each.ends <= each.begins or (before is not None and each.begins < before):
                raise ImpossibleChange(f"brownouts of {of} that are not one after the other")
            before = each.ends
        self._announce(
            AnnouncedDeprecation(
                of,
                operation.due,
                operation.successor,
                operation.brownouts,
                change.at,
                change.actor,
                change.reason,
            )
        )

    def _announce(self, announcement: Announcement) -> None:
        """There is one at most of a kind about the same."""
        if announcement.due <= announcement.at:
            raise ImpossibleChange(f"{announcement.of}: announced for a time that is over")
        image, key = announcement.image, announced_key(announcement)
        others = (each for each in self.announced.get(image, ()) if announced_key(each) != key)
        self.announced[image] = tuple(sorted((*others, announcement), key=announced_key))

    def _withdraw(self, of: ImageRef, kind: AnnouncedKind) -> None:
        key = (kind.value, str(of))
        if not self._end_announced(of.image, lambda each: announced_key(each) == key):
            raise ImpossibleChange(f"no {kind.value} of {of} is announced")

    def _end_moves(self, image: ImageName, over: Callable[[AnnouncedMove], bool]) -> None:
        self._end_announced(image, lambda each: isinstance(each, AnnouncedMove) and over(each))

    def _end_announced(self, image: ImageName, over: Callable[[Announcement], bool]) -> bool:
        """Whether there was one that is over."""
        known = self.announced.get(image, ())
        _keep(self.announced, image, (each for each in known if not over(each)))
        return len(self.announced.get(image, ())) < len(known)


_PARTS = tuple(each.name for each in fields(_Draft))
"""What a snapshot consists of, beside its identity and generation."""

_K = TypeVar("_K")
_T = TypeVar("_T")


def _keep(known: dict[_K, tuple[_T, ...]], of: _K, rest: Iterable[_T]) -> None:
    """What has none of them any more has no entry."""
    left = tuple(rest)
    if left:
        known[of] = left
    else:
        known.pop(of, None)
