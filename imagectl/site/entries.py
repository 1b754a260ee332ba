"""What has happened to images, for people who use them: release notes and feeds.

Moves of channels come from the channels' histories; what was done to versions, and what was
announced, from the events. An announcement is one entry, however often it was put off: it is
renewed, and keeps what names it. Once it is over, the next one of the same is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imagectl.model.announcement import AnnouncedKind
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    Change,
    MoveChannel,
    Operation,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.event import Event
from imagectl.model.names import ChannelName, ImageName, ImageRef, VersionId
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.announced import when_refused
from imagectl.policy.wording import moment


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened to an image. ``kind`` is a word for style sheets and programs.

    ``channel`` is None for what was done to a version, ``before`` for a channel's first move.
    ``told`` is what was announced, or withdrawn, in words; empty for anything else. Only of a
    channel or a whole image that will not be supported ``version`` is None. ``first`` is where an
    announcement began that was renewed at ``generation``: generation and time.
    """

    at: datetime
    generation: int
    image: ImageName
    channel: ChannelName | None
    kind: str
    before: VersionId | None
    version: VersionId | None
    by: str
    reason: str
    told: str = ""
    first: tuple[int, datetime] | None = None

    @property
    def ref(self) -> VersionRef | None:
        return VersionRef(self.image, self.version) if self.version is not None else None

    @property
    def of(self) -> ImageRef:
        """What it happened to."""
        if self.channel is not None:
            return ImageRef(self.image, self.channel)
        return ImageRef(self.image, version=self.version)

    @property
    def published(self) -> datetime:
        """When it was known first."""
        return self.first[1] if self.first is not None else self.at

    @property
    def pair(self) -> tuple[VersionRef, VersionRef] | None:
        """The versions before and after a move forward; None for anything else."""
        after = self.ref
        if self.before is None or after is None or self.before >= after.version:
            return None
        return VersionRef(self.image, self.before), after

    @property
    def title(self) -> str:
        """``debian-ci stable: 20261120.1 promoted``; or ``rolled back to 20261118.1``."""
        if self.told:
            return f"{self.of} {self.told}"
        about = f"{self.image} {self.channel}" if self.channel else f"{self.image}"
        if self.kind == "rollback":
            return f"{about}: rolled back to {self.version}"
        return f"{about}: {self.version} {self.done}"

    @property
    def done(self) -> str:
        """What was done, in words."""
        return _DONE.get(self.kind, self.kind)

    @property
    def key(self) -> str:
        """What names it within its catalog, for ever."""
        generation = self.first[0] if self.first is not None else self.generation
        return f"{generation}:{self.image}:{self.channel or self.version or '-'}:{self.kind}"


_DONE = {
    "entry": "arrived",
    "promote": "promoted",
    "revoke": "REVOKED",
    "restore": "safe after all",
    "active": "taken back from cleanup",
}


def happened(snapshot: Snapshot, events: Sequence[Event]) -> tuple[Entry, ...]:
    """All of it, newest first."""
    found = [*_moves(snapshot), *_acts(events), *_announcements(events)]
    return tuple(sorted(found, key=lambda each: (-each.generation, str(each.of), each.kind)))


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


def _acts(events: Sequence[Event]) -> Iterator[Entry]:
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


def _announcements(events: Sequence[Event]) -> Iterator[Entry]:
    """What was announced, as it was said last, and what was withdrawn."""
    standing: dict[tuple[str, ImageRef], Entry] = {}
    for event in events:
        for operation in event.change.operations:
            entry = _announced(operation, event.change, event.generation)
            if entry is not None:
                before = standing.get((entry.kind, entry.of))
                first = before.first if before is not None else (entry.generation, entry.at)
                standing[entry.kind, entry.of] = replace(entry, first=first)
            elif isinstance(operation, WithdrawAnnouncement):
                yield _withdrawn(operation, event.change, event.generation)
            for key in [key for key, its in standing.items() if _ends(operation, its)]:
                yield standing.pop(key)
    yield from standing.values()


def _announced(operation: Operation, change: Change, generation: int) -> Entry | None:
    match operation:
        case AnnounceMove(image, channel, to, due):
            return Entry(
                *(change.at, generation, image, channel, "announce-move"),
                *(None, to, change.actor, change.reason),
                told=f"goes to {to} on {moment(due)}",
            )
        case AnnounceDeprecation(of, due, successor, brownouts):
            instead = f"; go to {successor}" if successor is not None else ""
            refused = f"; {when_refused(brownouts)}" if brownouts else ""
            return Entry(
                *(change.at, generation, of.image, of.channel, "announce-deprecation"),
                *(None, of.version, change.actor, change.reason),
                told=f"is not supported from {moment(due)} on{instead}{refused}",
            )
        case _:
            return None


def _withdrawn(operation: WithdrawAnnouncement, change: Change, generation: int) -> Entry:
    of, moves = operation.of, operation.kind is AnnouncedKind.MOVE
    return Entry(
        *(change.at, generation, of.image, of.channel, f"withdraw-{operation.kind.value}"),
        *(None, of.version, change.actor, change.reason),
        told="does not move as announced" if moves else "stays supported",
    )


def _ends(operation: Operation, entry: Entry) -> bool:
    """Whether the announcement is over by that, as the catalog has it (``model/fold.py``)."""
    move = entry.kind == "announce-move"
    match operation:
        case WithdrawAnnouncement(of, kind):
            return entry.of == of and move is (kind is AnnouncedKind.MOVE)
        case MoveChannel(image, channel, to):
            return move and (entry.of, entry.version) == (ImageRef(image, channel), to)
        case RevokeVersion(ref):
            return move and entry.ref == ref
        case StepVersion(ref, Stage.DELETED):
            return not move and entry.of == ImageRef(ref.image, version=ref.version)
        case _:
            return False
