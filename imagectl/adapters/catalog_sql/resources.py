"""The ledger of things that are made to be thrown away: ``services.ports.Resources``.

A table in the catalog's database that no event speaks of. Writing to it does not take the head row,
so that renewing a lease holds up no commit on PostgreSQL, and on SQLite, which has one writer at a
time, for less than a millisecond.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from imagectl.adapters.catalog_sql import schema, tables
from imagectl.adapters.catalog_sql.database import Database, make_durable
from imagectl.adapters.catalog_sql.failures import explained
from imagectl.errors import CannotTell
from imagectl.formats.event_parts import write_time
from imagectl.model.resource import Resource, ResourceKind

_IDS_AT_ONCE = 500


class SqlResources:
    """The ledger in *database*, whose tables ``SqlCatalog`` has made. It may be used from several
    threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, resource: Resource) -> None:
        """See :class:`imagectl.services.ports.janitor.Resources`; so for all that follow."""
        table = tables.resources
        with self._writing() as connection:
            known = select(table.c.id).where(table.c.id == resource.id)
            if connection.scalar(known) is None:
                connection.execute(insert(table).values(_row(resource)))

    def renew(self, ids: Collection[str], until: datetime) -> None:
        table = tables.resources
        wanted, text = sorted(set(ids)), write_time(until)
        with self._writing() as connection:
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                these = table.c.id.in_(wanted[start : start + _IDS_AT_ONCE])
                connection.execute(
                    update(table).where(and_(these, table.c.until < text)).values(until=text)
                )

    def end(self, id: str) -> None:
        with self._writing() as connection:
            connection.execute(delete(tables.resources).where(tables.resources.c.id == id))

    def failed(self, id: str, trouble: str) -> None:
        table = tables.resources
        with self._writing() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == id)
                .values(tries=table.c.tries + 1, trouble=trouble.replace("\0", ""))
            )

    def all(self) -> tuple[Resource, ...]:
        table = tables.resources
        with explained(self._database.where), self._database.reading.begin() as connection:
            schema.check(connection, self._database.where)
            found = connection.execute(select(table).order_by(table.c.since)).all()
        try:
            return tuple(sorted((_resource(row) for row in found), key=_age))
        except (ValueError, TypeError) as error:
            raise CannotTell(
                "the ledger of resources cannot be read",
                where=self._database.where,
                why=str(error),
                hint="another program has written to the table `resources`; correct what it wrote",
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with explained(self._database.where), self._database.writing.begin() as connection:
            make_durable(connection, self._database.patience)
            schema.check(connection, self._database.where)
            yield connection


def _age(resource: Resource) -> tuple[datetime, str]:
    return (resource.since, resource.id)


def _row(resource: Resource) -> dict[str, object]:
    return {
        "id": resource.id,
        "kind": resource.kind.value,
        "place": resource.place,
        "name": resource.name,
        "purpose": resource.purpose,
        "by": resource.by,
        "since": write_time(resource.since),
        "until": write_time(resource.until),
        "tries": resource.tries,
        "trouble": resource.trouble,
    }


def _resource(row: Row[Any]) -> Resource:
    return Resource(
        id=row.id,
        kind=ResourceKind(row.kind),
        place=row.place,
        name=row.name,
        purpose=row.purpose,
        by=row.by,
        since=datetime.fromisoformat(row.since),
        until=datetime.fromisoformat(row.until),
        tries=row.tries,
        trouble=row.trouble,
    )
