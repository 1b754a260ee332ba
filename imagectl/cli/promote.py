"""``imagectl promote``: move a channel to what was proven in the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import CHANNEL, DURATION, PROMOTABLE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import (
    Moved,
    announced_document,
    announced_lines,
    moved_document,
    moved_lines,
    tell_behind,
    watched,
)
from imagectl.cli.verb import Verb
from imagectl.cli.waiting import tell_waiting
from imagectl.errors import BadUsage
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from datetime import timedelta

    from imagectl.bootstrap.project import Project
    from imagectl.model.names import ChannelName, ImageRef
    from imagectl.model.release import PromotionRequest


@click.command(
    "promote",
    cls=Verb,
    answers=Moved,
    exits={
        0: "promoted or announced, or there was nothing to promote",
        3: "refused: a rule is unmet, or it was announced for later; every reason is listed, "
        "nothing was done",
        4: "conflict: the catalog changed meanwhile; nothing was done",
        5: "cannot tell: a location or the catalog cannot be read; nothing was done",
        6: "there is no such channel, image or version",
    },
    examples=[
        ("imagectl promote stable", "stable of every image becomes what its beta is"),
        ("imagectl promote stable debian-ci --dry-run --explain", "would it, and why?"),
        (
            'imagectl promote stable --announce-in 7d --reason "Debian 12.9"',
            "tell consumers what will move in a week; then type `imagectl promote stable`",
        ),
        ('imagectl promote stable debian-ci@20261120.1 --reason "ticket 4711"', "this version"),
    ],
)
@click.argument("channel", metavar="CHANNEL", type=CHANNEL, help="The channel to move.")
@click.argument(
    "targets",
    metavar="[IMAGE[@VERSION]]...",
    nargs=-1,
    type=PROMOTABLE,
    help="Only these; all of them or none. Where none is named: every image, or if moves of the "
    "channel were announced, those.",
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
@click.option(
    "--announce-in",
    metavar="DURATION",
    type=DURATION,
    help="Move nothing now: tell consumers that it will move, not before so long from now (7d).",
)
@click.option(
    "--now",
    "early",
    is_flag=True,
    help="Move what was announced before its time; takes a --reason.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def command(
    invocation: Invocation,
    channel: ChannelName,
    targets: tuple[ImageRef, ...],
    source: ChannelName | None,
    dry_run: bool,
    explain: bool,
    announce_in: timedelta | None,
    early: bool,
    reason: str,
) -> None:
    """Move a channel to what was proven in the one before it.

    A version moves only if it is newer, passed its tests, stayed its time, and is in every location
    it has to be in, verified there just now. All moves of one command are one change: before, or
    after.

    What was announced (--announce-in) is moved by the same command when its time has come: exactly
    the versions that consumers were told of, judged by all rules once more. Earlier, it is refused;
    `imagectl announce` lists and withdraws announcements.
    """
    from imagectl.model.release import PromotionRequest
    from imagectl.services.release import promote

    if announce_in is not None and early:
        raise BadUsage("both --announce-in and --now", hint="now, or later?")
    project = invocation.open_project()
    if announce_in is not None:
        request = PromotionRequest(channel, targets, source)
        _announce(invocation, project, request, announce_in, reason, dry_run, explain)
        return
    released = promote(
        watched(invocation, project),
        project.policy,
        PromotionRequest(channel, targets, source, early=early),
        reason=reason,
        dry_run=dry_run,
    )
    waiting = project.signing.waiting()
    lines = moved_lines(released, explain=explain, waiting=waiting)
    invocation.out.answer(moved_document(released, waiting), lines)
    tell_behind(invocation.out, released.behind)
    tell_waiting(invocation.out, project)
    held = released.plan.held_back
    if held:
        invocation.out.warn(f"{counted(len(held), 'image')} held back, for the reasons above")
    if any(move.before for move in released.plan.moves) and not dry_run:
        invocation.out.say(f"to undo it: imagectl rollback {channel}")


def _announce(
    invocation: Invocation,
    project: Project,
    request: PromotionRequest,
    ahead: timedelta,
    reason: str,
    dry_run: bool,
    explain: bool,
) -> None:
    from imagectl.services.announce import announce_moves

    announced = announce_moves(
        project.releasing,
        project.policy,
        request,
        project.clock.now() + ahead,
        reason=reason,
        dry_run=dry_run,
    )
    invocation.out.answer(
        announced_document(announced), announced_lines(announced, explain=explain)
    )
    held = announced.plan.held_back
    if held:
        invocation.out.warn(f"{counted(len(held), 'image')} held back, for the reasons above")
    if announced.plan.moves and not dry_run:
        invocation.out.say(f"when its time has come: imagectl promote {request.channel}")
