"""``catalog verify``: everything in which a stored catalog is not what it must be.

Three things are compared: each event with its hash and with the event before it, the head row with
the last event, and the tables with what the events make (``model.fold.fold``). Each finding is
one line that begins with what it is about: ``event 7: ...``, ``head: ...``,
``version debian-ci@20261120.1: ...``, ``placements debian-ci@20261120.1: ...``,
and so for its intents, stage, holds, leases, revocation and tombstones,
``announcements debian-ci: ...``, ``channel debian-ci:stable: ...``, ``tables: ...``, ``file: ...``.

Whoever can write to the database can rewrite all of it, hashes included, and no finding will tell.
The tree that was published for consumers is what such a catalog then differs from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, select

from imagectl.adapters.catalog_sql import rows, tables
from imagectl.adapters.catalog_sql.schema import NEWER
from imagectl.errors import CannotTell, ImpossibleChange
from imagectl.formats.event_parts import BadEvent, NewerEvent
from imagectl.formats.events import parse_event, text_hash
from imagectl.model.change import Change
from imagectl.model.event import GENESIS, Event
from imagectl.model.fold import fold
from imagectl.model.names import Sha256
from imagectl.model.snapshot import Snapshot

T = TypeVar("T")

PAGE = 500
"""How many events are held at once."""


def audit(connection: Connection, where: str) -> tuple[str, ...]:
    """Every finding, all at the one moment that *connection*'s transaction sees.

    Raises CannotTell where the history speaks of what this release does not know.
    """
    history = _History(connection, where)
    made = history.fold()
    findings = [*_file(connection), *history.findings, *_head(connection, history)]
    if made is None:
        findings.append("tables: not compared with the events, which cannot all be followed")
    else:
        findings += _tables(connection, made)
    return tuple(findings)


class _History:
    """One walk over the events, oldest first. ``generation`` and ``hash`` are the last one's."""

    def __init__(self, connection: Connection, where: str) -> None:
        self.generation = 0
        self.hash = GENESIS
        self.findings: list[str] = []
        self._connection = connection
        self._where = where
        self._whole = True

    def fold(self) -> Snapshot | None:
        """What the events make; None where one is missing, unreadable or impossible."""
        changes = self._changes()
        try:
            made = fold("", changes)
        except ImpossibleChange as error:
            self._note(str(error))
            self._whole = False
            made = None
            for _ in changes:  # what follows is checked all the same
                pass
        return made if self._whole else None

    def _changes(self) -> Iterator[Change]:
        """The changes, as long as every one so far could be read."""
        statement = select(tables.events).order_by(tables.events.c.generation)
        with self._connection.execute(statement.execution_options(yield_per=PAGE)) as found:
            for row in found:
                if row.generation != self.generation + 1:
                    self._whole = False
                    self.findings.append(
                        f"event {self.generation + 1}: missing; the next is {row.generation}"
                    )
                before, self.hash = self.hash, Sha256(row.hash)
                self.generation = row.generation
                event = self._read(row)
                if event is None:
                    self._whole = False
                    continue
                self._check(event, row.key, before)
                if self._whole:
                    yield event.change

    def _read(self, row: Row[Any]) -> Event | None:
        actual = text_hash(row.text)
        if actual != row.hash:
            self._note(f"its text has the hash {actual}, recorded is {row.hash}")
        try:
            return parse_event(row.text, Sha256(row.hash))
        except NewerEvent as error:
            if actual == row.hash:
                raise CannotTell(
                    f"event {row.generation}: {error}", where=self._where, hint=NEWER
                ) from None
            self._note(str(error))
        except BadEvent as error:
            self._note(str(error))
        return None

    def _check(self, event: Event, key: str, before: Sha256) -> None:
        if event.generation != self.generation:
            self._note(f"it says that it is event {event.generation}")
        if event.previous != before:
            self._note(f"it follows {event.previous}, the event before it is {before}")
        if event.change.key != key:
            self._note(f"its key is {event.change.key!r}, recorded is {key!r}")
        if event.change.based_on != self.generation - 1:
            self._note(f"it was decided on generation {event.change.based_on}")

    def _note(self, what: str) -> None:
        self.findings.append(f"event {self.generation}: {what}")


def _file(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars():
            if line != "ok":
                yield f"file: {line}"


def _head(connection: Connection, history: _History) -> Iterator[str]:
    row = connection.execute(select(tables.head).where(tables.head.c.id == 1)).one_or_none()
    if row is None:
        yield "head: missing"
        return
    if row.generation != history.generation:
        yield f"head: it is at generation {row.generation}, the last event is {history.generation}"
    if row.hash != history.hash:
        yield f"head: its hash is {row.hash}, the last event's is {history.hash}"


def _tables(connection: Connection, made: Snapshot) -> Iterator[str]:
    """Where the tables differ from what the events *made*, one image after the other."""
    for image in sorted({*rows.images(connection), *made.images}):
        recorded = made.only({image})
        try:
            stored = rows.read(
                connection, made.catalog_id, made.generation, rows.of_images({image})
            )
        except rows.Unreadable as error:
            yield str(error)
            continue
        yield from _entries("version", stored.versions, recorded.versions)
        yield from _entries("placements", stored.placements, recorded.placements)
        yield from _entries("intents", stored.intents, recorded.intents)
        yield from _entries("stage", stored.stages, recorded.stages)
        yield from _entries("holds", stored.holds, recorded.holds)
        yield from _entries("leases", stored.leases, recorded.leases)
        yield from _entries("revocation", stored.revoked, recorded.revoked)
        yield from _entries("tombstones", stored.tombstones, recorded.tombstones)
        yield from _entries("announcements", stored.announced, recorded.announced)
        yield from _entries("channel", _named(stored), _named(recorded))


def _named(snapshot: Snapshot) -> dict[str, object]:
    return {f"{image}:{name}": each for (image, name), each in snapshot.channels.items()}


def _entries(kind: str, stored: Mapping[T, object], made: Mapping[T, object]) -> Iterator[str]:
    for key in sorted({*stored, *made}, key=str):
        if key not in stored:
            yield f"{kind} {key}: missing from the tables, the events record it"
        elif key not in made:
            yield f"{kind} {key}: in the tables, but no event records it"
        else:
            for difference in _differences("", stored[key], made[key]):
                yield f"{kind} {key}: {difference}"


def _differences(name: str, stored: Any, made: Any) -> Iterator[str]:
    """Every innermost value that differs, by its path: ``moves[2].reason``."""
    if stored == made:
        return
    if is_dataclass(stored) and type(stored) is type(made):
        for field in fields(stored):
            inner = f"{name}.{field.name}" if name else field.name
            yield from _differences(inner, getattr(stored, field.name), getattr(made, field.name))
    elif isinstance(stored, tuple) and isinstance(made, tuple) and len(stored) == len(made):
        for at, (one, other) in enumerate(zip(stored, made, strict=True)):
            yield from _differences(f"{name}[{at}]", one, other)
    elif isinstance(stored, tuple) and isinstance(made, tuple):
        yield f"{name} has {len(stored)} entries, the events make {len(made)}".lstrip()
    else:
        yield f"{name} is {_shown(stored)}, the events say {_shown(made)}"


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)
