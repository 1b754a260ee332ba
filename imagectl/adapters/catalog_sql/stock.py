"""The catalog as cleanups look at it (``model.stock``), for a million versions as for ten.

Each table is read once from end to end in the order of its keys, side by side with the others, and
no more than one image is in memory, and who holds and leases what. Whatever does not fit together
is Unreadable, and so is a catalog whose tables hold other numbers of versions and moves than its
events record, or other holds and leases (P3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    collate,
    func,
    literal,
    select,
)

from imagectl.adapters.catalog_sql import row_values as values
from imagectl.adapters.catalog_sql import tables
from imagectl.adapters.catalog_sql.protected import check_protections
from imagectl.adapters.catalog_sql.rows import Unreadable, readable
from imagectl.model.announcement import AnnouncedMove
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.stock import Counted, Kept, Shelf, Shelved
from imagectl.model.version import VersionRef

PAGE = 2000
"""How many rows of a table are held at once."""

_Row = Any
"""A row, by position and by name. Reading it by position is what makes this fast enough."""

_NO_ROWS: list[_Row] = []

_STAGES = {stage.value: stage for stage in Stage}
_KINDS = {kind.value: kind for kind in MoveKind}


def counted(connection: Connection, generation: int) -> Counted:
    """How many there are of each, counted by the database. Raises Unreadable where the events,
    counted apart, have recorded others."""
    events = _count(connection, tables.events)
    if events != generation:
        raise Unreadable(f"there are {events} events, and the last one is {generation}")
    for table, operation in ((tables.versions, "record-version"), (tables.moves, "move-channel")):
        there, recorded = _count(connection, table), _operations(connection, operation)
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


def _operations(connection: Connection, name: str) -> int:
    """How many operations of that name the events have."""
    return int(connection.scalar(_counting_operations(name)) or 0)


# Making a statement takes longer than running it on a small catalog, so each is made once.


@cache
def _counting(table: Table) -> Select[Any]:
    return select(func.count()).select_from(table)


@cache
def _counting_operations(name: str) -> Select[Any]:
    """In canonical JSON no text can look like this: its quotes are escaped."""
    needle = f'"op":"{name}"'
    text = tables.events.c.text
    without = func.replace(text, literal(needle), literal(""))
    return select(func.sum((func.length(text) - func.length(without)) / len(needle)))


@cache
def _streaming(table: Table, names: tuple[str, ...], collation: str) -> Select[Any]:
    """All rows: the columns of the key but ``position``, then those of *names*."""
    key = [each for each in table.primary_key.columns if each.name != "position"]
    image: ColumnElement[Any] = table.c.image
    if collation:
        image = collate(image, collation)
    return (
        select(*key, *(table.c[name] for name in names))
        .order_by(image, *list(table.primary_key.columns)[1:])
        .execution_options(yield_per=PAGE)
    )


def shelves(connection: Connection) -> Iterator[Shelf]:
    """All shelves, sorted by image. Raises Unreadable."""
    with contextlib.ExitStack() as opened:

        def stream(table: Table, names: str) -> _Stream:
            return opened.enter_context(_Stream(connection, table, tuple(names.split())))

        versions = stream(tables.versions, "created parent_image parent_day parent_serial")
        others = _Others(
            placements=stream(tables.placements, "location provider_id sha256 position"),
            stages=stream(tables.stages, "stage at"),
            holds=stream(tables.holds, "by"),
            leases=stream(tables.leases, "until consumer"),
            intents=stream(tables.intents, "position"),
            revocations=stream(tables.revocations, ""),
        )
        moves = stream(tables.moves, "position day serial kind at by reason generation")
        tombstones = stream(tables.tombstones, " ".join(_TOMBSTONE))
        announcements = stream(tables.announcements, " ".join(_ANNOUNCEMENT))
        for image, rows in groupby(versions.rows(), key=lambda row: row[0]):
            yield Shelf(
                image=ImageName(image),
                versions=tuple(others.shelved(row) for row in rows),
                channels=_channels(ImageName(image), moves.of_image(image)),
                buried=_buried(tombstones.of_image(image)),
                announced=_announced(ImageName(image), announcements.of_image(image)),
            )
        for each in (*others.streams, moves, tombstones, announcements):
            each.check_ended()


_TOMBSTONE = tuple(each.name for each in tables.tombstones.c)[3:]
_ANNOUNCEMENT = tuple(each.name for each in tables.announcements.c)[1:]


class _Stream:
    """The rows of one table in the order of their keys: image, day and serial (of moves: image and
    channel), then the columns asked for. They are taken as their keys come up."""

    def __init__(self, connection: Connection, table: Table, names: tuple[str, ...]) -> None:
        # By the letters' numbers, as Python sorts, whatever language the database is in.
        collation = "C" if connection.dialect.name == "postgresql" else ""
        self._name = table.name
        self._result = connection.execute(_streaming(table, names, collation))
        self._rows = iter(self._result)
        self._next: _Row | None = next(self._rows, None)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._result.close()

    def rows(self) -> Iterator[_Row]:
        """All that are left."""
        while self._next is not None:
            yield self._next
            self._next = next(self._rows, None)

    def of_version(self, image: str, day: str, serial: int) -> list[_Row]:
        """The rows of that version, where it is its turn."""
        row = self._next
        if row is None or row[2] != serial or row[1] != day or row[0] != image:
            return _NO_ROWS
        found = []
        while row is not None and row[2] == serial and row[1] == day and row[0] == image:
            found.append(row)
            row = next(self._rows, None)
        self._next = row
        return found

    def of_image(self, image: str) -> Iterator[_Row]:
        """The rows of that image, where it is its turn."""
        while (row := self._next) is not None and row[0] == image:
            yield row
            self._next = next(self._rows, None)

    def check_ended(self) -> None:
        """Raise Unreadable where a row's turn has never come."""
        if self._next is not None:
            raise Unreadable(f"a row of {self._name} is of a version that is not recorded")


