"""Between snapshots and the rows of the tables that can be queried.

Writing takes the difference between two snapshots, so rows say what ``apply_change`` said and
nothing else gives a change a meaning of its own. Versions are only ever added; of what a version
has several of, the entries from the first one that differs are written anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count, groupby
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Delete,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    union,
)

from imagectl.adapters.catalog_sql import row_values as values
from imagectl.adapters.catalog_sql import tables
from imagectl.model.announcement import Announcement
from imagectl.model.change import Change, all_channels_of, announced_of, mentioned
from imagectl.model.channel import Channel, Move
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef

AT_ONCE = 100
"""How many keys one statement asks for: databases limit its parameters and its depth."""

KNOWN = 4096
"""How many rows of a table are known by what they say. Most of what is read again has not changed,
and to make values of a row takes ten times as long as to fetch it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Part:
    """What a version may have, beside what it was recorded with: the field of a snapshot that says
    so, and how one of it becomes a row. ``several``: the table counts them by ``position``."""

    field: str
    table: Table
    read: Callable[[VersionRef, Row[Any]], object]
    row: Callable[[Any], dict[str, object]]
    several: bool = True

    def of(self, snapshot: Snapshot) -> Mapping[VersionRef, tuple[object, ...]]:
        found: Mapping[VersionRef, Any] = getattr(snapshot, self.field)
        return found if self.several else {ref: (one,) for ref, one in found.items()}


_known = lru_cache(KNOWN)
_version = _known(values.version)
_move = _known(values.move)

_PARTS = (
    _Part("placements", tables.placements, _known(values.placement), values.placement_row),
    _Part("intents", tables.intents, _known(values.intent), values.intent_row),
    _Part("stages", tables.stages, _known(values.staged), values.staged_row, several=False),
    _Part("holds", tables.holds, _known(values.hold), values.hold_row),
    _Part("leases", tables.leases, _known(values.lease), values.lease_row),
    _Part(
        "revoked",
        tables.revocations,
        _known(values.revocation),
        values.revocation_row,
        several=False,
    ),
    _Part("tombstones", tables.tombstones, _known(values.tombstone), values.tombstone_row),
)

_OF_VERSIONS = (tables.artifacts, tables.required_locations, *(part.table for part in _PARTS))


class Unreadable(ValueError):
    """A row is not what imagectl writes. The message names it."""


Key = tuple[tuple[str, object], ...]
"""Columns, and the values that a row has there."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows to read: those of some versions, those of some channels, and the announcements of
    some images. No row has two of the keys."""

    versions: tuple[Key, ...]
    channels: tuple[Key, ...]
    announced: tuple[Key, ...]


def of_images(images: Collection[ImageName]) -> Scope:
    """Everything that concerns *images*."""
    keys = tuple(_of_image(image) for image in sorted(set(images)))
    return Scope(keys, keys, keys)


def of_versions(refs: Collection[VersionRef], announced: Collection[ImageName]) -> Scope:
    """These versions, and what is announced of these images. No channel."""
    keys = tuple(tuple(values.ref_row(ref).items()) for ref in sorted(refs))
    return Scope(keys, (), tuple(_of_image(image) for image in sorted(announced)))


def of_change(change: Change) -> Scope:
    """What ``apply_change`` looks at, and no more: an image may have any number of versions."""
    refs, channels = mentioned(change)
    whole = all_channels_of(change)
    return Scope(
        tuple(tuple(values.ref_row(ref).items()) for ref in sorted(refs)),
        (
            *(_of_image(image) for image in sorted(whole)),
            *(
                (("image", image), ("channel", name))
                for image, name in sorted(channels)
                if image not in whole
            ),
        ),
        tuple(_of_image(image) for image in sorted(announced_of(change))),
    )


def _of_image(image: ImageName) -> Key:
    return (("image", image),)


def images(connection: Connection) -> list[ImageName]:
    """Every image that some row speaks of, sorted."""
    tabled = (tables.versions, *_OF_VERSIONS, tables.moves, tables.announcements)
    named = (select(table.c.image) for table in tabled)
    return sorted(ImageName(image) for image in connection.scalars(union(*named)))


