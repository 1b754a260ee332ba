"""``imagectl janitor``: collect machines and other things that nobody needs any more."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import click

from imagectl.cli.arguments import DURATION, LOCATION, insist_on
from imagectl.cli.invocation import Invocation, pass_invocation
from imagectl.cli.noting import noting
from imagectl.cli.text import stamp, table
from imagectl.cli.verb import Verb
from imagectl.errors import BadUsage, ImagectlError, Interrupted, NotFound, Refused, Unsupported
from imagectl.policy.wording import counted, listed, moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from imagectl.bootstrap import Project
    from imagectl.model.names import LocationName
    from imagectl.model.resource import Resource
    from imagectl.policy.leases import Due, Sorted
    from imagectl.services.janitor import Applied, JanitorPlan, Looked, Tried
    from imagectl.services.ports.janitor import Machines

SHOWN = 20
"""How many things are shown without ``-v``."""


class DueDocument(TypedDict):
    """A thing that nobody needs any more."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER` for a host's own"]
    kind: Annotated[str, "`machine`, `disk`, `address`, `upload`, `key` or `image`"]
    name: Annotated[str, "what it is called there"]
    provider_id: Annotated[str, "what the provider calls it"]
    resource: Annotated[str, "its entry in the ledger"]
    state: Annotated[str, "the provider's own word; nothing is decided by it"]
    created: Annotated[str | None, "when it was made; null where nobody knows"]
    until: Annotated[str, "when its lease was over"]
    tries: Annotated[int, "how often collecting it has failed"]
    trouble: Annotated[str, "why, the last time; empty where it never has"]


class EntryDocument(TypedDict):
    """An entry of the ledger of which nothing, or nothing certain, was seen."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]
    kind: Annotated[str, "as of what is to be collected"]
    name: Annotated[str, "what it was to be called there"]
    resource: Annotated[str, "the entry's id"]
    purpose: Annotated[str, "what it was made for"]
    by: Annotated[str, "who made it"]
    until: Annotated[str, "when its lease was over"]


class PlaceDocument(TypedDict):
    """One place that was looked at. The numbers are null where it could not be read."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]
    scope: Annotated[str | None, "what was listed there"]
    complete: Annotated[bool, "true where everything was seen"]
    gaps: Annotated[list[str], "why not everything was seen"]
    error: Annotated[str | None, "why nothing was seen"]
    requests: Annotated[int | None, "how many requests looking took"]
    due: Annotated[int | None, "ours, and needed by nobody"]
    needed: Annotated[int | None, "ours, with a lease that is not over"]
    copies: Annotated[list[str], "what carries the claim of another thing; never touched"]
    others: Annotated[int | None, "another catalog's"]
    foreign: Annotated[int | None, "not imagectl's"]
    gone: Annotated[list[EntryDocument], "entries that end: nothing of them is there any more"]
    silent: Annotated[list[EntryDocument], "entries whose thing does not say any more whose it is"]
    unclear: Annotated[list[EntryDocument], "entries of which nothing was seen, in a part of it"]


class JanitorPlanDocument(TypedDict):
    """What would be collected."""

    at: Annotated[str, "when was looked"]
    complete: Annotated[bool, "true where everything of all places was seen"]
    places: Annotated[list[PlaceDocument], "each place"]
    due: Annotated[list[DueDocument], "what would be collected, in that order in each place"]
    elsewhere: Annotated[list[EntryDocument], "entries of places that were not looked at"]


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


