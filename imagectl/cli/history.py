"""``imagectl history``: who moved which channel, when and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import CHANNEL, IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.model.channel import MoveKind
from imagectl.policy.wording import moment

if TYPE_CHECKING:
    from imagectl.model.catalog import Snapshot
    from imagectl.model.channel import Move
    from imagectl.model.names import ChannelName, ImageName, VersionId


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


class History(TypedDict):
    """Moves of channels."""

    moves: Annotated[list[MoveDocument], "newest first"]


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

    A history is only ever added to: a rollback is a move of its own.
    """
    from imagectl.policy.promotion import check_channel, find_image

    project = invocation.open_project()
    snapshot = project.catalog.snapshot([image] if image else None)
    if image is not None:
        find_image(snapshot, image)
    if channel is not None and all(name != channel for _, name in snapshot.channels):
        check_channel(project.policy, channel)
    moves = _moves(snapshot, channel)
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
            ]
        ),
        _lines(moves),
    )
    if not moves:
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


def _lines(moves: Sequence[_Step]) -> Iterator[str]:
    for image, name, before, move in moves:
        came_from = f"{before} -> " if before else ""
        yield f"{moment(move.at)}  {image}:{name}  {came_from}{move.version}"
        why = f": {move.reason}" if move.reason and move.kind is not MoveKind.ENTRY else ""
        yield f"    {_DONE[move.kind]} {move.by}{why}"