def read(
    connection: Connection, catalog_id: str, generation: int, scope: Scope | None = None
) -> Snapshot:
    """What the tables say of *scope*, of everything where None. Raises Unreadable."""
    artifacts = _grouped(connection, tables.artifacts, scope)
    locations = _grouped(connection, tables.required_locations, scope)
    versions = {}
    for row in _rows(connection, tables.versions, scope):
        ref = values.ref(row)
        recorded_with = (tuple(artifacts.pop(ref, ())), tuple(locations.pop(ref, ())))
        versions[ref] = readable(f"version {ref}", _version, ref, row, *recorded_with)
    parts = {part.field: _read_part(connection, part, scope) for part in _PARTS}
    strays = {ref for found in parts.values() for ref in found} - versions.keys()
    for ref in sorted({*artifacts, *locations, *strays}):
        raise Unreadable(f"version {ref}: it has parts, but is not recorded itself")
    return Snapshot(
        catalog_id,
        generation,
        versions,
        channels=_channels(connection, scope),
        announced=_announced(connection, scope),
        event=None,
        **parts,
    )


def heads(
    connection: Connection,
    moved: Collection[tuple[ImageName, ChannelName]],
    versions: Collection[VersionRef],
) -> dict[tuple[ImageName, ChannelName], Channel]:
    """These channels, and those that point to one of these *versions*; of each, the last move and
    no other, since it may have had any number of them. Raises Unreadable."""
    moves = tables.moves
    named = select(moves.c.image, moves.c.channel).distinct()
    known = {
        (ImageName(row.image), ChannelName(row.channel))
        for image in sorted({ref.image for ref in versions})
        for row in connection.execute(named.where(moves.c.image == image))
    }
    last = (
        select(moves)
        .where(moves.c.image == bindparam("of"), moves.c.channel == bindparam("called"))
        .order_by(moves.c.position.desc())
        .limit(1)
    )
    found = {}
    for image, name in sorted({*moved, *known}):
        row = connection.execute(last, {"of": image, "called": name}).one_or_none()
        if row is None:
            raise Unreadable(f"channel {image}:{name}: no move is there")
        head = readable(f"channel {image}:{name}", values.move, row)
        if (image, name) in moved or VersionRef(image, head.version) in versions:
            found[image, name] = Channel(image, name, (head,))
    return found


def _read_part(connection: Connection, part: _Part, scope: Scope | None) -> dict[VersionRef, Any]:
    found = {
        ref: tuple(readable(f"version {ref}", part.read, ref, row) for row in rows)
        for ref, rows in _grouped(connection, part.table, scope).items()
    }
    return found if part.several else {ref: one for ref, (one,) in found.items()}


def _channels(
    connection: Connection, scope: Scope | None
) -> dict[tuple[ImageName, ChannelName], Channel]:
    histories: dict[tuple[ImageName, ChannelName], list[Move]] = defaultdict(list)
    for row in _rows(connection, tables.moves, scope):
        history = histories[ImageName(row.image), ChannelName(row.channel)]
        history.append(readable(f"channel {row.image}:{row.channel}", _move, row))
        if row.position != len(history):
            raise Unreadable(f"channel {row.image}:{row.channel}: move {len(history)} is missing")
    return {
        (image, name): Channel(image, name, tuple(moves))
        for (image, name), moves in histories.items()
    }


def _announced(
    connection: Connection, scope: Scope | None
) -> dict[ImageName, tuple[Announcement, ...]]:
    found: dict[ImageName, list[Announcement]] = defaultdict(list)
    for row in _rows(connection, tables.announcements, scope):
        of_image = found[ImageName(row.image)]
        of_image.append(readable(f"announcements {row.image}", values.announcement, row))
        if row.position != len(of_image):
            raise Unreadable(f"announcements {row.image}: row {len(of_image)} is missing")
    return {image: tuple(each) for image, each in found.items()}


def _grouped(
    connection: Connection, table: Table, scope: Scope | None
) -> dict[VersionRef, list[Row[Any]]]:
    """The table's rows for each version."""
    found: dict[VersionRef, list[Row[Any]]] = defaultdict(list)
    numbered = "position" in table.c
    for row in _rows(connection, table, scope):
        ref = values.ref(row)
        found[ref].append(row)
        if numbered and row.position != len(found[ref]):
            raise Unreadable(f"version {ref}: row {len(found[ref])} of {table.name} is missing")
    return found


