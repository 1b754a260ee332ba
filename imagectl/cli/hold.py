"""``imagectl hold``: protect a version from every cleanup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.version import VersionRef


class HoldDocument(TypedDict):
    """A hold: a person's protection of a version."""

    version: Annotated[str, "IMAGE@VERSION"]
    by: Annotated[str, "who holds it"]
    at: Annotated[str, "since when"]
    reason: Annotated[str, "why"]
    generation: Annotated[int, "the catalog generation that it made"]


@click.command(
    "hold",
    cls=Verb,
    answers=HoldDocument,
    exits={
        3: "refused: it is deleted already",
        4: "conflict: the catalog kept changing; nothing was done",
        5: "cannot tell: the catalog cannot be read",
        6: "there is no such image or version",
    },
    examples=[
        ('imagectl hold debian-ci@20261120.1 --reason "audit until March"', "keep it"),
        ('imagectl hold debian-ci@20261120.1 --reason "until April"', "say why anew"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; kept in the history.")
@pass_invocation
def command(invocation: Invocation, ref: VersionRef, reason: str) -> None:
    """Protect a version from every cleanup, until you take that back.

    Nothing overrides a hold: no flag, no configuration, no approval. Each person has one of their
    own; a version goes nowhere as long as anybody holds it, nor does what it was built on.
    """
    from imagectl.services.protect import hold

    held, generation = hold(invocation.open_project().releasing, ref, reason)
    document = HoldDocument(
        version=str(ref), by=held.by, at=stamp(held.at), reason=held.reason, generation=generation
    )
    invocation.out.answer(document, _lines(document))


def _lines(document: HoldDocument) -> Iterator[str]:
    yield f"{document['version']} is held by {document['by']}: {document['reason']}"
