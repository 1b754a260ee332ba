"""Are the holds and leases in the tables those that the events record?

A hold that is lost from its table protects nothing any more, and nothing else would tell: numbers
do not, since who holds a version again replaces the own hold. So the events that are about them are
followed, and no others (P1, P3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, or_, select

from imagectl.adapters.catalog_sql import tables
from imagectl.adapters.catalog_sql.rows import Unreadable

PAGE = 2000
"""How many rows of a table are held at once."""

_Protection = tuple[str, str, str]
"""What it is (the name of its table), which version it is of, and whose it is."""


def check_protections(connection: Connection) -> None:
    """Raise Unreadable where the tables have others than the events make."""
    recorded = _recorded(connection)
    there = {
        *_there(connection, tables.holds, "by"),
        *_there(connection, tables.leases, "consumer"),
    }
    for table, ref, whose in sorted(recorded ^ there):
        wrong = "is missing, and the events record it"
        if (table, ref, whose) in there:
            wrong = "is there, and the events do not record it"
        raise Unreadable(f"in {table}, {ref} by {whose} {wrong}")


def _there(connection: Connection, table: Table, whose: str) -> Iterator[_Protection]:
    names = [table.c[name] for name in ("image", "day", "serial", whose)]
    for image, day, serial, by in connection.execute(select(*names)):
        yield table.name, f"{image}@{day}.{serial}", by


def _recorded(connection: Connection) -> set[_Protection]:
    """Those that nobody has taken back."""
    found: set[_Protection] = set()
    # The first finds what is no longer held, too. A reason that ends like one of them costs a look.
    text = tables.events.c.text
    about = or_(*(text.like(f'%{end}"%') for end in ("hold-version", "lease-version", "end-lease")))
    statement = select(tables.events.c.generation, text).where(about)
    rows = connection.execute(
        statement.order_by(tables.events.c.generation).execution_options(yield_per=PAGE)
    )
    for generation, line in rows:
        try:
            _follow(json.loads(line)["change"], found)
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(f"event {generation}: {error!r}") from None
    return found


def _follow(change: dict[str, Any], found: set[_Protection]) -> None:
    for operation in change["operations"]:
        name = operation["op"]
        if name in ("hold-version", "unhold-version"):
            whose = operation.get("by", change["actor"])
            key = "holds", _ref(operation), whose
        elif name in ("lease-version", "end-lease"):
            key = "leases", _ref(operation), operation["consumer"]
        else:
            continue
        if name in ("hold-version", "lease-version"):
            found.add(key)
        else:
            found.discard(key)


def _ref(operation: dict[str, Any]) -> str:
    of = operation["version"]
    return f"{of['image']}@{of['version']}"