def _rows(connection: Connection, table: Table, scope: Scope | None) -> Iterator[Row[Any]]:
    """The table's rows in *scope*; those of one version, channel or image are together, in their
    order."""
    if scope is None:
        yield from connection.execute(_selecting(table, ()))
        return
    keys = scope.versions
    if table is tables.moves:
        keys = scope.channels
    elif table is tables.announcements:
        keys = scope.announced
    for names, alike in groupby(keys, key=lambda key: tuple(name for name, _ in key)):
        values = [value for key in alike for _, value in key]
        at_once = AT_ONCE * len(names)
        for start in range(0, len(values), at_once):
            some = values[start : start + at_once]
            statement = _selecting(table, names, len(some) // len(names))
            parameters = {f"p{number}": value for number, value in enumerate(some)}
            yield from connection.execute(statement, parameters)


@cache
def _deleting(part: _Part) -> Delete:
    """What a version has of it, from the one after ``kept`` on."""
    table = part.table
    which = [table.c[name] == bindparam(name) for name in ("image", "day", "serial")]
    if part.several:
        which.append(table.c.position > bindparam("kept"))
    return delete(table).where(*which)


@lru_cache(maxsize=4096)
def _selecting(table: Table, names: tuple[str, ...], keys: int = 0) -> Select[Any]:
    """The rows that have one of so many *keys*, which are the parameters ``p0`` and so on; all rows
    where there is none. Making a statement takes longer than running it, so each is made once.

    Alternatives, since SQLite 3.40 scans the whole table for (a, b) IN (VALUES ...).
    """
    statement = select(table).order_by(*table.primary_key.columns)
    numbers = count()
    one = [
        and_(*(table.c[name] == bindparam(f"p{next(numbers)}") for name in names))
        for _ in range(keys)
    ]
    return statement.where(or_(*one)) if one else statement


def readable(where: str, read: Callable[..., T], *parts: object) -> T:
    """What *read* makes of *parts*. Raises Unreadable, naming *where*."""
    try:
        return read(*parts)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"{where}: {error}") from None


def write(connection: Connection, before: Snapshot, after: Snapshot) -> None:
    """Make the tables, which say *before*, say *after*."""
    new = [version for ref, version in after.versions.items() if ref not in before.versions]
    _insert(connection, tables.versions, [values.version_row(version) for version in new])
    for table, rows in (
        (tables.artifacts, values.artifact_rows),
        (tables.required_locations, values.location_rows),
    ):
        _insert(connection, table, [row for version in new for row in rows(version)])
    for part in _PARTS:
        earlier, later = part.of(before), part.of(after)
        for ref in earlier.keys() | later.keys():
            _rewrite(connection, part, ref, earlier.get(ref, ()), later.get(ref, ()))
    for (image, name), channel in after.channels.items():
        known = before.channel(image, name)
        _insert(
            connection, tables.moves, values.move_rows(channel, len(known.moves) if known else 0)
        )

    for image in before.announced.keys() | after.announced.keys():
        _write_announced(connection, image, before, after)


def _write_announced(
    connection: Connection, image: ImageName, before: Snapshot, after: Snapshot
) -> None:
    """All of an image's anew where one has changed: there are a few at most."""
    if before.announced.get(image, ()) == (announced := after.announced.get(image, ())):
        return
    table = tables.announcements
    connection.execute(delete(table).where(table.c.image == image))
    numbered = enumerate(announced, start=1)
    _insert(
        connection,
        table,
        [{**values.announcement_row(each), "position": position} for position, each in numbered],
    )


def _insert(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _rewrite(
    connection: Connection,
    part: _Part,
    ref: VersionRef,
    before: tuple[object, ...],
    after: tuple[object, ...],
) -> None:
    if after == before:
        return
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    key = values.ref_row(ref)
    if same < len(before):
        kept = {"kept": same} if part.several else {}
        connection.execute(_deleting(part), {**key, **kept})
    _insert(
        connection,
        part.table,
        [
            {
                **key,
                **({"position": position} if part.several else {}),
                **part.row(one),
            }
            for position, one in enumerate(after[same:], start=same + 1)
        ],
    )
