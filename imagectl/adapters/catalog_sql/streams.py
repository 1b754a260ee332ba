"""Tables that are read from end to end in the order of their keys, side by side: no more than one
image's rows are in memory, and a page of those to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, Connection, Select, Table, collate, select

from imagectl.adapters.catalog_sql.rows import Unreadable

PAGE = 2000
"""How many rows of a table are held at once."""

Row = Any
"""A row, by position and by name. Reading it by position is what makes this fast enough."""

Key = tuple[str, int]
"""The day and the serial of a version."""


class Stream:
    """The rows of one table in the order of their keys: image, day and serial (of moves: image and
    channel), then the columns asked for. They are taken as their images come up."""

    def __init__(self, connection: Connection, table: Table, names: tuple[str, ...]) -> None:
        # By the letters' numbers, as Python sorts, whatever language the database is in.
        collation = "C" if connection.dialect.name == "postgresql" else ""
        self._name = table.name
        self._result = connection.execute(_streaming(table, names, collation))
        self._rows = chain.from_iterable(self._result.partitions(PAGE))
        self._next: Row | None = next(self._rows, None)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._result.close()

    def images(self) -> Iterator[str]:
        """Each image that is left. Its rows have to be taken before the next one is asked for."""
        while self._next is not None:
            yield self._next[0]

    def of_image(self, image: str) -> Iterator[Row]:
        """The rows of that image, where it is its turn."""
        row = self._next
        while row is not None and row[0] == image:
            yield row
            row = next(self._rows, None)
        self._next = row

    def by_version(self, image: str) -> dict[Key, list[Row]]:
        """The rows of that image, where it is its turn, by their versions."""
        found: dict[Key, list[Row]] = {}
        for row in self.of_image(image):
            found.setdefault((row[1], row[2]), []).append(row)
        return found

    def check_taken(self, left: Mapping[Key, list[Row]]) -> None:
        """Raise Unreadable where any rows of an image are left over."""
        if left:
            self._stray()

    def check_ended(self) -> None:
        """Raise Unreadable where a row's turn has never come."""
        if self._next is not None:
            self._stray()

    def _stray(self) -> NoReturn:
        raise Unreadable(f"a row of {self._name} is of a version that is not recorded")


@cache
def _streaming(table: Table, names: tuple[str, ...], collation: str) -> Select[Any]:
    """All rows: the columns of the key but ``position``, then those of *names*."""
    # Making a statement takes longer than running it on a small catalog, so each is made once.
    key = [each for each in table.primary_key.columns if each.name != "position"]
    image: ColumnElement[Any] = table.c.image
    if collation:
        image = collate(image, collation)
    return (
        select(*key, *(table.c[name] for name in names))
        .order_by(image, *list(table.primary_key.columns)[1:])
        .execution_options(yield_per=PAGE)
    )
