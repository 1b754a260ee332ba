"""``imagectl validate``: are the definitions right?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import IMAGE
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.model.names import ImageName


class Validated(TypedDict):
    """Definitions that are right."""

    images: Annotated[list[str], "the images checked, parents before children"]
    schemas: Annotated[str, "folder with the JSON Schemas of the project's files, for editors"]


@click.command(
    "validate",
    cls=Verb,
    answers=Validated,
    exits={
        2: "something is wrong; every problem is listed with its file, line and column",
        6: "there is no such image, or a file of the project is missing",
    },
    examples=[
        ("imagectl validate", "the whole project"),
        ("imagectl validate debian-ci", "one image, with what it needs"),
    ],
)
@click.argument(
    "images",
    metavar="[IMAGE]...",
    nargs=-1,
    type=IMAGE,
    help="Check these; the whole project where none is named.",
)
@pass_invocation
def command(invocation: Invocation, images: tuple[ImageName, ...]) -> None:
    """Check definitions, playbooks, suites and the rendered Packer template.

    Takes seconds, and builds nothing. Every problem is reported at once.
    """
    from imagectl.formats.schemas import write_all
    from imagectl.services.validate import validate

    project = invocation.open_project()
    with invocation.out.progress(project.clock) as progress:
        progress.stage("validate")
        found = validate(project.definitions, project.checks, images, progress)
    schemas = project.state / "schemas"
    write_all(schemas)
    names = [image.name for image in found]
    invocation.out.answer(
        Validated(images=[*names], schemas=str(schemas)), (f"{name}  ok" for name in names)
    )
    if not names:
        invocation.out.say("there is no image yet: `imagectl init DIR` shows what one looks like")
