"""What a consumer asks for as variables: ``IMAGECTL_IMAGE``, ``IMAGECTL_CHANNEL`` and so on.

They are read from the environment, and from the files of CI services that set it: ``env`` of a
GitHub Actions workflow, ``variables`` of a GitLab pipeline. In such a file there is a variable for
each key that a build config of one image has, but for ``branches``; in the environment, those that
are options as well (``policy.opting.OTHERS``) are read as these. Promise: what is misspelt, empty,
known only while the pipeline runs, or set where it is not read is an error with its line.
"""

from __future__ import annotations

from collections.abc import Mapping

from imagectl.errors import Problem
from imagectl.formats.reading import Unfit, read_document
from imagectl.formats.scalars import ONE_LINE, Choice, Duration, Text
from imagectl.formats.schema import Record, Values, optional
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME, LOCATION_NAME
from imagectl.formats.yaml_foreign import Found, find_keys
from imagectl.formats.yaml_strict import (
    Document,
    MappingNode,
    Node,
    Scalar,
    shown,
)
from imagectl.model.consumer import Variables
from imagectl.model.names import Format, parse_version_id
from imagectl.policy.opting import OTHERS, PREFIX

SECTIONS = {"env": "GitHub Actions", "variables": "GitLab"}
"""The keys at the top of a CI service's file that hold its variables."""

ENVIRONMENT = "the environment"

MAX_GENERATION = (1 << 53) - 1
"""Numbers that any JSON reader keeps exactly."""


def _generation(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > MAX_GENERATION:
        raise Unfit(f"{shown(text)} is not the generation of a catalog", "a whole number from 0")
    return int(text)


_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("0", "false", "no", "off", "f", "n"), False),
}
"""What the command line takes from the environment for an option without a value."""


def _flag(text: str) -> bool:
    found = _FLAGS.get(text.lower())
    if found is None:
        raise Unfit(f"{shown(text)} is neither 1 nor 0")
    return found


_FLAG = Text(_flag, "1 or 0")

VERSION = Text(parse_version_id, "a version", r"^[0-9]{8}\.[1-9][0-9]{0,5}$")
CATALOG = Text(str, "an address or a path", longest=2000)
ROOT = Text(str, "the path of a file", longest=2000)

_IMAGE = optional("IMAGECTL_IMAGE", IMAGE_NAME, "The image to use.")
_CHANNEL = optional("IMAGECTL_CHANNEL", CHANNEL_NAME, "The channel to follow.")
_VERSION = optional("IMAGECTL_VERSION", VERSION, "A pinned version, which wins over any channel.")
_MAX_AGE = optional("IMAGECTL_MAX_AGE", Duration(), "Refuse an image built longer ago than this.")
_CATALOG = optional("IMAGECTL_CATALOG", CATALOG, "Where the published catalog is.")
_ROOT = optional("IMAGECTL_ROOT", ROOT, "The file that says whose signatures count.")
_GENERATION = optional(
    "IMAGECTL_MIN_GENERATION",
    Text(_generation, "the generation of a catalog", ONE_LINE),
    "A catalog that is older is not believed.",
)
_LOCATION = optional("IMAGECTL_LOCATION", LOCATION_NAME, "Which location to pull from.")
_FORMAT = optional("IMAGECTL_FORMAT", Choice(Format), "Which format to use.")
_NOTICES = optional("IMAGECTL_NOTICES", _FLAG, "Whether to say what was announced.")
_DESPITE = optional("IMAGECTL_DESPITE_BROWNOUT", _FLAG, "Whether to go on in brownouts.")
_FIELDS = (
    *(_IMAGE, _CHANNEL, _VERSION, _MAX_AGE, _LOCATION, _FORMAT),
    *(_CATALOG, _ROOT, _GENERATION, _NOTICES, _DESPITE),
)
_ELSEWHERE = OTHERS - {each.key for each in _FIELDS}


