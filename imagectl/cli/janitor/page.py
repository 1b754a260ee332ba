"""What a janitor would collect and what it leaves alone, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imagectl.cli.text import table
from imagectl.policy.leases import STUCK
from imagectl.policy.wording import counted, listed, moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from imagectl.policy.leases import Due, Sorted
    from imagectl.services.janitor import JanitorPlan, Looked

SHOWN = 20
"""How many things are shown without ``-v``."""


def plan_lines(planned: JanitorPlan, shown: int | None) -> Iterator[str]:
    """The page, with the first *shown* of what is to be collected, and all that has failed too
    often, which comes last; None shows every single thing."""
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
        rows = [
            (place, each)
            for at, (place, each) in enumerate(due)
            if shown is None or at < shown or each.tries >= STUCK
        ]
        yield ""
        yield "to collect, in this order:"
        yield from table(
            ("PLACE", "NAME", "KIND", "STATE", "LEASE OVER FOR", "FAILED"),
            [_due_row(place, each, planned.at) for place, each in rows],
        )
        if len(due) > len(rows):
            yield f"... and {len(due) - len(rows)} more; -v shows all"
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
            [
                (at, each)
                for at, view, found in seen
                for each in view.found
                if each.claim is None and each not in found.copies
            ],
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
            f"{place}: {each.name} carries the claim of another {each.kind.value}, so somebody has "
            "copied that, or given it another name or id; it is left alone"
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
