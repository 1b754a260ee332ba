"""What consumers can know: the part of the catalog that is published for them.

Only versions that are ready are in it (P6), so whatever a consumer finds there has passed its tests
and is in all the places it has to be. Who did what is not in it: a published tree may be public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from imagectl.model.version import VersionRef


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """Where an image's documents are: the digest of its index, and of each channel's document."""

    name: ImageName
    index: Sha256
    channels: Mapping[ChannelName, Sha256]


@dataclass(frozen=True, slots=True)
class PublishedCatalog:
    """The entry document: which catalog at which generation, and its images."""

    catalog_id: str
    generation: int
    images: Mapping[ImageName, PublishedImage]


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """What one channel of one image points to, since when and why.

    ``document`` is the digest of the version's document; ``generation`` that of the move.
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
    """One artifact at one location. ``size`` in bytes; ``reference`` is what is pulled."""

    location: LocationName
    format: Format
    architecture: Architecture
    reference: str
    provider_id: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """What a consumer can know of a version. ``tree`` is the digest of its canonical file tree."""

    ref: VersionRef
    created: datetime
    summary: str
    parent: VersionRef | None
    tree: Sha256
    tests_passed: int
    tool: str
    placements: tuple[PublishedPlacement, ...]
