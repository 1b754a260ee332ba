"""What is in a version, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagectl.model.contents import Contents, Listed
from imagectl.model.image import Image
from imagectl.model.lock import (
    Lock,
)
from imagectl.model.security import SecurityData
from imagectl.model.version import (
    Artifact,
    Inside,
    TestSummary,
)
from imagectl.services.ports.building import CanonicalTree, Made
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class Difference:
    """One path in which two trees differ. ``detail`` says how, ``advice`` what to do about it."""

    path: str
    detail: str
    advice: str


REST = "..."
"""In place of a path: all the others in which two trees differ."""


class Comparer(Protocol):
    """Says in what two trees differ."""

    def compare(
        self, one: Path, other: Path, work: Workspace, progress: Progress
    ) -> tuple[Difference, ...]:
        """The differences between two canonical tars, sorted by path.

        At most 100, and after them one with the path ``REST`` that counts what is left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Findings:
    """Documents about a tree, in the workspace. See ``model.version.Inside``."""

    contents: Path
    manifest: Path
    spdx: Path
    cyclonedx: Path


class Inspector(Protocol):
    """Looks into a finished tree and says what is in it."""

    def inspect(
        self, image: Image, tree: CanonicalTree, ports: Sequence[str], work: Workspace
    ) -> Findings:
        """``ports``: what listened on the booted artifact. Deterministic: equal trees, equal
        documents (but for ``ports``)."""
        ...

    def attest(
        self, image: Image, lock: Lock, artifacts: Sequence[Artifact], made: Made, work: Workspace
    ) -> Path:
        """A signed statement of provenance: which artifacts were made, from what, by what."""
        ...


class Documents(Protocol):
    """Reads what inspectors and provers have written, from the artifact store.

    Every method raises NotFound where a document is not there, and Corrupt where it is another.
    """

    def contents(self, inside: Inside) -> Contents:
        """What is in the version."""
        ...

    def files(self, inside: Inside) -> Iterator[Listed]:
        """Each path of the version, sorted by its bytes. Raises as it goes."""
        ...

    def outcomes(self, tests: TestSummary) -> Mapping[str, str]:
        """How each test ended, by ``SUITE::TEST``."""
        ...


class Advisories(Protocol):
    """Debian's security data.

    Every method raises CannotTell where the data is damaged, truncated or not there. How old it may
    be, and whether it is about the right suite, is for the caller to judge.
    """

    def kept(self, suite: str) -> SecurityData | None:
        """What was fetched last and kept here; None where nothing was."""
        ...

    def read(self, snapshot: Path, suite: str) -> SecurityData:
        """What somebody else has fetched: a folder, of which the data about *suite* is read, or a
        file of one."""
        ...

    def fetch(self, suite: str, now: datetime) -> SecurityData:
        """From the network; kept, durable on return."""
        ...
