"""``imagectl pull``: what a consumer gets, as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from imagectl.cli.arguments import IMAGE_REF
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.resolved import Chosen, chosen
from imagectl.cli.text import size
from imagectl.cli.verb import Verb
from imagectl.cli.wanted import ConsumerOptions, consumer_options, read_wanted
from imagectl.errors import BadUsage, Interrupted

if TYPE_CHECKING:
    from imagectl.model.names import ImageRef


class PulledFile(Chosen):
    """What was pulled: the file is that artifact, verified."""

    file: Annotated[str, "the file; without `--json` the only thing printed"]
    source: Annotated[str, "where it is downloaded from"]
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
        130: "interrupted; what has arrived is kept, and the same command goes on",
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
@consumer_options
@pass_invocation
def command(
    invocation: Invocation,
    ref: ImageRef | None,
    to: Path,
    options: ConsumerOptions,
) -> None:
    """Download what `imagectl resolve` would give, and verify it.

    Size and sha256 have to be those of the signed catalog, wherever the bytes come from: a web
    server where the location has a public address, else the location's own folder, bucket or
    registry. A download that broke off is gone on with, and nothing is downloaded where FILE is
    that artifact already.
    """
    from imagectl.adapters.clock import SystemClock
    from imagectl.consumer.pulling import pull

    if str(to) == "-":
        raise BadUsage(
            "an artifact cannot be written to standard output",
            why="nobody should use bytes of it before all of them are verified",
            hint="name a file, as in --to disk.qcow2",
        )
    clock = SystemClock()
    wanted = read_wanted(invocation, options, () if ref is None else (ref,))
    _check_one(wanted.images)
    now = clock.now()
    [found] = wanted.resolve(wanted.open(now), now)
    for notice in found.notices:
        invocation.out.warn(notice)
    with invocation.out.progress(clock) as progress:
        progress.stage(f"pull {found.ref}")
        try:
            pulled = pull(
                found,
                (invocation.directory / to).absolute(),
                lambda done, total: progress.moved(to.name, done, total),
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; {to} is as it was, and what has arrived is kept beside it",
                hint="type it again: it goes on",
            ) from None
    if pulled.fetched == 0:
        invocation.out.say(f"{to} is {found.ref} already: {size(found.size)}, digest verified")
    if not invocation.json:
        invocation.out.data(str(to))
        return
    answer = PulledFile(
        **chosen(found),
        file=str(to),
        source=pulled.source,
        size=found.size,
        fetched=pulled.fetched,
        notices=list(found.notices),
    )
    invocation.out.answer(answer, ())


def _check_one(images: Sequence[str]) -> None:
    """One file holds one artifact."""
    if len(images) > 1:
        raise BadUsage(
            f"{len(images)} images are asked for, and one file holds one",
            why=", ".join(images),
            hint=f"`imagectl pull {images[0]} --to FILE`, and so on",
        )
