"""Events of the catalog as text, version 1, and the hash that chains them (P7).

One event is one line of canonical JSON: keys sorted, no spaces, no floats, text as it is (only what
JSON must escape is escaped), so that any program can compute the same bytes. The hash is the sha256
of that line in UTF-8; the line names the hash of the event before it.

- Durations are text, the shortest decimal that reads back as the same number (``"12.5"``).
- Times are RFC 3339 in UTC with six decimals; as text they sort by age.
- Whole numbers are between 0 and 2**53 - 1, which every JSON reader keeps exactly.

Reading is total and strict: any text gives an event or :class:`BadEvent`, and only the one text
that writing gives is accepted. A version, operation or word that this release does not know is
:class:`NewerEvent`. Events are never rewritten, so a field more needs a version 2 beside this one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TypeVar

from imagectl.errors import ImpossibleChange
from imagectl.model.catalog import (
    Change,
    MoveChannel,
    Operation,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.channel import MoveKind
from imagectl.model.event import Event
from imagectl.model.names import (
    Architecture,
    Format,
    Sha256,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.version import Artifact, Placement, TestSummary, Tree, Version, VersionRef

VERSION = 1
MAX_INTEGER = 2**53 - 1

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class BadEvent(ValueError):
    """Text is not an event of version 1. The message is for people."""


class NewerEvent(BadEvent):
    """Text says something that this release has no word for."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: written by a newer imagectl")


def make_event(generation: int, change: Change, previous: Sha256) -> Event:
    """The event that records *change*. Raises ImpossibleChange where it could not be read back."""
    return Event(generation, change, previous, event_hash(generation, change, previous))


def event_hash(generation: int, change: Change, previous: Sha256) -> Sha256:
    """The sha256 of the event's text. Raises ImpossibleChange like :func:`event_text`."""
    return text_hash(event_text(generation, change, previous))


