"""What may stand where in ``images/<name>/image.lock``; ``lock_text.py`` reads and writes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from imagectl.formats.paths import PATH, PATH_PATTERN, SOURCE, URL, parse_path
from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import ONE_LINE, Choice, Integer, Text, matching, one_of
from imagectl.formats.schema import (
    Field,
    List,
    Map,
    OneOf,
    Record,
    Values,
    defaulted,
    optional,
    required,
)
from imagectl.formats.words import IMAGE_NAME, SHA256
from imagectl.formats.yaml_strict import shown
from imagectl.model.lock import (
    Archive,
    BuildMode,
    DefinitionDigests,
    Download,
    Expected,
    Index,
    Inputs,
    Lock,
    LockedBase,
    LockedDiskBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
    LockedToolchain,
    Package,
    sorted_inputs,
)
from imagectl.model.names import Architecture, Format, Sha256, parse_image_ref
from imagectl.model.version import VersionRef

VERSION = 1
"""Of the text. A field more needs a version more, since the checksum covers all fields."""

MAX_INPUTS = 50_000
"""Most inputs of one kind."""

_MOST = 2**53 - 1
_LONG = 8000
"""Longest URL, in characters: servers refuse longer ones."""

_EPOCH_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
_PARENT_PATTERN = r"^[a-z](-?[a-z0-9])*@[0-9]{8}\.[1-9][0-9]{0,5}$"
_URL_PATTERN = r"^https?://[^\u0000-\u0020\u007f-\u009f\u2028\u2029]+$"


def _epoch(text: str) -> int:
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Unfit(f"{shown(text)} is not a time such as 2026-11-20T12:00:00Z") from None
    if at.year < 1970:
        raise Unfit(f"{shown(text)} is before 1970")
    return round(at.timestamp())


def _parent(text: str) -> VersionRef:
    ref = parse_image_ref(text)
    if ref.version is None:
        raise Unfit(f"{shown(text)} is not a version: IMAGE@VERSION is expected")
    return VersionRef(ref.image, ref.version)


_ARCHIVE = required("archive", Choice(Archive), "The archive of the mirror that it is in.")
_PATH = required(
    "path",
    Text(lambda text: str(parse_path(text)), "a path on a mirror", PATH_PATTERN, 1000),
    "Where in the archive.",
)
_SHA256 = required("sha256", SHA256, "The digest of the bytes.")
_SIZE = required("size", Integer(0, _MOST), "In bytes.")
INDEX: Record[Index] = Record(
    "A signed Release file of a Debian archive, or a Packages index, as it was.",
    (_ARCHIVE, _PATH, _SHA256, _SIZE),
    lambda values: Index(values[_ARCHIVE], values[_PATH], values[_SHA256], values[_SIZE]),
)

_NAME = required(
    "name", matching(r"^[a-z0-9][a-z0-9.+-]*$", "a package name"), "The name of the package."
)
_PACKAGE_VERSION = required(
    "version",
    matching(r"^[A-Za-z0-9.+~:-]+$", "a version of a Debian package"),
    "The version of the package.",
)
_PACKAGE_ARCHITECTURE = required(
    "architecture",
    matching(r"^[a-z0-9][a-z0-9-]*$", "an architecture in Debian's words"),
    "The architecture of the package, or `all`.",
)
PACKAGE: Record[Package] = Record(
    "A Debian package.",
    (_NAME, _PACKAGE_VERSION, _PACKAGE_ARCHITECTURE, _ARCHIVE, _PATH, _SHA256, _SIZE),
    lambda values: Package(
        name=values[_NAME],
        version=values[_PACKAGE_VERSION],
        architecture=values[_PACKAGE_ARCHITECTURE],
        archive=values[_ARCHIVE],
        path=values[_PATH],
        sha256=values[_SHA256],
        size=values[_SIZE],
    ),
)

_URL = required(
    "url", matching(_URL_PATTERN, "an http or https URL", longest=_LONG), "What was asked for."
)
_STATUS = required("status", Integer(100, 599), "The HTTP status of the answer.")
_TYPE = optional(
    "content_type", Text(str, "a media type", ONE_LINE, 1000), "The media type that it was given."
)
_LOCATION = optional("location", Text(str, "a URL", ONE_LINE, _LONG), "Where it redirects to.")
DOWNLOAD: Record[Download] = Record(
    "Any other answer: of pip, npm, Ansible Galaxy, or a plain file.",
    (_URL, _STATUS, _TYPE, _LOCATION, _SHA256, _SIZE),
    lambda values: Download(
        url=values[_URL],
        status=values[_STATUS],
        sha256=values[_SHA256],
        size=values[_SIZE],
        content_type=values[_TYPE] or "",
        location=values[_LOCATION] or "",
    ),
)

_INDEXES = defaulted(
    "indexes", List(INDEX, "indexes", may_be_empty=True, longest=MAX_INPUTS), INDEX.meaning, []
)
_PACKAGES = defaulted(
    "packages",
    List(PACKAGE, "packages", may_be_empty=True, longest=MAX_INPUTS),
    PACKAGE.meaning,
    [],
)
_DOWNLOADS = defaulted(
    "downloads",
    List(DOWNLOAD, "downloads", may_be_empty=True, longest=MAX_INPUTS),
    DOWNLOAD.meaning,
    [],
)


def _inputs(values: Values) -> Inputs:
    return sorted_inputs((*values[_INDEXES], *values[_PACKAGES], *values[_DOWNLOADS]))


def _check_inputs(values: Values) -> None:
    """One answer for each thing that can be asked for: a merge of two locks may leave two."""
    if _INDEXES in values:
        _refuse_twice(values, _INDEXES, [(each.archive, each.path) for each in values[_INDEXES]])
    if _PACKAGES in values:
        _refuse_twice(values, _PACKAGES, [(each.archive, each.path) for each in values[_PACKAGES]])
    if _DOWNLOADS in values:
        _refuse_twice(values, _DOWNLOADS, [each.url for each in values[_DOWNLOADS]])


def _refuse_twice(values: Values, field: Field[Any], names: Iterable[object]) -> None:
    seen: dict[object, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name, index)
        if first != index:
            what = f"the same as {field.key}[{first}] a second time, with another answer"
            values.reject((field.key, index), what)


INPUTS: Record[Inputs] = Record(
    "What was downloaded.", (_INDEXES, _PACKAGES, _DOWNLOADS), _inputs, _check_inputs
)

_SUITE = required(
    "suite", matching(r"^[a-z][a-z0-9-]*$", "a Debian suite"), "The Debian release it is made of."
)
_TREE = required("tree", SHA256, "The digest of its canonical tree.")
TOOLCHAIN: Record[LockedToolchain] = Record(
    "The root with the tools that write disks, and what it is made of.",
    (_SUITE, _TREE, _INDEXES, _PACKAGES, _DOWNLOADS),
    lambda values: LockedToolchain(values[_SUITE], values[_TREE], _inputs(values)),
    _check_inputs,
)

_PACKAGES_BASE: Record[LockedBase] = Record(
    "A base of Debian packages: those in `inputs`.",
    (_SUITE,),
    lambda values: LockedPackagesBase(values[_SUITE]),
)
_SOURCE = required("source", SOURCE, "Where the disk was: a URL, or a path inside the project.")
_DISK_BASE: Record[LockedBase] = Record(
    "A disk that was made elsewhere.",
    (_SOURCE, _SHA256, _SIZE),
    lambda values: LockedDiskBase(values[_SOURCE], values[_SHA256], values[_SIZE]),
)
_PARENT = required(
    "version", Text(_parent, "IMAGE@VERSION", _PARENT_PATTERN, 100), "The version of the parent."
)
_PARENT_BASE: Record[LockedBase] = Record(
    "A version of another image.",
    (_PARENT, _TREE),
    lambda values: LockedParentBase(values[_PARENT], values[_TREE]),
)
_TEMPLATE = required("path", PATH, "The template, a path inside the project.")
_TEMPLATE_BASE: Record[LockedBase] = Record(
    "A disk that the user's own Packer template makes. What that reads cannot be locked.",
    (_TEMPLATE,),
    lambda values: LockedTemplateBase(str(values[_TEMPLATE])),
)
BASE: OneOf[LockedBase] = OneOf(
    {
        "packages": (_PACKAGES_BASE, _PACKAGES_BASE.meaning),
        "disk": (_DISK_BASE, _DISK_BASE.meaning),
        "parent": (_PARENT_BASE, _PARENT_BASE.meaning),
        "template": (_TEMPLATE_BASE, _TEMPLATE_BASE.meaning),
    }
)

_DEFINITION = required("definition", SHA256, "Of image.yaml.")
_PLAYBOOKS = required("playbooks", SHA256, "Of the playbook, its roles and what they read.")
_SUITES = required("suites", SHA256, "Of the Testinfra suites.")
_RULES = required("rules", SHA256, "Of the rules for volatile paths.")
PROJECT: Record[DefinitionDigests] = Record(
    "Digests of what the project itself gives to a build.",
    (_DEFINITION, _PLAYBOOKS, _SUITES, _RULES),
    lambda values: DefinitionDigests(
        values[_DEFINITION], values[_PLAYBOOKS], values[_SUITES], values[_RULES]
    ),
)

_EXPECTED_TREE = optional(
    "tree", SHA256, "Of the canonical tree. Absent where the disk is kept as Packer left it."
)
_RAW = required("raw", SHA256, "Of the raw disk.")
_FORMATS = required(
    "formats",
    Map(one_of(Format, "a disk format"), SHA256, "a mapping of disk formats", may_be_empty=True),
    "Of each file that is delivered.",
)
EXPECTED: Record[Expected] = Record(
    "Digests of what the build makes.",
    (_EXPECTED_TREE, _RAW, _FORMATS),
    lambda values: Expected(values[_EXPECTED_TREE], values[_RAW], values[_FORMATS]),
)

_VERSION = required("version", Integer(VERSION, VERSION), "Of this file's own form.")
_CHECKSUM = required("checksum", SHA256, "Of all that follows. It shows edits by hand.")
_IMAGE = required("image", IMAGE_NAME, "The image that it is of.")
_ARCHITECTURE = required("architecture", Choice(Architecture), "The processor it is for.")
_MODE = required("mode", Choice(BuildMode), "How the image is provisioned.")
_EPOCH = required(
    "epoch",
    Text(_epoch, "a time in UTC such as 2026-11-20T12:00:00Z", _EPOCH_PATTERN),
    "When the lock was made: no file of the image is newer, and the build VM's clock begins there.",
)
_PROJECT = required("project", PROJECT, PROJECT.meaning)
_EXPECTED = required("expected", EXPECTED, EXPECTED.meaning)
_MIRRORS = required(
    "mirrors",
    Map(one_of(Archive, "an archive"), URL, "a mapping of archives", may_be_empty=True),
    "The addresses that the image itself uses for apt. A build needs none of them.",
)
_BASE: Field[LockedBase] = required("base", BASE, "What the image is made from.")
_TOOLCHAIN = required("toolchain", TOOLCHAIN, TOOLCHAIN.meaning)
_INPUTS = required("inputs", INPUTS, INPUTS.meaning)


class Written(NamedTuple):
    """What the file says: a lock, and the checksum that should be that of its text."""

    checksum: Sha256
    lock: Lock


def _written(values: Values) -> Written:
    lock = Lock(
        image=values[_IMAGE],
        architecture=values[_ARCHITECTURE],
        mode=values[_MODE],
        epoch=values[_EPOCH],
        definition=values[_PROJECT],
        mirrors=values[_MIRRORS],
        toolchain=values[_TOOLCHAIN],
        base=values[_BASE],
        inputs=values[_INPUTS],
        expected=values[_EXPECTED],
    )
    return Written(values[_CHECKSUM], lock)


LOCK: Record[Written] = Record(
    "Every input of an image, by digest: images/<name>/image.lock. Written by imagectl.",
    (
        _VERSION,
        _CHECKSUM,
        _IMAGE,
        _ARCHITECTURE,
        _MODE,
        _EPOCH,
        _PROJECT,
        _EXPECTED,
        _MIRRORS,
        _BASE,
        _TOOLCHAIN,
        _INPUTS,
    ),
    _written,
)
"""The whole file."""
