"""Events of the catalog as text, and the hash that chains them (P7).

One event is one line of canonical JSON (``event_parts.py``), so that any program can compute the
same bytes. The hash is the sha256 of that line in UTF-8; the line names the hash of the event
before it, and the version of its own form.

Events are never rewritten: those of every version are read for ever, byte for byte as they were
written, and new ones are written in the newest. Reading is total and strict: any text gives an
event or :class:`BadEvent`, and only the one text that writing gives in that version is accepted. A
version, operation or word that this release does not know is :class:`NewerEvent`. A field more
needs a version more, in a module beside ``event_v4.py`` and a line in ``_VERSIONS``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from imagectl.errors import ImpossibleChange
from imagectl.formats import event_parts as parts
from imagectl.formats import event_v1, event_v2, event_v3, event_v4
from imagectl.formats.event_parts import BadEvent, Fields, NewerEvent
from imagectl.model.change import (
    Change,
    EndIntent,
    MoveChannel,
    Operation,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.event import Event
from imagectl.model.names import Sha256, parse_sha256
from imagectl.model.version import Version


class _Form(NamedTuple):
    """What is different from one version of events to the next.

    ``intents``: whether it has words for what is about to be made; ``retention``: for what protects
    versions, how they go, and what is announced.
    """

    write_version: Callable[[Version], dict[str, object]]
    read_version: Callable[[Fields], Version]
    intents: bool = False
    retention: bool = False


_VERSIONS: Mapping[int, _Form] = {
    1: _Form(event_v1.write_version, event_v1.read_version),
    2: _Form(event_v2.write_version, event_v2.read_version),
    3: _Form(event_v2.write_version, event_v2.read_version, intents=True),
    4: _Form(event_v2.write_version, event_v2.read_version, intents=True, retention=True),
}
NEWEST = max(_VERSIONS)
"""The version that new events are written in."""


def make_event(generation: int, change: Change, previous: Sha256) -> Event:
    """The event that records *change*. Raises ImpossibleChange where it could not be read back."""
    return Event(generation, change, previous, event_hash(generation, change, previous))


def event_hash(generation: int, change: Change, previous: Sha256) -> Sha256:
    """The sha256 of the new event's text. Raises ImpossibleChange like :func:`event_text`."""
    return text_hash(event_text(generation, change, previous))


def text_hash(text: str) -> Sha256:
    """The sha256 of an event's text as it stands, whatever it says."""
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def event_text(generation: int, change: Change, previous: Sha256, *, version: int = NEWEST) -> str:
    """The event's line, without a line end. It holds all of the event but its own hash.

    Raises ImpossibleChange where the change holds what cannot be written and read back as the same:
    a time without a zone, a NUL, half a surrogate pair, an empty key, a name that is none.
    """
    try:
        text = _text(version, generation, change, previous)
        if _parse(text) == (version, generation, change, previous):
            return text
        why = "it would not be the same when read back"
    except (ValueError, OverflowError) as error:
        why = str(error)
    raise ImpossibleChange(f"a change that cannot be written down: {why}")


def as_written(event: Event) -> str:
    """The very text that an event was read from, in whichever version that was. Raises BadEvent
    where no text of that content has the event's hash."""
    for version in sorted(_VERSIONS, reverse=True):
        try:
            text = _text(version, event.generation, event.change, event.previous)
        except (ValueError, OverflowError):
            continue
        if text_hash(text) == event.hash:
            return text
    raise BadEvent("its content is not what its hash says")


def parse_event(text: str, hash: Sha256) -> Event:
    """The event that *text* holds. Raises BadEvent.

    *hash* is taken as it is: whether it is the text's own is for ``catalog verify`` to tell.
    """
    try:
        version, generation, change, previous = _parse(text)
        same = _text(version, generation, change, previous) == text
    except BadEvent:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadEvent(str(error)) from None
    if not same:
        raise BadEvent("not in canonical form")
    return Event(generation, change, previous, hash)


def _text(version: int, generation: int, change: Change, previous: Sha256) -> str:
    return parts.canonical(
        {
            "v": version,
            "generation": generation,
            "previous": previous,
            "change": _write_change(change, _VERSIONS[version]),
        }
    )


def _parse(text: str) -> tuple[int, int, Change, Sha256]:
    fields = Fields(json.loads(text), "event")
    version = fields.whole("v")
    if version > NEWEST:
        raise NewerEvent(f"version {version}")
    if version not in _VERSIONS:
        raise BadEvent(f"version {version} does not exist")
    read = (
        version,
        fields.whole("generation"),
        _read_change(fields.inner("change"), _VERSIONS[version]),
        fields.named("previous", parse_sha256),
    )
    fields.done()
    return read


def _write_change(change: Change, form: _Form) -> dict[str, object]:
    return {
        "key": change.key,
        "based_on": change.based_on,
        "actor": change.actor,
        "action": change.action,
        "reason": change.reason,
        "at": parts.write_time(change.at),
        "operations": [_write_operation(operation, form) for operation in change.operations],
    }


def _read_change(fields: Fields, form: _Form) -> Change:
    change = Change(
        key=fields.text("key"),
        based_on=fields.whole("based_on"),
        actor=fields.text("actor"),
        action=fields.text("action"),
        reason=fields.text("reason"),
        at=fields.time("at"),
        operations=tuple(_read_operation(each, form) for each in fields.each("operations")),
    )
    if not change.key:
        raise BadEvent("event.change: key is empty")
    fields.done()
    return change


def _write_operation(operation: Operation, form: _Form) -> dict[str, object]:
    if isinstance(operation, RecordVersion):
        return {"op": "record-version", "version": form.write_version(operation.version)}
    if isinstance(operation, RecordPlacement):
        placement = parts.write_placement(operation.placement)
        return {"op": "record-placement", "placement": placement}
    if isinstance(operation, RecordIntent | EndIntent):
        if not form.intents:
            raise ValueError("an event of that version cannot say what is about to be made")
        op = "record-intent" if isinstance(operation, RecordIntent) else "end-intent"
        return {"op": op, "intent": event_v3.write_intent(operation.intent)}
    if isinstance(operation, MoveChannel):
        return {"op": "move-channel", **parts.write_move(operation)}
    if not form.retention:
        raise ValueError("an event of that version cannot say what protects versions")
    return event_v4.write_operation(operation)


def _read_operation(fields: Fields, form: _Form) -> Operation:
    operation: Operation | None
    match fields.text("op"):
        case "record-version":
            operation = RecordVersion(form.read_version(fields.inner("version")))
        case "record-placement":
            operation = RecordPlacement(parts.read_placement(fields.inner("placement")))
        case "record-intent" if form.intents:
            operation = RecordIntent(event_v3.read_intent(fields.inner("intent")))
        case "end-intent" if form.intents:
            operation = EndIntent(event_v3.read_intent(fields.inner("intent")))
        case "move-channel":
            operation = parts.read_move(fields)
        case name:
            operation = event_v4.read_operation(name, fields) if form.retention else None
            if operation is None:
                raise NewerEvent(f"operation {name[:40]!r}")
    fields.done()
    return operation
