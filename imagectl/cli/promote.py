"""``imagectl promote``: move a channel to what was proven in the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import CHANNEL, PROMOTABLE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import Moved, moved_document, moved_lines, tell_behind, watched
from imagectl.cli.verb import Verb
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import ChannelName, ImageRef


@click.command(
    "promote",
    cls=Verb,
    answers=Moved,
    exits={
        0: "promoted, or there was nothing to promote",
        3: "refused: a rule is unmet; every reason is listed, nothing was done",
        4: "conflict: the catalog changed meanwhile; nothing was done",
        5: "cannot tell: a location or the catalog cannot be read; nothing was done",
        6: "there is no such channel, image or version",
    },
    examples=[
        ("imagectl promote stable", "stable of every image becomes what its beta is"),
        ("imagectl promote stable debian-ci --dry-run --explain", "would it, and why?"),
        ('imagectl promote stable debian-ci@20261120.1 --reason "ticket 4711"', "this version"),
    ],
)
@click.argument("channel", metavar="CHANNEL", type=CHANNEL, help="The channel to move.")
@click.argument(
    "targets",
    metavar="[IMAGE[@VERSION]]...",
    nargs=-1,
    type=PROMOTABLE,
    help="Only these; all of them or none. Every image where none is named.",
)
@click.option(
    "--from",
    "source",
    metavar="CHANNEL",
    type=CHANNEL,
    help="Take versions from this channel, not from the one that channels.yaml names.",
)
@click.option("--dry-run", is_flag=True, help="Decide and verify, but change nothing.")
@click.option("--explain", is_flag=True, help="Say why, also for what moves.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def command(
    invocation: Invocation,
    channel: ChannelName,
    targets: tuple[ImageRef, ...],
    source: ChannelName | None,
    dry_run: bool,
    explain: bool,
    reason: str,
) -> None:
    """Move a channel to what was proven in the one before it.

    A version moves only if it is newer, passed its tests, stayed its time, and is in every location
    it has to be in, verified there just now. All moves of one command are one change: before, or
    after.
    """
    from imagectl.model.release import PromotionRequest
    from imagectl.services.release import promote

    project = invocation.open_project()
    released = promote(
        watched(invocation, project),
        project.policy,
        PromotionRequest(channel, targets, source),
        reason=reason,
        dry_run=dry_run,
    )
    invocation.out.answer(moved_document(released), moved_lines(released, explain=explain))
    tell_behind(invocation.out, released.behind)
    held = released.plan.held_back
    if held:
        invocation.out.warn(f"{counted(len(held), 'image')} held back, for the reasons above")
    if any(move.before for move in released.plan.moves) and not dry_run:
        invocation.out.say(f"to undo it: imagectl rollback {channel}")
