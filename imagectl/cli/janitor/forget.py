"""``imagectl janitor forget``: let go of what was made in a place that is no more."""

from __future__ import annotations

from typing import Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.janitor.entry import EntryDocument, entry_document
from imagectl.cli.verb import Verb
from imagectl.errors import NotFound, Refused


class ForgottenDocument(TypedDict):
    """What is not known any more of a place."""

    forgotten: Annotated[list[EntryDocument], "each entry of the ledger"]
    outcomes_forgotten: Annotated[
        bool, "true where it was known how rounds and measurements had ended there, for metrics"
    ]


@click.command(
    "forget",
    cls=Verb,
    answers=ForgottenDocument,
    exits={
        3: "refused: the place can be looked at from here: it is in imagectl.yaml, or this host",
        5: "cannot tell: the ledger cannot be read or written",
        6: "there is no project here, or nothing to forget in that place",
    },
    examples=[
        ("imagectl janitor forget host/ci7/srv/images/.imagectl/runs", "ci7 was scrapped"),
    ],
)
@click.argument("place", metavar="PLACE", help="As `imagectl janitor plan --json` calls it.")
@pass_invocation
def command(invocation: Invocation, place: str) -> None:
    """Forget what was made in a place that is no more: a host that was scrapped, a location that
    is not in imagectl.yaml any more.

    Only what has no lease any more is forgotten, from the ledger alone; and how earlier rounds and
    measurements have ended there. Should the place come back, its things still say themselves whose
    they are.
    """
    from imagectl.services import janitor

    project = invocation.open_project()
    if place in {*project.machines(), *project.settings.locations}:
        raise Refused(
            f"{place} is not gone",
            reasons=["it can be looked at from here, so nobody has to take your word for it"],
            hint="`imagectl janitor apply` ends what is not there any more; a location is gone "
            "once it is taken out of imagectl.yaml",
        )
    forgotten = janitor.forget(project.resources, place, project.clock.now())
    noted = project.outcomes.forget(place)
    if not forgotten and not noted:
        raise NotFound(
            f"nothing is to be forgotten in {place}",
            why="the ledger has nothing there whose lease is over",
            hint="`imagectl janitor plan` tells which places were not looked at",
        )
    lines = [f"forgotten: {each.name}, made by {each.by} for {each.purpose}" for each in forgotten]
    if noted:
        lines.append(f"forgotten: how earlier rounds and measurements have ended in {place}")
    invocation.out.answer(
        ForgottenDocument(
            forgotten=[entry_document(each) for each in forgotten], outcomes_forgotten=noted
        ),
        lines,
    )
