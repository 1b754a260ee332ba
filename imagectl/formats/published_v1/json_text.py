"""The JSON of the documents: how it is written, and how it is read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from imagectl.errors import CannotTell, Corrupt
from imagectl.formats.published_v1.layout import FORMAT

T = TypeVar("T")


def encoded(content: Mapping[str, Any]) -> bytes:
    """The one text that says that."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def written_time(at: datetime) -> str:
    """RFC 3339 in UTC, with a Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parsed(
    data: bytes, where: str, build: Callable[[Any], T], formats: Sequence[str] = (FORMAT,)
) -> T:
    """What *build* makes of the document, which is in one of the formats. Raises Corrupt, naming
    *where*, for anything else, and CannotTell for another format."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or not isinstance(content.get("format"), str):
            raise ValueError("it is not a document of a published catalog")
        if content["format"] not in formats:
            raise CannotTell(
                f"{where} is in a format that this imagectl does not know",
                where=where,
                why=f"it says {content['format'][:80]!r}; known: {', '.join(formats)}",
                hint="a newer imagectl may know it",
            )
        return build(content)
    except KeyError as error:
        why = f"{error} is missing"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    raise Corrupt(
        f"{where} is not a document of a published catalog",
        where=where,
        why=why,
        hint="remove it, and `imagectl catalog publish` writes it again",
    )


def text(value: Any) -> str:
    """The value where it is text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {value!r:.80}")
    return value


def number(value: Any) -> int:
    """The value where it is a whole number. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is expected, not {value!r:.80}")
    return value


def parsed_time(value: Any) -> datetime:
    """The time, in UTC. Raises ValueError."""
    at = datetime.fromisoformat(text(value))
    if at.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return at.astimezone(UTC)
