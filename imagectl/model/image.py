"""An image definition: what ``images/<name>/image.yaml`` says, parsed and checked."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Union

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


Base = DebianBase | DiskBase | ParentBase


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
