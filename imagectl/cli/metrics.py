"""``imagectl metrics``: numbers for Prometheus, to a file, to standard output, or over HTTP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import click

from imagectl.cli.arguments import PAUSE, insist_on, listen_address
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.moves import watched
from imagectl.cli.text import stamp, table
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, ImagectlError
from imagectl.policy.wording import span

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.services.measure import Measurement

MISSED = 3
"""After how many rounds that did not end numbers are withdrawn."""


class SourceDocument(TypedDict):
    """One thing that was asked."""

    source: Annotated[
        str,
        "`catalog`, `published`, `credential`, `images`, `machines`, `ledger`, "
        "`outcomes` or `verify`",
    ]
    place: Annotated[str, "the location, host or folder; empty where there is only one"]
    ok: Annotated[bool, "true where it was read completely"]
    why: Annotated[str, "why not; empty where it was"]
    last_success: Annotated[str | None, "when it was last; null where it never was"]


class MetricsDocument(TypedDict):
    """What was asked, and how that went."""

    ok: Annotated[bool, "true where everything could be read completely"]
    at: Annotated[str, "when it was measured"]
    file: Annotated[str | None, "where the numbers were written; null where nowhere"]
    text: Annotated[str, "the numbers, as Prometheus reads them"]
    sources: Annotated[list[SourceDocument], "each source"]


@click.command(
    "metrics",
    cls=Verb,
    answers=MetricsDocument,
    exits={
        0: "everything was read completely",
        1: "the file cannot be written, or the address cannot be listened on",
        5: "cannot tell: some source could not be read; its numbers are absent, all others there",
    },
    examples=[
        (
            "imagectl metrics -q --out /var/lib/prometheus/node-exporter/imagectl.prom",
            "from cron or a timer, for node_exporter",
        ),
        ("imagectl metrics --listen 127.0.0.1:9469 --every 5m", "as a service, to be scraped"),
        ("imagectl metrics --no-verify", "to look at; without reading every image again"),
    ],
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the numbers to FILE, which is replaced as a whole.",
)
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    help="Go on, and show the latest numbers at http://HOST:PORT/metrics, until stopped.",
)
@click.option(
    "--every",
    metavar="DURATION",
    type=PAUSE,
    default="5m",
    show_default=True,
    help="How often to measure, with --listen; 1s at least.",
)
@click.option(
    "--verify/--no-verify",
    default=True,
    help="Also read again, where channels require it, what they point to and what one would roll "
    "back to: see `imagectl verify`. Some locations have to read every byte for that.",
)
@pass_invocation
def command(
    invocation: Invocation, out: Path | None, listen: str | None, every: timedelta, verify: bool
) -> int:
    """Measure the catalog, the locations, their machines and the way back.

    A number is there only where its source was read completely. What could not be read is absent,
    never 0 and never what it was before; the time of its last success stays beside it.
    """
    if listen is None:
        insist_on("every", "--listen", "without it, they are measured once")
    project = invocation.open_project()  # to be told at once that there is none
    if listen is None:
        measured = _measure(invocation, project, verify=verify)
        return _answer(invocation, measured, out)
    if out is not None or invocation.json:
        raise BadUsage(
            "--listen goes on until it is stopped, and answers over HTTP alone",
            hint="leave out --out and --json",
        )
    host, port = listen_address(listen, "127.0.0.1:9469")
    return _serve(invocation, host, port, every, verify=verify)


def _measure(invocation: Invocation, project: Project, *, verify: bool) -> Measurement:
    from imagectl.services.live import LIVE_PATIENCE
    from imagectl.services.measure import measure

    project.patience = LIVE_PATIENCE  # the next measuring is due in a few minutes
    return measure(
        lambda: project.catalog,
        project.locations,
        lambda: project.janitoring([*project.machines().values()]),
        project.outcomes,
        project.clock,
        (lambda: watched(invocation, project), project.policy) if verify else None,
        project.publishers,
        lambda: project.image_names,
    )


def _answer(invocation: Invocation, measured: Measurement, out: Path | None) -> int:
    from prometheus_client import generate_latest

    from imagectl.adapters.exposition import registry_of
    from imagectl.adapters.metrics import write_file

    registry = registry_of(measured)
    if out is not None:
        write_file(out, registry)
    text = generate_latest(registry).decode()
    ok = not any(measured.sources().values())
    if invocation.json or out is None:
        lines = text.splitlines()
    else:
        lines = [] if invocation.quiet and ok else [*_lines(measured)]
    invocation.out.answer(_document(measured, out, text), lines)
    _tell(invocation, measured)
    return 0 if ok else 5


def _tell(invocation: Invocation, measured: Measurement) -> None:
    for (source, place), trouble in measured.sources().items():
        if trouble is not None:
            where = f" of {place}" if place else ""
            lacking = f"no numbers about the {source}{where}"
            if source == "verify":
                lacking = "not all numbers about what channels point to and their ways back"
            mend = f" ({trouble.where}): {trouble.hint}" if source == "outcomes" else ""
            invocation.out.warn(f"{lacking}: {trouble.said}{mend}")


def _document(measured: Measurement, out: Path | None, text: str) -> MetricsDocument:
    sources = []
    for (source, place), trouble in measured.sources().items():
        outcome = measured.outcomes.get((source, place))
        last = outcome.last_success if outcome else None
        sources.append(
            SourceDocument(
                source=source,
                place=place,
                ok=trouble is None,
                why="" if trouble is None else trouble.said,
                last_success=stamp(last) if last else None,
            )
        )
    return MetricsDocument(
        ok=all(each["ok"] for each in sources),
        at=stamp(measured.at),
        file=str(out) if out else None,
        text=text,
        sources=sources,
    )


def _lines(measured: Measurement) -> Iterator[str]:
    rows = []
    for (source, place), trouble in measured.sources().items():
        outcome = measured.outcomes.get((source, place))
        last = outcome.last_success if outcome else None
        ago = "never" if last is None else f"{span(measured.at - last)} ago"
        rows.append((source, place or "-", "ok" if trouble is None else f"UNKNOWN, good {ago}"))
    yield from table(("SOURCE", "PLACE", "STATE"), rows)


def _serve(invocation: Invocation, host: str, port: int, every: timedelta, *, verify: bool) -> int:
    """Each round with the settings, passwords and sessions of its moment, as the janitor's."""
    from imagectl.adapters.clock import SystemClock
    from imagectl.adapters.exposition import registry_of
    from imagectl.adapters.metrics_server import Latest, Server
    from imagectl.bootstrap.project import open_project
    from imagectl.services.janitor import rounds

    clock = SystemClock()
    latest = Latest(MISSED * every.total_seconds(), clock.monotonic)
    server = Server(host, port, latest)
    invocation.out.say(f"numbers are at http://{host}:{server.port}/metrics; Ctrl-C stops")
    try:
        for _ in rounds(every, clock, time.sleep):
            try:
                with contextlib.closing(open_project(invocation.directory)) as project:
                    project.remark = invocation.out.remark
                    measured = _measure(invocation, project, verify=verify)
            except ImagectlError as problem:  # the next round may know; the numbers go meanwhile
                invocation.out.tell_error(problem)
            else:
                latest.show(registry_of(measured))
                _tell(invocation, measured)
    finally:
        server.close()
    raise AssertionError("rounds never end")
