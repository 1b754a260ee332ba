"""``imagectl pull``: what a consumer gets, as a file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.resolve_lock import read_lock
from imagectl.cli.resolving import resolve_each, resolve_locked
from imagectl.cli.text import size
from imagectl.cli.verb import Verb
from imagectl.cli.wanted import (
    ARCHITECTURE_OPTION,
    BRANCH_OPTION,
    CATALOG_OPTION,
    CONFIG_OPTION,
    DESPITE_BROWNOUT_OPTION,
    FORMAT_OPTION,
    LOCATION_OPTION,
    LOCKED_OPTION,
    MAX_STALE_OPTION,
    ROOT_OPTION,
    open_catalog,
)
from imagectl.cli.wishes import read_wishes
from imagectl.errors import BadUsage

if TYPE_CHECKING:
    from imagectl.model.consumer import Wish
    from imagectl.model.names import Architecture, Format, ImageRef, LocationName
    from imagectl.policy.resolution import ResolutionRequest


class PulledFile(TypedDict):
    """What was pulled: the file is that artifact, verified."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    channel: Annotated[str | None, "the channel followed; null where a version was asked for"]
    file: Annotated[str, "the file; without `--json` the only thing printed"]
    source: Annotated[str, "where it is downloaded from"]
    location: Annotated[str, "the location that this belongs to"]
    format: Annotated[str, "the format"]
    architecture: Annotated[str, "the architecture"]
    sha256: Annotated[str, "its digest, which was verified"]
    size: Annotated[int, "bytes"]
    fetched: Annotated[int, "bytes that were downloaded; 0 where the file was that already"]
    notices: Annotated[list[str], "what the consumer should know all the same; also on stderr"]


@click.command(
    "pull",
    cls=Verb,
    answers=PulledFile,
    exits={
        1: "failed: what is there is not what was published, or the file cannot be written; the "
        "file is as it was",
        3: "refused: it is older than max_age allows, was revoked or quarantined, or has a "
        "brownout; or, with --locked, something else is asked for than was locked",
        5: "cannot tell: the published catalog or the artifact cannot be read; what has arrived is "
        "kept, and the same command goes on",
        6: "there is no such image, channel or version for consumers",
    },
    examples=[
        ("imagectl pull debian-ci --to disk.qcow2", "what stable points to"),
        ("imagectl pull debian-ci:beta --format raw --to disk.raw", "from beta, as a raw disk"),
        ("imagectl pull --config .imagectl.yaml --to disk.qcow2", "as a repository has it"),
        ("imagectl pull --locked locked.json --to disk.qcow2", "what the workflow has locked"),
        (
            "imagectl pull debian-ci --to ci.raw --catalog /srv/images --root root.json",
            "from elsewhere; nobody there has to be trusted",
        ),
    ],
)
@click.argument(
    "ref",
    metavar="[IMAGE[:CHANNEL|@VERSION]]",
    required=False,
    type=IMAGE_REF,
    help="What is wanted, as for `imagectl resolve`: where it is left out, the environment and the "
    "build config say it.",
)
@click.option(
    "--to",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to have it in. It only takes that name, in place of what is there, once all of "
    "it is verified; what has arrived so far is beside it, as FILE.DIGEST.part.",
)
@CONFIG_OPTION
@BRANCH_OPTION
@LOCATION_OPTION
@FORMAT_OPTION
@ARCHITECTURE_OPTION
@LOCKED_OPTION
@CATALOG_OPTION
@ROOT_OPTION
@MAX_STALE_OPTION
@DESPITE_BROWNOUT_OPTION
@pass_invocation
def command(
    invocation: Invocation,
    ref: ImageRef | None,
    to: Path,
    config: Path | None,
    branch: str | None,
    location: LocationName | None,
    disk_format: Format | None,
    architecture: Architecture | None,
    locked: Path | None,
    catalog: str | None,
    root: Path | None,
    max_stale: timedelta | None,
    despite_brownout: bool,
) -> None:
    """Download what `imagectl resolve` would give, and verify it.

    Size and sha256 have to be those of the signed catalog, wherever the bytes come from: a web
    server where the location has a public address, else the location's own folder, bucket or
    registry. A download that broke off is gone on with, and nothing is downloaded where FILE is
    that artifact already.
    """
    from imagectl.adapters.clock import SystemClock
    from imagectl.consumer.pulling import pull
    from imagectl.policy.resolution import ResolutionRequest

    if str(to) == "-":
        raise BadUsage(
            "an artifact cannot be written to standard output",
            why="nobody should use bytes of it before all of them are verified",
            hint="name a file, as in --to disk.qcow2",
        )
    clock = SystemClock()
    now = clock.now()
    lock = read_lock(invocation, locked) if locked is not None else None
    typed = () if ref is None else (ref,)
    asked = read_wishes(invocation.directory, typed, config, branch, needed=lock is None)
    for notice in asked.opted.notices:
        invocation.out.warn(notice)
    _check_one([wish.image for wish in asked.opted.wishes])
    if lock is not None and not asked.opted.wishes:
        _check_one([each.image for each in lock.images])
    tree = open_catalog(invocation, catalog, root, asked.where, max_stale, now)

    def request(wish: Wish) -> ResolutionRequest:
        return ResolutionRequest(
            wish.image,
            wish.channel,
            wish.version,
            branches=wish.branches,
            branch=asked.opted.branch,
            max_age=wish.max_age,
            location=location,
            format=disk_format,
            architecture=architecture,
            despite_brownout=despite_brownout or asked.where.despite_brownout,
        )

    if lock is not None:
        traits = {"location": location, "format": disk_format, "architecture": architecture}
        [found] = resolve_locked(
            *(tree, lock, str(locked), asked.opted.wishes, asked.opted.branch, traits, now)
        )
    else:
        [found] = resolve_each(tree, asked.opted.wishes, asked.opted.branch, request, now)
    for notice in found.notices:
        invocation.out.warn(notice)
    with invocation.out.progress(clock) as progress:
        progress.stage(f"pull {found.ref}")
        pulled = pull(
            found,
            (invocation.directory / to).absolute(),
            lambda done, total: progress.moved(to.name, done, total),
        )
    if pulled.fetched == 0:
        invocation.out.say(f"{to} is {found.ref} already: {size(found.size)}, digest verified")
    if not invocation.json:
        invocation.out.data(str(to))
        return
    answer = PulledFile(
        image=found.ref.image,
        version=str(found.ref.version),
        channel=found.channel,
        file=str(to),
        source=pulled.source,
        location=found.location,
        format=found.format.value,
        architecture=found.architecture.value,
        sha256=found.sha256,
        size=found.size,
        fetched=pulled.fetched,
        notices=list(found.notices),
    )
    invocation.out.answer(answer, ())


def _check_one(images: list[str]) -> None:
    """One file holds one artifact."""
    if len(images) > 1:
        raise BadUsage(
            f"{len(images)} images are asked for, and one file holds one",
            why=", ".join(images),
            hint=f"`imagectl pull {images[0]} --to FILE`, and so on",
        )
