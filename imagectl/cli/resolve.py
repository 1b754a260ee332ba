"""``imagectl resolve``: what a consumer gets."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import ARCHITECTURE, DURATION, FORMAT, IMAGE_REF, LOCATION
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.resolved import Resolved, document
from imagectl.cli.verb import Verb
from imagectl.cli.wishes import CONFIG, read_config
from imagectl.errors import BadUsage, ImagectlError, NotFound

if TYPE_CHECKING:
    from imagectl.model.names import Architecture, Format, ImageRef, LocationName
    from imagectl.policy.resolution import Resolution
    from imagectl.services.ports.published import PublishedTree


@click.command(
    "resolve",
    cls=Verb,
    answers=Resolved,
    exits={
        3: "refused: it is older than max_age allows, or was revoked or quarantined",
        4: "conflict: with --lease, the catalog kept changing",
        5: "cannot tell: the published catalog cannot be read; with --lease, the catalog itself",
        6: "there is no such image, channel or version for consumers",
    },
    examples=[
        ("imagectl resolve debian-ci", "what stable points to"),
        ("imagectl resolve debian-ci:beta", "what beta points to"),
        ("imagectl resolve debian-ci@20261120.1", "one version"),
        ("imagectl resolve --config .imagectl.yaml --branch next", "as a repository has it"),
        (
            "imagectl resolve debian-ci --consumer job-4711 --lease 4h",
            "and have it kept for four hours",
        ),
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
@click.option(
    "--consumer",
    metavar="ID",
    envvar="IMAGECTL_CONSUMER",
    help="Note that this consumer (a host, a job, a service) has resolved it, so that cleanups "
    "know that it is used. IMAGECTL_CONSUMER says it too.",
)
@click.option(
    "--receipts",
    metavar="DIR",
    envvar="IMAGECTL_RECEIPTS",
    type=click.Path(path_type=Path),
    help="The folder where that is noted; that of the project where this is left out. "
    "IMAGECTL_RECEIPTS says it too.",
)
@click.option(
    "--lease",
    metavar="DURATION",
    type=DURATION,
    help="Have the version kept for the consumer for so long, such as 4h. Only where the project, "
    "and so its catalog, is at hand.",
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
    consumer: str | None,
    receipts: Path | None,
    lease: timedelta | None,
) -> None:
    """Say what a consumer gets: print the location's reference.

    Reads the published catalog alone, so it works while every server of ours is down. A channel
    that does not exist is an error, never silently another one; so is a version that was revoked,
    quarantined or deleted, also where it is pinned.

    A receipt (--consumer) is noted as well as can be: where that fails, there is a warning. A lease
    (--lease) is taken, or nothing is answered.
    """
    from imagectl.bootstrap.consumer import open_published
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
        wanted = read_config(invocation.directory, config)
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

    tree = open_published(invocation.directory, catalog)
    now = SystemClock().now()
    found = resolve(tree, request, now)
    until = _lease(invocation, tree, found, consumer, lease) if lease is not None else None
    noted = consumer is not None and _note(invocation, found, consumer, receipts, now)
    for notice in found.notices:
        invocation.out.warn(notice)
    if invocation.json:
        invocation.out.answer(document(found, noted=noted, until=until), ())
    else:
        invocation.out.data(found.reference)
        if invocation.verbose:
            for reason in (str(found.ref), *found.reasons):
                invocation.out.say(reason)


def _lease(
    invocation: Invocation,
    tree: PublishedTree,
    found: Resolution,
    consumer: str | None,
    length: timedelta,
) -> datetime:
    """Have it kept, by the catalog that the tree is of."""
    from imagectl.services.protect import take_lease

    try:
        project = invocation.open_project()
    except NotFound as problem:
        raise BadUsage(
            "a lease is taken in the project, where its catalog is",
            why=f"{problem.where} is not in a project",
            hint="-C DIR says where the project is",
        ) from problem
    releasing = project.releasing
    if tree.catalog().catalog_id != releasing.catalog.snapshot(()).catalog_id:
        raise BadUsage(
            "that published catalog is not the project's",
            hint="leave out --catalog, or --lease",
        )
    lease = take_lease(releasing, found.ref, consumer or releasing.actor, length)
    if consumer is None:
        invocation.out.say(f"leased as {lease.consumer}; --consumer ID names whoever works with it")
    return lease.until


def _note(
    invocation: Invocation, found: Resolution, consumer: str, folder: Path | None, now: datetime
) -> bool:
    """Note who has resolved what. That it cannot be noted keeps nobody from working."""
    from imagectl.bootstrap.consumer import open_receipts
    from imagectl.model.retention import Receipt

    try:
        receipts = open_receipts(invocation.directory, folder)
        receipts.add(Receipt(found.ref, consumer, now))
    except ImagectlError as problem:
        why = f": {problem.why}" if problem.why else ""
        invocation.out.warn(f"not noted that {consumer} has resolved it: {problem.what}{why}")
        return False
    return True
