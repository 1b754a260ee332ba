"""The parameters of the API: how they are called, what they may be, and how they are read.

One table is what requests are read by, and what the OpenAPI document says.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from imagectl.errors import BadUsage
from imagectl.formats.sizes import BadSize, parse_duration
from imagectl.model.names import (
    MAX_NAME,
    Architecture,
    BadName,
    Format,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_version_id,
)
from imagectl.policy.resolution import ResolutionRequest
from imagectl.policy.wording import listed, nearest

Word = TypeVar("Word", bound=enum.Enum)

NAME_SCHEMA = {
    "type": "string",
    "pattern": "^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$",
    "maxLength": MAX_NAME,
}

VERSION_SCHEMA = {
    "type": "string",
    "pattern": r"^20(?:[0-9]{2}(?:(?:0[13578]|1[02])(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)(?:0[1-9]|[12][0-9]|30)|02(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[02468][048]|[13579][26])0229)\.[1-9][0-9]{0,5}$",
    "example": "20261120.1",
}
"""A day that there is, and a serial."""

AGE_SCHEMA = {
    "type": "string",
    "pattern": "^(?:[0-9]{1,9}s|[0-9]{1,7}m|[0-9]{1,5}h|[0-9]{1,4}d|[0-9]{1,3}w)$",
    "example": "30d",
}

MAX_FIELDS = 32


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query. *parse* raises BadName or BadSize."""

    name: str
    meaning: str
    schema: Mapping[str, object]
    parse: Callable[[str], Any]
    required: bool = False


def _format(text: str) -> Format:
    return _word(Format, text, "a format")


def _architecture(text: str) -> Architecture:
    return _word(Architecture, text, "an architecture")


def _word(words: type[Word], text: str, what: str) -> Word:
    try:
        return words(text)
    except ValueError:
        known = [each.value for each in words]
        raise BadName(f"{text[:40]!r} is not {what}: there are {listed(known)}") from None


IMAGE = Parameter("image", "The image.", NAME_SCHEMA, parse_image_name, required=True)

RESOLVE: tuple[Parameter, ...] = (
    IMAGE,
    Parameter(
        "channel",
        "The channel to follow; `stable` where neither it nor a version is named.",
        NAME_SCHEMA,
        parse_channel_name,
    ),
    Parameter("version", "This version; it wins over a channel.", VERSION_SCHEMA, parse_version_id),
    Parameter("location", "Pull it from there.", NAME_SCHEMA, parse_location_name),
    Parameter(
        "format",
        "In this format.",
        {"type": "string", "enum": [each.value for each in Format]},
        _format,
    ),
    Parameter(
        "architecture",
        "For this architecture.",
        {"type": "string", "enum": [each.value for each in Architecture]},
        _architecture,
    ),
    Parameter(
        "max_age", "Refuse what was built longer ago, such as `30d`.", AGE_SCHEMA, parse_duration
    ),
)

VERSIONS: tuple[Parameter, ...] = (IMAGE,)


def read_query(query: str, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """The values of a query by name; None for those that it does not have. Raises BadUsage."""
    known = {each.name: each for each in parameters}
    values: dict[str, Any] = dict.fromkeys(known)
    try:
        fields = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadUsage(
            "that query cannot be read",
            why=f"it is not UTF-8, or has more than {MAX_FIELDS} parameters",
        ) from None
    for name, text in fields:
        parameter = known.get(name)
        if parameter is None:
            raise BadUsage(
                f"there is no parameter {name[:40]!r}",
                why=f"there are {listed(known)}",
                hint=nearest(name[:40], known),
            )
        if values[name] is not None:
            raise BadUsage(f"{name} is there twice", hint="give it once")
        try:
            values[name] = parameter.parse(text)
        except (BadName, BadSize) as problem:
            raise BadUsage(f"{name}: {problem}") from None
    for parameter in parameters:
        if parameter.required and values[parameter.name] is None:
            raise BadUsage(
                f"{parameter.name} is missing", hint=f"add {parameter.name}=..., as in /v1/images"
            )
    return values


def read_request(query: str) -> ResolutionRequest:
    """What ``/v1/resolve`` is asked for. Raises BadUsage."""
    return ResolutionRequest(**read_query(query, RESOLVE))
