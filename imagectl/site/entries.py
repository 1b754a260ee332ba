"""What has happened to images, for people who use them: release notes and feeds.

Moves of channels come from the channels' histories, what was done to versions from the events. An
announcement of what is coming would be one more kind of entry here, and is shown wherever entries
are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.change import Operation, RestoreVersion, RevokeVersion, StepVersion
from imagectl.model.channel import MoveKind
from imagectl.model.event import Event
from imagectl.model.names import ChannelName, ImageName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened to an image. ``kind`` is a word for style sheets and programs.

    ``channel`` is None for what was done to a version, ``before`` for a channel's first move.
    """

    at: datetime
    generation: int
    image: ImageName
    channel: ChannelName | None
    kind: str
    before: VersionId | None
    version: VersionId
    by: str
    reason: str

    @property
    def ref(self) -> VersionRef:
        return VersionRef(self.image, self.version)

    @property
    def pair(self) -> tuple[VersionRef, VersionRef] | None:
        """The versions before and after a move forward; None for anything else."""
        if self.before is None or self.before >= self.version:
            return None
        return VersionRef(self.image, self.before), self.ref

    @property
    def title(self) -> str:
        """``debian-ci stable: 20261120.1 promoted``."""
        about = f"{self.image} {self.channel}" if self.channel else f"{self.image}"
        return f"{about}: {self.version} {self.done}"

    @property
    def done(self) -> str:
        """What was done, in words."""
        return _DONE.get(self.kind, self.kind)

    @property
    def key(self) -> str:
        """What names it within its catalog, for ever."""
        return f"{self.generation}:{self.image}:{self.channel or self.version}:{self.kind}"


_DONE = {
    "entry": "arrived",
    "promote": "promoted",
    "rollback": "rolled back to",
    "revoke": "REVOKED",
    "restore": "safe after all",
    "active": "taken back from cleanup",
}


def happened(snapshot: Snapshot, events: Iterator[Event] | tuple[Event, ...]) -> tuple[Entry, ...]:
    """All of it, newest first."""
    found = [*_moves(snapshot), *_acts(events)]
    return tuple(
        sorted(found, key=lambda each: (-each.generation, each.image, each.channel or "", each.ref))
    )


def _moves(snapshot: Snapshot) -> Iterator[Entry]:
    for (image, name), channel in snapshot.channels.items():
        before: VersionId | None = None
        for move in channel.moves:
            reason = "" if move.kind is MoveKind.ENTRY else move.reason
            yield Entry(
                *(move.at, move.generation, image, name, move.kind.value),
                *(before, move.version, move.by, reason),
            )
            before = move.version


def _acts(events: Iterator[Event] | tuple[Event, ...]) -> Iterator[Entry]:
    for event in events:
        for operation in event.change.operations:
            act = _act(operation)
            if act is not None:
                (ref, kind), change = act, event.change
                yield Entry(
                    *(change.at, event.generation, ref.image, None, kind),
                    *(None, ref.version, change.actor, change.reason),
                )


def _act(operation: Operation) -> tuple[VersionRef, str] | None:
    """What consumers should know of it; a hold or a lease is nobody's business but its owner's."""
    match operation:
        case RevokeVersion(ref):
            return ref, "revoke"
        case RestoreVersion(ref):
            return ref, "restore"
        case StepVersion(ref, stage):
            return ref, stage.value
        case _:
            return None
