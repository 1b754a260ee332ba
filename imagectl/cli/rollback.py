"""``imagectl rollback``: move a channel back to what was good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import CHANNEL, IMAGE, VERSION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import Moved, moved_document, moved_lines
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.names import ChannelName, ImageName, VersionId


@click.command(
    "rollback",
    cls=Verb,
    answers=Moved,
    exits={
        3: "refused: there is nothing good to go back to; every reason is listed, nothing was done",
        4: "conflict: the catalog changed meanwhile; nothing was done",
        5: "cannot tell: a location or the catalog cannot be read; nothing was done",
        6: "there is no such channel, image or version",
    },
    examples=[
        ("imagectl rollback stable", "undo the last change of stable, whatever it moved"),
        ('imagectl rollback stable debian-ci --reason "broken DNS"', "one image"),
        ("imagectl rollback stable debian-ci --to 20261118.1", "further back"),
        ("imagectl rollback stable --dry-run", "would it work, and what would consumers get?"),
    ],
)
@click.argument("channel", metavar="CHANNEL", type=CHANNEL, help="The channel to move back.")
@click.argument(
    "images",
    metavar="[IMAGE]...",
    nargs=-1,
    type=IMAGE,
    help="Only these; all of them or none. Where none is named, those that were moved last.",
)
@click.option(
    "--to",
    metavar="VERSION",
    type=VERSION,
    help="Go back to this version, which the channel has had before.",
)
@click.option("--dry-run", is_flag=True, help="Decide and verify, but change nothing.")
@click.option("--explain", is_flag=True, help="Say why this version.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@pass_invocation
def command(
    invocation: Invocation,
    channel: ChannelName,
    images: tuple[ImageName, ...],
    to: VersionId | None,
    dry_run: bool,
    explain: bool,
    reason: str,
) -> None:
    """Move a channel back to the version that was good before.

    Each rollback goes one good version further back, never to one that was left for being bad. The
    version is verified in every location first. What was released together goes back together.
    """
    from imagectl.model.release import RollbackRequest
    from imagectl.services.release import rollback

    project = invocation.open_project()
    released = rollback(
        project.releasing,
        project.policy,
        RollbackRequest(channel, images, to),
        reason=reason,
        dry_run=dry_run,
    )
    invocation.out.answer(moved_document(released), moved_lines(released, explain=explain))
    if released.plan.moves and not dry_run and not reason:
        invocation.out.say("next time say why: --reason TEXT is kept in the history")