def _check(values: Values) -> None:
    if _MAX_AGE in values and values[_MAX_AGE] is not None and not values[_MAX_AGE]:
        values.reject((_MAX_AGE.key,), "would refuse every image")


def _build(values: Values) -> Variables:
    typed = values.keys()
    return Variables(
        image=values[_IMAGE],
        channel=values[_CHANNEL],
        version=values[_VERSION],
        max_age=values[_MAX_AGE],
        catalog=values[_CATALOG],
        root=values[_ROOT],
        min_generation=values[_GENERATION],
        location=values[_LOCATION],
        format=values[_FORMAT],
        notices=values[_NOTICES],
        despite_brownout=values[_DESPITE],
        said={name.removeprefix(PREFIX).lower(): values.place(name) for name in typed},
    )


VARIABLES: Record[Variables] = Record("Variables of a consumer.", _FIELDS, _build, _check)


def parse_environment(variables: Mapping[str, str]) -> Variables:
    """What these variables of the environment ask for. Raises BadInput with every problem."""
    entries = tuple(
        (Scalar(0, 0, name, True), Scalar(0, 0, text, False))
        for name, text in sorted(variables.items())
    )
    return read_document(VARIABLES, Document(ENVIRONMENT, MappingNode(0, 0, entries), ()))


def parse_ci_file(data: bytes, file: str) -> Variables | None:
    """The variables in a CI service's file; None where it has none of ours.

    Raises BadInput with every problem of them.
    """
    found, problems = find_keys(data, file, PREFIX)
    ours = [each for each in found if each.key.text not in _ELSEWHERE and _is_setting(each)]
    if not ours and not problems:
        return None
    wrong = [*problems, *(_misplaced(each, file) for each in ours if not _at_top(each))]
    sections = {each.around[0] for each in ours if _at_top(each)}
    if len(sections) > 1:
        wrong.append(Problem(file, ours[0].key.line, 1, f"both {' and '.join(sorted(sections))}"))
    entries: dict[str, tuple[Scalar, Node]] = {}
    for each in filter(_at_top, ours):
        name, value = each.key, _value(each.value)
        if name.text in entries:
            first = entries[name.text][0].line
            what = f"{shown(name.text)} a second time"
            wrong.append(Problem(file, name.line, name.column, what, f"first on line {first}"))
        elif isinstance(value, Scalar) and "$" in value.text:
            wrong.append(_expression(name.text, value, file))
        else:
            entries[name.text] = (name, value)
    line, column = (ours[0].key.line, ours[0].key.column) if ours else (1, 1)
    root = MappingNode(line, column, tuple(entries.values()))
    return read_document(VARIABLES, Document(file, root, tuple(wrong)))


def _is_setting(found: Found) -> bool:
    """Not a line of a script, which says ``KEY=value`` to its own shell."""
    return not found.assigned or bool(SECTIONS.keys() & set(found.around))


def _at_top(found: Found) -> bool:
    return len(found.around) == 1 and found.around[0] in SECTIONS and not found.assigned


def _value(node: Node) -> Node:
    """GitLab also writes ``{value: beta, description: ...}``."""
    value = node.get("value") if isinstance(node, MappingNode) else None
    return node if value is None else value


def _misplaced(found: Found, file: str) -> Problem:
    where = " and ".join(f"'{key}' ({service})" for key, service in SECTIONS.items())
    if found.assigned:
        return Problem(
            file,
            found.key.line,
            found.key.column,
            f"{found.key.text}=... in a text is not read",
            f"write it as a key, '{found.key.text}: ...', in {where} at the top of the file",
        )
    return Problem(
        file,
        found.key.line,
        found.key.column,
        f"{shown(found.key.text)} is not read here, only in {where} at the top of the file",
        "within the job itself leave out --config: there, its environment has it",
    )


def _expression(name: str, value: Scalar, file: str) -> Problem:
    return Problem(
        file,
        value.line,
        value.column,
        f"{name}: {shown(value.text)} is known only while the pipeline runs",
        "within the job itself leave out --config: there, its environment has it",
    )
