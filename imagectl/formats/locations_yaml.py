"""``locations`` in ``imagectl.yaml``: the places that artifacts are put in."""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from imagectl.formats.paths import BELOW, FOLDER, URL
from imagectl.formats.reading import Kind, Unfit
from imagectl.formats.scalars import Boolean, Choice, Integer, Text, in_python, matching
from imagectl.formats.schema import (
    As,
    Entries,
    List,
    Record,
    TextOr,
    Values,
    defaulted,
    optional,
    required,
)
from imagectl.formats.secret_ref import SECRET, Unshown
from imagectl.formats.words import CHANNEL_NAME
from imagectl.formats.yaml_strict import shown
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import (
    Ambient,
    Bucket,
    DirectoryLocation,
    GceLocation,
    GcsLocation,
    GoogleCredentials,
    LocationSettings,
    OciLocation,
    S3Location,
    VsphereLocation,
)

# The rules for names are those of the providers' own references.
_PROJECT = matching(
    r"^([a-z][a-z0-9.-]{0,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", "the id of a project"
)
_BUCKET = matching(r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", "the name of a bucket")
_FAMILY = matching(r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", "the beginning of a family's name")
_PLACE = matching(r"^[a-z][a-z0-9-]{0,40}$", "a place of Google's", "such as eu or europe-west1")
_MEMBER = matching(
    r"^(user|serviceAccount|group|domain):[^\s:]+$",
    "an IAM member",
    "such as group:ci@acme.example",
)
_WORD = matching(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$", "a name")
_HOST = matching(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$", "a host's name")
_INVENTORY = matching(
    r"^[^\u0000-\u001f\u007f/]+(/[^\u0000-\u001f\u007f/]+)*$", "a name in vSphere's inventory"
)
_REPOSITORY = matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
    "a place in a registry",
    "HOST[:PORT]/PATH, without https://",
)


_BELOW = r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._=-]+)*$"
_BUCKET_URL = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]" + _BELOW


def _url_of(scheme: str) -> Kind[Bucket]:
    """A place in a bucket, without credentials and without a slash at its end."""
    example = f"{scheme}://BUCKET/PREFIX"
    kind = matching(f"^{scheme}://{_BUCKET_URL}", "a place in a bucket", f"write {example}", 300)

    def bucket(text: str) -> Bucket:
        name, _, prefix = text.removeprefix(f"{scheme}://").partition("/")
        return Bucket(scheme, name, prefix)

    return As(kind, bucket)


class _Google(enum.Enum):
    ADC = "adc"
    ANONYMOUS = "anonymous"


class _Amazon(enum.Enum):
    ENVIRONMENT = "environment"
    ANONYMOUS = "anonymous"


_GOOGLE: Kind[GoogleCredentials] = Unshown(
    TextOr(
        As(Choice(_Google), lambda word: Ambient(word.value)),
        As[SecretRef, GoogleCredentials](SECRET, lambda ref: ref),
    ),
    tuple(word.value for word in _Google),
)
_GOOGLE_CREDENTIALS = defaulted(
    "credentials",
    _GOOGLE,
    "Application Default Credentials, none at all, or where the JSON of a service account is.",
    "adc",
)
_ENDPOINT = optional("endpoint", URL, "A base URL in place of the public one; all calls go there.")


def _day(text: str) -> datetime:
    if _DAY.match(text):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(f"{text}T00:00:00+00:00")
    raise Unfit(f"{shown(text)} is not a day", "write YYYY-MM-DD")


_DAY_PATTERN = r"^2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_DAY = re.compile(in_python(_DAY_PATTERN))
_EXPIRES = optional(
    "credential_expires",
    Text(_day, "a day such as `2027-01-31`", _DAY_PATTERN),
    "The day, in UTC, on which the credential ends: no provider tells. One is warned before it.",
)

_MAX_BUILD_VMS = optional(
    "max_build_vms",
    Integer(1, 100_000),
    "How many of imagectl's throw-away machines there may be at once, leaked ones counted too; one "
    "more is refused. Without it, no limit.",
)

_DIRECTORY_PATH = required(
    "path", FOLDER, "The folder, relative to the project's root or absolute."
)
_DIRECTORY_URL = optional(
    "url",
    BELOW,
    "Where a web server shows that folder: an address, or a path below the published tree's. "
    "`imagectl pull` downloads from there.",
)
_DIRECTORY: Record[LocationSettings] = Record(
    "A folder that consumers can read, here or on a network file system.",
    (_DIRECTORY_PATH, _DIRECTORY_URL),
    lambda values: DirectoryLocation(values[_DIRECTORY_PATH], values[_DIRECTORY_URL]),
)