class _Others:
    """What there is beside the versions themselves, in the same order."""

    def __init__(
        self,
        placements: _Stream,
        stages: _Stream,
        holds: _Stream,
        leases: _Stream,
        intents: _Stream,
        revocations: _Stream,
    ) -> None:
        self.streams = (placements, stages, holds, leases, intents, revocations)
        self._locations: dict[str, LocationName] = {}

    def shelved(self, row: _Row) -> Shelved:
        """The version of that row, with the others' rows of it. Raises Unreadable."""
        image, day, serial = row[0], row[1], row[2]
        try:
            return self._shelved(
                row, *(each.of_version(image, day, serial) for each in self.streams)
            )
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(f"version {image}@{day}.{serial}: {error}") from None

    def _shelved(
        self,
        row: _Row,
        placements: list[_Row],
        stages: list[_Row],
        holds: list[_Row],
        leases: list[_Row],
        intents: list[_Row],
        revocations: list[_Row],
    ) -> Shelved:
        _, day, serial, created_text, parent_image, parent_day, parent_serial = row
        created = datetime.fromisoformat(created_text)
        until, consumer = max(
            ((datetime.fromisoformat(each[3]), each[4]) for each in leases), default=(None, "")
        )
        return Shelved(
            id=VersionId(day, serial),
            created=created,
            parent=parent_image
            and VersionRef(ImageName(parent_image), VersionId(parent_day, parent_serial)),
            stage=_STAGES[stages[0][3]] if stages else Stage.ACTIVE,
            staged=datetime.fromisoformat(stages[0][4]) if stages else created,
            placed=self._kept(placements) if placements else (),
            held=tuple(each[3] for each in holds),
            leased=until,
            leased_by=consumer,
            begun=bool(intents),
            revoked=bool(revocations),
        )

    def _kept(self, rows: list[_Row]) -> tuple[Kept, ...]:
        kept = []
        for _, _, _, location, provider_id, sha256, position in rows:
            kept.append(Kept(self._location(location), provider_id, sha256))
            if position != len(kept):
                raise ValueError(f"row {len(kept)} of placements is missing")
        return tuple(kept)

    def _location(self, name: str) -> LocationName:
        """One text for each location, instead of one for each placement."""
        return self._locations.setdefault(name, LocationName(name))


def _channels(image: ImageName, rows: Iterator[_Row]) -> dict[ChannelName, Channel]:
    found = {}
    for name, of_channel in groupby(rows, key=lambda row: row[1]):
        moves = []
        for position, row in enumerate(of_channel, start=1):
            if row[2] != position:
                raise Unreadable(f"channel {image}:{name}: move {position} is missing")
            try:
                moves.append(_move(row))
            except (ValueError, TypeError, KeyError) as error:
                raise Unreadable(f"channel {image}:{name}: {error}") from None
        found[ChannelName(name)] = Channel(image, ChannelName(name), tuple(moves))
    return found


def _move(row: _Row) -> Move:
    _, _, _, day, serial, kind, at, by, reason, generation = row
    moved = datetime.fromisoformat(at)
    return Move(VersionId(day, serial), _KINDS[kind], moved, by, reason, generation)


def _announced(image: ImageName, rows: Iterator[_Row]) -> dict[ChannelName, VersionId]:
    """What channels are announced to point to."""
    found = {}
    for position, row in enumerate(rows, start=1):
        said = readable(f"announcements {image}", values.announcement, row)
        if row.position != position:
            raise Unreadable(f"announcements {image}: row {position} is missing")
        if isinstance(said, AnnouncedMove):
            found[said.channel] = said.to
    return found


def _buried(rows: Iterator[_Row]) -> tuple[Tombstone, ...]:
    """The open ones."""
    found = []
    for row in rows:
        if row.gone is None and row.returned is None:
            ref = values.ref(row)
            found.append(readable(f"version {ref}", values.tombstone, ref, row))
    return tuple(found)
