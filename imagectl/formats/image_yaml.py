"""``images/<name>/image.yaml``: the definition of an image.

The image's name is that of its folder, and is not repeated in the file. Everything that a build
reads is named here by a path inside the project, or by a digest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from imagectl.formats.packer_template import PACKER, refuse_others
from imagectl.formats.paths import PATH_PATTERN, SOURCE, parse_path
from imagectl.formats.reading import Source, Unfit, read_document
from imagectl.formats.scalars import Choice, Free, Integer, Size, Text, in_python, matching
from imagectl.formats.schema import (
    As,
    Field,
    List,
    ListOr,
    Map,
    OneOf,
    Record,
    Values,
    defaulted,
    optional,
    required,
)
from imagectl.formats.secret_ref import SECRET, refuse_literal
from imagectl.formats.sizes import format_size
from imagectl.formats.volatile import RULES
from imagectl.formats.words import LOCATION_NAME, SHA256
from imagectl.formats.yaml_strict import load, shown
from imagectl.model.image import (
    Base,
    DebianBase,
    DiskBase,
    Image,
    PackerTemplate,
    ParentBase,
    Provision,
    VolatileRule,
)
from imagectl.model.names import (
    DISKS,
    Architecture,
    Format,
    ImageName,
    ImageRef,
    LocationName,
    parse_image_ref,
)
from imagectl.policy.wording import nearest

GIB = 1 << 30

KNOWN_SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
"""Suites that a near miss is compared with. Others are let through: a mirror may have its own."""

_SUITE_PATTERN = r"^[a-z][a-z0-9-]*$"
_PACKAGE_PATTERN = r"^[a-z0-9][a-z0-9.+-]+$"
_COMPONENT_PATTERN = r"^[a-z][a-z0-9-]*$"
_ROLE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
_PARENT_PATTERN = r"^[a-z](-?[a-z0-9])*(:[a-z](-?[a-z0-9])*|@[0-9]{8}\.[1-9][0-9]{0,5})$"
_PLAYBOOK_PATTERN = PATH_PATTERN.replace("^", r"^playbooks/(?=.*\.ya?ml$)", 1)
_SUITE_FILE_PATTERN = PATH_PATTERN.replace("^", r"^(?=.*\.py$)", 1)


def _suite(text: str) -> str:
    if not re.search(in_python(_SUITE_PATTERN), text):
        raise Unfit(f"{shown(text)} is not a Debian suite", "such as bookworm")
    hint = "" if text in KNOWN_SUITES else nearest(text, KNOWN_SUITES)
    if hint:
        raise Unfit(f"{shown(text)} is not a Debian suite", hint)
    return text


def _parent(text: str) -> ImageRef:
    ref = parse_image_ref(text)
    if ref.channel is None and ref.version is None:
        raise Unfit(
            f"{shown(text)} does not say which version of it",
            f"write {text}:stable to follow a channel, or {text}@YYYYMMDD.N to stay",
        )
    return ref


def _playbook(text: str) -> PurePosixPath:
    path = parse_path(text)
    if path.parts[0] != "playbooks" or path.suffix not in (".yml", ".yaml"):
        raise Unfit(
            f"{shown(text)} is not a playbook",
            "playbooks are .yml files below playbooks/, so that a change of any of them is noticed",
        )
    return path


def _suite_file(text: str) -> PurePosixPath:
    path = parse_path(text)
    if path.suffix != ".py":
        raise Unfit(f"{shown(text)} is not a Testinfra suite", "a suite is a .py file")
    return path


_SUITE = required(
    "suite", Text(_suite, "a Debian suite", _SUITE_PATTERN, 60), "The Debian release to start from."
)
_PACKAGES = defaulted(
    "packages",
    List(matching(_PACKAGE_PATTERN, "a package name"), "package names", may_be_empty=True),
    "Packages to install beyond the smallest system that boots.",
    [],
)
_COMPONENTS = defaulted(
    "components",
    List(matching(_COMPONENT_PATTERN, "a component"), "components"),
    "The parts of the archive to install from.",
    ["main"],
)
DEBIAN: Record[Base] = Record(
    "Start from Debian packages.",
    (_SUITE, _PACKAGES, _COMPONENTS),
    lambda values: DebianBase(values[_SUITE], values[_PACKAGES], values[_COMPONENTS]),
)

_SOURCE = required(
    "source",
    SOURCE,
    "Where the disk is: an https URL, or a path inside the project.",
)
_DIGEST = required("sha256", SHA256, "The sha256 that the disk must have.")
DISK: Record[Base] = Record(
    "Start from a disk that was made elsewhere.",
    (_SOURCE, _DIGEST),
    lambda values: DiskBase(values[_SOURCE], values[_DIGEST]),
)

BASE: OneOf[Base] = OneOf(
    {
        "debian": (DEBIAN, DEBIAN.meaning),
        "disk": (DISK, DISK.meaning),
        "parent": (
            As(
                Text(_parent, "IMAGE:CHANNEL or IMAGE@VERSION", _PARENT_PATTERN, 100),
                lambda ref: ParentBase(ref),
            ),
            "Start from a version of another image: debian-base:stable, debian-base@20261120.1.",
        ),
    }
)

_VARIABLE = matching(_VARIABLE_PATTERN, "the name of a variable", "letters, digits and _")

_PLAYBOOK = optional(
    "playbook",
    Text(_playbook, "a playbook below playbooks/", _PLAYBOOK_PATTERN),
    "The playbook to run, after the roles.",
)
_ROLES = defaulted(
    "roles",
    List(matching(_ROLE_PATTERN, "a role name"), "roles", may_be_empty=True),
    "Roles of playbooks/roles to apply, in this order.",
    [],
)
_VARS = defaulted(
    "vars",
    Map(_VARIABLE, Free(refuse_literal), "a mapping of variables", may_be_empty=True),
    "Ansible variables. Without quotes, true, false, null and whole numbers are what they look"
    " like; everything else is text (3.10, yes and on too).",
    {},
)
_SECRETS = defaulted(
    "secrets",
    Map(_VARIABLE, SECRET, "a mapping of variables to secrets", may_be_empty=True),
    "Ansible variables whose values are fetched when the image is built, and never recorded.",
    {},
)


def _check_provision(values: Values) -> None:
    for name in values.keys("secrets"):
        if name in values.keys("vars"):
            values.reject(("secrets", name), "is under 'vars' too", "keep one of them")


PROVISION: Record[Provision] = Record(
    "What Ansible does to the base.",
    (_PLAYBOOK, _ROLES, _VARS, _SECRETS),
    lambda values: Provision(values[_PLAYBOOK], values[_ROLES], values[_VARS], values[_SECRETS]),
    _check_provision,
)


class Locations(NamedTuple):
    """Where an image has to be, and where it may be."""

    required: tuple[LocationName, ...]
    optional: tuple[LocationName, ...]


_REQUIRED = required(
    "required",
    List(LOCATION_NAME, "location names"),
    "A version can only be resolved once it was verified at all of these.",
)
_OPTIONAL = defaulted(
    "optional",
    List(LOCATION_NAME, "location names", may_be_empty=True),
    "Published there too, without waiting for it.",
    [],
)


def _check_locations(values: Values) -> None:
    needed = values.texts("required")
    for index, name in enumerate(values.texts("optional")):
        if name is not None and name in needed:
            values.reject(("optional", index), f"{shown(name)} is under 'required' too")


LOCATIONS: Record[Locations] = Record(
    "Where versions are placed; the names are those of imagectl.yaml.",
    (_REQUIRED, _OPTIONAL),
    lambda values: Locations(values[_REQUIRED], values[_OPTIONAL]),
    _check_locations,
)


class Machine(NamedTuple):
    """What a VM is given. ``memory`` in bytes."""

    memory: int
    cpus: int


_MEMORY = Size(256 << 20, 1 << 40)
_BUILD_MEMORY = defaulted("memory", _MEMORY, "Memory of the build VM.", "1G")
_BUILD_CPUS = defaulted("cpus", Integer(1, 64), "Processors of the build VM.", 2)
BUILD: Record[Machine] = Record(
    "The VM that Ansible works in.",
    (_BUILD_MEMORY, _BUILD_CPUS),
    lambda values: Machine(values[_BUILD_MEMORY], values[_BUILD_CPUS]),
)

_TEST_MEMORY = defaulted("memory", _MEMORY, "Memory of the VM that is tested.", "1G")
TEST: Record[int] = Record(
    "The VM that the finished image is booted in for its tests.",
    (_TEST_MEMORY,),
    lambda values: values[_TEST_MEMORY],
)

_SUMMARY = required(
    "summary", Text(str, "one line of text", longest=120), "What the image is for, in one line."
)
_BASE: Field[Base | None] = optional(
    "base", BASE, "What the image is made from. Required, but for images with `packer`."
)
_PACKER = optional("packer", PACKER, PACKER.meaning)
_ARCHITECTURE = defaulted(
    "architecture", Choice(Architecture), "The processor it is for, in Debian's words.", "amd64"
)
_DISK_SIZE = defaulted("disk_size", Size(1 << 30, 2 << 40), "The size of the disk.", "4G")
_PROVISION = defaulted("provision", PROVISION, PROVISION.meaning, {})
_SUITES = required(
    "suites",
    List(Text(_suite_file, "a .py file", _SUITE_FILE_PATTERN), "Testinfra suites"),
    "Testinfra files that have to pass on the booted image. An image without tests is not built. "
    "A conftest.py beside them is loaded; those of folders above are for the project's own code.",
)
_FORMATS = defaulted(
    "formats",
    List(Choice(Format, DISKS), "formats"),
    "The disk formats to deliver. gce needs a disk_size of whole GiB.",
    ["qcow2"],
)
_LOCATIONS = defaulted(
    "locations",
    ListOr(
        As(List(LOCATION_NAME, "required locations"), lambda names: Locations(names, ())), LOCATIONS
    ),
    LOCATIONS.meaning,
    ["local"],
)
_BUILD = defaulted("build", BUILD, BUILD.meaning, {})
_TEST = defaulted("test", TEST, TEST.meaning, {})
_VOLATILE = defaulted(
    "volatile",
    RULES,
    "Paths in which two builds of this image would differ, beside those that no image keeps. The"
    " first rule that matches a path counts, and these come before the others.",
    [],
)


def _check_image(values: Values) -> None:
    typed = values.keys()
    if "packer" in typed:
        refuse_others(values)
    elif "base" not in typed:
        values.reject((), "'base' is missing", BASE.says())
    _check_size(values)
    if _VOLATILE in values:
        _check_volatile(values, values[_VOLATILE])


def _check_volatile(values: Values, rules: Sequence[VolatileRule]) -> None:
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.path in seen:
            what = f"{shown(rule.path)} a second time: only the first counts"
            values.reject(("volatile", index, "path"), what)
        seen.add(rule.path)


def _check_size(values: Values) -> None:
    if _DISK_SIZE not in values or Format.GCE.value not in values.texts("formats"):
        return
    size = values[_DISK_SIZE]
    if size % GIB:
        values.reject(
            ("disk_size",),
            f"is {format_size(size)}, but Google Compute Engine takes only whole GiB",
            f"write {-(-size // GIB)}G, or take gce out of 'formats'",
        )


IMAGE: Record[Values] = Record(
    "The definition of an image: images/<name>/image.yaml.",
    (
        _SUMMARY,
        _BASE,
        _PACKER,
        _ARCHITECTURE,
        _DISK_SIZE,
        _PROVISION,
        _SUITES,
        _FORMATS,
        _LOCATIONS,
        _BUILD,
        _TEST,
        _VOLATILE,
    ),
    lambda values: values,
    _check_image,
)
"""The whole file but for the image's name, which is that of its folder."""


def parse_image(data: bytes, file: str, name: ImageName) -> tuple[Image, Source]:
    """The image that *data* defines, and the places of its values for what is checked later.

    Raises BadInput with every problem of the file.
    """
    document = load(data, file)
    found = read_document(IMAGE, document)
    base = found[_PACKER] or found[_BASE]
    assert base is not None  # else refused
    formats, locations = found[_FORMATS], found[_LOCATIONS]
    if isinstance(base, PackerTemplate) and base.builds is not None:
        formats, locations = (Format.NATIVE,), Locations((base.builds,), ())
    image = Image(
        name=name,
        summary=found[_SUMMARY],
        base=base,
        architecture=found[_ARCHITECTURE],
        disk_size=found[_DISK_SIZE],
        provision=found[_PROVISION],
        suites=found[_SUITES],
        formats=formats,
        required_locations=locations.required,
        optional_locations=locations.optional,
        build_memory=found[_BUILD].memory,
        build_cpus=found[_BUILD].cpus,
        test_memory=found[_TEST],
        volatile=found[_VOLATILE],
    )
    return image, Source(file, document.root)
