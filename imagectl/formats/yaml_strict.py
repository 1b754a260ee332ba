"""YAML text becomes nodes that still know their line and column, and nothing else happens to it.

Promises: every scalar stays the text that was typed (``on``, ``3.10``, ``1e3``, ``0o17`` and dates
too) until a schema asks for something else; what makes YAML surprising or dangerous is refused
(duplicate keys, anchors, aliases, merge keys, tags, several documents, tabs, control characters,
bytes that are not UTF-8, nesting deeper than :data:`MAX_DEPTH`, more than :data:`MAX_BYTES`); and
whatever the bytes are, the only error that comes out is :class:`~imagectl.errors.BadInput`.

What the nodes mean is left to ``schema.py``; a part of somebody else's file to
``yaml_foreign.py``. PyYAML is used as a parser of events only, through
libyaml: its pure Python parser takes half a minute for a megabyte and leaks ``ValueError`` and
``OverflowError`` on bad escapes, and its constructors do so on much more.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from imagectl.errors import BadInput, Problem, ToolMissing

MAX_BYTES = 1 << 20
"""Largest file that is read. A definition written by people is a thousandth of it."""

MAX_DEPTH = 20
"""Deepest nesting of lists and mappings."""

MAX_PROBLEMS = 50
"""Reading ends after so many problems in one file: the rest would not be read by anybody."""

# What may not be in a file of ours: C0 and C1 controls, line separators that editors do not count
# as lines, marks that reorder text on the screen, and what Unicode says is no character.
_UNWANTED = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
    "|\r(?!\n)"
)

_BOMS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

# libyaml's words, and ours for the mistakes that people make most.
_PLAIN_WORDS = {
    "mapping values are not allowed in this context": (
        "a ':' that cannot be here",
        "put the value in quotes if it contains ': '; else look at the indentation",
    ),
    "could not find expected ':'": (
        "a line that is neither 'key: value' nor part of a list",
        "write a space after the ':', or quote a text of several lines",
    ),
    "did not find expected key": (
        "this line does not fit the lines above it",
        "keys of one mapping begin in the same column",
    ),
    "did not find expected '-' indicator": (
        "this line does not fit the list above it",
        "items of one list begin with '- ' in the same column",
    ),
    "did not find expected <document start>": (
        "text that does not belong to what is before it",
        "one value has one set of quotes and nothing after it but a comment",
    ),
    "found character that cannot start any token": (
        "a value cannot begin with this character",
        "put the value in quotes",
    ),
    "found unknown escape character": (
        "an unknown escape after a backslash",
        "use single quotes where a backslash should be a backslash",
    ),
    "found invalid Unicode character escape code": ("an escape that is not a character", ""),
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. ``plain`` is true where it was typed without quotes."""

    line: int
    column: int
    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class ListNode:
    """``- a`` lines or ``[a, b]``."""

    line: int
    column: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MappingNode:
    """``key: value`` lines or ``{key: value}``, in the order of the file; no key comes twice."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """The value of *key*, or None where there is no such key."""
        return next((value for name, value in self.entries if name.text == key), None)

    def key(self, key: str) -> Scalar | None:
        """The place where *key* itself is written."""
        return next((name for name, _ in self.entries if name.text == key), None)


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that was refused, and has been reported already."""

    line: int
    column: int


Node = Scalar | ListNode | MappingNode | Broken


@dataclass(frozen=True, slots=True)
class Document:
    """A whole file. ``problems`` are those that did not keep the rest of it from being read."""

    file: str
    root: MappingNode
    problems: tuple[Problem, ...]


def load(data: bytes, file: str, most: int = MAX_BYTES) -> Document:
    """The nodes of a file of ours, of at most *most* bytes. An empty file is an empty mapping.

    Raises BadInput."""
    text = decode(data, file, most)
    _refuse_unwanted(text, file)
    return Reader(text, file).document()


def decode(data: bytes, file: str, most: int) -> str:
    """The text of a file of at most *most* bytes, which is UTF-8. Raises BadInput."""
    if len(data) > most:
        raise BadInput([Problem(file, 0, 0, f"larger than {most >> 20} MiB; not read")])
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            raise BadInput([Problem(file, 1, 1, f"this is {encoding}", "save it as UTF-8")])
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        byte = data[error.start]
        what = f"not UTF-8: byte 0x{byte:02x}"
        raise BadInput([Problem(file, line, column, what, "save it as UTF-8")]) from None


def _refuse_unwanted(text: str, file: str) -> None:
    """Report the first unwanted character of each line, so that one file shows them all."""
    problems: list[Problem] = []
    start = 0
    while start >= 0 and len(problems) < MAX_PROBLEMS:
        match = _UNWANTED.search(text, start)
        if match is None:
            break
        line = text.count("\n", 0, match.start()) + 1
        column = match.start() - text.rfind("\n", 0, match.start())
        if match[0] == "\t":
            what, hint = "a tab", "indent with spaces; in double quotes, write \\t"
        else:
            what = f"a character that must not be here: U+{ord(match[0]):04X}"
            hint = "it is invisible or reorders text; delete it"
        problems.append(Problem(file, line, column, what, hint))
        start = text.find("\n", match.end())
    if problems:
        raise BadInput(problems)


