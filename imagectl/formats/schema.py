"""One description of a file, from which everything else about that file is derived.

A file is described by *kinds*: what may stand in a place. Each kind knows how to read a YAML node
(and to say, at its line and column, what is wrong with it) and what it is in JSON Schema, so that
what imagectl accepts, what an editor completes and what the reference page says cannot differ.
A field's default is written as it would be in the file, and read by the field's own kind.

Here are the kinds that are made of others; ``scalars.py`` has those of single values.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from imagectl.formats.reading import (
    BAD,
    Bad,
    Inner,
    JsonSchema,
    Kind,
    Path,
    Reading,
    did_you_mean,
    locate,
    says_nothing,
    written,
)
from imagectl.formats.scalars import Text
from imagectl.formats.yaml_strict import ListNode, MappingNode, Node, Scalar, shown

if TYPE_CHECKING:
    from imagectl.model.image import JsonValue

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")


@dataclass(slots=True, eq=False, repr=False)
class List(Generic[T]):
    """A list of single values without repetitions, empty only where that is said."""

    item: Kind[T]
    what: str
    may_be_empty: bool = False
    longest: int = 1000

    def read(self, node: Node, reading: Reading) -> tuple[T, ...] | Bad:
        if not isinstance(node, ListNode):
            short = isinstance(node, Scalar) and not says_nothing(node) and len(node.text) <= 40
            hint = f"write [{node.text}]" if short and isinstance(node, Scalar) else ""
            return reading.wrong_type(node, self.says(), hint)
        if not node.items and not self.may_be_empty:
            return reading.report(node, "is empty; at least one is needed")
        if len(node.items) > self.longest:
            return reading.report(node, f"{len(node.items)} items; {self.longest} are allowed")
        lines: dict[T, int] = {}
        for index, each in enumerate(node.items):
            value = self.item.read(each, reading.inside(index))
            if isinstance(value, Bad):
                continue
            if value in lines:
                what = f"{shown(each.text)} a second time" if isinstance(each, Scalar) else "twice"
                reading.inside(index).report(each, what, f"first on line {lines[value]}")
            lines.setdefault(value, each.line)
        return tuple(lines) if len(lines) == len(node.items) else BAD

    def json_schema(self) -> JsonSchema:
        return {
            "type": "array",
            "items": self.item.json_schema(),
            "uniqueItems": True,
            "minItems": 0 if self.may_be_empty else 1,
            "maxItems": self.longest,
        }

    def says(self) -> str:
        return f"a list of {self.what}"

    def inner(self) -> tuple[Inner, ...]:
        return tuple(each._replace(name=f"[].{each.name}") for each in self.item.inner())


class AsTyped:
    """What a check of a mapping sees of it as it was typed, right or wrong."""

    __slots__ = ("_node", "_reading")

    def __init__(self, node: MappingNode, reading: Reading) -> None:
        self._node = node
        self._reading = reading

    def keys(self, *path: str) -> tuple[str, ...]:
        """The keys of the mapping at *path*; none where there is no mapping."""
        node = self._below(path)
        return tuple(key.text for key, _ in node.entries) if isinstance(node, MappingNode) else ()

    def text(self, *path: str) -> str | None:
        """The single value at *path*; None where there is none."""
        node = self._below(path)
        return node.text if isinstance(node, Scalar) else None

    def texts(self, *path: str) -> tuple[str | None, ...]:
        """The items of the list at *path*, None for what is no single value; none without one."""
        node = self._below(path)
        items = node.items if isinstance(node, ListNode) else ()
        return tuple(item.text if isinstance(item, Scalar) else None for item in items)

    def place(self, *path: str) -> str:
        """Where the value at *path* is written, for people: ``FILE:LINE:COLUMN``."""
        node = locate(self._node, path)
        file = self._reading.file
        return f"{file}:{node.line}:{node.column}" if node.line else path[-1]

    def reject(self, path: Path, what: str, hint: str = "") -> None:
        """Report a problem at *path*, or at the nearest thing around it that is written."""
        self._reading.reject(self._node, path, what, hint)

    def _below(self, path: tuple[str, ...]) -> Node | None:
        node: Node | None = self._node
        for step in path:
            node = node.get(step) if isinstance(node, MappingNode) else None
        return node


class Entries(AsTyped, Generic[K, T]):
    """What a check of a map sees: ``good`` are the entries that could be read."""

    __slots__ = ("good",)

    def __init__(self, good: Mapping[K, T], node: MappingNode, reading: Reading) -> None:
        super().__init__(node, reading)
        self.good = good


@dataclass(slots=True, eq=False, repr=False)
class Map(Generic[K, T]):
    """A mapping with keys of the user's choice. ``check`` sees it even where it is half wrong."""

    key: Text[K]
    value: Kind[T]
    what: str
    may_be_empty: bool = False
    check: Callable[[Entries[K, T]], None] | None = None

    def read(self, node: Node, reading: Reading) -> Mapping[K, T] | Bad:
        if not isinstance(node, MappingNode):
            return reading.wrong_type(node, self.what)
        if not node.entries and not self.may_be_empty:
            return reading.report(node, "is empty; at least one is needed")
        before = reading.count
        good: dict[K, T] = {}
        for name, each in node.entries:
            key = self.key.read(name, reading)
            value = self.value.read(each, reading.inside(name.text))
            if not isinstance(key, Bad) and not isinstance(value, Bad):
                good[key] = value
        if self.check is not None:
            self.check(Entries(good, node, reading))
        return good if len(good) == len(node.entries) and reading.count == before else BAD

    def json_schema(self) -> JsonSchema:
        return {
            "type": "object",
            "propertyNames": self.key.json_schema(),
            "additionalProperties": self.value.json_schema(),
            "minProperties": 0 if self.may_be_empty else 1,
        }

    def says(self) -> str:
        return self.what

    def inner(self) -> tuple[Inner, ...]:
        return (Inner("<name>", self.value, f"The name is {self.key.says()}.", ""),)


