"""``imagectl janitor apply``: collect what builds and tests have left, once or for ever."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import PAUSE, insist_on
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.janitor.places import HERE, LOCATIONS, NOT_HERE, host_asked_for, places_asked_for
from imagectl.cli.janitor.trouble import tell_error, tell_gaps
from imagectl.cli.noting import noting
from imagectl.cli.output import TroubleDocument, trouble_document
from imagectl.cli.text import stamp
from imagectl.cli.verb import Verb
from imagectl.errors import ImagectlError, Interrupted, NotFound, Unsupported
from imagectl.policy.wording import counted

if TYPE_CHECKING:
    from imagectl.model.names import LocationName
    from imagectl.services.janitor import Applied, Tried


class TriedDocument(TypedDict):
    """What became of one thing."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]
    kind: Annotated[str, "as in the plan"]
    name: Annotated[str, "what it was called there"]
    provider_id: Annotated[str, "what the provider calls it"]
    outcome: Annotated[
        Literal["collected", "kept", "failed"],
        "`kept`: read again right before, it was needed, or not ours",
    ]
    why: Annotated[str, "why it was kept, or failed; of what was collected: what stays of it"]
    tries: Annotated[int, "how often collecting it has failed so far"]


class LeftPlace(TroubleDocument):
    """A place that could not be read, or did not answer any more."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]


class JanitorDocument(TypedDict):
    """What was collected."""

    at: Annotated[str, "when was looked"]
    complete: Annotated[bool, "true where everything of all places was seen"]
    collected: Annotated[int, "how many things were"]
    kept: Annotated[int, "how many were found to be needed, or not ours, right before"]
    failed: Annotated[int, "how many could not be"]
    left: Annotated[int, "how many are still to be collected, as far as could be seen"]
    ended: Annotated[int, "entries of the ledger of which there was nothing any more"]
    tried: Annotated[list[TriedDocument], "each thing"]
    troubles: Annotated[list[LeftPlace], "each place that did not answer"]


def _rate(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    text = value.removesuffix("/min")
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= 60_000:
            return rate
    raise click.BadParameter(f"{value!r} is not a rate: write 60/min, at most 60000/min")


@click.command(
    "apply",
    cls=Verb,
    answers=JanitorDocument,
    exits={
        0: "done: nothing is left, but for what --limit left, and what failed once or twice",
        1: "something could not be collected three times or more; each is named",
        5: "cannot tell: a place or the ledger cannot be read; the others are done",
        6: "there is no project here, or no such location",
        130: "interrupted; what was begun is done, and can be applied again",
    },
    examples=[
        ("imagectl janitor apply", "collect everything that is left over"),
        ("imagectl janitor apply --location dc1 --limit 100 --rate 20/min", "gently"),
        ("imagectl janitor apply --watch --every 5m", "as a service, until it is stopped"),
    ],
)
@LOCATIONS
@HERE
@NOT_HERE
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help="Collect at most N things; with --watch, in each round.",
)
@click.option(
    "--rate",
    metavar="N/min",
    default="60/min",
    show_default=True,
    callback=_rate,
    help="At most so many things a minute, so that builds beside it are not disturbed.",
)
@click.option("--watch", is_flag=True, help="Do it again and again, until stopped.")
@click.option(
    "--every",
    metavar="TIME",
    type=PAUSE,
    default="5m",
    show_default=True,
    help="With --watch: from the beginning of one round to that of the next; 1s at least.",
)
@pass_invocation
def command(
    invocation: Invocation,
    locations: tuple[LocationName, ...],
    here: bool,
    not_here: bool,
    limit: int | None,
    rate: float,
    watch: bool,
    every: timedelta,
) -> int:
    """Collect what builds and tests have left, oldest first. Builds may go on beside it.

    It looks again first, and reads each thing once more right before it goes. What fails is tried
    again the next time; what has failed three times is reported each time. With --watch and --json,
    each round answers with one JSON object.
    """
    host = host_asked_for(here=here, not_here=not_here)
    if not watch:
        insist_on("every", "--watch", "without it, this is one round")
        return _round(invocation, locations, host, limit, rate)
    from imagectl.adapters.clock import SystemClock
    from imagectl.services.janitor import rounds

    for _ in rounds(every, SystemClock(), time.sleep):
        try:
            _round(invocation, locations, host, limit, rate)
        except (Interrupted, NotFound, Unsupported):
            raise
        except ImagectlError as problem:  # it may be mended by the next round
            invocation.out.error(problem)
    raise AssertionError("rounds never end")


def _round(
    invocation: Invocation,
    locations: Sequence[LocationName],
    here: bool | None,
    limit: int | None,
    rate: float,
) -> int:
    """One round, with the settings, passwords and sessions of this moment."""
    from imagectl.bootstrap.project import open_project
    from imagectl.services import janitor

    with contextlib.closing(open_project(invocation.directory)) as project:
        project.remark = invocation.out.remark
        places = places_asked_for(project, locations, here)
        pace = janitor.Pace(rate, project.clock, time.sleep)
        with contextlib.ExitStack() as stack:
            ends = {
                each.place: stack.enter_context(
                    noting(invocation.out, project, "janitor", each.place)
                )
                for each in places
            }
            progress = stack.enter_context(invocation.out.progress(project.clock, "janitor"))
            progress.stage("looking")

            def tell(tried: Tried) -> None:
                what = f"{tried.place}: {tried.found.name} {tried.outcome.value}"
                progress.step(f"{what}: {tried.why}" if tried.why else what)

            applied = janitor.apply(project.janitoring(places), pace, limit, tell)
            for place, ended in ends.items():
                ended.ok = applied.went_well(place)
        invocation.out.answer(_document(applied), _lines(applied))
        for place, error in applied.troubles:
            tell_error(invocation, f"{place} was left", error)
        for looked in applied.plan.places:
            tell_gaps(invocation, looked)
        for each in applied.stuck:
            invocation.out.warn(
                f"{each.found.name} in {each.place} could not be collected, now {each.tries} "
                f"times: {each.why}"
            )
    if applied.stuck:
        return 1
    return 0 if applied.plan.complete and not applied.troubles else 5


def _lines(applied: Applied) -> Iterator[str]:
    from imagectl.services.janitor import Outcome

    collected = applied.having(Outcome.COLLECTED)
    yield f"{counted(len(collected), 'thing')} collected, {applied.left} left to collect"
    for each in collected:
        if each.why:
            yield f"  {each.found.name} in {each.place} went, but {each.why}"
    for each in applied.having(Outcome.KEPT):
        yield f"  kept    {each.found.name} in {each.place}: {each.why}"
    for each in applied.having(Outcome.FAILED):
        again = f"failed {each.tries} x" if each.tries > 1 else "failed"
        yield f"  {again}  {each.found.name} in {each.place}: {each.why}"


def _document(applied: Applied) -> JanitorDocument:
    from imagectl.services.janitor import Outcome

    return JanitorDocument(
        at=stamp(applied.plan.at),
        complete=applied.plan.complete,
        collected=len(applied.having(Outcome.COLLECTED)),
        kept=len(applied.having(Outcome.KEPT)),
        failed=len(applied.having(Outcome.FAILED)),
        left=applied.left,
        ended=len(applied.ended),
        tried=[
            TriedDocument(
                place=each.place,
                kind=each.found.kind.value,
                name=each.found.name,
                provider_id=each.found.provider_id,
                outcome=each.outcome.value,
                why=each.why,
                tries=each.tries,
            )
            for each in applied.tried
        ],
        troubles=[{"place": place, **trouble_document(error)} for place, error in applied.troubles],
    )
