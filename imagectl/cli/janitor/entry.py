"""An entry of the ledger as a JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.cli.text import stamp

if TYPE_CHECKING:
    from imagectl.model.resource import Resource


class EntryDocument(TypedDict):
    """An entry of the ledger of which nothing, or nothing certain, was seen."""

    place: Annotated[str, "the location, or `host/NAME/FOLDER`"]
    kind: Annotated[str, "as of what is to be collected"]
    name: Annotated[str, "what it was to be called there"]
    resource: Annotated[str, "the entry's id"]
    purpose: Annotated[str, "what it was made for"]
    by: Annotated[str, "who made it"]
    until: Annotated[str, "when its lease was over"]


def entry_document(entry: Resource) -> EntryDocument:
    """The document of one entry."""
    return EntryDocument(
        place=entry.place,
        kind=entry.kind.value,
        name=entry.name,
        resource=entry.id,
        purpose=entry.purpose,
        by=entry.by,
        until=stamp(entry.until),
    )
