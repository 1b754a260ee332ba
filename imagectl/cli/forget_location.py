"""``imagectl catalog forget-location``: a location is no more, and nothing counts on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import FORMER_LOCATION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import LocationName

SHOWN = 20
"""How many versions are named."""


class LeftDocument(TypedDict):
    """A version that stays recorded in the location."""

    version: Annotated[str, "IMAGE@VERSION"]
    why: Annotated[str, "what keeps it so"]


class ForgottenDocument(TypedDict):
    """What was forgotten of a location; with `--dry-run`: what would be."""

    location: Annotated[str, "the location"]
    placements: Annotated[int, "how many were recorded there"]
    versions: Annotated[list[str], "of which versions"]
    nowhere: Annotated[list[str], "those of them that are in no location then"]
    given_up: Annotated[int, "how many were begun there and never finished"]
    left: Annotated[list[LeftDocument], "versions that stay recorded there"]
    unconfirmed: Annotated[int, "deletions there that never were seen to end: they stay on record"]
    dry_run: Annotated[bool, "nothing was changed"]


@click.command(
    "forget-location",
    cls=Verb,
    answers=ForgottenDocument,
    exits={
        0: "it is forgotten; with --dry-run: it could be",
        1: "it is forgotten, but consumers cannot be shown that yet",
        3: "refused: imagectl.yaml still has it; or consumers may still get all that is recorded "
        "there, or it is protected, or just being placed or deleted; nothing was done",
        4: "conflict: others kept changing the catalog; type it again",
        5: "cannot tell: the catalog cannot be read, or is not the newest copy; nothing was done",
        6: "nothing is recorded in such a location",
    },
    examples=[
        (
            'imagectl catalog forget-location dc1 --reason "closed, ticket 4711" --dry-run',
            "what would be forgotten?",
        ),
        ('imagectl catalog forget-location dc1 --reason "closed, ticket 4711"', "forget it"),
    ],
)
@click.argument(
    "location",
    metavar="LOCATION",
    type=FORMER_LOCATION,
    help="A location that imagectl.yaml does not have any more.",
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; it stays in the history.")
@click.option("--dry-run", is_flag=True, help="Only say what would be forgotten.")
@pass_invocation
def command(invocation: Invocation, location: LocationName, reason: str, dry_run: bool) -> None:
    """Forget what was recorded in a location that is no more.

    For a location that was closed for good, once its section is gone from imagectl.yaml: versions
    that are recorded there could never be deleted, since nobody can look. Nothing is deleted by
    this, there or elsewhere; who did it, when and why is in `imagectl history`. Only quarantined
    versions that nothing protects are forgotten: type it again when cleanups have quarantined more.
    """
    from imagectl.services.forget import forget_location

    project = invocation.open_project()
    forgotten = forget_location(
        project.releasing,
        project.settings.locations,
        location,
        reason,
        dry_run=dry_run,
    )
    document = ForgottenDocument(
        location=location,
        placements=forgotten.placements,
        versions=[str(each) for each in forgotten.versions],
        nowhere=[str(each) for each in forgotten.nowhere],
        left=[LeftDocument(version=str(ref), why=why) for ref, why in forgotten.left],
        given_up=forgotten.given_up,
        unconfirmed=forgotten.unconfirmed,
        dry_run=dry_run,
    )
    invocation.out.answer(document, _lines(document))


def _lines(document: ForgottenDocument) -> Iterator[str]:
    where = document["location"]
    did = "would be forgotten" if document["dry_run"] else "forgotten"
    placements = counted(document["placements"], "placement")
    yield f"{placements} of {counted(len(document['versions']), 'version')} in {where} {did}"
    if document["given_up"]:
        yield f"{document['given_up']} begun there and never finished: given up"
    if nowhere := document["nowhere"]:
        yield f"{counted(len(nowhere), 'version')} in no location then:"
        yield from (f"  {each}" for each in nowhere[:SHOWN])
        if len(nowhere) > SHOWN:
            yield f"  ... and {len(nowhere) - SHOWN} more; --json has all"
    if left := document["left"]:
        yield f"{counted(len(left), 'version')} recorded there as before:"
        yield from (f"  {each['version']}: {each['why']}" for each in left[:SHOWN])
        if len(left) > SHOWN:
            yield f"  ... and {len(left) - SHOWN} more; --json has all"
    if count := document["unconfirmed"]:
        yield f"{counted(count, 'deletion')} there never seen to end: that stays on record"
