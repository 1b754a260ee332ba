"""What a build reads, by digest: the content of ``images/<name>/image.lock`` (P9).

A lock names every input, so that the same bytes can be made again when upstream has changed or is
gone. Packages and indexes are named by their path on a Debian mirror, never by the mirror's
address: any mirror, or none, will do.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imagectl.model.names import Architecture, Format, ImageName, Sha256
from imagectl.model.version import VersionRef


class Archive(enum.Enum):
    """One of the two archives that a Debian mirror has."""

    DEBIAN = "debian"
    SECURITY = "debian-security"


class BuildMode(enum.Enum):
    """How an image is provisioned. Another way gives other bytes, so the lock says which."""

    VM = "vm"


class Access(enum.Enum):
    """How the downloads of a build are answered."""

    RECORD = "record"
    """From upstream, all anew, and kept."""
    EXTEND = "extend"
    """What is locked as it was locked; what is not, from upstream, and kept."""
    LOCKED = "locked"
    """Only what is locked: from the input store, or from upstream where it is still the same."""
    OFFLINE = "offline"
    """Only what is locked, and only from the input store."""


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A Debian package. ``path`` is relative to the archive; ``size`` in bytes."""

    name: str
    version: str
    architecture: str
    archive: Archive = field(compare=False)
    path: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class Index:
    """A signed Release file, or a Packages index that one vouches for, as it was."""

    archive: Archive
    path: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class Download:
    """Any other answer that a build was given: pip, npm, Ansible Galaxy, plain files.

    ``status`` is the HTTP status. An answer without a body, such as a redirect to ``location`` or
    a 404 that a program relies on, has the sha256 of nothing. ``content_type`` is empty where the
    server named none; programs such as pip read it.
    """

    url: str
    status: int
    sha256: Sha256
    size: int
    content_type: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Downloads, each kind sorted by what names it, nothing twice."""

    indexes: tuple[Index, ...] = ()
    packages: tuple[Package, ...] = ()
    downloads: tuple[Download, ...] = ()

    @property
    def all(self) -> tuple[Index | Package | Download, ...]:
        return (*self.indexes, *self.packages, *self.downloads)

    @property
    def size(self) -> int:
        """In bytes, of all of them."""
        return sum(each.size for each in self.all)

    @property
    def digests(self) -> frozenset[Sha256]:
        """What must be in the input store for an offline build."""
        return frozenset(each.sha256 for each in self.all)


def sorted_inputs(each: Iterable[Index | Package | Download]) -> Inputs:
    """Downloads of all kinds in their order, the same one only once."""
    once = tuple(dict.fromkeys(each))
    return Inputs(
        indexes=tuple(
            sorted(
                (index for index in once if isinstance(index, Index)),
                key=lambda index: (index.archive.value, index.path),
            )
        ),
        packages=tuple(
            sorted(
                (package for package in once if isinstance(package, Package)),
                key=lambda package: (
                    package.name,
                    package.version,
                    package.architecture,
                    package.archive.value,
                    package.path,
                ),
            )
        ),
        downloads=tuple(
            sorted(
                (download for download in once if isinstance(download, Download)),
                key=lambda download: download.url,
            )
        ),
    )


@dataclass(frozen=True, slots=True)
class LockedToolchain:
    """The root with the tools that write bytes. ``tree`` is the digest of its canonical tree, which
    the packages in ``inputs`` make, on any machine."""

    suite: str
    tree: Sha256
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class LockedPackagesBase:
    """A base of Debian packages: those in the lock's inputs."""

    suite: str


@dataclass(frozen=True, slots=True)
class LockedDiskBase:
    """A disk made elsewhere. ``size`` in bytes."""

    source: str
    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class LockedParentBase:
    """A parent image's version, and the digest of its canonical tree."""

    ref: VersionRef
    tree: Sha256


@dataclass(frozen=True, slots=True)
class LockedTemplateBase:
    """A disk that the user's own Packer template makes. What that reads cannot be locked."""

    template: str


LockedBase = LockedPackagesBase | LockedDiskBase | LockedParentBase | LockedTemplateBase


@dataclass(frozen=True, slots=True)
class DefinitionDigests:
    """Digests of what the project itself gives to a build.

    ``playbooks`` is over the playbook, its roles and what they read; ``rules`` over the rules for
    volatile paths, the built-in ones and the image's own.
    """

    definition: Sha256
    playbooks: Sha256
    suites: Sha256
    rules: Sha256


@dataclass(frozen=True, slots=True)
class Expected:
    """What the build makes. ``tree`` is None where the disk is kept as Packer left it."""

    tree: Sha256 | None
    raw: Sha256
    formats: Mapping[Format, Sha256]


@dataclass(frozen=True, slots=True)
class Lock:
    """Every input of one image's build.

    ``epoch``, in seconds since 1970, is when the lock was made: no file in the image is newer
    (SOURCE_DATE_EPOCH), and the build VM's clock begins there. ``mirrors`` are the addresses that
    the image itself uses for apt; they are part of its bytes, and need not exist any more.
    """

    image: ImageName
    architecture: Architecture
    mode: BuildMode
    epoch: int
    definition: DefinitionDigests
    mirrors: Mapping[Archive, str]
    toolchain: LockedToolchain
    base: LockedBase
    inputs: Inputs
    expected: Expected
