"""``imagectl resolve``: what a consumer gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import ARCHITECTURE, FORMAT, IMAGE_REF, LOCATION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, Failed, NotFound

if TYPE_CHECKING:
    from imagectl.model.consumer import BuildConfig
    from imagectl.model.names import Architecture, Format, ImageRef, LocationName
    from imagectl.policy.resolution import Resolution

CONFIG = ".imagectl.yaml"
"""The build config that is read where nothing else is said, if it is there."""


class Resolved(TypedDict):
    """What a consumer gets, and why."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    channel: Annotated[str | None, "the channel followed; null where a version was asked for"]
    reference: Annotated[str, "what to pull; without `--json` the only thing printed"]
    location: Annotated[str, "the location it is pulled from"]
    format: Annotated[str, "the format"]
    architecture: Annotated[str, "the architecture"]
    sha256: Annotated[str, "the digest that what was pulled must have"]
    size: Annotated[int, "bytes"]
    created: Annotated[str, "when it was built"]
    age_seconds: Annotated[int, "how long ago that is"]
    reasons: Annotated[list[str], "why this one"]


@click.command(
    "resolve",
    cls=Verb,
    answers=Resolved,
    exits={
        3: "refused: it is older than max_age allows",
        5: "cannot tell: the published catalog cannot be read",
        6: "there is no such image, channel or version for consumers",
    },
    examples=[
        ("imagectl resolve debian-ci", "what stable points to"),
        ("imagectl resolve debian-ci:beta", "what beta points to"),
        ("imagectl resolve debian-ci@20261120.1", "one version"),
        ("imagectl resolve --config .imagectl.yaml --branch next", "as a repository has it"),
    ],
)
@click.argument(
    "ref",
    metavar="[IMAGE[:CHANNEL|@VERSION]]",
    required=False,
    type=IMAGE_REF,
    help=f"What is wanted; {CONFIG} of the current folder says it where this is left out.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Read the consumer's build config: {CONFIG}, or a file with `imagectl:` in it.",
)
@click.option(
    "--branch", metavar="NAME", help="The consumer's branch, for `branches` of its build config."
)
@click.option("--location", metavar="LOCATION", type=LOCATION, help="Pull it from there.")
@click.option("--format", "disk_format", type=FORMAT, help="In this format.")
@click.option("--architecture", type=ARCHITECTURE, help="For this architecture.")
@click.option(
    "--catalog",
    metavar="DIR",
    envvar="IMAGECTL_CATALOG",
    type=click.Path(path_type=Path),
    help="The published catalog; that of the project where this is left out. "
    "IMAGECTL_CATALOG says it too.",
)
@pass_invocation
def command(
    invocation: Invocation,
    ref: ImageRef | None,
    config: Path | None,
    branch: str | None,
    location: LocationName | None,
    disk_format: Format | None,
    architecture: Architecture | None,
    catalog: Path | None,
) -> None:
    """Say what a consumer gets: print the location's reference.

    Reads the published catalog alone, so it works while every server of ours is down. A channel
    that does not exist is an error, never silently another one.
    """
    from imagectl.bootstrap import open_published
    from imagectl.policy.resolution import ResolutionRequest
    from imagectl.services.consume import resolve

    if ref is not None and config is not None:
        raise BadUsage(f"both {ref} and --config say what is wanted", hint="give one of them")
    if ref is not None:
        request = ResolutionRequest(
            ref.image,
            ref.channel,
            ref.version,
            branch=branch,
            location=location,
            format=disk_format,
            architecture=architecture,
        )
    else:
        wanted = _read_config(invocation, config)
        request = ResolutionRequest(
            wanted.image,
            wanted.channel,
            wanted.version,
            branches=wanted.branches,
            branch=branch,
            max_age=wanted.max_age,
            location=location,
            format=disk_format,
            architecture=architecture,
        )
    from imagectl.adapters.clock import SystemClock

    found = resolve(open_published(invocation.directory, catalog), request, SystemClock().now())
    if invocation.json:
        invocation.out.answer(_document(found), ())
    else:
        invocation.out.data(found.reference)
        if invocation.verbose:
            for reason in (str(found.ref), *found.reasons):
                invocation.out.say(reason)


def _read_config(invocation: Invocation, config: Path | None) -> BuildConfig:
    from imagectl.formats.build_config import parse_build_config

    path = invocation.directory / (config or CONFIG)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if config is None:
            raise BadUsage(
                "which image?",
                why=f"no IMAGE was given, and there is no {CONFIG} here",
                hint="`imagectl resolve IMAGE`, or `imagectl resolve --config FILE`",
            ) from None
        raise NotFound("the build config is not there", where=str(path)) from None
    except OSError as problem:
        raise Failed(
            "the build config cannot be read",
            where=str(path),
            why=problem.strerror or str(problem),
        ) from problem
    return parse_build_config(data, str(config or CONFIG))


def _document(found: Resolution) -> Resolved:
    return Resolved(
        image=found.ref.image,
        version=str(found.ref.version),
        channel=found.channel,
        reference=found.reference,
        location=found.location,
        format=found.format.value,
        architecture=found.architecture.value,
        sha256=found.sha256,
        size=found.size,
        created=stamp(found.created),
        age_seconds=int(found.age.total_seconds()),
        reasons=list(found.reasons),
    )
