"""A consumer's build config: ``.imagectl.yaml``, or the same in the file of a CI service.

Promise: an opt-in that cannot be honoured is an error, and never quietly means stable. So a file
called ``.imagectl.yaml`` has these keys only, and a key that is misspelt stops the reading. In any
other file the key ``imagectl`` holds them and the rest is ignored; or the variables of the CI
service do: see ``ci_variables``.

Consumers read this on each of their builds: it imports no more than it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from imagectl.errors import BadInput, Problem
from imagectl.formats.ci_variables import CATALOG, MAX_GENERATION, ROOT, VERSION, parse_ci_file
from imagectl.formats.reading import Unfit, read_document
from imagectl.formats.scalars import Boolean, Choice, Duration, Integer, Text, in_python
from imagectl.formats.schema import Field, Map, Record, Values, defaulted, optional
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME, LOCATION_NAME
from imagectl.formats.yaml_foreign import load_part
from imagectl.formats.yaml_strict import Document, load, shown
from imagectl.model.consumer import BuildConfig, Variables, Wish
from imagectl.model.names import Format, ImageName

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


_CHANNEL = optional("channel", CHANNEL_NAME, "The channel to follow; stable where it is left out.")
_VERSION = optional("version", VERSION, "A pinned version, which wins over any channel.")
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
_OF_AN_IMAGE = (_CHANNEL, _VERSION, _MAX_AGE, _BRANCHES)


def _check_image(values: Values) -> None:
    if _MAX_AGE in values and values[_MAX_AGE] is not None and not values[_MAX_AGE]:
        values.reject(("max_age",), "would refuse every image")


def _wish(values: Values) -> Callable[[ImageName], Wish]:
    return partial(
        Wish,
        channel=values[_CHANNEL],
        version=values[_VERSION],
        max_age=values[_MAX_AGE],
        branches=MappingProxyType(dict(values[_BRANCHES])),
        said=MappingProxyType(dict(_said(values))),
    )


def _said(values: Values) -> Iterator[tuple[str, str]]:
    typed = values.keys()
    for key in typed:
        yield key, values.place(key)
    for branch in values.keys("branches"):
        yield f"branches.{branch}", values.place("branches", branch)


_IMAGE = optional("image", IMAGE_NAME, "The image to use. This, or `images`.")
_IMAGES: Field[Mapping[ImageName, Callable[[ImageName], Wish]] | None] = optional(
    "images",
    Map(
        IMAGE_NAME,
        Record("One of several images.", _OF_AN_IMAGE, _wish, _check_image),
        "a mapping of images to what is asked of each; {} for stable",
    ),
    "Several images, each with the keys that one has: channel, version, max_age, branches.",
)
_CATALOG = optional(
    "catalog",
    CATALOG,
    "Where the published catalog is: an address, or a path that begins at this file's folder.",
)
_ROOT = optional(
    "root",
    ROOT,
    "The file that says whose signatures count; its path begins at this file's folder.",
)
_GENERATION = defaulted(
    "min_generation",
    Integer(0, MAX_GENERATION),
    "A catalog that is older than this generation is not believed.",
    0,
)

_LOCATION = optional(
    "location", LOCATION_NAME, "Which location to pull from, where a version is in several."
)
_FORMAT = optional("format", Choice(Format), "Which format to use, where there are several.")
_NOTICES = defaulted(
    "notices",
    Boolean(),
    "Whether `resolve` and `pull` say on standard error what was announced of these images.",
    False,
)
_DESPITE = defaulted(
    "despite_brownout",
    Boolean(),
    "Whether to go on in brownouts of what is announced as deprecated; else they are refused.",
    False,
)


def _check(values: Values) -> None:
    typed = values.keys()
    if "images" in typed:
        for key in ("image", *(each.key for each in _OF_AN_IMAGE)):
            if key in typed:
                values.reject((key,), "cannot stand beside 'images'", "put it under its image")
    elif "image" not in typed:
        values.reject((), "'image' is missing", "an image name; or 'images', for several")
    _check_image(values)


def _config(values: Values) -> BuildConfig:
    several = values[_IMAGES]
    if several is not None:
        wishes = tuple(_of(name, make, values) for name, make in several.items())
    else:
        image = values[_IMAGE]
        assert image is not None  # _check has seen to it
        wishes = (_wish(values)(image),)
    return BuildConfig(
        wishes,
        values[_CATALOG],
        values[_ROOT],
        values[_GENERATION],
        several is not None,
        said=MappingProxyType(dict(_said(values))),
        notices=values[_NOTICES],
        despite_brownout=values[_DESPITE],
        location=values[_LOCATION],
        format=values[_FORMAT],
    )


def _of(name: ImageName, make: Callable[[ImageName], Wish], values: Values) -> Wish:
    wish = make(name)
    place = values.place("images", name)
    return replace(wish, said=MappingProxyType({"image": place, **wish.said}))


BUILD_CONFIG: Record[BuildConfig] = Record(
    "A consumer's build config: .imagectl.yaml. In a CI service's file, variables say the same of "
    "one image: IMAGECTL_CHANNEL, IMAGECTL_LOCATION and so on.",
    (
        *(_IMAGE, *_OF_AN_IMAGE, _IMAGES, _LOCATION, _FORMAT),
        *(_CATALOG, _ROOT, _GENERATION, _NOTICES, _DESPITE),
    ),
    _config,
    _check,
)
"""The whole file, or what is under ``imagectl:``."""


def is_own_file(file: str) -> bool:
    """Whether the file is a build config as a whole, going by its name."""
    return file.replace("\\", "/").rpartition("/")[2] in FILE_NAMES


def parse_build_config(data: bytes, file: str) -> BuildConfig:
    """The build config in *data*; the name of *file* says which of its forms it has.

    Raises BadInput with every problem of the file, or of its part.
    """
    if is_own_file(file):
        return read_document(BUILD_CONFIG, load(data, file))
    part = load_part(data, file, KEY)
    variables = parse_ci_file(data, file)
    if part is not None and variables is not None:
        raise BadInput([_twice(part)])
    if part is not None:
        return read_document(BUILD_CONFIG, part)
    if variables is not None:
        return _as_config(variables, file)
    what = f"no key {KEY!r} at the top of this file"
    raise BadInput([Problem(file, 1, 1, what, f"put image and channel under '{KEY}:'")])


def _twice(part: Document) -> Problem:
    what = f"both '{KEY}:' and variables of the CI service say what is wanted"
    return Problem(part.file, part.root.line, part.root.column, what, "keep one of them")


def _as_config(variables: Variables, file: str) -> BuildConfig:
    if variables.image is None:
        what = "IMAGECTL_IMAGE is missing beside the other variables"
        raise BadInput([Problem(file, 1, 1, what)])
    wish = Wish(
        variables.image,
        variables.channel,
        variables.version,
        variables.max_age,
        said=variables.said,
    )
    return BuildConfig(
        (wish,),
        variables.catalog,
        variables.root,
        variables.min_generation or 0,
        variables=True,
        said=variables.said,
        notices=variables.notices or False,
        despite_brownout=variables.despite_brownout or False,
        location=variables.location,
        format=variables.format,
    )
