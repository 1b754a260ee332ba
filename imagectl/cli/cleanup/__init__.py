"""``imagectl cleanup``: take down versions that nobody needs, one stage at a time."""

from __future__ import annotations

import click

from imagectl.cli.cleanup import apply, approve, key, plan, undelete, undo
from imagectl.cli.verb import Family


@click.group(
    "cleanup",
    cls=Family,
    commands=[
        plan.command,
        apply.command,
        approve.command,
        undo.command,
        undelete.command,
        key.command,
    ],
)
def command() -> None:
    """Take down versions that nobody needs, one stage at a time.

    A version is deprecated first, then obsolete, then quarantined (nobody gets it any more), and
    only then deleted. It stays at each stage for a while (`retention.grace`), and each step but the
    last is taken back with one command. What a channel points to or may be rolled back to, what is
    held, leased, young, lately resolved, or the parent of such a version is never deleted; nothing
    overrides that.
    """
