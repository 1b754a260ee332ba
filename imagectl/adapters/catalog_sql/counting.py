"""How much there is in a catalog, counted twice: in its tables, and in its events, apart from them.

Whatever is lost from a table is still in the events. So a catalog whose tables hold other numbers
of versions and moves than its events record, or other holds and leases, is Unreadable (P3).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from imagectl.adapters.catalog_sql import tables
from imagectl.adapters.catalog_sql.database import occurrences
from imagectl.adapters.catalog_sql.protected import check_protections
from imagectl.adapters.catalog_sql.rows import Unreadable
from imagectl.model.stock import Counted

_RECORDED = {tables.versions: "record-version", tables.moves: "move-channel"}
"""Tables that have a row for each operation of that name."""


def counted(connection: Connection, generation: int) -> Counted:
    """How many there are of each, counted by the database. Raises Unreadable where the events,
    counted apart, have recorded others."""
    events = _count(connection, tables.events)
    if events != generation:
        raise Unreadable(f"there are {events} events, and the last one is {generation}")
    statement = _counting_operations(connection.dialect.name)
    for table, number in zip(_RECORDED, connection.execute(statement).one(), strict=True):
        there, recorded = _count(connection, table), number or 0
        if there != recorded:
            raise Unreadable(f"there are {there} {table.name}, and the events record {recorded}")
    check_protections(connection)
    return Counted(
        versions=_count(connection, tables.versions),
        placements=_count(connection, tables.placements),
        moves=_count(connection, tables.moves),
        events=events,
    )


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(_counting(table)) or 0


# Making a statement takes longer than running it on a small catalog, so each is made once.


@cache
def _counting(table: Table) -> Select[Any]:
    return select(func.count()).select_from(table)


@cache
def _counting_operations(dialect: str) -> Select[Any]:
    """How many operations of each name in ``_RECORDED`` the events have, in one reading of them:
    they are the most of a catalog by far."""
    # In canonical JSON no text can look like this: its quotes are escaped.
    marks = [f'"op":"{name}"' for name in _RECORDED.values()]
    sums = [func.sum(occurrences(tables.events.c.text, each, dialect)) for each in marks]
    return select().add_columns(*sums)
