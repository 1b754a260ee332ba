"""``imagectl unhold``: take a hold back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.policy.wording import listed

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef


class Unheld(TypedDict):
    """A hold that was taken back."""

    version: Annotated[str, "IMAGE@VERSION"]
    by: Annotated[str, "whose hold it was"]
    generation: Annotated[int, "the catalog generation that this made"]
    still: Annotated[list[str], "who holds it still"]


@click.command(
    "unhold",
    cls=Verb,
    answers=Unheld,
    exits={
        4: "conflict: the catalog kept changing; nothing was done",
        5: "cannot tell: the catalog cannot be read",
        6: "there is no such image or version, or that person does not hold it",
    },
    examples=[
        ('imagectl unhold debian-ci@20261120.1 --reason "audit is over"', "your own hold"),
        (
            'imagectl unhold debian-ci@20261120.1 --by bob@desk7 --reason "bob has left"',
            "somebody else's",
        ),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--by", metavar="WHO", help="Take back the hold of that person; else your own.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept in the history.")
@pass_invocation
def command(invocation: Invocation, ref: VersionRef, by: str | None, reason: str) -> None:
    """Take back a hold, so that cleanups may take the version down when nothing else protects it.

    Nothing is deleted by that: cleanups go by their own rules, one stage at a time.
    """
    from imagectl.services.protect import unhold

    project = invocation.open_project()
    generation = unhold(project.releasing, ref, reason, by)
    still = project.catalog.snapshot((ref.image,)).holds.get(ref, ())
    document = Unheld(
        version=str(ref),
        by=by or project.releasing.actor,
        generation=generation,
        still=[each.by for each in still],
    )
    invocation.out.answer(document, _lines(document))


def _lines(document: Unheld) -> Iterator[str]:
    yield f"{document['version']} is no longer held by {document['by']}"
    if document["still"]:
        yield f"    it is still held by {listed(document['still'])}"
