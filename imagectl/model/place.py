"""The settings of locations: what ``imagectl.yaml`` says about one place that consumers pull from.

``credential_expires`` is when a credential ends, aware and in UTC: no provider tells that of
long-lived ones, and it is what people forget. None: never, or nobody has written it down.

Which formats a type of location takes is said here, since policies ask for it: a version is in a
location when all its artifacts that the location takes are there.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import ClassVar

from imagectl.model.image import SecretRef
from imagectl.model.names import DISKS, ChannelName, Format, LocationName

ALL_DISKS = frozenset(DISKS)


class Ambient(enum.Enum):
    """Credentials that are not named by a reference."""

    ADC = "adc"
    """Google's Application Default Credentials, as its libraries find them."""
    ENVIRONMENT = "environment"
    """Those that the provider's own tools would use: environment variables, then its files."""
    ANONYMOUS = "anonymous"
    """None at all: for tests and private clouds."""


GoogleCredentials = Ambient | SecretRef
"""ADC, ANONYMOUS, or where the JSON of a service account is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in an object store: ``s3`` or ``gs``, and where below the bucket."""

    scheme: str
    name: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}{f'/{self.prefix}' if self.prefix else ''}"


@dataclass(frozen=True, slots=True)
class DirectoryLocation:
    """A folder, which consumers read. ``path`` is relative to the project's root, or absolute."""

    type: ClassVar[str] = "directory"
    takes: ClassVar[frozenset[Format]] = ALL_DISKS

    path: PurePosixPath
    public_url: str | None = None
    """Where a web server shows that folder: an address, or a path below the published tree's; None:
    nowhere. It means the same in buckets."""


@dataclass(frozen=True, slots=True)
class GceLocation:
    """A project of Google Compute Engine. ``endpoint`` and ``storage_endpoint`` are base URLs that
    stand in for the public ones; with them set, no call goes to the public addresses."""

    type: ClassVar[str] = "gce"
    takes: ClassVar[frozenset[Format]] = frozenset({Format.GCE, Format.NATIVE})

    project: str
    bucket: str
    """Where disks are uploaded to, to be imported from."""
    family_prefix: str = ""
    """The family is ``PREFIX-IMAGE-CHANNEL``, or ``IMAGE-CHANNEL`` without one."""
    family_channel: ChannelName | None = None
    """The channel whose head is in the family; None: no families."""
    storage_location: str | None = None
    """Where Google keeps the images, such as ``eu``; None: the closest multi-region."""
    share: tuple[str, ...] = ()
    """IAM members that may use the images, such as ``serviceAccount:ci@acme.example``."""
    zone: str | None = None
    """Where throw-away instances boot; None: no boot tests here."""
    machine_type: str = "e2-small"
    network: str | None = None
    max_build_vms: int | None = None
    """How many of imagectl's instances there may be at once; None: as many as one likes."""
    endpoint: str | None = None
    storage_endpoint: str | None = None
    credentials: GoogleCredentials = Ambient.ADC
    credential_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class VsphereLocation:
    """A folder of templates in a vCenter's datacenter. Names may be inventory paths."""

    type: ClassVar[str] = "vsphere"
    takes: ClassVar[frozenset[Format]] = frozenset({Format.OVA, Format.NATIVE})

    host: str
    datacenter: str
    folder: str
    datastore: str
    username: SecretRef
    password: SecretRef
    port: int = 443
    ca: PurePosixPath | None = None
    """A PEM file of authorities to trust in place of the system's."""
    insecure: bool = False
    """The certificate is not checked."""
    resource_pool: str | None = None
    """None: the root pool of the datacenter's first cluster or host."""
    network: str | None = None
    """What throw-away clones are connected to; None: as in the template."""
    max_build_vms: int | None = None
    """How many of imagectl's clones there may be at once; None: as many as one likes."""
    credential_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class OciLocation:
    """A repository prefix in a registry of OCI artifacts: ``HOST[:PORT]/PATH``."""

    type: ClassVar[str] = "oci"
    takes: ClassVar[frozenset[Format]] = ALL_DISKS

    url: str
    insecure: bool = False
    """Plain http."""
    username: SecretRef | None = None
    password: SecretRef | None = None
    """Both None: what ``docker login`` has left, else nobody."""
    credential_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class S3Location:
    """A place in a bucket that speaks S3."""

    type: ClassVar[str] = "s3"
    takes: ClassVar[frozenset[Format]] = ALL_DISKS

    bucket: Bucket
    endpoint: str | None = None
    region: str | None = None
    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    """Both None: ``credentials``."""
    credentials: Ambient = Ambient.ENVIRONMENT
    credential_expires: datetime | None = None
    public_url: str | None = None


@dataclass(frozen=True, slots=True)
class GcsLocation:
    """A place in a bucket of Google Cloud Storage."""

    type: ClassVar[str] = "gcs"
    takes: ClassVar[frozenset[Format]] = ALL_DISKS

    bucket: Bucket
    endpoint: str | None = None
    credentials: GoogleCredentials = Ambient.ADC
    credential_expires: datetime | None = None
    public_url: str | None = None


LocationSettings = (
    DirectoryLocation | GceLocation | VsphereLocation | OciLocation | S3Location | GcsLocation
)
"""The settings of one location."""


def public_urls(locations: Mapping[LocationName, LocationSettings]) -> dict[LocationName, str]:
    """Where plain downloads work, of those locations of which that was said."""
    return {
        name: each.public_url
        for name, each in locations.items()
        if isinstance(each, DirectoryLocation | S3Location | GcsLocation) and each.public_url
    }


Takes = Mapping[LocationName, Collection[Format]]
"""The formats that each location takes. A location that is not in it is not configured."""
