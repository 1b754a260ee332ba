"""What it is to read a file: find every problem of it, each with its line and a hint.

A *kind* (``scalars.py``, ``schema.py``) is given a node and a :class:`Reading`; it returns a value,
or reports what is wrong and returns :data:`BAD`. Nothing raises before the whole file was seen,
except where there are so many problems that nobody would read on.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from imagectl.errors import BadInput, Problem
from imagectl.formats.yaml_strict import (
    MAX_PROBLEMS,
    Broken,
    Document,
    ListNode,
    MappingNode,
    Node,
    Scalar,
    shown,
)
from imagectl.policy.wording import nearest

if TYPE_CHECKING:
    from imagectl.model.image import JsonValue

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

JsonSchema = dict[str, Any]

Path = tuple[str | int, ...]
"""Where in a file: ``("provision", "roles", 0)``."""


class Bad(enum.Enum):
    """What reading gives for something wrong, which has been reported."""

    BAD = enum.auto()


BAD: Literal[Bad.BAD] = Bad.BAD


class Unfit(ValueError):
    """A parser's no to a text. The message is for people; ``hint`` is the next thing to type."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


HIDDEN = "a text that is not shown here"


class Reading:
    """The problems found so far, and the path to what is being read."""

    __slots__ = ("_hidden", "_problems", "file", "path")

    def __init__(
        self,
        file: str,
        problems: list[Problem],
        path: Path = (),
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.file = file
        self.path = path
        self._problems = problems
        self._hidden = hidden

    @property
    def count(self) -> int:
        """How many problems there are so far, in the whole file."""
        return len(self._problems)

    def inside(self, step: str | int) -> Reading:
        """The reading of what is below, under *step*."""
        return Reading(self.file, self._problems, (*self.path, step), self._hidden)

    def hiding(self, node: Node, but: Collection[str] = ()) -> Reading:
        """The same reading, whose messages never show a text of *node*, save those in *but*: it may
        be a secret, typed where its reference belongs."""
        hidden = {shown(text) for text in _texts(node) if text not in but}
        return Reading(self.file, self._problems, self.path, self._hidden | hidden)

    def report(self, node: Node, what: str, hint: str = "") -> Literal[Bad.BAD]:
        """Note a problem at *node*, under the path of this reading."""
        if isinstance(node, Broken):
            return BAD
        for text in self._hidden:
            what, hint = what.replace(text, HIDDEN), hint.replace(text, HIDDEN)
        what = f"{_dotted(self.path)}: {what}" if self.path else what
        self._problems.append(Problem(self.file, node.line, node.column, what, hint))
        if len(self._problems) >= MAX_PROBLEMS:
            raise BadInput(self._problems, hint=f"only the first {MAX_PROBLEMS} are shown")
        return BAD

    def reject(self, node: Node, path: Path, what: str, hint: str = "") -> None:
        """Note a problem at *path* below *node*, which is what this reading is of."""
        below = self
        for step in path:
            below = below.inside(step)
        below.report(locate(node, path), what, hint)

    def wrong_type(self, node: Node, expected: str, hint: str = "") -> Literal[Bad.BAD]:
        """Report a value of one shape where another is expected."""
        if isinstance(node, Scalar):
            found = "nothing" if says_nothing(node) else shown(node.text)
        else:
            found = "a list" if isinstance(node, ListNode) else "a mapping"
        return self.report(node, f"{found} where {expected} is expected", hint)


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from _texts(item)
    elif isinstance(node, MappingNode):
        for key, value in node.entries:
            if isinstance(value, Scalar) and says_nothing(value):
                yield key.text  # {SECRET}
            yield from _texts(value)


class Inner(NamedTuple):
    """A part of a kind, for the reference. ``name`` is "" for one of several forms of the kind;
    ``default`` is in Markdown, "" where there is none."""

    name: str
    kind: Kind[Any]
    meaning: str
    default: str


class Kind(Protocol[T_co]):
    """What may stand in one place of a file."""

    def read(self, node: Node, reading: Reading) -> T_co | Bad:
        """The value, or BAD after a report."""
        ...

    def json_schema(self) -> JsonSchema:
        """The same in JSON Schema, draft 2020-12."""
        ...

    def says(self) -> str:
        """What is expected, for messages and for the reference: "a list of role names"."""
        ...

    def inner(self) -> tuple[Inner, ...]:
        """The kinds that it is made of."""
        ...


def read_document(kind: Kind[T], document: Document) -> T:
    """The whole file as its value. Raises BadInput with every problem there is."""
    problems = list(document.problems)
    value = kind.read(document.root, Reading(document.file, problems))
    if problems or isinstance(value, Bad):
        raise BadInput(problems)
    return value


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was typed, for what can only be checked after reading: where is each value?"""

    file: str
    root: MappingNode

    def problem(self, path: Path, what: str, hint: str = "") -> Problem:
        """A problem at *path*, or at the nearest thing around it that is really written."""
        node = locate(self.root, path)
        what = f"{_dotted(path)}: {what}" if path else what
        return Problem(self.file, node.line, node.column, what, hint)


def locate(node: Node, path: Path) -> Node:
    """What to point at when *path* below *node* is meant.

    That is a single value itself, but the key of a list or a mapping; and where the path is not
    written at all, the nearest thing around it.
    """
    pointer = node
    for step in path:
        if isinstance(node, MappingNode) and isinstance(step, str):
            key, value = node.key(step), node.get(step)
        elif isinstance(node, ListNode) and isinstance(step, int) and step < len(node.items):
            key, value = None, node.items[step]
        else:
            break
        if value is None:
            break
        pointer = value if key is None or isinstance(value, Scalar) else key
        node = value
    return pointer


def written(value: JsonValue, near: Node) -> Node:
    """The node that *value* would be in a file, at the place of *near*."""
    line, column = near.line, near.column
    if isinstance(value, str):
        return Scalar(line, column, value, False)
    if isinstance(value, list):
        return ListNode(line, column, tuple(written(item, near) for item in value))
    if isinstance(value, dict):
        entries = ((Scalar(line, column, k, False), written(v, near)) for k, v in value.items())
        return MappingNode(line, column, tuple(entries))
    if value is None or isinstance(value, bool):
        return Scalar(line, column, {None: "null", True: "true", False: "false"}[value], True)
    return Scalar(line, column, str(value), True)


def says_nothing(node: Scalar) -> bool:
    """True where YAML would read nothing: no value, ``~`` or ``null``, all without quotes."""
    return node.plain and node.text in ("", "~", "null", "Null", "NULL")


def did_you_mean(text: str, known: Sequence[str]) -> str:
    """A hint that names the likeliest of the known words, or else the first dozen of them."""
    if not known:
        return ""
    some = ", ".join([*known[:12], *(["..."] if len(known) > 12 else [])])
    text = text[:100]
    return nearest(text.lower(), known) or nearest(text, known) or f"known: {some}"


def _dotted(path: Path) -> str:
    """``provision.roles[0]``, short and on one line."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
    text = text if len(text) <= 80 else "..." + text[-77:]
    return text if text.isprintable() else repr(text)[1:-1]