class _No(enum.Enum):
    DEFAULT = enum.auto()
    VALUE = enum.auto()


@dataclass(slots=True, eq=False, repr=False)
class Field(Generic[T_co]):
    """One key of a record. Made by ``required``, ``optional`` and ``defaulted``."""

    key: str
    kind: Kind[T_co]
    meaning: str
    default: JsonValue | _No


def required(key: str, kind: Kind[T], meaning: str) -> Field[T]:
    """A key that has to be there."""
    return Field(key, kind, meaning, _No.DEFAULT)


def optional(key: str, kind: Kind[T], meaning: str) -> Field[T | None]:
    """A key that may be left out, which reads as None."""
    return Field[T | None](key, kind, meaning, _No.VALUE)


def defaulted(key: str, kind: Kind[T], meaning: str, default: JsonValue) -> Field[T]:
    """A key that may be left out, which reads as *default*, written as in a file, would."""
    return Field(key, kind, meaning, default)


class Values(AsTyped):
    """What could be read of a record. ``values[FIELD]`` has the field's own type."""

    __slots__ = ("_good",)

    def __init__(self, good: Mapping[str, object], node: MappingNode, reading: Reading) -> None:
        super().__init__(node, reading)
        self._good = good

    def __getitem__(self, wanted: Field[T]) -> T:
        return cast(T, self._good[wanted.key])

    def __contains__(self, wanted: Field[Any]) -> bool:
        """True where the field's value is good: given, or by default."""
        return wanted.key in self._good


@dataclass(slots=True, eq=False, repr=False)
class Record(Generic[T_co]):
    """A mapping with known keys. ``check`` sees it even where it is half wrong, ``build`` not."""

    meaning: str
    fields: tuple[Field[Any], ...]
    build: Callable[[Values], T_co]
    check: Callable[[Values], None] | None = None

    def read(self, node: Node, reading: Reading) -> T_co | Bad:
        if not isinstance(node, MappingNode):
            return reading.wrong_type(node, self.says())
        before = reading.count
        known = [each.key for each in self.fields]
        for key, _ in node.entries:
            if key.text not in known:
                reading.report(key, f"unknown key {shown(key.text)}", did_you_mean(key.text, known))
        good: dict[str, object] = {}
        for each in self.fields:
            found = node.get(each.key)
            if found is None and each.default is _No.DEFAULT:
                reading.report(node, f"{each.key!r} is missing", each.kind.says())
                continue
            if found is None and each.default is _No.VALUE:
                good[each.key] = None
                continue
            default = None if isinstance(each.default, _No) else each.default
            value = each.kind.read(found or written(default, node), reading.inside(each.key))
            if not isinstance(value, Bad):
                good[each.key] = value
        values = Values(good, node, reading)
        if self.check is not None:
            self.check(values)
        whole = len(good) == len(self.fields) and reading.count == before
        return self.build(values) if whole else BAD

    def json_schema(self) -> JsonSchema:
        properties: JsonSchema = {}
        for each in self.fields:
            properties[each.key] = {**each.kind.json_schema(), "description": each.meaning}
            if not isinstance(each.default, _No):
                properties[each.key]["default"] = each.default
        return {
            "type": "object",
            "description": self.meaning,
            "properties": properties,
            "required": [each.key for each in self.fields if each.default is _No.DEFAULT],
            "additionalProperties": False,
        }

    def says(self) -> str:
        names = [f"`{each.key}`" for each in self.fields]
        return f"a mapping with {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"

    def inner(self) -> tuple[Inner, ...]:
        return tuple(
            Inner(each.key, each.kind, each.meaning, _default(each)) for each in self.fields
        )


def _default(field: Field[Any]) -> str:
    if field.default is _No.DEFAULT:
        return "required"
    return "" if isinstance(field.default, _No) else f"`{_flow(field.default)}`"


def _flow(value: JsonValue) -> str:
    """A default in YAML's short form, as in ``[local]``."""
    if isinstance(value, list):
        return f"[{', '.join(_flow(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return value
    return "null" if value is None else str(value).lower()


