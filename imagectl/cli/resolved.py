"""What a consumer gets, as a document."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.cli.text import stamp

if TYPE_CHECKING:
    from imagectl.policy.resolution import Resolution


class Resolved(TypedDict):
    """What a consumer gets, and why."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    channel: Annotated[str | None, "the channel followed; null where a version was asked for"]
    reference: Annotated[str, "what to pull; without `--json` the only thing printed"]
    location: Annotated[str, "the location it is pulled from"]
    format: Annotated[str, "the format"]
    architecture: Annotated[str, "the architecture"]
    sha256: Annotated[str, "the digest that what was pulled must have"]
    size: Annotated[int, "bytes"]
    created: Annotated[str, "when it was built"]
    age_seconds: Annotated[int, "how long ago that is"]
    reasons: Annotated[list[str], "why this one"]
    notices: Annotated[list[str], "what the consumer should know all the same; also on stderr"]
    receipt: Annotated[bool, "whether it was noted that this consumer has resolved it"]
    leased_until: Annotated[str | None, "`--lease`: until when it is kept; null without"]


def document(found: Resolution, *, noted: bool, until: datetime | None) -> Resolved:
    """As a document. *noted*: whether there is a receipt; *until*: how long it is leased."""
    return Resolved(
        image=found.ref.image,
        version=str(found.ref.version),
        channel=found.channel,
        reference=found.reference,
        location=found.location,
        format=found.format.value,
        architecture=found.architecture.value,
        sha256=found.sha256,
        size=found.size,
        created=stamp(found.created),
        age_seconds=int(found.age.total_seconds()),
        reasons=list(found.reasons),
        notices=list(found.notices),
        receipt=noted,
        leased_until=stamp(until) if until else None,
    )
