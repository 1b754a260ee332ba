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
class PublishedCatalog:
    """Which catalog consumers are shown, at which generation.

    ``event`` is the hash of the event that made the generation; None where no catalog has committed
    it. ``at``: when it was published first.
    """

    catalog_id: str
    generation: int
    event: Sha256 | None = None
    at: datetime | None = None


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
    """An image's versions: the digests of the documents of those that are tested and in all their
    places, and those that were deleted. Whether one may be used, its warning says."""

    versions: Mapping[VersionId, Sha256]
    deleted: Mapping[VersionId, PublishedWarning] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """What one channel of one image points to, since when and why.

    ``document`` is the digest of the version's document; ``generation`` that of the move. Whether
    it may be used, the version's warning says: that never waits for whoever signs the channel.
    """

    image: ImageName
    channel: ChannelName
    version: VersionId
    document: Sha256
    kind: MoveKind
    at: datetime
    reason: str
    generation: int


@dataclass(frozen=True, slots=True)
class PublishedPlacement:
    """One artifact at one location. ``size`` in bytes; ``reference`` is what is pulled.

    ``url``: the address where a plain download of it works; None where none is known.
    """

    location: LocationName
    format: Format
    architecture: Architecture
    reference: str
    provider_id: str
    sha256: Sha256
    size: int
    url: str | None = None


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
