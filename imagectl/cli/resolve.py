"""``imagectl resolve``: what a consumer gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import DURATION, IMAGE_REF, Words
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.plain import Plain, plain
from imagectl.cli.resolve_lock import write_lock
from imagectl.cli.resolved import (
    Given,
    Matrix,
    MatrixForm,
    Resolved,
    ResolvedImages,
    document,
    matrix,
)
from imagectl.cli.resolving import resolve_at, resolve_matrix
from imagectl.cli.times import TIME
from imagectl.cli.verb import Verb
from imagectl.cli.wanted import ConsumerOptions, consumer_options, read_wanted
from imagectl.cli.wishes import CONFIG
from imagectl.errors import BadUsage, ImagectlError, NotFound

if TYPE_CHECKING:
    from imagectl.model.names import ImageRef
    from imagectl.policy.resolution import Resolution
    from imagectl.services.ports.published import PublishedTree


@click.command(
    "resolve",
    cls=Verb,
    answers=Resolved,
    more_answers=(ResolvedImages, Matrix),
    exits={
        3: "refused: it is older than max_age allows, was revoked or quarantined, or has a "
        "brownout; or, with --locked, something else is asked for than was locked",
        4: "conflict: with --lease, the catalog kept changing",
        5: "cannot tell: the published catalog cannot be read, or is older than it has to be; with "
        "--locked, it is another one; with --lease or --at, the catalog itself cannot be read",
        6: "there is no such image, channel or version for consumers",
    },
    examples=[
        ("imagectl resolve debian-ci", "what stable points to"),
        ("imagectl resolve debian-ci:beta", "what beta points to"),
        ("imagectl resolve debian-ci@20261120.1", "one version"),
        ("imagectl resolve --config .imagectl.yaml --branch next", "as a repository has it"),
        ("imagectl resolve --lock locked.json", "and have the whole workflow use just that"),
        ("imagectl resolve --locked locked.json", "in its later steps"),
        ("imagectl resolve --as env >> $GITHUB_ENV", "as variables of a CI system's later steps"),
        ("imagectl resolve --matrix github", "the runs of a CI system, beta allowed to fail"),
        (
            "imagectl resolve debian-ci --catalog https://images.example --root root.json",
            "from a web server that nobody has to trust",
        ),
        ("imagectl resolve debian-ci --at 2026-11-20", "what stable pointed to on that day"),
        (
            "imagectl resolve debian-ci --consumer job-4711 --lease 4h",
            "and have it kept for four hours",
        ),
    ],
)
@click.argument(
    "refs",
    metavar="[IMAGE[:CHANNEL|@VERSION]]...",
    nargs=-1,
    type=IMAGE_REF,
    help="What is wanted. Where it is left out, or names no channel and no version, "
    "IMAGECTL_IMAGE, IMAGECTL_CHANNEL, IMAGECTL_VERSION and IMAGECTL_MAX_AGE say it, and then "
    f"{CONFIG}.",
)
@consumer_options
@click.option(
    "--at",
    metavar="TIME",
    type=TIME,
    help="Say what the channel pointed to then: 2026-11-20 (in UTC) or 2026-11-20T12:00:00Z. Only "
    "where the project, and so its history, is at hand; `max_age` does not hold for it.",
)
@click.option(
    "--as",
    "as_plain",
    type=Words(Plain),
    help="Answer in another form: `env`, lines such as IMAGE_REFERENCE=... that CI systems and "
    "systemd read, or `strings`, a JSON object of texts for Terraform and Packer.",
)
@click.option(
    "--matrix",
    "form",
    is_flag=False,
    flag_value=MatrixForm.JSON.value,
    type=Words(MatrixForm),
    help="Say what a CI system should run: each image from stable and from beta, which is allowed "
    "to fail, and from the consumer's own channel or pin.",
)
@click.option(
    "--lock",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what was resolved to FILE too, for --locked.",
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
    refs: tuple[ImageRef, ...],
    options: ConsumerOptions,
    at: datetime | None,
    as_plain: Plain | None,
    form: MatrixForm | None,
    lock: Path | None,
    consumer: str | None,
    receipts: Path | None,
    lease: timedelta | None,
) -> None:
    """Say what a consumer gets: print the location's reference, or IMAGE and reference for several.

    Reads the published catalog alone, so it works while every server of ours is down. A channel
    that does not exist is an error, never silently another one; so is a version that was revoked,
    quarantined or deleted, also where it is pinned.

    What is typed wins over the environment, and that over the build config; where they differ, a
    warning says which one is taken.

    A receipt (--consumer) is noted as well as can be: where that fails, there is a warning. A lease
    (--lease) is taken, or nothing is answered.
    """
    from imagectl.adapters.clock import SystemClock

    _check_options(lock=lock, locked=options.locked, at=at, matrix=form, lease=lease)
    _check_forms(as_plain, form, json=invocation.json)
    wanted = read_wanted(invocation, options, refs)
    now = SystemClock().now()
    tree = wanted.open(now)
    if form is not None:
        jobs = resolve_matrix(invocation, tree, wanted.wishes, wanted.branch, wanted.request, now)
        invocation.out.data(
            json.dumps(matrix(jobs, form), indent=2 if form is MatrixForm.JSON else None)
        )
        return
    if at is not None:
        found = resolve_at(
            *(invocation, tree, wanted.wishes, wanted.branch, wanted.request, at, now)
        )
    else:
        found = wanted.resolve(tree, now)
    given = []
    for each in found:
        until = _lease(invocation, tree, each, consumer, lease) if lease is not None else None
        noted = consumer is not None and _note(invocation, each, consumer, receipts, now)
        given.append(Given(each, noted, until))
    if lock is not None:
        write_lock(invocation, lock, tree, found)
    _answer(invocation, given, as_plain, several=wanted.several or len(given) > 1)


def _check_forms(as_plain: Plain | None, form: MatrixForm | None, *, json: bool) -> None:
    forms = [
        *([f"--as {as_plain.value}"] if as_plain is not None else []),
        *([f"--matrix {form.value}"] if form is not None else []),
        *(["--json"] if json and form is not MatrixForm.JSON else []),
    ]
    if len(forms) > 1:
        raise BadUsage(f"{' and '.join(forms)} are two forms", hint="give one of them")


def _check_options(**options: object) -> None:
    """These are ways of their own."""
    ways = [f"--{name}" for name in ("locked", "at", "matrix") if options[name] is not None]
    if len(ways) > 1:
        raise BadUsage(f"{' and '.join(ways)} do not go together", hint="give one of them")
    clashes = {"matrix": ("lock", "lease"), "locked": ("lock",)}
    for way, others in clashes.items():
        for other in others:
            if options[way] is not None and options[other] is not None:
                raise BadUsage(f"--{way} and --{other} do not go together")


def _answer(
    invocation: Invocation, given: Sequence[Given], as_plain: Plain | None, *, several: bool
) -> None:
    for each in given:
        for notice in each.found.notices:
            invocation.out.warn(notice)
    if as_plain is not None:
        invocation.out.data(plain([each.found for each in given], as_plain, several=several))
        return
    if invocation.json:
        documents = [document(each) for each in given]
        answer = ResolvedImages(images=documents) if several else documents[0]
        invocation.out.answer(answer, ())
        return
    for each in given:
        found = each.found
        invocation.out.data(f"{found.ref.image}\t{found.reference}" if several else found.reference)
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
        invocation.out.warn(f"not noted that {consumer} has resolved it: {problem.said}")
        return False
    return True