_GCE_PROJECT = required("project", _PROJECT, "The project that owns the images.")
_GCE_BUCKET = required("bucket", _BUCKET, "A bucket that disks are uploaded to for the import.")
_GCE_PREFIX = optional("family_prefix", _FAMILY, "What the names of families begin with.")
_GCE_CHANNEL = optional(
    "family_channel",
    CHANNEL_NAME,
    "The channel whose head is in the family PREFIX-IMAGE-CHANNEL. Without it, no families.",
)
_GCE_STORAGE = optional("storage_location", _PLACE, "Where Google keeps the images, such as eu.")
_GCE_SHARE = defaulted(
    "share",
    List(_MEMBER, "IAM members", may_be_empty=True),
    "Who else may use the images: they get roles/compute.imageUser on each.",
    [],
)
_GCE_ZONE = optional("zone", _PLACE, "Where throw-away instances are booted for tests.")
_GCE_MACHINE = defaulted("machine_type", _WORD, "What those instances are.", "e2-small")
_GCE_NETWORK = optional("network", _WORD, "The network that they are in.")
_GCE_UPLOADS = optional(
    "storage_endpoint", URL, "The same for the bucket. Neither goes without the other."
)
_GCE: Record[LocationSettings] = Record(
    "Images of a Google Compute Engine project. Takes the format gce.",
    (
        *(_GCE_PROJECT, _GCE_BUCKET, _GCE_PREFIX, _GCE_CHANNEL, _GCE_STORAGE, _GCE_SHARE),
        *(
            _GCE_ZONE,
            _GCE_MACHINE,
            _GCE_NETWORK,
            _MAX_BUILD_VMS,
            _ENDPOINT,
            _GCE_UPLOADS,
            _GOOGLE_CREDENTIALS,
            _EXPIRES,
        ),
    ),
    lambda values: GceLocation(
        project=values[_GCE_PROJECT],
        bucket=values[_GCE_BUCKET],
        family_prefix=values[_GCE_PREFIX] or "",
        family_channel=values[_GCE_CHANNEL],
        storage_location=values[_GCE_STORAGE],
        share=values[_GCE_SHARE],
        zone=values[_GCE_ZONE],
        machine_type=values[_GCE_MACHINE],
        network=values[_GCE_NETWORK],
        max_build_vms=values[_MAX_BUILD_VMS],
        endpoint=values[_ENDPOINT],
        storage_endpoint=values[_GCE_UPLOADS],
        credentials=values[_GOOGLE_CREDENTIALS],
        credential_expires=values[_EXPIRES],
    ),
    lambda values: _both(
        values, "endpoint", "storage_endpoint", "else credentials and disks would go to Google too"
    ),
)

_HOST_NAME = required("host", _HOST, "The vCenter.")
_PORT = defaulted("port", Integer(1, 65535), "Its port.", 443)
_CA = optional("ca", FOLDER, "A PEM file of the authorities to trust, in place of the system's.")
_UNCHECKED = defaulted("insecure", Boolean(), "true: its certificate is not checked.", False)
_DATACENTER = required("datacenter", _INVENTORY, "The datacenter.")
_FOLDER = required("folder", _INVENTORY, "The folder of VMs that the templates are in.")
_DATASTORE = required("datastore", _INVENTORY, "The datastore that their disks are on.")
_POOL = optional("resource_pool", _INVENTORY, "The resource pool to import into.")
_PORT_GROUP = optional("network", _INVENTORY, "The network of clones that are booted for tests.")
_VSPHERE_USER = required("username", SECRET, "The user, by reference.")
_VSPHERE_PASSWORD = required("password", SECRET, "The password, by reference.")
_VSPHERE: Record[LocationSettings] = Record(
    "Templates in a vCenter's folder. Takes the format ova.",
    (
        *(_HOST_NAME, _PORT, _CA, _UNCHECKED, _DATACENTER, _FOLDER, _DATASTORE, _POOL),
        *(_PORT_GROUP, _MAX_BUILD_VMS, _VSPHERE_USER, _VSPHERE_PASSWORD, _EXPIRES),
    ),
    lambda values: VsphereLocation(
        host=values[_HOST_NAME],
        datacenter=values[_DATACENTER],
        folder=values[_FOLDER],
        datastore=values[_DATASTORE],
        username=values[_VSPHERE_USER],
        password=values[_VSPHERE_PASSWORD],
        port=values[_PORT],
        ca=values[_CA],
        insecure=values[_UNCHECKED],
        resource_pool=values[_POOL],
        network=values[_PORT_GROUP],
        max_build_vms=values[_MAX_BUILD_VMS],
        credential_expires=values[_EXPIRES],
    ),
)

