"""What consumers can know: the part of the catalog that is published for them.

Only versions that are ready are in it (P6), so whatever a consumer finds there has passed its tests
and is in all the places it has to be. A published tree may be public, so who did what is not in it,
but for one thing: who has warned off a version, or taken it away, whom its consumers have to ask.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.version import Reproducible, VersionRef


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """Where an image's documents are: the digest of its index, and of each channel's document."""

    name: ImageName
    index: Sha256
    channels: Mapping[ChannelName, Sha256]


@dataclass(frozen=True, slots=True)
class PublishedCatalog:
    """The entry document: which catalog at which generation, and its images.

    ``event`` is the hash of the event that made the generation; None where the tree was written by
    an imagectl that did not say so.
    """

    catalog_id: str
    generation: int
    images: Mapping[ImageName, PublishedImage]
    event: Sha256 | None = None


class Warned(enum.Enum):
    """How far consumers are warned off a version."""

    DEPRECATED = "deprecated"
    OBSOLETE = "obsolete"
    QUARANTINED = "quarantined"
    DELETED = "deleted"
    REVOKED = "revoked"

    @property
    def taken_away(self) -> bool:
        """Whether it is given to nobody any more."""
        return self not in (Warned.DEPRECATED, Warned.OBSOLETE)


@dataclass(frozen=True, slots=True)
class PublishedWarning:
    """That consumers are warned off a version: how far, since when, by whom and why."""

    warned: Warned
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class PublishedIndex:
    """An image's versions: the digests of the documents of those that can be had, and warnings,
    also of those that were taken away."""

    versions: Mapping[VersionId, Sha256]
    warnings: Mapping[VersionId, PublishedWarning] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """What one channel of one image points to, since when and why.

    ``document`` is the digest of the version's document; ``generation`` that of the move.
    ``revoked``: it is not to be used; None where it is fine.
    """

    image: ImageName
    channel: ChannelName
    version: VersionId
    document: Sha256
    kind: MoveKind
    at: datetime
    reason: str
    generation: int
    revoked: PublishedWarning | None = None


@dataclass(frozen=True, slots=True)
class PublishedPlacement:
    """One artifact at one location. ``size`` in bytes; ``reference`` is what is pulled."""

    location: LocationName
    format: Format
    architecture: Architecture
    reference: str
    provider_id: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class PublishedOrigin:
    """How a version was made. ``epoch``, in seconds since 1970: no file of it is newer.

    ``raw`` is the digest of the raw disk that all its artifacts hold. ``cause`` says why it is not
    reproducible, where that is known.
    """

    epoch: int
    raw: Sha256
    reproducible: Reproducible
    cause: str


@dataclass(frozen=True, slots=True)
class PublishedInside:
    """The digests of the documents that say what is in a version: see ``model.version.Inside``."""

    contents: Sha256
    spdx: Sha256
    cyclonedx: Sha256
    provenance: Sha256


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """What a consumer can know of a version.

    ``tree`` is the digest of its canonical file tree, None where the disk is kept as Packer left
    it. ``origin`` and ``inside`` are None where nothing was recorded.
    """

    ref: VersionRef
    created: datetime
    summary: str
    parent: VersionRef | None
    tree: Sha256 | None
    tests_passed: int
    tool: str
    placements: tuple[PublishedPlacement, ...]
    origin: PublishedOrigin | None = None
    inside: PublishedInside | None = None
