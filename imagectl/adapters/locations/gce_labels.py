"""How an image of Google Compute Engine is called, and the labels that say whose a thing is.

A label's value holds at most 63 of ``[a-z0-9_-]`` (Google's "Requirements for labels"): a version
has a dot and a sha256 has 64 digits, so the one is written with a hyphen and the other in two
labels. All of it is set in one step, when the image is made: there is no moment at which an image
of ours does not say so (P2).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from imagectl.model.names import (
    Architecture,
    BadName,
    Format,
    parse_image_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.resource import Claim
from imagectl.model.version import VersionRef
from imagectl.model.view import Ownership

CATALOG = "imagectl-catalog"
IMAGE = "imagectl-image"
VERSION = "imagectl-version"
FORMAT = "imagectl-format"
ARCHITECTURE = "imagectl-architecture"
SHA256 = "imagectl-sha256"
SHA256_REST = "imagectl-sha256-rest"
MARK = "imagectl-mark"
"""Which warning imagectl itself has put on the image; absent where none."""
RESOURCE = "imagectl-resource"
UNTIL = "imagectl-until"
NAME = "imagectl-name"
"""Of what is made to be thrown away, beside ``CATALOG``: its claim, and what the claim is about."""

_UNTIL = "%Y-%m-%dt%H-%M-%Sz"

_HALF = 32


def image_name(version: VersionRef, architecture: Architecture) -> str:
    """``IMAGE-YYYYMMDD-N-ARCH``: at most 62 characters, and never the same for two versions."""
    serial = f"{version.version.day}-{version.version.serial}"
    return f"{version.image}-{serial}-{architecture.value}"


def to_labels(owner: Ownership) -> dict[str, str]:
    """The labels of an image of *owner*."""
    return {
        CATALOG: owner.catalog,
        IMAGE: owner.version.image,
        VERSION: str(owner.version.version).replace(".", "-"),
        FORMAT: owner.format.value,
        ARCHITECTURE: owner.architecture.value,
        SHA256: owner.sha256[:_HALF],
        SHA256_REST: owner.sha256[_HALF:],
    }


def from_labels(labels: Mapping[str, str]) -> Ownership | None:
    """Whose an image with those labels is; None where they are not all there, or say nonsense."""
    try:
        return Ownership(
            catalog=labels[CATALOG],
            version=VersionRef(
                parse_image_name(labels[IMAGE]),
                parse_version_id(labels[VERSION].replace("-", ".")),
            ),
            format=Format(labels[FORMAT]),
            architecture=Architecture(labels[ARCHITECTURE]),
            sha256=parse_sha256(labels[SHA256] + labels[SHA256_REST]),
        )
    except (KeyError, BadName, ValueError):
        return None


def claiming(claim: Claim, name: str) -> dict[str, str]:
    """The labels of the throw-away thing *name*; of an object in a bucket, the metadata."""
    return {
        CATALOG: claim.catalog,
        RESOURCE: claim.resource,
        UNTIL: claim.until.astimezone(UTC).strftime(_UNTIL),
        NAME: name,
    }


def claim_of(labels: Mapping[str, str], name: str) -> Claim | None:
    """What the thing *name* with those labels says of itself; None where it makes no claim.

    Labels are copied with a thing ("create similar", ``gcloud storage cp``): a copy has another
    name than they say, and is nobody's to throw away (P2).
    """
    try:
        if labels[NAME] != name:
            return None
        until = datetime.strptime(labels[UNTIL], _UNTIL).replace(tzinfo=UTC)
        return Claim(labels[CATALOG], labels[RESOURCE], until)
    except (KeyError, ValueError):
        return None


def copied_claim(labels: Mapping[str, str], name: str) -> Claim | None:
    """The claim of another thing that the thing *name* carries; None where it carries none."""
    of = labels.get(NAME, name)
    return claim_of(labels, of) if of != name else None
