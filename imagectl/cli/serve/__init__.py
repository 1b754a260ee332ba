"""``imagectl serve``: the published tree, and an API over it, for whoever speaks HTTP."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagectl.cli.arguments import listen_address
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, ImagectlError, NotFound
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.adapters.web.server import Application
    from imagectl.bootstrap.serving import Served
    from imagectl.cli.serve.application import Serving

MAX_WORKERS = 256


@click.command(
    "serve",
    cls=Verb,
    exits={
        0: "it was told to stop (SIGTERM or Ctrl-C), and did",
        1: "the address cannot be listened on, or the workers keep ending",
        6: "there is no published catalog",
    },
    examples=[
        ("imagectl serve", "the project's tree, at http://127.0.0.1:8080"),
        (
            "imagectl serve -v --listen 0.0.0.0:80 --catalog /srv/images --root root.json",
            "a tree outside of its project, with a log line for each request",
        ),
    ],
)
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to listen; port 0 for any that is free.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, MAX_WORKERS),
    help="How many processes answer. [default: one for each processor]",
)
@click.option(
    "--catalog",
    metavar="DIR",
    envvar="IMAGECTL_CATALOG",
    type=click.Path(path_type=Path),
    help="The published catalog; that of the project where this is left out. "
    "IMAGECTL_CATALOG says it too.",
)
@click.option(
    "--root",
    metavar="FILE",
    envvar="IMAGECTL_ROOT",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The root that says whose signatures count; catalog/root.json of the project where this "
    "is left out. IMAGECTL_ROOT says it too.",
)
@pass_invocation
def command(
    invocation: Invocation,
    listen: str,
    workers: int | None,
    catalog: Path | None,
    root: Path | None,
) -> None:
    """Serve the published tree over HTTP, read-only, with an API for those who need no proof.

    Every file of the tree is at its path, as any web server would have it: consumers verify it
    themselves. GET /v1/resolve, /v1/images and /v1/versions answer what the tree says, verified
    here; /v1/openapi.json describes them. /healthz and /metrics are for whoever runs this. What is
    published anew is served at once. Stops at SIGTERM or Ctrl-C, after what it is answering.
    """
    from imagectl.adapters.web.server import Address, reserve, serve
    from imagectl.bootstrap.serving import find_served

    host, port = listen_address(listen, "127.0.0.1:8080")
    served = find_served(invocation.directory, catalog, root)
    count = workers or len(os.sched_getaffinity(0))
    address = reserve(Address(host, port))
    with tempfile.TemporaryDirectory(prefix="imagectl-serve-") as folder:
        started = (
            f"serving {served.folder} at http://{address} with {counted(count, 'worker')}; "
            "Ctrl-C stops"
        )
        serving = _prepare(invocation, served, Path(folder), count, started)
        serve(address, count, partial(make_worker, serving))
    invocation.out.say("stopped")


def make_worker(serving: Serving) -> Application:
    """What answers in one worker."""
    from imagectl.cli.serve.application import Worker

    return Worker(serving)


def _prepare(
    invocation: Invocation, served: Served, cache: Path, workers: int, started: str
) -> Serving:
    """Import what the workers need once for all of them, and look at the tree."""
    from imagectl.adapters.web.counts import Counts
    from imagectl.bootstrap.serving import CurrentTree
    from imagectl.cli.serve.application import Serving

    try:
        tree = CurrentTree(served, cache).get()
        invocation.out.say(f"it shows generation {tree.catalog().generation}")
    except (BadUsage, NotFound):
        raise
    except ImagectlError as problem:  # its files are served all the same: consumers verify them
        invocation.out.tell_error(problem)
    counts = Counts(workers + MAX_WORKERS)
    return Serving(served, cache, counts, invocation.out, workers, started)