_OCI_URL = required("url", _REPOSITORY, "HOST[:PORT]/PATH; each image is a repository below it.")
_PLAIN_HTTP = defaulted("insecure", Boolean(), "true: http in place of https.", False)
_OCI_USER = optional("username", SECRET, "The user, by reference.")
_OCI_PASSWORD = optional("password", SECRET, "The password or token, by reference.")
_OCI: Record[LocationSettings] = Record(
    "Artifacts in a registry. Without a user, what `docker login` has left.",
    (_OCI_URL, _PLAIN_HTTP, _OCI_USER, _OCI_PASSWORD, _EXPIRES),
    lambda values: OciLocation(
        values[_OCI_URL],
        values[_PLAIN_HTTP],
        values[_OCI_USER],
        values[_OCI_PASSWORD],
        values[_EXPIRES],
    ),
    lambda values: _both(values, "username", "password"),
)

_S3_URL = required("url", _url_of("s3"), "The bucket, and where in it: s3://BUCKET/PREFIX.")
_GCS_URL = required("url", _url_of("gs"), "The bucket, and where in it: gs://BUCKET/PREFIX.")
_PUBLIC_URL = optional(
    "public_url",
    BELOW,
    "Where plain downloads of what is at `url` work: an address, or a path below the published "
    "tree's. `imagectl pull` downloads from there; without it, as the bucket's own.",
)
_REGION = optional("region", _PLACE, "Its region; else what the environment says.")
_ACCESS_KEY = optional("access_key", SECRET, "The id of the access key, by reference.")
_SECRET_KEY = optional("secret_key", SECRET, "The key itself, by reference.")
_AMAZON_CREDENTIALS = defaulted(
    "credentials",
    As(Choice(_Amazon), lambda word: Ambient(word.value)),
    "Without keys: those of the environment, or none at all.",
    "environment",
)
_S3: Record[LocationSettings] = Record(
    "A bucket that speaks S3.",
    (
        *(_S3_URL, _ENDPOINT, _REGION),
        *(_ACCESS_KEY, _SECRET_KEY, _AMAZON_CREDENTIALS, _EXPIRES, _PUBLIC_URL),
    ),
    lambda values: S3Location(
        bucket=values[_S3_URL],
        endpoint=values[_ENDPOINT],
        region=values[_REGION],
        access_key=values[_ACCESS_KEY],
        secret_key=values[_SECRET_KEY],
        credentials=values[_AMAZON_CREDENTIALS],
        credential_expires=values[_EXPIRES],
        public_url=values[_PUBLIC_URL],
    ),
    lambda values: _both(values, "access_key", "secret_key"),
)
_GCS: Record[LocationSettings] = Record(
    "A bucket of Google Cloud Storage.",
    (_GCS_URL, _ENDPOINT, _GOOGLE_CREDENTIALS, _EXPIRES, _PUBLIC_URL),
    lambda values: GcsLocation(
        bucket=values[_GCS_URL],
        endpoint=values[_ENDPOINT],
        credentials=values[_GOOGLE_CREDENTIALS],
        credential_expires=values[_EXPIRES],
        public_url=values[_PUBLIC_URL],
    ),
)


def _both(values: Values, one: str, other: str, hint: str = "") -> None:
    """Neither means anything alone, as a user without a password is nobody."""
    typed = set(values.keys())
    for given, missing in ((one, other), (other, one)):
        if given in typed and missing not in typed:
            values.reject((given,), f"needs {missing!r} beside it", hint)


LOCATION_TYPES: Mapping[str, Record[LocationSettings]] = MappingProxyType(
    {
        DirectoryLocation.type: _DIRECTORY,
        GceLocation.type: _GCE,
        VsphereLocation.type: _VSPHERE,
        OciLocation.type: _OCI,
        S3Location.type: _S3,
        GcsLocation.type: _GCS,
    }
)
"""What can be written under ``locations``, by the word in ``type``."""


def check_locations(entries: Entries[LocationName, LocationSettings]) -> None:
    """Two locations are two places: what is taken out of one must not be gone from the other."""
    first: dict[tuple[object, ...], str] = {}
    for name, location in entries.good.items():
        place, key = _place(location)
        if place in first:
            what = f"the place of location {first[place]!r} already"
            entries.reject((name, key), what, "two locations need two places")
        first.setdefault(place, name)


def _place(location: LocationSettings) -> tuple[tuple[object, ...], str]:
    """What tells two locations apart, and the key that says it."""
    match location:
        case DirectoryLocation():
            return ("directory", location.path), "path"
        case GceLocation():
            return ("gce", location.endpoint, location.project), "project"
        case VsphereLocation():
            at = (location.host, location.port, location.datacenter, location.folder)
            return ("vsphere", *at), "folder"
        case OciLocation():
            return ("oci", location.url), "url"
        case S3Location():
            return ("s3", location.endpoint, location.bucket), "url"
        case GcsLocation():
            return ("gcs", location.endpoint, location.bucket), "url"
