"""``imagectl.yaml`` at a project's root: where things are kept. Everything in it has a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from imagectl.formats.locations_yaml import LOCATION_TYPES, check_locations
from imagectl.formats.notify_yaml import NAME as NOTIFY_NAME
from imagectl.formats.notify_yaml import NOTIFY_TYPES
from imagectl.formats.paths import FOLDER, FOLDER_PATTERN, URL, parse_folder
from imagectl.formats.reading import Source, Unfit, read_document
from imagectl.formats.scalars import Boolean, Choice, Duration, Integer, Text, in_python
from imagectl.formats.schema import (
    As,
    Field,
    List,
    Map,
    Record,
    TextOr,
    Typed,
    Values,
    defaulted,
    optional,
    required,
)
from imagectl.formats.secret_ref import SECRET
from imagectl.formats.words import LOCATION_NAME
from imagectl.formats.yaml_strict import load, shown
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import LocationName
from imagectl.model.notice import NotifyTarget
from imagectl.model.place import Bucket, LocationSettings
from imagectl.model.project import (
    Accelerator,
    BuildSettings,
    InputSettings,
    Mirror,
    Project,
)

_SQLITE = "sqlite:///"
_SQLITE_PATTERN = FOLDER_PATTERN.replace("^", f"^{_SQLITE}", 1)
_POSTGRESQL_PATTERN = (
    r"^postgresql\+psycopg://([A-Za-z0-9._%+-]+@)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])?(:[0-9]{1,5})?"
    r"/[A-Za-z0-9._%+-]+(\?(?!(.*&)?password=)[^\u0000-\u0020\u007f#]*)?$"
)


def _catalog_url(text: str) -> str:
    if text.startswith(_SQLITE):
        parse_folder(text.removeprefix(_SQLITE) or ".")
        return text
    if re.match(r"[^/]*://[^/@]*:[^/@]*@", text) or "password=" in text:
        hint = "write the URL without it, and beside it: password: {env: NAME}"
        raise Unfit("a password in the URL", hint)
    if text.startswith(("postgres://", "postgresql://")):
        rest = text.partition("://")[2]
        raise Unfit("the driver is missing", f"write postgresql+psycopg://{rest[:60]}")
    if not re.search(in_python(_POSTGRESQL_PATTERN), text):
        hint = "sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE"
        raise Unfit(f"{shown(text)} is not the URL of a catalog", hint)
    return text


_BUCKET_PATTERN = r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[A-Za-z0-9._=-]+)*$"
_BUCKET = re.compile(r"(s3|gs)://([^/]+)/?(.*)\Z")


def _shared(text: str) -> PurePosixPath | Bucket:
    if "://" not in text:
        return parse_folder(text)
    match = _BUCKET.match(text)
    if not match or not re.search(in_python(_BUCKET_PATTERN), text):
        hint = "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, without a slash at the end"
        if "@" in text or "?" in text:
            hint += "; credentials are those of the environment, never in here"
        raise Unfit(f"{shown(text)} is not a place in a bucket", hint)
    scheme, name, prefix = match.groups()
    if ".." in prefix.split("/") or "." in prefix.split("/"):
        raise Unfit(f"{shown(text)} leads elsewhere", "write the prefix without '.' and '..'")
    return Bucket(scheme, name, prefix)


_SHARED: Text[PurePosixPath | Bucket] = Text(
    _shared,
    "a folder, or s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
    f"({FOLDER_PATTERN})|({_BUCKET_PATTERN})",
    300,
)


class _Tree(NamedTuple):
    to: PurePosixPath | Bucket
    history: bool = False


class _Catalog(NamedTuple):
    url: str
    password: SecretRef | None
    publish: tuple[_Tree, ...]
    keys: tuple[SecretRef | str, ...]


_URL = defaulted(
    "url",
    Text(
        _catalog_url,
        "sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE",
        f"({_SQLITE_PATTERN})|({_POSTGRESQL_PATTERN})",
        300,
    ),
    "The catalog's database: a SQLite file, or PostgreSQL for teams. No password in it.",
    "sqlite:///.imagectl/catalog.sqlite3",
)
_PASSWORD = optional("password", SECRET, "The password of the PostgreSQL user, by reference.")
_TREE_TO: Field[PurePosixPath | Bucket] = required(
    "to",
    _SHARED,
    "The folder, or a place in a bucket. Credentials, region and endpoint of a bucket are those of "
    "the environment.",
)
_TREE_HISTORY = defaulted(
    "history",
    Boolean(),
    "Whether the tree carries every event of the catalog: who did what, when and why. With it, "
    "`imagectl catalog rebuild` makes a lost catalog again.",
    False,
)
TREE: Record[_Tree] = Record(
    "A tree for consumers.",
    (_TREE_TO, _TREE_HISTORY),
    lambda values: _Tree(values[_TREE_TO], values[_TREE_HISTORY]),
)
_PLAIN: As[PurePosixPath | Bucket, _Tree] = As(_SHARED, _Tree)
_PUBLISH = defaulted(
    "publish",
    List(TextOr(_PLAIN, TREE), "folders and places in buckets"),
    "Where the tree for consumers is written to: folders, `s3://BUCKET/PREFIX` or "
    "`gs://BUCKET/PREFIX`; also mappings with `to` and `history`.",
    ["catalog/public"],
)


_KEY_PATTERN = r"^(gcpkms|awskms|azurekms|hv|hsm):[^\u0000-\u0020\u007f]*$"


def _key(text: str) -> SecretRef | str:
    if re.search(in_python(_KEY_PATTERN), text):
        return text
    if "-----BEGIN" in text:
        raise Unfit("a private key", "write the path of a file that has it, or {env: NAME}")
    return SecretRef(SecretKind.FILE, str(parse_folder(text)))


_KEY: Text[SecretRef | str] = Text(
    _key,
    "the path of a PEM file or of a folder of such files, or a URI of gcpkms:, awskms:, azurekms:, "
    "hv: or hsm:",
    f"({FOLDER_PATTERN})|({_KEY_PATTERN})",
    500,
)
_KEYS: Field[tuple[SecretRef | str, ...]] = defaulted(
    "keys",
    List(TextOr(_KEY, SECRET), "signing keys", may_be_empty=True),
    "The private keys of this machine that sign what consumers read; those in .imagectl/keys, made "
    "by the first publish, where it is left out.",
    [],
)


def _check_catalog(values: Values) -> None:
    if _PUBLISH in values:
        places = [str(tree.to) for tree in values[_PUBLISH]]
        for place in sorted({each for each in places if places.count(each) > 1}):
            values.reject(("publish",), f"has {place} a second time", "leave one out")
    if _URL not in values or _PASSWORD not in values:
        return
    if values[_URL].startswith(_SQLITE) and values[_PASSWORD] is not None:
        values.reject(("password",), "a SQLite file has no password", "leave it out")


CATALOG: Record[_Catalog] = Record(
    "The catalog: the record of all versions and channels.",
    (_URL, _PASSWORD, _PUBLISH, _KEYS),
    lambda values: _Catalog(values[_URL], values[_PASSWORD], values[_PUBLISH], values[_KEYS]),
    _check_catalog,
)

_INPUTS_PATH = defaulted(
    "path", FOLDER, "The folder, relative to the project's root or absolute.", ".imagectl/inputs"
)
_INPUTS_SHARED: Field[PurePosixPath | Bucket | None] = optional(
    "shared",
    _SHARED,
    "A store that a team shares: what is missing here is taken from there, what is new here is "
    "put there. Credentials, region and endpoint of a bucket are those of the environment.",
)
INPUTS: Record[InputSettings] = Record(
    "What builds were made from, by digest.",
    (_INPUTS_PATH, _INPUTS_SHARED),
    lambda values: InputSettings(values[_INPUTS_PATH], values[_INPUTS_SHARED]),
)

_MIRROR_DEBIAN = optional("debian", URL, "The mirror of the suites themselves.")
_MIRROR_SECURITY = optional("security", URL, "The mirror of the security updates.")
MIRROR: Record[Mirror] = Record(
    "Debian mirrors, in place of those that this machine's apt is configured with.",
    (_MIRROR_DEBIAN, _MIRROR_SECURITY),
    lambda values: Mirror(values[_MIRROR_DEBIAN], values[_MIRROR_SECURITY]),
)

_ACCELERATOR = defaulted(
    "accelerator",
    Choice(Accelerator),
    "How QEMU runs guests. auto tries whether KVM really boots a kernel, and else uses tcg.",
    "auto",
)
_BOOT_TIMEOUT = defaulted(
    "boot_timeout", Duration(some=True), "How long a guest may take to answer over SSH.", "5m"
)
_MAX_BUILD_VMS = optional(
    "max_build_vms",
    Integer(1, 10_000),
    "How many builds and tests, each with one VM at a time, may run on a host at once; one more is "
    "refused. Without it, no limit.",
)
BUILD: Record[BuildSettings] = Record(
    "How images are built on this machine.",
    (_ACCELERATOR, _BOOT_TIMEOUT, _MAX_BUILD_VMS),
    lambda values: BuildSettings(
        values[_ACCELERATOR], values[_BOOT_TIMEOUT], values[_MAX_BUILD_VMS]
    ),
)

_CATALOG = defaulted("catalog", CATALOG, CATALOG.meaning, {})
_STORE = defaulted(
    "store", FOLDER, "The folder of the artifacts, by their digests.", ".imagectl/store"
)
_INPUTS = defaulted(
    "inputs",
    TextOr(As(FOLDER, InputSettings), INPUTS),
    "The folder of what builds were made from, by digest; also a mapping.",
    ".imagectl/inputs",
)
_LOCATIONS: Field[Mapping[LocationName, LocationSettings]] = defaulted(
    "locations",
    Map(LOCATION_NAME, Typed(LOCATION_TYPES), "a mapping of locations", check=check_locations),
    "The places that artifacts are put in and that consumers pull from.",
    {"local": {"type": "directory", "path": ".imagectl/locations/local"}},
)
_MIRROR = defaulted("mirror", MIRROR, MIRROR.meaning, {})
_BUILD = defaulted("build", BUILD, BUILD.meaning, {})
_SECURITY_DATA = optional(
    "security_data",
    URL,
    "Where `imagectl scan` fetches Debian's security data from: what debsecan(1) calls its source.",
)

_RECEIPTS = optional(
    "receipts",
    FOLDER,
    "A folder that consumers share: who has resolved what, and when last. Cleanups keep what was "
    "used lately, and stop where it cannot be read. The project's own where it is left out.",
)

_NOTIFY: Field[Mapping[str, NotifyTarget]] = defaulted(
    "notify",
    Map(NOTIFY_NAME, Typed(NOTIFY_TYPES), "a mapping of who is told", may_be_empty=True),
    "Who is told of promotions, rollbacks, revocations, announcements and cleanups.",
    {},
)

PROJECT: Record[Project] = Record(
    "The settings of a project: imagectl.yaml.",
    (_CATALOG, _STORE, _INPUTS, _LOCATIONS, _MIRROR, _BUILD, _SECURITY_DATA, _RECEIPTS, _NOTIFY),
    lambda values: Project(
        catalog_url=values[_CATALOG].url,
        catalog_password=values[_CATALOG].password,
        publish=tuple(tree.to for tree in values[_CATALOG].publish),
        store=values[_STORE],
        inputs=values[_INPUTS],
        locations=MappingProxyType(dict(values[_LOCATIONS])),
        mirror=values[_MIRROR],
        build=values[_BUILD],
        security_data=values[_SECURITY_DATA],
        receipts=values[_RECEIPTS],
        signing_keys=values[_CATALOG].keys,
        notify=MappingProxyType(dict(values[_NOTIFY])),
        with_history=frozenset(tree.to for tree in values[_CATALOG].publish if tree.history),
    ),
)
"""The whole file."""


def parse_project(data: bytes, file: str) -> tuple[Project, Source]:
    """The settings in *data*, and the places of their values for what is checked later; an empty
    file is a project with every default. Raises BadInput."""
    document = load(data, file)
    return read_document(PROJECT, document), Source(file, document.root)
