"""``imagectl janitor plan``: what builds and tests have left, and who still needs what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.janitor.page import SHOWN, plan_lines
from imagectl.cli.janitor.places import HERE, LOCATIONS, NOT_HERE, host_asked_for, places_asked_for
from imagectl.cli.janitor.plan_document import JanitorPlanDocument, plan_document
from imagectl.cli.janitor.trouble import tell_trouble
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.names import LocationName


@click.command(
    "plan",
    cls=Verb,
    answers=JanitorPlanDocument,
    exits={
        5: "cannot tell: a place or the ledger cannot be read; the others are shown",
        6: "there is no project here, or no such location",
    },
    examples=[
        ("imagectl janitor plan", "what is left over, everywhere"),
        ("imagectl janitor plan --location dc1 -v", "in one location, every single thing"),
    ],
)
@LOCATIONS
@HERE
@NOT_HERE
@pass_invocation
def command(
    invocation: Invocation, locations: tuple[LocationName, ...], here: bool, not_here: bool
) -> int:
    """Show what builds and tests have left, and who still needs what. Changes nothing."""
    from imagectl.services import janitor

    host = host_asked_for(here=here, not_here=not_here)
    project = invocation.open_project()
    planned = janitor.plan(project.janitoring(places_asked_for(project, locations, host)))
    shown = None if invocation.verbose else SHOWN
    invocation.out.answer(plan_document(planned), plan_lines(planned, shown))
    for looked in planned.places:
        tell_trouble(invocation, looked)
    if planned.due:
        invocation.out.say("`imagectl janitor apply` collects what is to be collected")
    return 0 if planned.complete else 5
