"""The catalog as cleanups look at it (``model.stock``), for a million versions as for ten.

No more than one image is in memory. Whatever does not fit together is Unreadable (P3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, Table

from imagectl.adapters.catalog_sql import row_values as values
from imagectl.adapters.catalog_sql import tables
from imagectl.adapters.catalog_sql.rows import Unreadable, readable
from imagectl.adapters.catalog_sql.streams import Row, Stream
from imagectl.model.announcement import AnnouncedMove
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.stock import Kept, Shelf, Shelved, Whereabouts
from imagectl.model.version import VersionRef

_NO_ROWS: list[Row] = []

_STAGES = {stage.value: stage for stage in Stage}
_KINDS = {kind.value: kind for kind in MoveKind}


def shelves(connection: Connection) -> Iterator[Shelf]:
    """All shelves, sorted by image. Raises Unreadable."""
    with contextlib.ExitStack() as opened:

        def stream(table: Table, names: str) -> Stream:
            return opened.enter_context(Stream(connection, table, tuple(names.split())))

        versions = stream(tables.versions, "created parent_image parent_day parent_serial")
        beside = (
            stream(tables.placements, _PLACED),
            stream(tables.stages, "stage at"),
            stream(tables.holds, "by"),
            stream(tables.leases, "until consumer"),
            stream(tables.intents, "position"),
            stream(tables.revocations, ""),
        )
        moves = stream(tables.moves, "position day serial kind at by reason generation")
        tombstones = stream(tables.tombstones, " ".join(_TOMBSTONE))
        announcements = stream(tables.announcements, " ".join(_ANNOUNCEMENT))
        made = _Values()
        for image in versions.images():
            name = ImageName(image)
            yield Shelf(
                image=name,
                versions=tuple(
                    made.shelved(row, *others) for row, others in _joined(image, versions, beside)
                ),
                channels=made.channels(name, moves.of_image(image)),
                buried=_buried(tombstones.of_image(image)),
                announced=_announced(name, announcements.of_image(image)),
            )
        for each in (*beside, moves, tombstones, announcements):
            each.check_ended()


def whereabouts(connection: Connection) -> Iterator[Whereabouts]:
    """Where each version is, sorted by version. Raises Unreadable."""
    with (
        Stream(connection, tables.versions, ()) as versions,
        Stream(connection, tables.placements, tuple(_PLACED.split())) as placements,
        Stream(connection, tables.stages, ("stage",)) as stages,
    ):
        made = _Values()
        for image in versions.images():
            for row, (placed, staged) in _joined(image, versions, (placements, stages)):
                yield made.whereabouts(row, placed, staged)
        placements.check_ended()
        stages.check_ended()


_PLACED = "location provider_id sha256 position"
_TOMBSTONE = tuple(each.name for each in tables.tombstones.c)[3:]
_ANNOUNCEMENT = tuple(each.name for each in tables.announcements.c)[1:]


def _joined(
    image: str, versions: Stream, beside: tuple[Stream, ...]
) -> Iterator[tuple[Row, list[list[Row]]]]:
    """The image's versions, each with the others' rows of it. Raises Unreadable."""
    others = [each.by_version(image) for each in beside]
    for row in versions.of_image(image):
        key = row[1], row[2]
        yield row, [each.pop(key, _NO_ROWS) for each in others]
    for stream, left in zip(beside, others, strict=True):
        stream.check_taken(left)


class _Values:
    """Makes facts of rows. Raises Unreadable where that makes no sense."""

    def __init__(self) -> None:
        # One of each for all rows that have the same, instead of millions.
        self._version_id = cache(VersionId)
        self._location = cache(LocationName)

    def shelved(self, version: Row, *others: list[Row]) -> Shelved:
        """*others*: its rows of placements, stages, holds, leases, intents and revocations."""
        try:
            return self._shelved(version, *others)
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(version, error) from None

    def whereabouts(self, version: Row, placements: list[Row], stages: list[Row]) -> Whereabouts:
        image, day, serial = version
        try:
            return Whereabouts(
                VersionRef(image, self._version_id(day, serial)),
                _STAGES[stages[0][3]] if stages else Stage.ACTIVE,
                self._kept(placements) if placements else (),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise _unreadable(version, error) from None

    def _shelved(
        self,
        version: Row,
        placements: list[Row],
        stages: list[Row],
        holds: list[Row],
        leases: list[Row],
        intents: list[Row],
        revocations: list[Row],
    ) -> Shelved:
        _, day, serial, created_text, parent_image, parent_day, parent_serial = version
        created = datetime.fromisoformat(created_text)
        until, consumer = None, ""
        if leases:
            until, consumer = max((datetime.fromisoformat(each[3]), each[4]) for each in leases)
        return Shelved(
            id=self._version_id(day, serial),
            created=created,
            parent=parent_image
            and VersionRef(parent_image, self._version_id(parent_day, parent_serial)),
            stage=_STAGES[stages[0][3]] if stages else Stage.ACTIVE,
            staged=datetime.fromisoformat(stages[0][4]) if stages else created,
            placed=self._kept(placements) if placements else (),
            held=tuple([each[3] for each in holds]),
            leased=until,
            leased_by=consumer,
            begun=bool(intents),
            revoked=bool(revocations),
        )

    def _kept(self, rows: list[Row]) -> tuple[Kept, ...]:
        kept = []
        for _, _, _, location, provider_id, sha256, position in rows:
            kept.append(Kept(self._location(location), provider_id, sha256))
            if position != len(kept):
                raise ValueError(f"row {len(kept)} of placements is missing")
        return tuple(kept)

    def channels(self, image: ImageName, rows: Iterator[Row]) -> dict[ChannelName, Channel]:
        found = {}
        for name, of_channel in groupby(rows, key=itemgetter(1)):
            moves = []
            for position, row in enumerate(of_channel, start=1):
                if row[2] != position:
                    raise Unreadable(f"channel {image}:{name}: move {position} is missing")
                try:
                    moves.append(self._move(row))
                except (ValueError, TypeError, KeyError) as error:
                    raise Unreadable(f"channel {image}:{name}: {error}") from None
            found[ChannelName(name)] = Channel(image, ChannelName(name), tuple(moves))
        return found

    def _move(self, row: Row) -> Move:
        _, _, _, day, serial, kind, at, by, reason, generation = row
        moved = datetime.fromisoformat(at)
        return Move(self._version_id(day, serial), _KINDS[kind], moved, by, reason, generation)


def _unreadable(version: Row, error: Exception) -> Unreadable:
    return Unreadable(f"version {version[0]}@{version[1]}.{version[2]}: {error}")


def _announced(image: ImageName, rows: Iterator[Row]) -> dict[ChannelName, VersionId]:
    """What channels are announced to point to."""
    found = {}
    for position, row in enumerate(rows, start=1):
        said = readable(f"announcements {image}", values.announcement, row)
        if row.position != position:
            raise Unreadable(f"announcements {image}: row {position} is missing")
        if isinstance(said, AnnouncedMove):
            found[said.channel] = said.to
    return found


def _buried(rows: Iterator[Row]) -> tuple[Tombstone, ...]:
    """The open ones."""
    found = []
    for row in rows:
        if row.gone is None and row.returned is None:
            ref = values.ref(row)
            found.append(readable(f"version {ref}", values.tombstone, ref, row))
    return tuple(found)
