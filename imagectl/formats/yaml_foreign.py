"""A place in somebody else's YAML file, such as a CI service's pipeline, that is meant for us.

Promises: what is ours is held to all the rules of ``yaml_strict.py``. The rest may use all of YAML:
it has to be well-formed, but is passed over event by event, keeping nothing of it, so that aliases
are never expanded; and whatever the bytes are, the only error that comes out is
:class:`~imagectl.errors.BadInput`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from imagectl.errors import BadInput, Problem
from imagectl.formats.yaml_strict import (
    MAX_BYTES,
    MAX_DEPTH,
    Document,
    Node,
    Reader,
    Scalar,
    decode,
    place,
)

MAX_FOREIGN_DEPTH = 200
"""Deepest nesting in the parts of somebody else's file that are passed over."""


def load_part(data: bytes, file: str, key: str) -> Document | None:
    """What is under the top-level *key* of somebody else's file; None where there is no such key.

    Raises BadInput.
    """
    return _Search(decode(data, file, MAX_BYTES), file).part(key)


@dataclass(frozen=True, slots=True)
class Found:
    """A key of somebody else's file, its value, and the keys around it, outermost first.

    ``assigned`` is true where it is no key, but a text of the form ``KEY=value``.
    """

    around: tuple[str, ...]
    key: Scalar
    value: Node
    assigned: bool = False


def find_keys(data: bytes, file: str, prefix: str) -> tuple[tuple[Found, ...], tuple[Problem, ...]]:
    """Every key of somebody else's file that begins with *prefix*, wherever it is, and what is
    wrong with their values.

    An alias as a key counts as what it stands for, and a text with ``KEY=value`` in it as that key.
    Raises BadInput.
    """
    return _Search(decode(data, file, MAX_BYTES), file).keys(prefix)


class _Search(Reader):
    """Goes through a file to its end, and makes nodes of what is looked for."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self._anchored: dict[str, str] = {}

    def part(self, wanted: str) -> Document | None:
        found: Node | None = None
        key_line = 0
        while not isinstance(event := self._next(), StreamEndEvent):
            if not isinstance(event, DocumentStartEvent):
                continue
            event = self._next()
            if not isinstance(event, MappingStartEvent):
                self._pass_over(event)
                continue
            while not isinstance(key := self._next(), MappingEndEvent):
                self._pass_over(key)
                value = self._next()
                if not (isinstance(key, ScalarEvent) and key.value == wanted):
                    self._pass_over(value)
                elif found is None:
                    key_line = place(key)[0]
                    found = self._node(value, 2)
                else:
                    self._pass_over(value)
                    self._report(key, f"{wanted!r} a second time", f"first on line {key_line}")
        return None if found is None else self._finished(found)

    def keys(self, prefix: str) -> tuple[tuple[Found, ...], tuple[Problem, ...]]:
        found: list[Found] = []
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                self._look_through(self._next(), prefix, (), 1, found)
        return tuple(found), tuple(self._problems)

    def _look_through(
        self, event: Event, prefix: str, around: tuple[str, ...], depth: int, found: list[Found]
    ) -> None:
        if depth > MAX_FOREIGN_DEPTH:
            self._report(event, f"nested more than {MAX_FOREIGN_DEPTH} deep; not read")
            raise BadInput(self._problems)
        if isinstance(event, SequenceStartEvent):
            while not isinstance(item := self._next(), SequenceEndEvent):
                self._look_through(item, prefix, (*around, "-"), depth + 1, found)
        elif isinstance(event, MappingStartEvent):
            while not isinstance(key := self._next(), MappingEndEvent):
                name = self._name(key)
                value = self._next()
                if name.startswith(prefix):
                    known = Scalar(*place(key), name, plain=True)
                    found.append(Found(around, known, self._node(value, MAX_DEPTH - 1)))
                else:
                    self._look_through(value, prefix, (*around, name), depth + 1, found)
        elif isinstance(event, ScalarEvent):
            self._name(event)
            line, column = place(event)
            for match in re.finditer(rf"(?:^|[\s'\"])({re.escape(prefix)}\w+)=(\S*)", event.value):
                known, given = (Scalar(line, column, each, plain=True) for each in match.groups())
                found.append(Found(around, known, given, assigned=True))

    def _name(self, key: Event) -> str:
        """What a key is, be it by an alias; the empty text where it is no text. Reads up to its
        end."""
        if isinstance(key, AliasEvent):
            return self._anchored.get(key.anchor or "", "")
        if not isinstance(key, ScalarEvent):
            self._pass_over(key)
            return ""
        if key.anchor is not None and len(key.value) <= 100:
            self._anchored[key.anchor] = key.value
        return key.value

    def _pass_over(self, event: Event) -> None:
        """Read up to the end of the value that *event* begins, keeping nothing of it."""
        depth = 0
        while True:
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                depth += 1
                if depth > MAX_FOREIGN_DEPTH:
                    self._report(event, f"nested more than {MAX_FOREIGN_DEPTH} deep; not read")
                    raise BadInput(self._problems)
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                depth -= 1
            if depth == 0:
                return
            event = self._next()
