"""In what two versions differ, as far as people care: the answer of ``imagectl diff``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from imagectl.model.version import Version


class ChangeKind(enum.Enum):
    """What became of something."""

    ADDED = "added"
    REMOVED = "removed"
    UPGRADED = "upgraded"
    DOWNGRADED = "downgraded"
    CHANGED = "changed"


class Ecosystem(enum.Enum):
    """Whose package something is."""

    DEBIAN = "debian"
    PIP = "pip"
    NPM = "npm"


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that differs. ``where`` is its architecture, or the folder of a pip or npm package.
    Of what was not there before, or is not there any more, the version is None."""

    ecosystem: Ecosystem
    name: str
    where: str
    before: str | None
    after: str | None
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path that differs; ``details`` say in what, such as ``mode 0644 -> 0600``."""

    path: str
    kind: ChangeKind
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NameChange:
    """A user, group, service, port or the like that differs; ``details`` say in what."""

    name: str
    kind: ChangeKind
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SizeChange:
    """Bytes, or a number of files. None where the version has no such thing."""

    name: str
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class TestChange:
    """A test with another outcome; None where it did not exist."""

    __test__ = False  # not a pytest class

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """In what *after* differs from *before*. Everything is sorted.

    ``aspects`` has a list for each of services, masked services, listening ports, users, groups,
    kernels and the system's own words (os-release), also where it is empty: nothing was left out.
    ``tests`` is None where a report is not there to be read: then it is not known which tests
    differ (P8).
    """

    before: Version
    after: Version
    packages: tuple[PackageChange, ...]
    aspects: Mapping[str, tuple[NameChange, ...]]
    files: tuple[FileChange, ...]
    sizes: tuple[SizeChange, ...]
    tests: tuple[TestChange, ...] | None

    @property
    def identical(self) -> bool:
        """Whether the trees are the same, byte for byte."""
        one, other = self.before.tree, self.after.tree
        return one is not None and other is not None and one.sha256 == other.sha256
