"""What is kept in this project: artifacts, receipts of consumers, the files of inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagectl.model.names import (
    Sha256,
)
from imagectl.model.retention import Receipt
from imagectl.model.version import (
    VersionRef,
)


class ArtifactStore(Protocol):
    """Content-addressed files of the project: artifacts, trees, reports and logs."""

    def add(self, source: Path) -> Sha256:
        """Keep a copy of *source* under its digest, durable on return. Idempotent, atomic."""
        ...

    def adopt(self, source: Path) -> Sha256:
        """Like ``add``, but *source* itself moves in and its old name is gone: for a finished file
        that nobody writes to any more."""
        ...

    def path(self, sha256: Sha256) -> Path:
        """Where it is kept, after a check that it exists. Raises NotFound."""
        ...

    def verify(self, sha256: Sha256) -> Path:
        """Like ``path``, after hashing it again. Raises NotFound or Corrupt."""
        ...

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Everything that is kept, with its size in bytes. Raises CannotTell."""
        ...

    def remove(self, sha256: Sha256) -> None:
        """Keep it no more. Idempotent. Whether somebody needs it is for the caller to know."""
        ...


class Receipts(Protocol):
    """Which versions consumers have resolved, and when last."""

    def add(self, receipt: Receipt) -> None:
        """Note it, in place of that consumer's earlier one for that version. Atomic."""
        ...

    def latest(self) -> Mapping[VersionRef, datetime]:
        """When each version was resolved last, by any consumer. Raises CannotTell where they, or
        one of them, cannot be read: not knowing is not "nobody" (P8)."""
        ...


class InputFiles(Protocol):
    """The files that builds were made from, by digest.

    Each method raises CannotTell where they cannot be read: never fewer than there are (P3).
    """

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Every file that is here, with its size in bytes. None where there never was a store."""
        ...

    def check(self, sha256: Sha256) -> Path:
        """Hash the file that is here again. Raises NotFound, Corrupt."""
        ...

    def missing(self, digests: Collection[Sha256]) -> frozenset[Sha256]:
        """Those that are not to be had, neither here nor in a shared store behind it."""
        ...