def text_hash(text: str) -> Sha256:
    """The sha256 of an event's text as it stands, whatever it says."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def event_text(generation: int, change: Change, previous: Sha256) -> str:
    """The event's line, without a line end. It holds all of the event but its own hash.

    Raises ImpossibleChange where the change holds what cannot be written and read back as the same:
    a time without a zone, a NUL, half a surrogate pair, an empty key, a name that is none.
    """
    try:
        text = _text(generation, change, previous)
        if _parse(text) == (generation, change, previous):
            return text
        why = "it would not be the same when read back"
    except (ValueError, OverflowError) as error:
        why = str(error)
    raise ImpossibleChange(f"a change that cannot be written down: {why}")


def parse_event(text: str, hash: Sha256) -> Event:
    """The event that *text* holds. Raises BadEvent.

    *hash* is taken as it is: whether it is the text's own is for ``catalog verify`` to tell.
    """
    try:
        generation, change, previous = _parse(text)
        same = _text(generation, change, previous) == text
    except BadEvent:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadEvent(str(error)) from None
    if not same:
        raise BadEvent("not in canonical form")
    return Event(generation, change, previous, hash)


def _text(generation: int, change: Change, previous: Sha256) -> str:
    value = {
        "v": VERSION,
        "generation": generation,
        "previous": previous,
        "change": _write_change(change),
    }
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _parse(text: str) -> tuple[int, Change, Sha256]:
    fields = _Fields(json.loads(text), "event")
    version = fields.whole("v")
    if version > VERSION:
        raise NewerEvent(f"version {version}")
    if version < VERSION:
        raise BadEvent(f"version {version} does not exist")
    read = (
        fields.whole("generation"),
        _read_change(fields.inner("change")),
        fields.named("previous", parse_sha256),
    )
    fields.done()
    return read


# --- writing ---


def write_time(at: datetime) -> str:
    """RFC 3339 in UTC with six decimals. Raises ValueError for a time without a zone."""
    if at.tzinfo is None:
        raise ValueError(f"the time {at} has no zone")
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _write_seconds(seconds: float) -> str:
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"{seconds} is not a duration")
    return repr(float(seconds))


def _write_change(change: Change) -> dict[str, object]:
    return {
        "key": change.key,
        "based_on": change.based_on,
        "actor": change.actor,
        "action": change.action,
        "reason": change.reason,
        "at": write_time(change.at),
        "operations": [_write_operation(operation) for operation in change.operations],
    }


def _write_operation(operation: Operation) -> dict[str, object]:
    if isinstance(operation, RecordVersion):
        return {"op": "record-version", "version": _write_version(operation.version)}
    if isinstance(operation, RecordPlacement):
        return {"op": "record-placement", "placement": _write_placement(operation.placement)}
    return {
        "op": "move-channel",
        "image": operation.image,
        "channel": operation.channel,
        "to": str(operation.to),
        "kind": operation.kind.value,
    }


def _write_ref(ref: VersionRef) -> dict[str, object]:
    return {"image": ref.image, "version": str(ref.version)}


def _write_version(version: Version) -> dict[str, object]:
    return {
        "ref": _write_ref(version.ref),
        "created": write_time(version.created),
        "created_by": version.created_by,
        "summary": version.summary,
        "fingerprint": version.fingerprint,
        "parent": _write_ref(version.parent) if version.parent else None,
        "tree": {
            "sha256": version.tree.sha256,
            "size": version.tree.size,
            "stored": version.tree.stored,
        },
        "artifacts": [
            {
                "format": artifact.format.value,
                "architecture": artifact.architecture.value,
                "sha256": artifact.sha256,
                "size": artifact.size,
            }
            for artifact in version.artifacts
        ],
        "tests": {
            "passed": version.tests.passed,
            "failed": version.tests.failed,
            "seconds": _write_seconds(version.tests.seconds),
            "report": version.tests.report,
            "console": version.tests.console,
        },
        "required_locations": list(version.required_locations),
        "tool": version.tool,
        "build_log": version.build_log,
        "seconds": _write_seconds(version.seconds),
    }


def _write_placement(placement: Placement) -> dict[str, object]:
    return {
        "version": _write_ref(placement.version),
        "format": placement.format.value,
        "architecture": placement.architecture.value,
        "location": placement.location,
        "provider_id": placement.provider_id,
        "reference": placement.reference,
        "sha256": placement.sha256,
        "size": placement.size,
        "verified": write_time(placement.verified),
    }


# --- reading ---


class _Fields:
    """A JSON object, each of whose fields is taken exactly once. *where* names it in messages."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BadEvent(f"{where}: an object is expected")
        self._rest: dict[str, object] = dict(value)
        self._where = where

    def take(self, key: str) -> object:
        if key not in self._rest:
            raise BadEvent(f"{self._where}: {key} is missing")
        return self._rest.pop(key)

    def done(self) -> None:
        if self._rest:
            raise BadEvent(f"{self._where}: unknown {', '.join(sorted(self._rest))}")

    def whole(self, key: str) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
            raise BadEvent(f"{self._where}: {key} is not a whole number from 0 to 2**53-1")
        return value

    def text(self, key: str) -> str:
        return self._storable(self.take(key), key)

    def _storable(self, value: object, key: str) -> str:
        if not isinstance(value, str):
            raise BadEvent(f"{self._where}: {key} is not text")
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value):
            raise BadEvent(f"{self._where}: {key} holds a character that cannot be stored")
        return value

    def named(self, key: str, parse: Callable[[str], T]) -> T:
        text = self.text(key)
        try:
            return parse(text)
        except ValueError as error:
            raise BadEvent(f"{self._where}: {key}: {error}") from None

    def seconds(self, key: str) -> float:
        value = self.named(key, float)
        if not (math.isfinite(value) and value >= 0):
            raise BadEvent(f"{self._where}: {key} is not a duration")
        return value

    def word(self, key: str, words: type[E]) -> E:
        text = self.text(key)
        try:
            return words(text)
        except ValueError:
            raise NewerEvent(f"{self._where}: {key} {text[:40]!r}") from None

    def time(self, key: str) -> datetime:
        return self.named(key, datetime.fromisoformat)

    def inner(self, key: str) -> _Fields:
        return _Fields(self.take(key), f"{self._where}.{key}")

    def each(self, key: str) -> list[_Fields]:
        return [_Fields(value, f"{self._where}.{key}[{at}]") for at, value in self._list(key)]

    def names(self, key: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        return tuple(parse(self._storable(value, key)) for _, value in self._list(key))

    def _list(self, key: str) -> list[tuple[int, object]]:
        value = self.take(key)
        if not isinstance(value, list):
            raise BadEvent(f"{self._where}: {key} is not a list")
        return list(enumerate(value))


def _read_change(fields: _Fields) -> Change:
    change = Change(
        key=fields.text("key"),
        based_on=fields.whole("based_on"),
        actor=fields.text("actor"),
        action=fields.text("action"),
        reason=fields.text("reason"),
        at=fields.time("at"),
        operations=tuple(_read_operation(each) for each in fields.each("operations")),
    )
    if not change.key:
        raise BadEvent("event.change: key is empty")
    fields.done()
    return change


def _read_operation(fields: _Fields) -> Operation:
    name = fields.text("op")
    if name not in _OPERATIONS:
        raise NewerEvent(f"operation {name[:40]!r}")
    operation = _OPERATIONS[name](fields)
    fields.done()
    return operation


def _read_move(fields: _Fields) -> MoveChannel:
    return MoveChannel(
        image=fields.named("image", parse_image_name),
        channel=fields.named("channel", parse_channel_name),
        to=fields.named("to", parse_version_id),
        kind=fields.word("kind", MoveKind),
    )


_OPERATIONS: Mapping[str, Callable[[_Fields], Operation]] = {
    "record-version": lambda fields: RecordVersion(_read_version(fields.inner("version"))),
    "record-placement": lambda fields: RecordPlacement(_read_placement(fields.inner("placement"))),
    "move-channel": _read_move,
}


def _read_ref(fields: _Fields) -> VersionRef:
    ref = VersionRef(
        fields.named("image", parse_image_name), fields.named("version", parse_version_id)
    )
    fields.done()
    return ref


def _read_version(fields: _Fields) -> Version:
    parent = fields.take("parent")
    version = Version(
        ref=_read_ref(fields.inner("ref")),
        created=fields.time("created"),
        created_by=fields.text("created_by"),
        summary=fields.text("summary"),
        fingerprint=fields.named("fingerprint", parse_sha256),
        parent=None if parent is None else _read_ref(_Fields(parent, "parent")),
        tree=_read_tree(fields.inner("tree")),
        artifacts=tuple(_read_artifact(each) for each in fields.each("artifacts")),
        tests=_read_tests(fields.inner("tests")),
        required_locations=fields.names("required_locations", parse_location_name),
        tool=fields.text("tool"),
        build_log=fields.named("build_log", parse_sha256),
        seconds=fields.seconds("seconds"),
    )
    fields.done()
    return version


def _read_tree(fields: _Fields) -> Tree:
    tree = Tree(
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
        stored=fields.named("stored", parse_sha256),
    )
    fields.done()
    return tree


def _read_artifact(fields: _Fields) -> Artifact:
    artifact = Artifact(
        format=fields.word("format", Format),
        architecture=fields.word("architecture", Architecture),
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
    )
    fields.done()
    return artifact


def _read_tests(fields: _Fields) -> TestSummary:
    tests = TestSummary(
        passed=fields.whole("passed"),
        failed=fields.whole("failed"),
        seconds=fields.seconds("seconds"),
        report=fields.named("report", parse_sha256),
        console=fields.named("console", parse_sha256),
    )
    fields.done()
    return tests


def _read_placement(fields: _Fields) -> Placement:
    placement = Placement(
        version=_read_ref(fields.inner("version")),
        format=fields.word("format", Format),
        architecture=fields.word("architecture", Architecture),
        location=fields.named("location", parse_location_name),
        provider_id=fields.text("provider_id"),
        reference=fields.text("reference"),
        sha256=fields.named("sha256", parse_sha256),
        size=fields.whole("size"),
        verified=fields.time("verified"),
    )
    fields.done()
    return placement
