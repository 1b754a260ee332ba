"""Versions, the artifacts they consist of, and where those have been placed.

A version is immutable: it is recorded once, complete, after its artifacts are in the store and its
tests have passed. Only placements are added to it later, and before each one the intent to make it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)


@dataclass(frozen=True, slots=True, order=True)
class VersionRef:
    """``IMAGE@VERSION``: names one version for good."""

    image: ImageName
    version: VersionId

    def __hash__(self) -> int:
        # As dataclasses have it, in one call instead of two: a cleanup asks for millions.
        return hash((self.image, self.version.day, self.version.serial))

    def __str__(self) -> str:
        return f"{self.image}@{self.version}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version in one format for one architecture. ``size`` in bytes."""

    format: Format
    architecture: Architecture
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """The canonical tar of a version's file tree: its identity, and the base of its children.

    ``sha256`` and ``size`` (bytes) are those of the tar itself; ``stored`` is the digest of the
    compressed file that the artifact store keeps.
    """

    sha256: Sha256
    size: int
    stored: Sha256


@dataclass(frozen=True, slots=True)
class TestSummary:
    """What the suites said about the booted artifact. ``seconds`` is their total duration.

    ``report`` and ``console`` are digests in the artifact store of the per-test results (JSON) and
    of the console log.
    """

    __test__ = False  # not a pytest class

    passed: int
    failed: int
    seconds: float
    report: Sha256
    console: Sha256

    @property
    def ok(self) -> bool:
        """True where at least one test ran and none failed: no test proves nothing."""
        return self.passed > 0 and self.failed == 0


class Reproducible(enum.Enum):
    """Whether the same inputs are known to give the same bytes again (P9)."""

    YES = "yes"
    """Built twice from one lock, with the same digests."""
    NO = "no"
    """Built twice with other digests, or made in a way that cannot be repeated."""
    UNPROVEN = "unproven"
    """Built once."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a version was made, and what it takes to make it again, by digest in the artifact store.

    ``lock`` is the text of its lock; ``source`` an archive of its definition, playbooks, suites and
    lock; ``raw`` the digest of the raw disk (itself not kept). ``epoch`` in seconds since 1970.

    What a Packer template made in a location has no lock: there ``lock`` is a note of the
    definition's digests, and ``raw`` the digest of the description of what was made.
    """

    epoch: int
    lock: Sha256
    source: Sha256
    raw: Sha256
    reproducible: Reproducible
    cause: str = ""
    """Why it is not reproducible; empty where it is, or where that is not known."""


@dataclass(frozen=True, slots=True)
class Inside:
    """Documents that say what is in a version, by digest in the artifact store.

    ``contents``: packages, services, users, ports and the like, as JSON, for comparing versions.
    ``manifest``: each file with its digest. ``spdx`` and ``cyclonedx``: software bills of
    materials. ``provenance``: an in-toto statement in a DSSE envelope.
    """

    contents: Sha256
    manifest: Sha256
    spdx: Sha256
    cyclonedx: Sha256
    provenance: Sha256


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, complete result. ``created`` is aware, in UTC.

    ``fingerprint`` is the digest of everything the build was made from (definition, playbooks,
    suites, base, rules, tool versions): equal fingerprints mean there is nothing new to build.
    """

    ref: VersionRef
    created: datetime
    created_by: str
    summary: str
    fingerprint: Sha256
    parent: VersionRef | None
    tree: Tree | None
    """None where the disk is kept as Packer left it: such a version cannot be a child's base."""
    artifacts: tuple[Artifact, ...]
    tests: TestSummary
    required_locations: tuple[LocationName, ...]
    tool: str
    """The imagectl version that built it, such as ``0.1.0``."""
    build_log: Sha256
    seconds: float
    """How long the build took, wall clock."""
    origin: Origin | None = None
    """None for versions that were recorded before locks existed."""
    inside: Inside | None = None
    """None where it was not looked into: the disk is kept as Packer left it, or of long ago."""

    @property
    def image(self) -> ImageName:
        return self.ref.image

    @property
    def id(self) -> VersionId:
        return self.ref.version

    @property
    def adopted(self) -> bool:
        """Whether imagectl has neither built nor tested it: no build takes no time at all."""
        return self.seconds == 0 and not self.tests.passed and not self.tests.failed


@dataclass(frozen=True, slots=True)
class Placement:
    """One artifact at one location, as the location itself last confirmed it.

    ``provider_id`` is how the location names it (a path below a directory, a cloud id);
    ``reference`` is what a consumer is given to pull it. ``verified`` is aware, in UTC.
    """

    version: VersionRef
    format: Format
    architecture: Architecture
    location: LocationName
    provider_id: str
    reference: str
    sha256: Sha256
    size: int
    verified: datetime

    @property
    def key(self) -> tuple[VersionRef, Format, Architecture, LocationName]:
        """What identifies a placement: a later one with the same key replaces it."""
        return (self.version, self.format, self.architecture, self.location)


@dataclass(frozen=True, slots=True)
class Intent:
    """One artifact that is about to be made at one location (P7).

    It is recorded before anything is made, and ended when the placement is recorded or when it is
    given up. While it is open, the location may hold that artifact, or a part of it, under the name
    ``named``. ``since`` is aware, in UTC.
    """

    version: VersionRef
    format: Format
    architecture: Architecture
    location: LocationName
    named: str
    since: datetime
    by: str

    @property
    def key(self) -> tuple[VersionRef, Format, Architecture, LocationName]:
        """The key of the placement that it is to become."""
        return (self.version, self.format, self.architecture, self.location)
