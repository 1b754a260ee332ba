"""What a janitor would collect and what it leaves alone, as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.cli.janitor.entry import EntryDocument, entry_document
from imagectl.cli.text import stamp

if TYPE_CHECKING:
    from imagectl.policy.leases import Due
    from imagectl.services.janitor import JanitorPlan, Looked


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


def plan_document(planned: JanitorPlan) -> JanitorPlanDocument:
    """The document of a plan."""
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
        elsewhere=[entry_document(each) for each in planned.elsewhere],
    )


def _place_document(looked: Looked) -> PlaceDocument:
    view, found = looked.view, looked.found
    return PlaceDocument(
        place=looked.place,
        scope=view.scope if view is not None else None,
        complete=looked.complete,
        gaps=list(view.gaps) if view is not None else [],
        error=looked.error.said if looked.error is not None else None,
        requests=view.requests if view is not None else None,
        due=len(found.due) if found is not None else None,
        needed=len(found.needed) if found is not None else None,
        copies=[each.name for each in found.copies] if found is not None else [],
        others=len(found.of_others) if found is not None else None,
        foreign=found.foreign if found is not None else None,
        gone=[entry_document(each) for each in found.gone] if found is not None else [],
        silent=[entry_document(each) for each in found.silent] if found is not None else [],
        unclear=[entry_document(each) for each in found.unclear] if found is not None else [],
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
