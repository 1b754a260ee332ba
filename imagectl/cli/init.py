"""``imagectl init``: start a new project."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb

if TYPE_CHECKING:
    from imagectl.adapters.scaffold import Scaffolded


class Initialised(TypedDict):
    """A new project."""

    project: Annotated[str, "the project's folder"]
    written: Annotated[list[str], "the files written, relative to it"]
    left: Annotated[list[str], "files that were there already and were left as they are"]


@click.command(
    "init",
    cls=Verb,
    answers=Initialised,
    exits={3: "refused: a file of the project is there already; nothing was written"},
    examples=[
        ("imagectl init images", "a new project in the folder images"),
        ("imagectl init", "a new project here, beside what is here already"),
    ],
)
@click.argument(
    "directory",
    metavar="[DIR]",
    required=False,
    type=click.Path(path_type=Path),
    help="Where the project begins; the current folder where absent.",
)
@pass_invocation
def command(invocation: Invocation, directory: Path | None) -> None:
    """Start a new project.

    It holds one image that builds (Debian 12), a playbook role, a test suite, and the channels beta
    and stable. Nothing that exists is overwritten.
    """
    from imagectl.adapters.scaffold import write_scaffold

    target = invocation.directory / (directory or ".")
    done = write_scaffold(target)
    invocation.out.answer(
        Initialised(
            project=str(target.resolve()),
            written=[str(path) for path in done.written],
            left=[str(path) for path in done.left],
        ),
        _lines(directory or Path(), done),
    )
    if PurePosixPath(".gitignore") in done.left:
        invocation.out.say("add to .gitignore: /.imagectl/ and /catalog/public/")
    there = f"cd {shlex.quote(str(directory))} && " if directory else ""
    invocation.out.say(f"next: {there}imagectl doctor")


def _lines(directory: Path, done: Scaffolded) -> Iterator[str]:
    for path in done.written:
        yield f"wrote {directory / path}"
    for path in done.left:
        yield f"left  {directory / path} as it is"
