"""What a consumer gets, as documents, and as what CI systems make jobs of."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypedDict

from imagectl.cli.text import stamp

if TYPE_CHECKING:
    from imagectl.policy.matrix import Cell
    from imagectl.policy.resolution import Resolution


class Chosen(TypedDict):
    """The artifact that a consumer gets: what all say who resolve."""

    image: Annotated[str, "the image"]
    version: Annotated[str, "the version"]
    channel: Annotated[str | None, "the channel followed; null where a version was asked for"]
    location: Annotated[str, "the location it is pulled from"]
    format: Annotated[str, "the format"]
    architecture: Annotated[str, "the architecture"]
    sha256: Annotated[str, "the digest that what was pulled must have"]


class Resolved(Chosen):
    """What a consumer gets, and why."""

    reference: Annotated[str, "what to pull; without `--json` the only thing printed"]
    url: Annotated[str | None, "the address of a plain download; null where none is known"]
    size: Annotated[int, "bytes"]
    created: Annotated[str, "when it was built"]
    age_seconds: Annotated[int, "how long ago that is"]
    reasons: Annotated[list[str], "why this one"]
    notices: Annotated[list[str], "what the consumer should know all the same; also on stderr"]
    receipt: Annotated[bool, "whether it was noted that this consumer has resolved it"]
    leased_until: Annotated[str | None, "`--lease`: until when it is kept; null without"]


class ResolvedImages(TypedDict):
    """What a consumer gets that asks for several images, or whose build config has `images:`."""

    images: Annotated[list[Resolved], "one for each image, in the order in which they were asked"]


class MatrixJob(Chosen):
    """One run of a CI system's matrix."""

    name: Annotated[str, "IMAGE:CHANNEL, or IMAGE@VERSION where that is pinned"]
    reference: Annotated[str, "what to pull"]
    own: Annotated[bool, "whether it is what the consumer gets without a matrix"]
    allowed_to_fail: Annotated[bool, "whether its failure should stop nobody"]


class Matrix(TypedDict):
    """The runs of a CI system's matrix: each image from the channels that matter."""

    jobs: Annotated[list[MatrixJob], "the runs; of each image, the consumer's own is the first"]


class MatrixForm(enum.Enum):
    """Whose form a matrix has."""

    GITHUB = "github"
    """``fromJSON`` of it is a job's ``strategy.matrix``."""
    GITLAB = "gitlab"
    """The jobs of a child pipeline, each of which extends ``.imagectl``."""
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Given:
    """What one image was resolved to, and what was noted of that."""

    found: Resolution
    noted: bool = False
    until: datetime | None = None


def chosen(found: Resolution) -> Chosen:
    """The artifact that was found."""
    return Chosen(
        image=found.ref.image,
        version=str(found.ref.version),
        channel=found.channel,
        location=found.location,
        format=found.format.value,
        architecture=found.architecture.value,
        sha256=found.sha256,
    )


def document(given: Given) -> Resolved:
    """As a document."""
    found = given.found
    return Resolved(
        **chosen(found),
        reference=found.reference,
        url=found.url,
        size=found.size,
        created=stamp(found.created),
        age_seconds=int(found.age.total_seconds()),
        reasons=list(found.reasons),
        notices=list(found.notices),
        receipt=given.noted,
        leased_until=stamp(given.until) if given.until else None,
    )


def matrix(jobs: Sequence[tuple[Cell, Resolution]], form: MatrixForm) -> dict[str, object]:
    """As what the CI system of *form* makes jobs of."""
    found = [_job(cell, resolution) for cell, resolution in jobs]
    match form:
        case MatrixForm.GITHUB:
            return {"include": found}
        case MatrixForm.GITLAB:
            return {job["name"]: _child(job) for job in found}
        case MatrixForm.JSON:
            return dict(Matrix(jobs=found))


def _job(cell: Cell, found: Resolution) -> MatrixJob:
    return MatrixJob(
        name=f"{found.ref.image}:{found.channel}" if found.channel else str(found.ref),
        **chosen(found),
        reference=found.reference,
        own=cell.own,
        allowed_to_fail=cell.allowed_to_fail,
    )


def _child(job: MatrixJob) -> dict[str, object]:
    chosen = (
        {"IMAGECTL_CHANNEL": job["channel"]}
        if job["channel"]
        else {"IMAGECTL_VERSION": job["version"]}
    )
    return {
        "extends": ".imagectl",
        "allow_failure": job["allowed_to_fail"],
        "variables": {
            "IMAGECTL_IMAGE": job["image"],
            **chosen,
            "IMAGE_VERSION": job["version"],
            "IMAGE_REFERENCE": job["reference"],
            "IMAGE_SHA256": job["sha256"],
        },
    }
