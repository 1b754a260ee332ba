"""What the contract suite needs of a place: a location, and power over its other end."""

from __future__ import annotations

import enum
import hashlib
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Ownership
from imagectl.services.ports.locations import Location

CATALOG_ID = "00000000-0000-4000-8000-000000000001"
LOCAL = LocationName("local")


class Fault(enum.Enum):
    """What goes wrong at the other end."""

    QUOTA = "403, the quota is used up"
    UNAVAILABLE_PAGE_2 = "503 on the second page of a listing, for good"
    UNAVAILABLE_ONCE = "503, once"
    UNAVAILABLE_ALWAYS = "503, for good"
    PRECONDITION = "412 on the first write: somebody else changed it meanwhile"
    LOST_RESPONSE = "the connection breaks after the first write was done"
    STALE_READ = "a read just after a write shows what was before"
    FAILED_OPERATION = "an operation is returned as done, and has failed"
    SESSION_ENDED = "the session is ended in the middle"
    BROKEN_UPLOAD = "the upload breaks at 70 %, once"
    WRONG_DIGEST = "the other end stores other bytes"
    PART_UNREACHABLE = "one zone, datacenter or scope does not answer"
    CONTAINER_GONE = "the project, bucket or folder has been deleted"
    CLOCK_SKEW = "the other end's clock is two hours ahead"
    CREDENTIAL_MISSING = "there are no credentials"
    CREDENTIAL_WRONG = "the credentials are not known"
    CREDENTIAL_EXPIRED = "the credentials have expired"
    CREDENTIAL_NARROW = "the credentials may read, and nothing else"


class Place(Protocol):
    """A location that is empty at first, and what can happen to it behind imagectl's back."""

    @property
    def location(self) -> Location: ...

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        """A small artifact that the location takes, and its file in *folder*. Another seed, other
        bytes. Large enough for BROKEN_UPLOAD to happen to it."""
        ...

    def lose(self, placement: Placement) -> None:
        """Somebody deletes it."""
        ...

    def damage(self, placement: Placement) -> None:
        """Somebody gives it other bytes; where there are no bytes to see, another digest."""
        ...

    def unreadable(self) -> AbstractContextManager[None]:
        """The location does not answer for a while."""
        ...

    def foreign(self, name: str) -> Callable[[], object]:
        """Put somebody else's thing under that name, as ``Location.named`` gives it. The function
        returned gives its state, all that could be changed of it, to compare before and after."""
        ...

    def fill(self, count: int) -> str | None:
        """Put that many things of ours there, made cheaply at the other end; or the reason why so
        many are too many for a test."""
        ...

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        """It happens while the block runs; or the reason why it cannot, with this kind of place.

        After the block the other end is well again. What CONTAINER_GONE took may stay lost.
        """
        ...

    def requests(self) -> int:
        """How many requests have reached the other end."""
        ...


def ignore(_: int) -> None:
    """A ``Moved`` that nobody watches."""


def artifact_of(data: bytes, disk_format: Format = Format.QCOW2) -> Artifact:
    """The artifact that consists of those bytes."""
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    return Artifact(disk_format, Architecture.AMD64, sha256, len(data))


def some_artifact(
    folder: Path, seed: int, size: int = 100_000, disk_format: Format = Format.QCOW2
) -> tuple[Artifact, Path]:
    """An artifact of random bytes, for locations that do not look into them."""
    data = random.Random(seed).randbytes(size)
    path = folder / f"disk-{seed}.{disk_format.value}"
    path.write_bytes(data)
    return artifact_of(data, disk_format), path


def filling(number: int, sha256: Sha256) -> Ownership:
    """Whose the things are that ``Place.fill`` puts there: one version of "filling" each."""
    version = VersionRef(ImageName("filling"), VersionId("20260101", number + 1))
    return Ownership(CATALOG_ID, version, Format.QCOW2, Architecture.AMD64, sha256)
