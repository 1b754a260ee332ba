"""``imagectl janitor``: collect machines and other things that nobody needs any more."""

from __future__ import annotations

import click

from imagectl.cli.janitor import apply, forget, plan
from imagectl.cli.verb import Family


@click.group("janitor", cls=Family, commands=[plan.command, apply.command, forget.command])
def command() -> None:
    """Collect machines, disks and other things that builds and tests have left.

    Everything that imagectl makes to be thrown away is written down before it is made, with a lease
    that is renewed for as long as it is needed, and says itself whose it is. What is of this
    catalog and has no lease any more is collected, whatever state it is in. Nothing else is ever
    touched.
    """
