"""``imagectl publish``: put a version where consumers pull it from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import LOCATION, VERSION_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import size, stamp
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.names import LocationName
    from imagectl.model.version import VersionRef
    from imagectl.services.publish import Placed


class PublishedPlacement(TypedDict):
    """An artifact at a location."""

    location: Annotated[str, "the location"]
    format: Annotated[str, "the artifact's format"]
    architecture: Annotated[str, "the artifact's architecture"]
    reference: Annotated[str, "what a consumer pulls"]
    sha256: Annotated[str, "its digest"]
    size: Annotated[int, "bytes"]
    verified: Annotated[str, "when the location confirmed it"]
    new: Annotated[bool, "false where it was recorded there already"]


class Published(TypedDict):
    """Where a version is now."""

    version: Annotated[str, "IMAGE@VERSION"]
    placements: Annotated[list[PublishedPlacement], "where it is, each verified just now"]


@click.command(
    "publish",
    cls=Verb,
    answers=Published,
    exits={
        3: "refused: a published tree shows another catalog",
        4: "conflict: others kept changing the catalog; type it again",
        5: "cannot tell: a location or the catalog cannot be read",
        6: "there is no such version or location",
    },
    examples=[
        ("imagectl publish debian-ci@20261120.1", "put it where its definition requires"),
        ("imagectl publish debian-ci@20261120.1 --to dc2", "and in one more location"),
    ],
)
@click.argument("ref", metavar="IMAGE@VERSION", type=VERSION_REF, help="The version.")
@click.option(
    "--to",
    metavar="LOCATION",
    type=LOCATION,
    multiple=True,
    help="Also put it there; may be given several times.",
)
@pass_invocation
def command(invocation: Invocation, ref: VersionRef, to: tuple[LocationName, ...]) -> None:
    """Put a version in its locations, and verify it there.

    What is there already is verified, and put there anew where it is gone; so it can be repeated.
    No channel moves.
    """
    from imagectl.services.publish import place
    from imagectl.services.release import catch_up

    project = invocation.open_project()
    with invocation.out.progress(project.clock) as progress:
        progress.stage(f"publish {ref}")
        placed = place(project.releasing, project.store, ref, to, progress)
    catch_up(project.catalog, project.publishers)
    invocation.out.answer(
        Published(
            version=str(ref),
            placements=[
                {
                    "location": each.location,
                    "format": each.format.value,
                    "architecture": each.architecture.value,
                    "reference": each.reference,
                    "sha256": each.sha256,
                    "size": each.size,
                    "verified": stamp(each.verified),
                    "new": each in placed.new,
                }
                for each in placed.placements
            ],
        ),
        _lines(placed),
    )


def _lines(placed: Placed) -> Iterator[str]:
    for each in placed.placements:
        done = "put there and verified" if each in placed.new else "was there already, verified"
        yield (
            f"{each.location}  {each.format.value} {each.architecture.value}, {size(each.size)}: "
            f"{done}"
        )
        yield f"    {each.reference}"
