"""What one listing of a location showed, and whether that was everything (P3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from imagectl.errors import ImagectlError
from imagectl.model.names import Architecture, Format, LocationName, Sha256
from imagectl.model.version import VersionRef


@dataclass(frozen=True, slots=True)
class Ownership:
    """What imagectl writes beside each thing that it makes in a location, in that provider's own
    labels, tags or annotations: whose it is, and what. Only what carries it is ever touched (P2).

    ``catalog`` is the id of the catalog that made it: two catalogs may share a project.
    """

    catalog: str
    version: VersionRef
    format: Format
    architecture: Architecture
    sha256: Sha256


NOT_THERE = "not there"
"""The state of a thing of which a location only has the note whose it is, and nothing else."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing in a location. ``owner`` is None where it is not imagectl's, or does not say so.

    ``size`` in bytes, ``created`` aware and in UTC, ``architecture`` that of the machines that can
    run it; None where the provider does not tell. ``state`` is the provider's own word.
    ``unusable``: what ``describe`` and ``put`` would raise, where the listing shows that already.
    """

    provider_id: str
    name: str
    owner: Ownership | None
    size: int | None = None
    created: datetime | None = None
    state: str = ""
    architecture: Architecture | None = None
    unusable: ImagectlError | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class View:
    """All that a location has, foreign things too, as one listing showed it.

    ``gaps`` are the reasons why it may not be everything, for people; only without any is it
    ``complete``. Absence from a view with gaps means nothing. ``requests`` counts what it took;
    ``began`` and ``ended`` are aware, in UTC.
    """

    location: LocationName
    scope: str
    """What was listed, such as ``project acme-images``."""
    found: tuple[Found, ...]
    gaps: tuple[str, ...]
    requests: int
    began: datetime
    ended: datetime

    @property
    def complete(self) -> bool:
        return not self.gaps
