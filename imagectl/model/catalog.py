"""What the catalog knows at one generation, and the changes that lead to the next.

``apply_change`` is the whole meaning of a change. Every catalog, in memory or in SQL, must agree
with it: the catalog is the fold of its changes, and ``catalog verify`` checks exactly that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from imagectl.errors import ImpossibleChange
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import ChannelName, ImageName, VersionId
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

    def only(self, images: Collection[ImageName]) -> Snapshot:
        """The same generation with nothing but what concerns *images*."""
        wanted = frozenset(images)
        return replace(
            self,
            versions={ref: each for ref, each in self.versions.items() if ref.image in wanted},
            channels={at: each for at, each in self.channels.items() if at[0] in wanted},
            placements={ref: each for ref, each in self.placements.items() if ref.image in wanted},
            intents={ref: each for ref, each in self.intents.items() if ref.image in wanted},
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


Operation = RecordVersion | RecordPlacement | RecordIntent | EndIntent | MoveChannel


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
    """The versions and channels that a change names: ``apply_change`` looks at nothing else."""
    refs = set()
    channels = set()
    for operation in change.operations:
        if isinstance(operation, RecordVersion):
            refs.add(operation.version.ref)
        elif isinstance(operation, RecordPlacement):
            refs.add(operation.placement.version)
        elif isinstance(operation, RecordIntent | EndIntent):
            refs.add(operation.intent.version)
        else:
            refs.add(VersionRef(operation.image, operation.to))
            channels.add((operation.image, operation.channel))
    return frozenset(refs), frozenset(channels)


def apply_change(snapshot: Snapshot, change: Change) -> Snapshot:
    """The catalog after *change*, one generation on. Raises ImpossibleChange."""
    draft = _Draft(
        dict(snapshot.versions),
        dict(snapshot.channels),
        dict(snapshot.placements),
        dict(snapshot.intents),
    )
    draft.apply(change, snapshot.generation + 1)
    return draft.snapshot(snapshot.catalog_id, snapshot.generation + 1)


def fold(catalog_id: str, changes: Iterable[Change]) -> Snapshot:
    """The catalog that *changes* make from nothing, the first being generation 1.

    The same as ``apply_change`` over and over, in time that grows with the number of changes only.
    Raises ImpossibleChange.
    """
    draft = _Draft({}, {}, {}, {})
    generation = 0
    for generation, change in enumerate(changes, start=1):
        draft.apply(change, generation)
    return draft.snapshot(catalog_id, generation)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A catalog in the making. A change that is impossible leaves it half done: throw it away."""

    versions: dict[VersionRef, Version]
    channels: dict[tuple[ImageName, ChannelName], Channel]
    placements: dict[VersionRef, tuple[Placement, ...]]
    intents: dict[VersionRef, tuple[Intent, ...]]

    def snapshot(self, catalog_id: str, generation: int) -> Snapshot:
        return Snapshot(
            catalog_id,
            generation,
            MappingProxyType(self.versions),
            MappingProxyType(self.channels),
            MappingProxyType(self.placements),
            MappingProxyType(self.intents),
        )

    def apply(self, change: Change, generation: int) -> None:
        if not change.operations:
            raise ImpossibleChange("a change without operations")
        for operation in change.operations:
            if isinstance(operation, RecordVersion):
                self._record(operation.version)
            elif isinstance(operation, RecordPlacement):
                self._place(operation.placement)
            elif isinstance(operation, RecordIntent):
                self._intend(operation.intent)
            elif isinstance(operation, EndIntent):
                self._end(operation.intent)
            else:
                self._move(operation, change, generation)

    def _record(self, version: Version) -> None:
        if version.ref in self.versions:
            raise ImpossibleChange(f"{version.ref} is already recorded; versions do not change")
        self.versions[version.ref] = version

    def _place(self, placement: Placement) -> None:
        if placement.version not in self.versions:
            raise ImpossibleChange(f"a placement of {placement.version}, which is not recorded")
        known = self.placements.get(placement.version, ())
        if any(each.key == placement.key for each in known):
            known = tuple(placement if each.key == placement.key else each for each in known)
        else:
            known = (*known, placement)
        self.placements[placement.version] = known

    def _intend(self, intent: Intent) -> None:
        if intent.version not in self.versions:
            raise ImpossibleChange(f"an intent for {intent.version}, which is not recorded")
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
        rest = tuple(each for each in known if each != intent)
        if rest:
            self.intents[intent.version] = rest
        else:
            del self.intents[intent.version]

    def _move(self, operation: MoveChannel, change: Change, generation: int) -> None:
        ref = VersionRef(operation.image, operation.to)
        if ref not in self.versions:
            raise ImpossibleChange(f"{operation.channel} cannot point to {ref}: not recorded")
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