class Reader:
    """Turns libyaml's events into nodes, held to the rules above.

    The depth of its recursion is bounded by MAX_DEPTH.
    """

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        try:
            from yaml._yaml import CParser
        except ImportError:
            raise ToolMissing(
                "PyYAML was built here without libyaml",
                why="its pure Python parser is slow and lets unexpected errors out",
                hint="install PyYAML from a wheel, or Debian's python3-yaml",
            ) from None
        self._parser = CParser(text)

    def document(self) -> Document:
        root: Node | None = None
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    hint = "everything from this line on would be ignored"
                    self._report(event, "a second document in one file", hint)
                    break
                root = self._node(self._next(), 1)
        if root is None or (isinstance(root, Scalar) and root.plain and not root.text):
            root = MappingNode(1, 1, ())
        return self._finished(root)

    def _finished(self, root: Node) -> Document:
        if isinstance(root, Broken):
            raise BadInput(self._problems)
        if not isinstance(root, MappingNode):
            kind = "a list" if isinstance(root, ListNode) else "a single value"
            what = f"{kind}, where a mapping ('key: value' lines) is expected"
            raise BadInput([*self._problems, Problem(self._file, root.line, root.column, what)])
        return Document(self._file, root, tuple(self._problems))

    def _next(self) -> Event:
        try:
            event = self._parser.get_event()
        except yaml.MarkedYAMLError as error:
            raise BadInput([*self._problems, self._syntax(error)]) from None
        except yaml.YAMLError as error:
            raise BadInput([*self._problems, Problem(self._file, 0, 0, _one_line(error))]) from None
        return StreamEndEvent() if event is None else event

    def _syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        said = error.problem or "not YAML"
        mark, begun = error.problem_mark, error.context_mark
        what, hint = _PLAIN_WORDS.get(said, (f"not YAML: {said}", ""))
        if begun is not None and said == "found unexpected end of stream":
            mark, what, hint = begun, "this quote is never closed", ""
        elif begun is not None and said == "could not find expected ':'":
            mark = begun
        elif begun is not None and said in (
            "did not find expected ',' or ']'",
            "did not find expected ',' or '}'",
        ):
            bracket = said[-2]
            what = f"',' or '{bracket}' is missing somewhere after this bracket"
            mark, hint = begun, ""
        if mark is None:
            return Problem(self._file, 0, 0, what, hint)
        return Problem(self._file, mark.line + 1, mark.column + 1, what, hint)

    def _report(self, event: Event, what: str, hint: str = "") -> None:
        self._problems.append(Problem(self._file, *place(event), what, hint))
        if len(self._problems) >= MAX_PROBLEMS:
            raise BadInput(self._problems, hint=f"only the first {MAX_PROBLEMS} are shown")

    def _node(self, event: Event, depth: int) -> Node:
        line, column = place(event)
        if depth > MAX_DEPTH:
            self._report(event, f"nested more than {MAX_DEPTH} deep; not read any further")
            raise BadInput(self._problems)
        if isinstance(event, AliasEvent):
            self._report(
                event, f"an alias (*{(event.anchor or '')[:40]})", "write the value itself"
            )
            return Broken(line, column)
        self._refuse_marks(event)
        if isinstance(event, ScalarEvent):
            return Scalar(line, column, event.value, not event.style)
        if isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := self._next(), SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return ListNode(line, column, tuple(items))
        return MappingNode(line, column, self._entries(depth))

    def _entries(self, depth: int) -> tuple[tuple[Scalar, Node], ...]:
        entries: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if isinstance(key, Scalar):
                if key.plain and key.text == "<<":
                    self._report(event, "a merge key ('<<')", "write the keys themselves")
                elif key.text in entries:
                    first = entries[key.text][0]
                    what = f"{shown(key.text)} a second time"
                    self._report(event, what, f"first on line {first.line}")
                else:
                    entries[key.text] = (key, value)
            elif not isinstance(key, Broken):
                hint = "a key is a single word; a template is a text in quotes: '{{ x }}'"
                self._report(event, "a list or mapping as a key", hint)
        return tuple(entries.values())

    def _refuse_marks(self, event: Event) -> None:
        if not isinstance(event, NodeEvent):
            return
        if event.anchor is not None:
            self._report(
                event, f"an anchor (&{event.anchor[:40]})", "write the value where it is used"
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "secrets go under 'secrets', by reference" if "vault" in tag else "leave it out"
            self._report(event, f"the tag {shown(tag)}", hint)


def place(event: Event) -> tuple[int, int]:
    """The line and column where *event* begins, both from 1; 0 where it is nowhere."""
    mark = event.start_mark
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)


_LOGIN = re.compile(r"(//)[^/@\s]+@")


def shown(text: str) -> str:
    """Text from a file as it may appear in a message: quoted, short, on one line, printable, and
    without what may be a password in an address."""
    text = _LOGIN.sub(r"\1...@", text)
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _one_line(error: Exception) -> str:
    return "not YAML: " + " ".join(str(error).split())[:200]
