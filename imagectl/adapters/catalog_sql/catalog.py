"""The catalog's port over SQL: ``services.ports.Catalog``.

A commit is one transaction that holds the head row from its first statement to its end (P7): the
key, the generation that the change was decided on, the model's own verdict, the rows, the event and
the new head. What it does not do, it leaves to ``model.fold.apply_change``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from imagectl.adapters.catalog_sql import counting, rows, schema, stock, tables
from imagectl.adapters.catalog_sql.audit import audit
from imagectl.adapters.catalog_sql.database import database, make_durable
from imagectl.adapters.catalog_sql.failures import explained
from imagectl.adapters.catalog_sql.resources import SqlResources
from imagectl.errors import CannotTell, Conflict, Failed, Refused
from imagectl.formats.event_parts import BadEvent, NewerEvent
from imagectl.formats.events import as_written, event_text, parse_event, text_hash
from imagectl.model.change import Change
from imagectl.model.event import Event
from imagectl.model.excerpt import Excerpt, concerned
from imagectl.model.fold import apply_change, fold
from imagectl.model.names import ImageName, Sha256
from imagectl.model.snapshot import Snapshot
from imagectl.model.stock import Stock
from imagectl.model.version import VersionRef
from imagectl.services.ports.catalog import Committed

T = TypeVar("T")

PATIENCE = 10.0
"""How long to wait for another process's lock, in seconds. A commit holds it for milliseconds."""

PAGE = 500
"""How many events are read at once."""

VERIFY = "`imagectl catalog verify` names everything that is wrong"

# Making a statement takes longer than running it, so those of every commit are made once.
_HEAD = select(tables.head).where(tables.head.c.id == 1)
_LOCK_HEAD = _HEAD.with_for_update()
_MOVE_HEAD = update(tables.head).where(tables.head.c.id == 1)
_MADE = select(tables.events.c.generation).where(tables.events.c.key == bindparam("made_by"))
_RECORD = insert(tables.events)


@dataclass(frozen=True, slots=True)
class Head:
    """The one row that every commit takes: who the catalog is and where its chain ends."""

    catalog: str
    generation: int
    hash: Sha256


