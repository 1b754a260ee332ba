"""The steps of a build: equipment, base, provisioning, disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagectl.model.image import Image
from imagectl.model.lock import (
    Access,
    Archive,
    Inputs,
    Lock,
    LockedDiskBase,
    LockedToolchain,
)
from imagectl.model.names import (
    Format,
    Sha256,
)
from imagectl.model.version import (
    Version,
)
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class CanonicalTree:
    """A file tree as its canonical tar, which is a build's identity.

    ``sha256`` and ``size`` (bytes) are those of the file ``path``; ``entries`` counts its members.
    """

    path: Path
    sha256: Sha256
    size: int
    entries: int


class Bases(Protocol):
    """Makes the file trees that builds begin with."""

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> Base:
        """The base, in the workspace. ``parent`` has a tree. Raises BuildFailed, CannotTell,
        NotFound, Corrupt."""
        ...


@dataclass(frozen=True, slots=True)
class OpaqueDisk:
    """A raw disk whose layout is not understood, kept as it is. ``cause`` says why, for people."""

    path: Path
    cause: str


Base = CanonicalTree | OpaqueDisk
Finished = CanonicalTree | OpaqueDisk


class Provisioner(Protocol):
    """Packer and Ansible."""

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        """The finished tree: the base booted in a VM, provisioned, shut down and read back; of an
        opaque disk, that disk as the VM left it.

        Raises BuildFailed, with the task and its place, or GuestUnreachable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """Disks that were written. ``raw`` is the digest of the raw disk that all of them hold;
    ``bootable`` is one of ``files`` that QEMU boots, or the raw disk itself."""

    raw: Sha256
    files: Mapping[Format, Path]
    bootable: tuple[Path, Format]


class Disks(Protocol):
    """Writes disks from trees, the same bytes from the same tree."""

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        """A disk of the image's size in each of its formats, each read back and found to hold the
        raw disk. Raises BuildFailed if too small, Corrupt."""
        ...

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        """The tree in the form that the artifact store keeps."""
        ...

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        """The tree again. Raises Corrupt."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a lock, or its absence, settles for one build.

    ``project``: the folder that the definition's paths are relative to. ``lock`` is None where
    ``access`` is RECORD. ``fresh``: nothing of an earlier build is used but its inputs.
    """

    project: Path
    access: Access
    lock: Lock | None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What a build has read."""

    toolchain: LockedToolchain
    mirrors: Mapping[Archive, str]
    inputs: Inputs
    disk: LockedDiskBase | None = None
    """The disk made elsewhere that was the base; None for other bases."""


class Equipment(Protocol):
    """What one build works with, under its conditions. Downloads all go through one proxy."""

    @property
    def bases(self) -> Bases: ...

    @property
    def provisioner(self) -> Provisioner: ...

    @property
    def disks(self) -> Disks: ...

    def taken(self) -> Taken:
        """All that was read so far, sorted; in EXTEND also what is locked, where it was used."""
        ...


class Equipper(Protocol):
    """Sets up a build's equipment."""

    def equip(
        self, conditions: Conditions, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Equipment]:
        """For as long as the block runs. ``work.epoch`` is the lock's, or the new lock's.

        Raises what making the toolchain does, and NotFound, with all that is missing, where OFFLINE
        and the input store lacks something.
        """
        ...


@dataclass(frozen=True, slots=True)
class Made:
    """How artifacts came about. Times are aware, in UTC; ``tool`` is imagectl's version."""

    started: datetime
    finished: datetime
    tool: str
    source: Sha256
    tests: Sha256


class Templates(Protocol):
    """Runs the users' own Packer templates."""

    def make_image(self, image: Image, project: Path, work: Workspace, progress: Progress) -> str:
        """Let the template of *image* make an image in a location; what its builder calls it.

        Raises BuildFailed where it fails, or it cannot be told what it has made; NotFound for a
        secret that is not there.
        """
        ...
