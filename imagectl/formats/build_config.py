"""A consumer's build config: ``.imagectl.yaml``, or the same keys under ``imagectl:`` elsewhere.

Promise: an opt-in that cannot be honoured is an error, and never quietly means stable. So a file
called ``.imagectl.yaml`` has these keys only, and a key that is misspelt stops the reading. In any
other file, such as that of a CI service, the key ``imagectl`` holds them and the rest is ignored.

Consumers read this on each of their builds: it imports no more than it needs.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from imagectl.errors import BadInput, Problem
from imagectl.formats.reading import Unfit, read_document
from imagectl.formats.scalars import Duration, Text, in_python
from imagectl.formats.schema import Map, Record, Values, defaulted, optional, required
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME
from imagectl.formats.yaml_strict import Document, load, load_part, shown
from imagectl.model.consumer import BuildConfig
from imagectl.model.names import parse_version_id

FILE_NAMES = (".imagectl.yaml", ".imagectl.yml")
"""Files that are build configs as a whole."""

KEY = "imagectl"
"""The key of other files that holds a build config."""

# Git's own rules for a branch, short of its rarest ones.
_BRANCH_PATTERN = r"^(?![/.\-])(?!.*(\.\.|//|@\{|/\.))[^\u0000-\u0020\u007f-\u009f~^:?*\[\\]+$"


def _branch(text: str) -> str:
    if re.search(r"[?*\[]", text):
        raise Unfit(f"{shown(text)} is a pattern", "name each branch; patterns are not known here")
    if not re.search(in_python(_BRANCH_PATTERN), text):
        raise Unfit(f"{shown(text)} cannot be the name of a branch")
    return text


_IMAGE = required("image", IMAGE_NAME, "The image to use.")
_CHANNEL = optional("channel", CHANNEL_NAME, "The channel to follow; stable where it is left out.")
_VERSION = optional(
    "version",
    Text(parse_version_id, "a version", r"^[0-9]{8}\.[1-9][0-9]{0,5}$"),
    "A pinned version, which wins over any channel.",
)
_MAX_AGE = optional("max_age", Duration(), "Refuse an image that was built longer ago than this.")
_BRANCHES = defaulted(
    "branches",
    Map(
        Text(_branch, "the name of a branch", _BRANCH_PATTERN),
        CHANNEL_NAME,
        "a mapping of branches to channels",
        may_be_empty=True,
    ),
    "Other channels on some branches of the consumer's repository.",
    {},
)


def _check(values: Values) -> None:
    if _MAX_AGE in values and values[_MAX_AGE] is not None and not values[_MAX_AGE]:
        values.reject(("max_age",), "would refuse every image")


BUILD_CONFIG: Record[BuildConfig] = Record(
    "A consumer's build config: .imagectl.yaml.",
    (_IMAGE, _CHANNEL, _VERSION, _MAX_AGE, _BRANCHES),
    lambda values: BuildConfig(
        image=values[_IMAGE],
        channel=values[_CHANNEL],
        version=values[_VERSION],
        max_age=values[_MAX_AGE],
        branches=MappingProxyType(dict(values[_BRANCHES])),
    ),
    _check,
)
"""The whole file, or what is under ``imagectl:``."""


def parse_build_config(data: bytes, file: str) -> BuildConfig:
    """The build config in *data*; the name of *file* says which of the two forms it has.

    Raises BadInput with every problem of the file, or of its part.
    """
    return read_document(BUILD_CONFIG, _document(data, file))


def _document(data: bytes, file: str) -> Document:
    if file.replace("\\", "/").rpartition("/")[2] in FILE_NAMES:
        return load(data, file)
    part = load_part(data, file, KEY)
    if part is None:
        what = f"no key {KEY!r} at the top of this file"
        raise BadInput([Problem(file, 1, 1, what, f"put image and channel under '{KEY}:'")])
    return part