class TroubleDocument(TypedDict):
    """A place that could not be read, or did not answer any more."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]
    kind: Annotated[str, "a word for programs, as of errors"]
    what: Annotated[str, "what went wrong"]
    why: Annotated[str, "the cause; may be empty"]
    hint: Annotated[str, "what to type; may be empty"]


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
    troubles: Annotated[list[TroubleDocument], "each place that did not answer"]


class ForgottenDocument(TypedDict):
    """What the ledger does not know any more."""

    forgotten: Annotated[list[EntryDocument], "each entry"]


@click.group("janitor")
def command() -> None:
    """Collect machines, disks and other things that builds and tests have left.

    Everything that imagectl makes to be thrown away is written down before it is made, with a lease
    that is renewed for as long as it is needed, and says itself whose it is. What is of this
    catalog and has no lease any more is collected, whatever state it is in. Nothing else is ever
    touched.
    """


_LOCATIONS = click.option(
    "--location",
    "locations",
    metavar="LOCATION",
    type=LOCATION,
    multiple=True,
    help="Only this location; may be given several times. Else all of them, and this host.",
)
_HERE = click.option("--here", is_flag=True, help="This host, alone or beside --location.")
_NOT_HERE = click.option(
    "--not-here",
    is_flag=True,
    help="Everything but this host, as in a container, which cannot see the host's processes.",
)


@command.command(
    "plan",
    cls=Verb,
    answers=JanitorPlanDocument,
    exits={
        5: "cannot tell: a place or the ledger cannot be read; the others are shown",
        6: "there is no project here, or no such location",
    },
    examples=[
        ("imagectl janitor plan", "what is left over, everywhere"),
        ("imagectl janitor plan --location dc1 -v", "in one location, every single thing"),
    ],
)
@_LOCATIONS
@_HERE
@_NOT_HERE
@pass_invocation
def plan(
    invocation: Invocation, locations: tuple[LocationName, ...], here: bool, not_here: bool
) -> int:
    """Show what builds and tests have left, and who still needs what. Changes nothing."""
    from imagectl.services import janitor

    host = _host(here=here, not_here=not_here)
    project = invocation.open_project()
    planned = janitor.plan(project.janitoring(_places(project, locations, host)))
    shown = None if invocation.verbose else SHOWN
    invocation.out.answer(_plan_document(planned), _plan_lines(planned, shown))
    for looked in planned.places:
        _tell_trouble(invocation, looked)
    if planned.due:
        invocation.out.say("`imagectl janitor apply` collects what is to be collected")
    return 0 if planned.complete else 5


def _host(*, here: bool, not_here: bool) -> bool | None:
    """Whether this host is asked for; None where nothing is said of it."""
    if here and not_here:
        raise BadUsage("both --here and --not-here", hint="leave out one of them")
    return here or (False if not_here else None)


def _rate(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    text = value.removesuffix("/min")
    with contextlib.suppress(ValueError):
        if 0 < (rate := float(text)) <= 60_000:
            return rate
    raise click.BadParameter(f"{value!r} is not a rate: write 60/min, at most 60000/min")


@command.command(
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
@_LOCATIONS
@_HERE
@_NOT_HERE
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
    type=DURATION,
    default="5m",
    show_default=True,
    help="With --watch: from the beginning of one round to that of the next.",
)
@pass_invocation
def apply(
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
    host = _host(here=here, not_here=not_here)
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


@command.command(
    "forget",
    cls=Verb,
    answers=ForgottenDocument,
    exits={
        3: "refused: the place can be looked at from here; `imagectl janitor apply` does",
        5: "cannot tell: the ledger cannot be read or written",
        6: "there is no project here, or nothing to forget in that place",
    },
    examples=[
        ("imagectl janitor forget host/ci7/srv/images/.imagectl/runs", "ci7 was scrapped"),
    ],
)
@click.argument("place", metavar="PLACE", help="As `imagectl janitor plan --json` calls it.")
@pass_invocation
def forget(invocation: Invocation, place: str) -> None:
    """Forget what was made in a place that is no more: a host that was scrapped, a location that
    is not in imagectl.yaml any more.

    Only the ledger changes, and only what has no lease any more is forgotten. Should the place come
    back, its things still say themselves whose they are.
    """
    from imagectl.services import janitor

    project = invocation.open_project()
    if place in project.machines():
        raise Refused(
            f"{place} is not gone",
            reasons=["it can be looked at from here, so nobody has to take your word for it"],
            hint="`imagectl janitor apply` ends what is not there any more",
        )
    forgotten = janitor.forget(project.resources, place, project.clock.now())
    if not forgotten:
        raise NotFound(
            f"nothing is to be forgotten in {place}",
            why="the ledger has nothing there whose lease is over",
            hint="`imagectl janitor plan` tells which places were not looked at",
        )
    invocation.out.answer(
        ForgottenDocument(forgotten=[_entry_document(each) for each in forgotten]),
        (f"forgotten: {each.name}, made by {each.by} for {each.purpose}" for each in forgotten),
    )


def _round(
    invocation: Invocation,
    locations: Sequence[LocationName],
    here: bool | None,
    limit: int | None,
    rate: float,
) -> int:
    """One round, with the settings, passwords and sessions of this moment."""
    from imagectl.bootstrap import open_project
    from imagectl.services import janitor

    with contextlib.closing(open_project(invocation.directory)) as project:
        places = _places(project, locations, here)
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
            invocation.out.warn(f"{place} was left: {_said(error)}")
        for looked in applied.plan.places:
            _tell_gaps(invocation, looked)
        for each in applied.stuck:
            invocation.out.warn(
                f"{each.found.name} in {each.place} could not be collected, now {each.tries} "
                f"times: {each.why}"
            )
    if applied.stuck:
        return 1
    return 0 if applied.plan.complete and not applied.troubles else 5


def _places(
    project: Project, locations: Sequence[LocationName], here: bool | None
) -> tuple[Machines, ...]:
    """What was asked for. Raises NotFound, and Unsupported for a location without machines."""
    known = project.machines()
    host = project.host_machines
    if not locations and not here:
        return tuple(each for each in known.values() if here is None or each is not host)
    for each in locations:
        if each not in project.settings.locations:
            raise NotFound(
                f"there is no location {each}",
                where="imagectl.yaml",
                hint=f"it has {listed(sorted(project.settings.locations))}",
            )
        if each not in known:
            raise Unsupported(
                f"nothing is made in {each} to be thrown away",
                why=f"locations of type {project.settings.locations[each].type} run no machines",
            )
    chosen = [known[each] for each in dict.fromkeys(locations)]
    return (*((host,) if here else ()), *chosen)


def _said(error: ImagectlError) -> str:
    return error.what + (f": {error.why}" if error.why else "")


def _tell_trouble(invocation: Invocation, looked: Looked) -> None:
    if looked.error is not None:
        invocation.out.warn(f"{looked.place} cannot be read: {_said(looked.error)}")
        if looked.error.hint:
            invocation.out.say(looked.error.hint)
    _tell_gaps(invocation, looked)


def _tell_gaps(invocation: Invocation, looked: Looked) -> None:
    if looked.view is not None and not looked.view.complete:
        invocation.out.warn(
            f"not everything of {looked.place} was seen: {'; '.join(looked.view.gaps)}"
        )


def _plan_lines(planned: JanitorPlan, shown: int | None) -> Iterator[str]:
    yield from table(
        ("PLACE", "TO COLLECT", "NEEDED", "ANOTHER CATALOG'S", "NOT IMAGECTL'S"),
        [(each.place, *_numbers(each)) for each in planned.places],
    )
    due = [
        (looked.place, each)
        for looked in planned.places
        if looked.found is not None
        for each in looked.found.due
    ]
    if due:
        yield ""
        yield "to collect, in this order:"
        yield from table(
            ("PLACE", "NAME", "KIND", "STATE", "LEASE OVER FOR", "FAILED"),
            [_due_row(place, each, planned.at) for place, each in due[:shown]],
        )
        if shown is not None and len(due) > shown:
            yield f"... and {len(due) - shown} more; -v shows all"
    if shown is None:
        yield from _staying(planned)
    for looked in planned.places:
        if looked.found is not None:
            yield from _remarks(looked.place, looked.found)
    if planned.elsewhere:
        places = sorted({each.place for each in planned.elsewhere})
        yield ""
        yield (
            f"not looked at: {counted(len(planned.elsewhere), 'thing')} in {listed(places)}, "
            "with leases that are over; look there, or `imagectl janitor forget PLACE`"
        )


def _staying(planned: JanitorPlan) -> Iterator[str]:
    """Every thing that nobody is going to collect, by why."""
    seen = [
        (looked.place, looked.view, looked.found)
        for looked in planned.places
        if looked.view is not None and looked.found is not None
    ]
    for title, those in (
        ("needed", [(place, each) for place, _, found in seen for each in found.needed]),
        ("another catalog's", [(at, each) for at, _, found in seen for each in found.of_others]),
        (
            "not imagectl's",
            [(at, each) for at, view, _ in seen for each in view.found if each.claim is None],
        ),
    ):
        if those:
            yield ""
            yield f"{title}; left alone:"
            yield from table(
                ("PLACE", "NAME", "KIND", "STATE", "LEASE UNTIL"),
                [
                    (
                        *(place, each.name, each.kind.value, each.state),
                        moment(each.claim.until) if each.claim is not None else "",
                    )
                    for place, each in those
                ],
            )


def _numbers(looked: Looked) -> tuple[str, str, str, str]:
    """Unknown is not zero (P8)."""
    found = looked.found
    if found is None:
        return ("unknown", "unknown", "unknown", "unknown")
    counts = (len(found.due), len(found.needed), len(found.of_others), found.foreign)
    more = "" if looked.complete else " or more"
    due, needed, others, foreign = (f"{each}{more}" for each in counts)
    return due, needed, others, foreign


def _due_row(place: str, due: Due, now: datetime) -> tuple[str, ...]:
    found = due.found
    failed = f"{due.tries} x: {due.entry.trouble}" if due.entry is not None and due.tries else ""
    return place, found.name, found.kind.value, found.state, span(now - due.until), failed


def _remarks(place: str, found: Sorted) -> Iterator[str]:
    for each in found.copies:
        yield (
            f"{place}: {each.name} carries the claim of another machine, so somebody has copied "
            "that; it is left alone"
        )
    for entry in found.silent:
        yield (
            f"{place}: {entry.name}, made for {entry.purpose}, does not say any more whose it is; "
            "it is left alone: remove it by hand, if nobody needs it"
        )
    for entry in found.unclear:
        yield f"{place}: {entry.name} was not seen, but not everything could be"
    if found.gone:
        names = listed(each.name for each in found.gone[:3])
        more = f" and {len(found.gone) - 3} more" if len(found.gone) > 3 else ""
        yield f"{place}: nothing is there any more of {names}{more}; the ledger forgets it"


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


def _plan_document(planned: JanitorPlan) -> JanitorPlanDocument:
    return JanitorPlanDocument(
        at=stamp(planned.at),
        complete=planned.complete,
        places=[_place_document(each) for each in planned.places],
        due=[
            _due_document(looked.place, each)
            for looked in planned.places
            if looked.found is not None
            for each in looked.found.due
        ],
        elsewhere=[_entry_document(each) for each in planned.elsewhere],
    )


def _place_document(looked: Looked) -> PlaceDocument:
    view, found = looked.view, looked.found
    return PlaceDocument(
        place=looked.place,
        scope=view.scope if view is not None else None,
        complete=looked.complete,
        gaps=list(view.gaps) if view is not None else [],
        error=_said(looked.error) if looked.error is not None else None,
        requests=view.requests if view is not None else None,
        due=len(found.due) if found is not None else None,
        needed=len(found.needed) if found is not None else None,
        copies=[each.name for each in found.copies] if found is not None else [],
        others=len(found.of_others) if found is not None else None,
        foreign=found.foreign if found is not None else None,
        gone=[_entry_document(each) for each in found.gone] if found is not None else [],
        silent=[_entry_document(each) for each in found.silent] if found is not None else [],
        unclear=[_entry_document(each) for each in found.unclear] if found is not None else [],
    )


def _due_document(place: str, due: Due) -> DueDocument:
    found = due.found
    return DueDocument(
        place=place,
        kind=found.kind.value,
        name=found.name,
        provider_id=found.provider_id,
        resource=due.claim.resource,
        state=found.state,
        created=stamp(found.created) if found.created is not None else None,
        until=stamp(due.until),
        tries=due.tries,
        trouble=due.entry.trouble if due.entry is not None else "",
    )


def _entry_document(entry: Resource) -> EntryDocument:
    return EntryDocument(
        place=entry.place,
        kind=entry.kind.value,
        name=entry.name,
        resource=entry.id,
        purpose=entry.purpose,
        by=entry.by,
        until=stamp(entry.until),
    )


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
        troubles=[
            TroubleDocument(
                place=place, kind=error.kind, what=error.what, why=error.why, hint=error.hint
            )
            for place, error in applied.troubles
        ],
    )