@dataclass(slots=True, eq=False, repr=False)
class OneOf(Generic[T]):
    """A mapping with exactly one key, which says what its value is: {key: (kind, meaning)}."""

    options: Mapping[str, tuple[Kind[T], str]]

    def read(self, node: Node, reading: Reading) -> T | Bad:
        if not isinstance(node, MappingNode):
            return reading.wrong_type(node, self.says())
        if not node.entries:
            return reading.report(node, "is empty", self.says())
        before = reading.count
        value: T | Bad = BAD
        for key, each in node.entries:
            if key.text not in self.options:
                hint = did_you_mean(key.text, list(self.options))
                reading.report(key, f"unknown key {shown(key.text)}", hint)
                continue
            if key is not node.entries[0][0]:
                first = shown(node.entries[0][0].text)
                reading.report(key, f"{key.text!r} beside {first}: only one of them can be")
            value = self.options[key.text][0].read(each, reading.inside(key.text))
        return value if reading.count == before else BAD

    def json_schema(self) -> JsonSchema:
        properties = {
            name: {**kind.json_schema(), "description": meaning}
            for name, (kind, meaning) in self.options.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }

    def says(self) -> str:
        return "a mapping with one of " + ", ".join(f"`{name}`" for name in self.options)

    def inner(self) -> tuple[Inner, ...]:
        return tuple(
            Inner(name, kind, meaning, "") for name, (kind, meaning) in self.options.items()
        )


@dataclass(slots=True, eq=False, repr=False)
class Typed(Generic[T_co]):
    """A mapping whose key ``type`` says which record of a table it is."""

    table: Mapping[str, Record[T_co]]

    def read(self, node: Node, reading: Reading) -> T_co | Bad:
        if not isinstance(node, MappingNode):
            return reading.wrong_type(node, self.says())
        name = node.get("type")
        if name is None:
            return reading.report(node, "'type' is missing", f"known: {', '.join(self.table)}")
        if not isinstance(name, Scalar):
            return reading.inside("type").wrong_type(name, "a word")
        if name.text not in self.table:
            hint = did_you_mean(name.text, list(self.table))
            return reading.inside("type").report(name, f"{shown(name.text)} is not known", hint)
        rest = tuple(entry for entry in node.entries if entry[0].text != "type")
        return self.table[name.text].read(MappingNode(node.line, node.column, rest), reading)

    def json_schema(self) -> JsonSchema:
        options = []
        for name, record in self.table.items():
            schema = record.json_schema()
            kind = {"const": name, "description": record.meaning}
            schema["properties"] = {"type": kind, **schema["properties"]}
            schema["required"] = ["type", *schema["required"]]
            options.append(schema)
        return {"oneOf": options}

    def says(self) -> str:
        return "a mapping with a `type`: " + " or ".join(f"`{name}`" for name in self.table)

    def inner(self) -> tuple[Inner, ...]:
        return tuple(
            Inner("", record, f"With `type: {name}`. {record.meaning}", "")
            for name, record in self.table.items()
        )


@dataclass(slots=True, eq=False, repr=False)
class _ShortOr(Generic[T]):
    """A kind that has a short form."""

    short: Kind[T]
    long: Kind[T]

    def json_schema(self) -> JsonSchema:
        return {"anyOf": [self.short.json_schema(), self.long.json_schema()]}

    def says(self) -> str:
        return f"{self.short.says()}, or {self.long.says()}"

    def inner(self) -> tuple[Inner, ...]:
        return self.long.inner()


@dataclass(slots=True, eq=False, repr=False)
class ListOr(_ShortOr[T]):
    """A list as the short form of a record."""

    def read(self, node: Node, reading: Reading) -> T | Bad:
        if isinstance(node, (ListNode, MappingNode)):
            return (self.short if isinstance(node, ListNode) else self.long).read(node, reading)
        return reading.wrong_type(node, self.says())


@dataclass(slots=True, eq=False, repr=False)
class TextOr(_ShortOr[T]):
    """A single value as the short form of a record."""

    def read(self, node: Node, reading: Reading) -> T | Bad:
        if isinstance(node, MappingNode):
            return self.long.read(node, reading)
        if isinstance(node, Scalar) and not says_nothing(node):
            return self.short.read(node, reading)
        return reading.wrong_type(node, self.says())


@dataclass(slots=True, eq=False, repr=False)
class As(Generic[K, T]):
    """A kind whose value is turned into another type."""

    kind: Kind[K]
    turn: Callable[[K], T]

    def read(self, node: Node, reading: Reading) -> T | Bad:
        value = self.kind.read(node, reading)
        return BAD if isinstance(value, Bad) else self.turn(value)

    def json_schema(self) -> JsonSchema:
        return self.kind.json_schema()

    def says(self) -> str:
        return self.kind.says()

    def inner(self) -> tuple[Inner, ...]:
        return self.kind.inner()
