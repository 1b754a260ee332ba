"""What a consumer asks for: in the build config of its own repository, or in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """One image that is asked for. A pinned ``version`` wins over ``branches``, those over
    ``channel``.

    ``channel`` is None where nothing was chosen: only then does the default (stable) hold.
    ``max_age``: an image that was built longer ago is refused. ``said`` is where each of these was
    said, for people: ``{"channel": ".imagectl.yaml:2:10", "branches.next": ...}``.
    """

    image: ImageName
    channel: ChannelName | None = None
    version: VersionId | None = None
    max_age: timedelta | None = None
    branches: Mapping[str, ChannelName] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """A build config: the images, in its order, and where their catalog is.

    ``catalog`` is an address or a path, ``root`` the path of the file that says whose signatures
    count. ``min_generation``: a catalog that is older is not believed. ``several``: it is written
    as a list of images, also where that has one. ``variables``: it is made of the variables of a
    CI service, whose paths begin where its jobs run, and not at the file. ``notices``: it is to be
    told of what is coming; ``despite_brownout``: brownouts do not hold for it. ``location`` and
    ``format`` are of all images; None where it does not matter.
    """

    images: tuple[Wish, ...]
    catalog: str | None = None
    root: str | None = None
    min_generation: int = 0
    several: bool = False
    variables: bool = False
    said: Mapping[str, str] = field(default_factory=dict, compare=False)
    notices: bool = False
    despite_brownout: bool = False
    location: LocationName | None = None
    format: Format | None = None


@dataclass(frozen=True, slots=True)
class Variables:
    """The same as environment variables have it; each is None where it is not set. The last four
    are read so from the files of CI services only: in the environment they are options."""

    image: ImageName | None = None
    channel: ChannelName | None = None
    version: VersionId | None = None
    max_age: timedelta | None = None
    catalog: str | None = None
    root: str | None = None
    min_generation: int | None = None
    said: Mapping[str, str] = field(default_factory=dict, compare=False)
    location: LocationName | None = None
    format: Format | None = None
    notices: bool | None = None
    despite_brownout: bool | None = None


@dataclass(frozen=True, slots=True)
class Locked:
    """What one image was resolved to. ``channel`` is None where its version was pinned."""

    image: ImageName
    version: VersionId
    channel: ChannelName | None
    reference: str
    location: LocationName
    format: Format
    architecture: Architecture
    sha256: Sha256
    size: int
    created: datetime


@dataclass(frozen=True, slots=True)
class ResolvedLock:
    """What one workflow resolved, so that all its steps use the same: see ``resolve --lock``.

    ``generation`` is that of the catalog which it was resolved from.
    """

    catalog_id: str
    generation: int
    images: tuple[Locked, ...]
