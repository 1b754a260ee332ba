"""A project's settings: what ``imagectl.yaml`` says about where things are kept."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath

from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.notice import NotifyTarget
from imagectl.model.place import Bucket, LocationSettings


class Accelerator(enum.Enum):
    """How QEMU runs a guest. ``auto`` probes once whether KVM really boots a kernel."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Debian mirrors to use in place of those of this machine's apt. URLs, or None for apt's."""

    debian: str | None = None
    security: str | None = None


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How images are built on this machine. ``boot_timeout``: how long a guest may take to answer
    over SSH. Emulated, 15 to 30 s were measured on an idle machine; a busy one takes several times
    that. ``max_build_vms``: how many builds and tests, each with a VM at a time, may run on a host
    at once; None: as many as one likes."""

    accelerator: Accelerator
    boot_timeout: timedelta
    max_build_vms: int | None = None


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Where inputs are kept: a folder, and a store behind it that a team shares, or None."""

    path: PurePosixPath
    shared: PurePosixPath | Bucket | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """``imagectl.yaml``. Paths are relative to the project's root, or absolute: ``root / path``.

    ``catalog_url`` is SQLAlchemy's; the path in ``sqlite:///PATH`` is one of those too. It never
    holds a password: that is ``catalog_password``. ``security_data`` is the URL that the suite's
    name is added to, for what debsecan reads; None where the network is not to be asked.
    ``signing_keys`` are the private keys of this machine for the published trees: secrets with a
    PEM in them, folders of such files, or URIs of keys elsewhere; empty: those made here.
    ``receipts``: a folder that consumers share, and that has to be there; None: the project's own,
    which is there when the first of them has resolved something. ``with_history``: those of
    ``publish`` whose trees carry the events of the catalog, too.
    """

    catalog_url: str
    catalog_password: SecretRef | None
    publish: tuple[PurePosixPath | Bucket, ...]
    store: PurePosixPath
    inputs: InputSettings
    locations: Mapping[LocationName, LocationSettings]
    mirror: Mirror
    build: BuildSettings
    security_data: str | None = None
    receipts: PurePosixPath | None = None
    signing_keys: tuple[SecretRef | str, ...] = ()
    notify: Mapping[str, NotifyTarget] = field(default_factory=dict)
    with_history: frozenset[PurePosixPath | Bucket] = frozenset()

    @property
    def first_folder(self) -> PurePosixPath | None:
        """The first published tree that is on this machine; None where all are in buckets."""
        return next((each for each in self.publish if not isinstance(each, Bucket)), None)
