"""An image definition: what ``images/<name>/image.yaml`` says, parsed and checked."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple, Union

from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    Sha256,
)

JsonValue = Union[None, bool, int, str, list["JsonValue"], dict[str, "JsonValue"]]  # noqa: UP007
"""What a definition's ``vars`` may hold. Decimal fractions stay text: ``3.10`` is not ``3.1``."""


class SecretKind(enum.Enum):
    """Where a secret is read from, in the words that users type."""

    ENV = "env"
    FILE = "file"
    KEYRING = "keyring"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A secret by reference. The value itself is never in a definition, a log or the catalog."""

    kind: SecretKind
    name: str

    def __str__(self) -> str:
        return f"{{{self.kind.value}: {self.name}}}"


@dataclass(frozen=True, slots=True)
class DebianBase:
    """A Debian base made by mmdebstrap: a suite and the packages beyond ``minbase``."""

    suite: str
    packages: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)


@dataclass(frozen=True, slots=True)
class DiskBase:
    """A disk made elsewhere. ``source`` is an https URL, or a path relative to the project."""

    source: str
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class ParentBase:
    """Another image's version, by channel or by version (never bare)."""

    ref: ImageRef


@dataclass(frozen=True, slots=True)
class PackerTemplate:
    """The user's own Packer template, which makes the whole image: in place of a base and Ansible.

    ``template`` is relative to the project. ``variables`` and ``secrets`` are handed to it as
    Packer variables; secrets are resolved at build time, and never logged. ``only`` names the one
    build of several; ``builds`` the location in which the image is made. Where that is None, the
    template leaves a disk on this machine.
    """

    template: PurePosixPath
    variables: Mapping[str, JsonValue] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    only: str | None = None
    builds: LocationName | None = None


Base = DebianBase | DiskBase | ParentBase | PackerTemplate


@dataclass(frozen=True, slots=True)
class Provision:
    """What Ansible does to the base: the roles in order, then the playbook.

    ``playbook`` is relative to the project; ``roles`` are names in ``playbooks/roles``.
    ``secrets`` are handed to Ansible as variables, resolved at build time, and never logged.
    """

    playbook: PurePosixPath | None = None
    roles: tuple[str, ...] = ()
    variables: Mapping[str, JsonValue] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)


class VolatileAction(enum.Enum):
    """What becomes of a volatile path."""

    DROP = "drop"
    """It is not in the image. A folder goes with all that is in it."""
    EMPTY = "empty"
    """The file stays, with its owner and mode, and holds nothing."""
    REWRITE = "rewrite"
    """A part of the file's text is replaced."""
    FIRST_BOOT = "first-boot"
    """It is not in the image; each machine makes its own when it boots for the first time."""


class Edit(NamedTuple):
    """A part of a file's text, as a regular expression, and what takes its place: see
    ``model.patterns.to_edit``."""

    find: str
    replace: str


@dataclass(frozen=True, slots=True)
class VolatileRule:
    """What becomes of paths in which two builds of an image would differ, and why.

    ``path`` is a pattern of ``model/patterns.py``. ``edits`` are for REWRITE, applied in their
    order; ``command``, one line for a shell, is for FIRST_BOOT. Else they are empty.
    """

    path: str
    action: VolatileAction
    reason: str
    edits: tuple[Edit, ...] = ()
    command: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One image definition. Paths are relative to the project's root; sizes are in bytes."""

    name: ImageName
    summary: str
    base: Base
    architecture: Architecture
    disk_size: int
    provision: Provision
    suites: tuple[PurePosixPath, ...]
    formats: tuple[Format, ...]
    required_locations: tuple[LocationName, ...]
    optional_locations: tuple[LocationName, ...] = ()
    build_memory: int = 1 << 30
    build_cpus: int = 2
    test_memory: int = 1 << 30
    volatile: tuple[VolatileRule, ...] = ()
    """In their order; they come before the rules that every image has."""
