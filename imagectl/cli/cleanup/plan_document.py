"""The JSON document of a cleanup plan. ``page.Page`` fills it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from imagectl.cli.keeping import StageName
from imagectl.cli.text import stamp

if TYPE_CHECKING:
    from imagectl.model.cleanup import Unknown
    from imagectl.model.retention import Tombstone

BecauseName = Literal[
    "channel",
    "window",
    "keep-last",
    "shown",
    "announced",
    "held",
    "leased",
    "parent",
    "resolved",
    "young",
    "placing",
    "waiting",
    "needed",
    "elsewhere",
    "capped",
    "deleted",
]


class PlacedDocument(TypedDict):
    """A placement."""

    location: Annotated[str, "the location"]
    provider_id: Annotated[str, "how the location names it"]
    sha256: Annotated[str, "its digest"]


class StepDocument(TypedDict):
    """A version that goes down by a stage."""

    version: Annotated[str, "IMAGE@VERSION"]
    stage: Annotated[StageName, "what it is"]
    to: Annotated[StageName, "what it becomes"]
    placed: Annotated[list[PlacedDocument], "where it is"]
    missing: Annotated[list[PlacedDocument], "where the catalog has it, and it was not seen"]
    deleted_earliest: Annotated[
        str | None,
        "when further plans like this one could delete it at the earliest; null where none could, "
        "since it is also in locations that they do not look at",
    ]
    final: Annotated[str, "why it is not proven that it can be made again; empty where it is"]


class SightDocument(TypedDict):
    """What was seen in a location. It was everything: else there is no plan."""

    location: Annotated[str, "the location"]
    scope: Annotated[str, "what was listed"]
    at: Annotated[str, "when"]
    expected: Annotated[int, "placements that the catalog has there"]
    seen: Annotated[int, "those of them that were seen"]
    found: Annotated[int, "all things that are there, foreign ones too; no notes of what is gone"]
    requests: Annotated[int, "how many requests it took"]
    digest: Annotated[str, "over all that was found"]


class KeptDocument(TypedDict):
    """A reason to keep versions."""

    because: Annotated[BecauseName, "the reason"]
    protects: Annotated[bool, "false where it says only that it is not their turn"]
    versions: Annotated[int, "how many; a version may have several reasons"]


class UnknownDocument(TypedDict):
    """Something that the catalog does not know. It is never touched."""

    location: Annotated[str, "the location"]
    provider_id: Annotated[str, "how the location names it"]
    name: Annotated[str, "what it is called"]
    why: Annotated[str, "what is known of it"]
    size: Annotated[int | None, "bytes; null where the location does not tell"]
    created: Annotated[str | None, "null where the location does not tell"]


class UnfinishedDocument(TypedDict):
    """A deletion that was begun and has not been seen to end."""

    version: Annotated[str, "IMAGE@VERSION"]
    location: Annotated[str, "the location"]
    provider_id: Annotated[str, "how the location names it"]
    at: Annotated[str, "when it was begun"]
    by: Annotated[str, "who began it"]
    reason: Annotated[str, "the plan"]


class PlanDocument(TypedDict):
    """A plan. The file has each version that is kept, too."""

    file: Annotated[str | None, "where it is; null where it was only shown"]
    digest: Annotated[str | None, "what is signed; null where it was only shown"]
    catalog: Annotated[str, "the catalog's id"]
    generation: Annotated[int, "its generation"]
    made: Annotated[str, "when"]
    expires: Annotated[str, "until when it can be applied"]
    author: Annotated[str, "who made it"]
    approved_by: Annotated[list[str], "who else has signed it, as they call themselves"]
    approvals: Annotated[int, "how many others have to sign it"]
    images: Annotated[list[str], "what it is about; all where empty"]
    locations: Annotated[list[str], "the locations that were looked at"]
    versions: Annotated[int, "how many it is about"]
    placements: Annotated[int, "how many of these there are, as the catalog has them"]
    protected: Annotated[int, "versions that nothing may delete now"]
    deleted: Annotated[int, "versions that are deleted already: only their history is left"]
    sights: Annotated[list[SightDocument], "what was seen"]
    steps: Annotated[list[StepDocument], "what goes, oldest first"]
    kept: Annotated[list[KeptDocument], "why the others are kept"]
    unknown: Annotated[list[UnknownDocument], "what the catalog does not know"]
    resolved: Annotated[int, "versions that consumers have left receipts of"]
    receipts: Annotated[str, "where the receipts are"]
    unfinished: Annotated[list[UnfinishedDocument], "what applying it also goes on with"]


def unknown_document(unknown: Unknown) -> UnknownDocument:
    """The document of a thing that the catalog does not know."""
    return UnknownDocument(
        location=unknown.location,
        provider_id=unknown.provider_id,
        name=unknown.name,
        why=unknown.why,
        size=unknown.size,
        created=stamp(unknown.created) if unknown.created else None,
    )


def unfinished_document(tombstone: Tombstone) -> UnfinishedDocument:
    """The document of a deletion that was begun."""
    return UnfinishedDocument(
        version=str(tombstone.placement.version),
        location=tombstone.placement.location,
        provider_id=tombstone.placement.provider_id,
        at=stamp(tombstone.at),
        by=tombstone.by,
        reason=tombstone.reason,
    )
