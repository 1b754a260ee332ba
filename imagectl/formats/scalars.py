"""The kinds of single values: texts, words to choose from, numbers, sizes and durations.

JSON Schema speaks of typed values where we read text. So where a text is asked for, ``5`` without
quotes is the text ``5`` to us, and something to put in quotes to an editor.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from imagectl.formats.reading import (
    BAD,
    Bad,
    Inner,
    JsonSchema,
    Reading,
    Unfit,
    did_you_mean,
    says_nothing,
)
from imagectl.formats.sizes import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    SOME_DURATION_PATTERN,
    BadSize,
    format_size,
    parse_duration,
    parse_size,
)
from imagectl.formats.yaml_strict import Broken, ListNode, Node, Scalar, shown

if TYPE_CHECKING:
    from imagectl.model.image import JsonValue

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"
"""Any text of one line without control characters."""

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]*)\Z")
_BOOLEAN = re.compile(r"(?:true|false)\Z")
_MAX_DIGITS = 18
"""Numbers that any JSON reader keeps exactly fit into 64 bits."""


class _Single:
    """A kind with no other kinds in it."""

    __slots__ = ()

    def inner(self) -> tuple[Inner, ...]:
        return ()


@dataclass(slots=True, eq=False, repr=False)
class Text(_Single, Generic[T]):
    """A text that *parse* turns into a value. ``pattern`` is what JSON Schema can say of it."""

    parse: Callable[[str], T]
    what: str
    pattern: str = ONE_LINE
    longest: int = 200

    def read(self, node: Node, reading: Reading) -> T | Bad:
        text = _text(node, reading, self.what)
        if isinstance(text, Bad):
            return BAD
        try:
            value = self.parse(text)
        except ValueError as error:
            return reading.report(node, str(error), getattr(error, "hint", ""))
        if len(text) > self.longest:
            return reading.report(node, f"{len(text)} characters; {self.longest} are allowed")
        if not re.search(in_python(self.pattern), text):
            return reading.report(node, f"{shown(text)} is not {self.what}")
        return value

    def json_schema(self) -> JsonSchema:
        return {"type": "string", "pattern": self.pattern, "maxLength": self.longest}

    def says(self) -> str:
        return self.what


def matching(pattern: str, what: str, hint: str = "", longest: int = 200) -> Text[str]:
    """A text of which everything is said by a pattern."""
    compiled = re.compile(in_python(pattern))

    def parse(text: str) -> str:
        if not compiled.search(text):
            raise Unfit(f"{shown(text)} is not {what}", hint)
        return text

    return Text(parse, what, pattern, longest)


def one_of(members: type[E], what: str) -> Text[E]:
    """One word out of an enum's values, where only a text can stand: as a key."""
    words = [str(member.value) for member in members]

    def parse(text: str) -> E:
        if text not in words:
            raise Unfit(f"{shown(text)} is not {what}", did_you_mean(text, words))
        return members(text)

    return Text(parse, what, f"^({'|'.join(map(re.escape, words))})$")


@dataclass(slots=True, eq=False, repr=False)
class Choice(_Single, Generic[E]):
    """One word out of an enum's values, or of those *allowed*."""

    members: type[E]
    allowed: tuple[E, ...] = ()

    def read(self, node: Node, reading: Reading) -> E | Bad:
        text = _text(node, reading, self.says())
        if isinstance(text, Bad):
            return BAD
        words = [str(member.value) for member in self._words()]
        if text not in words:
            hint = did_you_mean(text, words)
            return reading.report(node, f"{shown(text)} is not known here", hint)
        return self.members(text)

    def json_schema(self) -> JsonSchema:
        return {"type": "string", "enum": [member.value for member in self._words()]}

    def says(self) -> str:
        return " or ".join(f"`{member.value}`" for member in self._words())

    def _words(self) -> tuple[E, ...]:
        return self.allowed or tuple(self.members)