class SqlCatalog:
    """An open catalog. It may be used from several threads; close it, or use it in ``with``.

    *url* is ``sqlite:///PATH``, relative to *root*, or ``postgresql+psycopg://...``. Tables of an
    older release are migrated. Where there is no catalog, one is made under the identity that
    *new_id* gives, with all of *events* in it or not at all (P7); without *new_id* that is
    NotFound. Raises CannotTell for what cannot be read or is no catalog, BadUsage for an URL of
    another kind, and Failed where the events make no sound catalog.
    """

    def __init__(
        self,
        url: str,
        *,
        root: Path = Path(),
        new_id: Callable[[], str] | None = None,
        events: Sequence[Event] = (),
        patience: float = PATIENCE,
    ) -> None:
        self._database = database(url, root=root, patience=patience)
        try:
            with explained(self.where):
                schema.ensure(self._database, new_id, fill=partial(self._fill, events=events))
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> str:
        """The file, or the URL without its password: for messages."""
        return self._database.where

    def close(self) -> None:
        """Give back every connection."""
        self._database.close()

    def __enter__(self) -> SqlCatalog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        """See :class:`imagectl.services.ports.Catalog`; so for all that follow."""
        with explained(self.where), self._database.reading.begin() as connection:
            scope = None if images is None else rows.of_images(images)
            return self._read(connection, self._head(connection), scope)

    def commit(self, change: Change) -> Committed:
        with explained(self.where), self._database.writing.begin() as connection:
            make_durable(connection, self._database.patience)
            head = self._head(connection, lock=True)
            made = connection.scalar(_MADE, {"made_by": change.key})
            if made is not None:
                return Committed(made, replayed=True)
            if change.based_on != head.generation:
                self._conflict(connection, change.based_on, head)
            before = self._read(connection, head, rows.of_change(change))
            after = apply_change(before, change)
            text = event_text(after.generation, change, head.hash)
            rows.write(connection, before, after)
            moved = {"generation": after.generation, "hash": text_hash(text)}
            connection.execute(_RECORD, {**moved, "key": change.key, "text": text})
            connection.execute(_MOVE_HEAD, moved)
        return Committed(after.generation, replayed=False)

    def restore(self, events: Sequence[Event]) -> None:
        """Fill a catalog that has no events yet with a history, whole or not at all (P7), and check
        it. Raises Refused where it has any, and Failed where the history makes no sound one."""
        with explained(self.where), self._database.writing.begin() as connection:
            make_durable(connection, self._database.patience)
            head = self._head(connection, lock=True)
            if head.generation:
                raise Refused(
                    "there is a catalog already, and it is left as it is",
                    reasons=(f"it is at generation {head.generation}",),
                    where=self.where,
                    hint="`imagectl catalog verify` says whether it is sound; only to give it up, "
                    "move it elsewhere first",
                )
            self._fill(connection, events)

    def _fill(self, connection: Connection, events: Sequence[Event]) -> None:
        """Put all of a history into a catalog that has none, and check it."""
        if not events:
            return
        head = self._head(connection)
        made = fold(head.catalog, (event.change for event in events))
        rows.write(connection, Snapshot(head.catalog, 0), made)
        for begin in range(0, len(events), PAGE):
            connection.execute(
                _RECORD,
                [
                    {
                        "generation": each.generation,
                        "key": each.change.key,
                        "hash": each.hash,
                        "text": as_written(each),
                    }
                    for each in events[begin : begin + PAGE]
                ],
            )
        connection.execute(_MOVE_HEAD, {"generation": made.generation, "hash": events[-1].hash})
        if wrong := audit(connection, self.where):
            raise Failed(
                "that history does not make a sound catalog; nothing was kept",
                where=self.where,
                why="; ".join(wrong[:3]),
            )

    def events(self, after: int = 0) -> Iterator[Event]:
        while page := self._page(after):
            yield from page
            after = page[-1].generation

    def changed(self, since: int, most: int) -> Excerpt | None:
        with explained(self.where), self._database.reading.begin() as connection:
            head = self._head(connection)
            found = connection.execute(_following(since, most + 1)).all()
            if len(found) > most:
                return None
            what = concerned(
                self._event(row.generation, row.text, row.hash).change for row in found
            )
            try:
                channels = rows.heads(connection, what.moved, what.versions)
            except rows.Unreadable as error:
                self._unreadable(str(error))
            heads = {VersionRef(image, each.head.version) for (image, _), each in channels.items()}
            scope = rows.of_versions(what.versions | heads, what.announced)
            read = replace(self._read(connection, head, scope), channels=channels)
        return Excerpt(since, read, what.versions, what.announced)

    @contextlib.contextmanager
    def stock(self) -> Iterator[Stock]:
        with contextlib.ExitStack() as opened:
            # What goes wrong in the caller's block is none of the database's errors.
            with explained(self.where):
                connection = opened.enter_context(self._database.reading.begin())
                head = self._head(connection)
                try:
                    counted = counting.counted(connection, head.generation)
                except rows.Unreadable as error:
                    self._unreadable(str(error))
            yield Stock(
                head.catalog,
                head.generation,
                counted,
                lambda: self._readable(stock.shelves(connection)),
                lambda: self._readable(stock.whereabouts(connection)),
                lambda generation: self._hash(connection, generation),
            )

    def _readable(self, facts: Iterator[T]) -> Iterator[T]:
        with explained(self.where):
            try:
                yield from facts
            except rows.Unreadable as error:
                self._unreadable(str(error))

    def _hash(self, connection: Connection, generation: int) -> Sha256 | None:
        with explained(self.where):
            found = connection.scalar(
                select(tables.events.c.hash).where(tables.events.c.generation == generation)
            )
        return None if found is None else Sha256(found)

    @property
    def resources(self) -> SqlResources:
        """The ledger of resources that is in the same database, for as long as this is open."""
        return SqlResources(self._database)

    def verify(self) -> tuple[str, ...]:
        with explained(self.where), self._database.reading.begin() as connection:
            schema.check(connection, self.where)
            return audit(connection, self.where)

    def _head(self, connection: Connection, *, lock: bool = False) -> Head:
        """The head row; with *lock*, nobody else commits until this transaction ends."""
        row = connection.execute(_LOCK_HEAD if lock else _HEAD).one_or_none()
        # A newer imagectl may have migrated the tables since this process opened them.
        schema.check(connection, self.where)
        if row is None:
            self._unreadable("the head row is missing")
        return Head(row.catalog, row.generation, Sha256(row.hash))

    def _read(self, connection: Connection, head: Head, scope: rows.Scope | None) -> Snapshot:
        try:
            read = rows.read(connection, head.catalog, head.generation, scope)
        except rows.Unreadable as error:
            self._unreadable(str(error))
        return replace(read, event=head.hash if head.generation else None)

    def _page(self, after: int) -> list[Event]:
        with explained(self.where), self._database.reading.begin() as connection:
            schema.check(connection, self.where)
            found = connection.execute(_following(after, PAGE)).all()
        return [self._event(row.generation, row.text, row.hash) for row in found]

    def _event(self, generation: int, text: str, hash: str) -> Event:
        try:
            return parse_event(text, Sha256(hash))
        except NewerEvent as error:
            raise CannotTell(
                f"event {generation}: {error}", where=self.where, hint=schema.NEWER
            ) from None
        except BadEvent as error:
            self._unreadable(f"event {generation}: {error}")

    def _conflict(self, connection: Connection, based_on: int, head: Head) -> NoReturn:
        latest = connection.execute(
            select(tables.events).where(tables.events.c.generation == head.generation)
        ).one_or_none()
        why = f"it was decided on generation {based_on}, the catalog is at {head.generation}"
        if latest is not None:
            change = self._event(latest.generation, latest.text, latest.hash).change
            why += f": {change.action} by {change.actor}"
        raise Conflict(
            "the catalog has changed since this was decided; nothing was done",
            where=self.where,
            why=why,
            hint="run the command again to decide on what is there now",
        )

    def _unreadable(self, why: str) -> NoReturn:
        raise CannotTell("the catalog cannot be read", where=self.where, why=why, hint=VERIFY)


def _following(generation: int, most: int) -> Select[Any]:
    """The events after that generation, oldest first, so many at most."""
    events = tables.events
    later = select(events).where(events.c.generation > generation)
    return later.order_by(events.c.generation).limit(most)
