"""The key ``packer`` of an image's definition: the user's own Packer template.

It takes the place of all that says how imagectl would make the image: see ``refuse_others``.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from imagectl.formats.paths import PATH_PATTERN, parse_path
from imagectl.formats.reading import Unfit
from imagectl.formats.scalars import Free, Text, matching
from imagectl.formats.schema import Map, Record, Values, defaulted, optional, required
from imagectl.formats.secret_ref import SECRET, refuse_literal
from imagectl.formats.words import LOCATION_NAME
from imagectl.formats.yaml_strict import shown
from imagectl.model.image import PackerTemplate

_PATTERN = PATH_PATTERN.replace("^", r"^images/(?=[^/]+/)(?=.*\.(json|pkr\.hcl)$)", 1)
_VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
_BUILD_PATTERN = r"^[A-Za-z0-9_*][A-Za-z0-9_.*-]*$"


def _template(text: str) -> PurePosixPath:
    path = parse_path(text)
    if len(path.parts) < 3 or path.parts[0] != "images":
        raise Unfit(
            f"{shown(text)} is not in a folder below images/",
            "all that is in the template's folder counts as a part of it, so that a change of any "
            "file there is noticed: images/IMAGE/template.pkr.hcl",
        )
    if not path.name.endswith((".json", ".pkr.hcl")):
        raise Unfit(f"{shown(text)} is not a Packer template", "one ends in .json or .pkr.hcl")
    return path


_VARIABLE = matching(_VARIABLE_PATTERN, "the name of a Packer variable", "letters, digits, _ and -")

TEMPLATE = required(
    "template",
    Text(_template, "a Packer template below images/", _PATTERN),
    "The template, JSON or HCL2, with any builder. Its folder is a part of the definition.",
)
_VARIABLES = defaulted(
    "variables",
    Map(_VARIABLE, Free(refuse_literal), "a mapping of variables", may_be_empty=True),
    "Values of the template's variables.",
    {},
)
_SECRETS = defaulted(
    "secrets",
    Map(_VARIABLE, SECRET, "a mapping of variables to secrets", may_be_empty=True),
    "Variables whose values are fetched when the image is built, and never recorded.",
    {},
)
_ONLY = optional(
    "only",
    matching(_BUILD_PATTERN, "the name of a build", longest=100),
    "Which of the template's builds to run, where it has several: Packer's -only.",
)
_BUILDS = optional(
    "builds",
    LOCATION_NAME,
    "The location in which the template makes the image (googlecompute, vsphere-clone and the "
    "like). It stays there and is delivered nowhere else. Absent: the template leaves a disk in a "
    "file on this machine (qemu and the like), which is delivered in `formats`.",
)


def _check(values: Values) -> None:
    for name in values.keys("secrets"):
        if name in values.keys("variables"):
            values.reject(("secrets", name), "is under 'variables' too", "keep one of them")


PACKER: Record[PackerTemplate] = Record(
    "The user's own Packer template, in place of `base` and `provision`.",
    (TEMPLATE, _VARIABLES, _SECRETS, _ONLY, _BUILDS),
    lambda values: PackerTemplate(
        values[TEMPLATE],
        values[_VARIABLES],
        values[_SECRETS],
        values[_ONLY],
        values[_BUILDS],
    ),
    _check,
)

_MADE_BY_TEMPLATE = ("base", "provision", "disk_size", "build", "volatile")
"""Keys that say what the template says already."""


def refuse_others(values: Values) -> None:
    """Report what cannot stand beside the key ``packer``, or means nothing there."""
    typed = values.keys()
    for key in _MADE_BY_TEMPLATE:
        if key in typed:
            values.reject((key,), "cannot stand beside 'packer'", "the template says it")
    builds = values.text("packer", "builds")
    if builds is None:
        return
    if "formats" in typed:
        what = "means nothing with 'packer.builds'"
        values.reject(("formats",), what, f"the image is as {builds} has it")
    if "locations" in typed:
        what = "means nothing with 'packer.builds'"
        values.reject(("locations",), what, f"the image is in {builds}, and nowhere else")