@dataclass(slots=True, eq=False, repr=False)
class Integer(_Single):
    """A whole number, typed without quotes, from *least* to *most*."""

    least: int
    most: int

    def read(self, node: Node, reading: Reading) -> int | Bad:
        text = _bare(node, reading, self.says(), _INTEGER, f"not {self.says()}")
        if isinstance(text, Bad):
            return BAD
        if len(text) > _MAX_DIGITS or not self.least <= int(text) <= self.most:
            return reading.report(node, f"{text[:40]} is not {self.says()}")
        return int(text)

    def json_schema(self) -> JsonSchema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def says(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


@dataclass(slots=True, eq=False, repr=False)
class Boolean(_Single):
    """``true`` or ``false``; not ``yes`` and not ``on``."""

    def read(self, node: Node, reading: Reading) -> bool | Bad:
        text = _bare(node, reading, self.says(), _BOOLEAN, "neither true nor false")
        return BAD if isinstance(text, Bad) else text == "true"

    def json_schema(self) -> JsonSchema:
        return {"type": "boolean"}

    def says(self) -> str:
        return "`true` or `false`"


@dataclass(slots=True, eq=False, repr=False)
class Size(_Single):
    """A size such as ``4G``, read as bytes, in whole MiB, from *least* to *most*."""

    least: int
    most: int

    def read(self, node: Node, reading: Reading) -> int | Bad:
        text = _text(node, reading, self.says())
        if isinstance(text, Bad):
            return BAD
        try:
            size = parse_size(text)
        except BadSize as error:
            return reading.report(node, str(error))
        if size < self.least:
            hint = "a number without a unit is bytes" if text.isdecimal() else ""
            return reading.report(node, f"{text} is less than {format_size(self.least)}", hint)
        if size > self.most:
            return reading.report(node, f"{text} is more than {format_size(self.most)}")
        if size % (1 << 20):
            return reading.report(node, f"{text} is not a whole number of MiB")
        return size

    def json_schema(self) -> JsonSchema:
        return {
            "type": ["string", "integer"],
            "pattern": SIZE_PATTERN,
            "minimum": self.least,
            "maximum": self.most,
            "multipleOf": 1 << 20,
        }

    def says(self) -> str:
        return f"a size from `{format_size(self.least)}` to `{format_size(self.most)}`"


@dataclass(slots=True, eq=False, repr=False)
class Duration(_Single):
    """A duration such as ``3d``. ``some``: ``0s`` is none."""

    some: bool = False

    def read(self, node: Node, reading: Reading) -> timedelta | Bad:
        text = _text(node, reading, self.says())
        if isinstance(text, Bad):
            return BAD
        try:
            duration = parse_duration(text)
        except BadSize as error:
            return reading.report(node, str(error))
        if self.some and not duration:
            return reading.report(node, f"{text} is no time at all", "write 1s or more, as 10m")
        return duration

    def json_schema(self) -> JsonSchema:
        pattern = SOME_DURATION_PATTERN if self.some else DURATION_PATTERN
        return {"type": "string", "pattern": pattern}

    def says(self) -> str:
        return f"a duration such as `12h` or `3d`{', not `0s`' if self.some else ''}"


@dataclass(slots=True, eq=False, repr=False)
class Free(_Single):
    """A value that is handed on: a text, a list or a mapping, and three words of JSON.

    Without quotes, ``true`` and ``false`` are booleans, ``null`` is nothing, and whole numbers
    without leading zeros are numbers. All else is text: ``3.10``, ``yes``, ``on``, ``1e3``,
    ``0o17``, ``2026-11-21``. ``check`` sees every single value, with the path to it.
    """

    check: Callable[[Scalar, Reading], None] | None = None

    def read(self, node: Node, reading: Reading) -> JsonValue | Bad:
        if isinstance(node, Broken):
            return BAD
        if isinstance(node, Scalar):
            if self.check is not None:
                self.check(node, reading)
            return self._scalar(node, reading)
        if isinstance(node, ListNode):
            items: list[JsonValue] = []
            for index, each in enumerate(node.items):
                item = self.read(each, reading.inside(index))
                if not isinstance(item, Bad):
                    items.append(item)
            return items if len(items) == len(node.items) else BAD
        values: dict[str, JsonValue] = {}
        for name, each in node.entries:
            below = reading.inside(name.text)
            if says_nothing(name) or "\0" in name.text:
                below.report(name, "this is not a key", "put it in quotes")
                continue
            value = self.read(each, below)
            if not isinstance(value, Bad):
                values[name.text] = value
        return values if len(values) == len(node.entries) else BAD

    def _scalar(self, node: Scalar, reading: Reading) -> JsonValue | Bad:
        if "\0" in node.text:
            return reading.report(node, "holds a NUL character")
        if not node.plain:
            return node.text
        if node.text in ("", "~"):
            what = "'~' may mean nothing or a home directory" if node.text else "has no value"
            return reading.report(node, what, "write null, or '' or '~' in quotes")
        if node.text in ("true", "false"):
            return node.text == "true"
        if node.text == "null":
            return None
        if not _INTEGER.match(node.text):
            return node.text
        if len(node.text) > _MAX_DIGITS:
            return reading.report(node, "a number too long to be one", "put it in quotes")
        return int(node.text)

    def json_schema(self) -> JsonSchema:
        return {}

    def says(self) -> str:
        return "any value"


def in_python(pattern: str) -> str:
    """A JSON Schema pattern for Python, whose ``$`` would also match before a last line break."""
    return pattern.replace("$", r"\Z")


def _text(node: Node, reading: Reading, expected: str) -> str | Bad:
    """The text of a single value that says something."""
    if not isinstance(node, Scalar):
        return reading.wrong_type(node, expected)
    if says_nothing(node) or not node.text:
        what = f"is {node.text}" if node.text else "has no value"
        return reading.report(node, what, f"write {expected}, or leave the key out")
    return node.text


def _bare(
    node: Node, reading: Reading, expected: str, form: re.Pattern[str], wrong: str
) -> str | Bad:
    """The text of a single value that means more than text only where it has no quotes; *wrong* is
    what one is that has not that *form*."""
    text = _text(node, reading, expected)
    if isinstance(text, Bad):
        return BAD
    if not form.match(text):
        return reading.report(node, f"{shown(text)} is {wrong}")
    if isinstance(node, Scalar) and not node.plain:
        return reading.report(node, f"{shown(text)} is text", "leave out the quotes")
    return text
