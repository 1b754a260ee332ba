"""``imagectl history``: who moved which channel, and kept or took away what, when and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import CHANNEL, IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    ConfirmGone,
    ForgetPlacement,
    HoldVersion,
    RestoreVersion,
    RevokeVersion,
    StepVersion,
    UnholdVersion,
    WithdrawAnnouncement,
)
from imagectl.model.channel import MoveKind
from imagectl.model.names import ImageRef
from imagectl.policy.wording import moment

if TYPE_CHECKING:
    from imagectl.model.change import Operation
    from imagectl.model.channel import Move
    from imagectl.model.event import Event
    from imagectl.model.names import ChannelName, ImageName, VersionId
    from imagectl.model.snapshot import Snapshot
    from imagectl.model.version import VersionRef


class MoveDocument(TypedDict):
    """One move of a channel."""

    at: Annotated[str, "when"]
    image: Annotated[str, "the image"]
    channel: Annotated[str, "the channel"]
    kind: Annotated[Literal["entry", "promote", "rollback"], "`entry`: a build arrived"]
    before: Annotated[str | None, "what it pointed to; null for the first move"]
    version: Annotated[str, "what it points to from then on"]
    by: Annotated[str, "who"]
    reason: Annotated[str, "why, as they said; may be empty"]
    generation: Annotated[int, "the catalog generation that the move made"]


ActName = Literal[
    "hold",
    "unhold",
    "revoke",
    "restore",
    "stage",
    "gone",
    "forgotten",
    "announce-move",
    "announce-deprecation",
    "withdraw",
]


class ActDocument(TypedDict):
    """Something that was done to a version, or announced."""

    at: Annotated[str, "when"]
    version: Annotated[str, "IMAGE@VERSION; of an announcement also IMAGE:CHANNEL or IMAGE"]
    act: Annotated[
        ActName,
        "`stage`: it came to another stage; `gone`: a location has it no more; `forgotten`: a "
        "location is no more, and what was recorded there counts no more",
    ]
    what: Annotated[
        str, "the stage, the location, whose hold it was, or what was announced; else empty"
    ]
    by: Annotated[str, "who"]
    reason: Annotated[str, "why, as they said; may be empty"]
    generation: Annotated[int, "the catalog generation that it made"]


class History(TypedDict):
    """Moves of channels, and what was done to versions."""

    moves: Annotated[list[MoveDocument], "newest first"]
    acts: Annotated[list[ActDocument], "newest first; none where one CHANNEL is asked for"]


_DONE = {
    MoveKind.ENTRY: "arrived by a build of",
    MoveKind.PROMOTE: "promoted by",
    MoveKind.ROLLBACK: "rolled back by",
}


@click.command(
    "history",
    cls=Verb,
    answers=History,
    exits={5: "cannot tell: the catalog cannot be read", 6: "there is no such channel or image"},
    examples=[
        ("imagectl history stable", "what happened to stable, of every image"),
        ("imagectl history --image debian-ci", "all channels of one image"),
    ],
)
@click.argument(
    "channel", metavar="[CHANNEL]", required=False, type=CHANNEL, help="Only this channel."
)
@click.option("--image", metavar="IMAGE", type=IMAGE, help="Only this image.")
@pass_invocation
def command(invocation: Invocation, channel: ChannelName | None, image: ImageName | None) -> None:
    """Show who moved which channel when, and why; newest first.

    Without CHANNEL also who held, revoked, restored or took down which version, or announced what.
    A history is only ever added to: a rollback is a move of its own. `imagectl lease list` shows
    leases.
    """
    from imagectl.policy.promotion import check_channel, find_image

    project = invocation.open_project()
    snapshot = project.catalog.snapshot([image] if image else None)
    if image is not None:
        find_image(snapshot, image)
    if channel is not None and all(name != channel for _, name in snapshot.channels):
        check_channel(project.policy, channel)
    moves = _moves(snapshot, channel)
    acts = [] if channel is not None else list(_acts(project.catalog.events(), image))[::-1]
    invocation.out.answer(
        History(
            moves=[
                MoveDocument(
                    at=stamp(move.at),
                    image=of,
                    channel=name,
                    kind=move.kind.value,
                    before=str(before) if before else None,
                    version=str(move.version),
                    by=move.by,
                    reason=move.reason,
                    generation=move.generation,
                )
                for of, name, before, move in moves
            ],
            acts=acts,
        ),
        _lines(moves, acts),
    )
    if not moves and not acts:
        invocation.out.say("nothing has been released there yet")


_Step = tuple["ImageName", "ChannelName", "VersionId | None", "Move"]


def _moves(snapshot: Snapshot, wanted: ChannelName | None) -> Sequence[_Step]:
    steps: list[_Step] = []
    for (image, name), channel in snapshot.channels.items():
        if wanted is None or name == wanted:
            before = None
            for move in channel.moves:
                steps.append((image, name, before, move))
                before = move.version
    return sorted(steps, key=lambda step: (-step[3].generation, step[0], step[1]))


def _acts(events: Iterable[Event], image: ImageName | None) -> Iterator[ActDocument]:
    """What was done to versions, oldest first."""
    for event in events:
        for operation in event.change.operations:
            act = _act(operation)
            if act is None or (image is not None and act[0].image != image):
                continue
            of, name, what = act
            yield ActDocument(
                at=stamp(event.change.at),
                version=str(of),
                act=name,
                what=what,
                by=event.change.actor,
                reason=event.change.reason,
                generation=event.generation,
            )


def _act(operation: Operation) -> tuple[VersionRef | ImageRef, ActName, str] | None:
    match operation:
        case HoldVersion(ref):
            return ref, "hold", ""
        case UnholdVersion(ref, by):
            return ref, "unhold", by
        case RevokeVersion(ref):
            return ref, "revoke", ""
        case RestoreVersion(ref):
            return ref, "restore", ""
        case StepVersion(ref, stage):
            return ref, "stage", stage.value
        case ConfirmGone(tombstone):
            return tombstone.placement.version, "gone", tombstone.placement.location
        case ForgetPlacement(placement):
            return placement.version, "forgotten", placement.location
        case AnnounceMove(image, channel, to, due):
            return ImageRef(image, channel), "announce-move", f"{to} from {moment(due)} on"
        case AnnounceDeprecation(of, due):
            return of, "announce-deprecation", f"from {moment(due)} on"
        case WithdrawAnnouncement(of, kind):
            return of, "withdraw", kind.value
        case _:
            return None


def _lines(moves: Sequence[_Step], acts: Sequence[ActDocument]) -> Iterator[str]:
    told = [
        (move.generation, list(_told(image, name, before, move)))
        for image, name, before, move in moves
    ]
    told += [(act["generation"], list(_told_act(act))) for act in acts]
    for _, lines in sorted(told, key=lambda each: -each[0]):
        yield from lines


def _told(
    image: ImageName, name: ChannelName, before: VersionId | None, move: Move
) -> Iterator[str]:
    came_from = f"{before} -> " if before else ""
    yield f"{moment(move.at)}  {image}:{name}  {came_from}{move.version}"
    why = f": {move.reason}" if move.reason and move.kind is not MoveKind.ENTRY else ""
    yield f"    {_DONE[move.kind]} {move.by}{why}"


def _told_act(act: ActDocument) -> Iterator[str]:
    done = {
        "hold": "held",
        "unhold": "no longer held",
        "revoke": "REVOKED",
        "restore": "restored",
        "stage": act["what"],
        "gone": f"gone from {act['what']}",
        "forgotten": f"forgotten in {act['what']}",
        "announce-move": f"announced to go to {act['what']}",
        "announce-deprecation": f"announced as deprecated {act['what']}",
        "withdraw": f"{act['what']} withdrawn, which was announced",
    }[act["act"]]
    whose = f" (the hold of {act['what']})" if act["act"] == "unhold" else ""
    why = f": {act['reason']}" if act["reason"] else ""
    yield f"{moment(datetime.fromisoformat(act['at']))}  {act['version']}  {done}"
    yield f"    by {act['by']}{whose}{why}"
