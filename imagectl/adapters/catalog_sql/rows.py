"""Between the model and the rows of the tables that can be queried.

Writing takes the difference between two snapshots, so rows say what ``apply_change`` said and
nothing else gives a change a meaning of its own. Versions are only ever added; a version's open
intents, which come and go, are written anew where they differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Row,
    Table,
    Update,
    and_,
    delete,
    insert,
    or_,
    select,
    union,
    update,
)

from imagectl.adapters.catalog_sql import tables
from imagectl.formats.event_parts import write_time
from imagectl.model.catalog import Change, Snapshot, mentioned
from imagectl.model.channel import Channel, Move, MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
)
from imagectl.model.version import (
    Artifact,
    Inside,
    Intent,
    Origin,
    Placement,
    Reproducible,
    TestSummary,
    Tree,
    Version,
    VersionRef,
)

AT_ONCE = 100
"""How many keys one statement asks for: databases limit its parameters and its depth."""

_PARTS = (tables.artifacts, tables.required_locations, tables.placements, tables.intents)

_COLUMNS = {
    part: tuple(each.name for each in tables.versions.c if each.name.startswith(f"{part}_"))
    for part in ("tree", "origin", "inside")
}
"""The columns of the parts that a version may lack."""

T = TypeVar("T")


class Unreadable(ValueError):
    """A row is not what imagectl writes. The message names it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows to read: those of some versions, and those of some channels, by these columns."""

    version_columns: tuple[str, ...]
    versions: tuple[tuple[object, ...], ...]
    channel_columns: tuple[str, ...]
    channels: tuple[tuple[object, ...], ...]


def of_images(images: Collection[ImageName]) -> Scope:
    """Everything that concerns *images*."""
    keys = tuple((image,) for image in sorted(set(images)))
    return Scope(("image",), keys, ("image",), keys)


def of_change(change: Change) -> Scope:
    """What ``apply_change`` looks at, and no more: an image may have any number of versions."""
    refs, channels = mentioned(change)
    return Scope(
        ("image", "day", "serial"),
        tuple((ref.image, ref.version.day, ref.version.serial) for ref in sorted(refs)),
        ("image", "channel"),
        tuple(sorted(channels)),
    )


def images(connection: Connection) -> list[ImageName]:
    """Every image that some row speaks of, sorted."""
    named = (select(table.c.image) for table in (tables.versions, *_PARTS, tables.moves))
    return sorted(ImageName(image) for image in connection.scalars(union(*named)))


def read(
    connection: Connection, catalog_id: str, generation: int, scope: Scope | None = None
) -> Snapshot:
    """What the tables say of *scope*, of everything where None. Raises Unreadable."""
    artifacts, locations, placements, intents = (
        _parts(connection, table, scope) for table in _PARTS
    )
    versions = {}
    for row in _rows(connection, tables.versions, scope):
        ref = _ref(row)
        versions[ref] = _readable(
            f"version {ref}", _version, ref, row, artifacts.pop(ref, []), locations.pop(ref, [])
        )
    placed = {}
    for ref, rows in placements.items():
        placed[ref] = tuple(_readable(f"version {ref}", _placement, ref, row) for row in rows)
    intended = {}
    for ref, rows in intents.items():
        intended[ref] = tuple(_readable(f"version {ref}", _intent, ref, row) for row in rows)
    strays = {*placed, *intended} - versions.keys()
    for ref in sorted({*artifacts, *locations, *strays}):
        raise Unreadable(f"version {ref}: it has parts, but is not recorded itself")
    channels = _channels(connection, scope)
    return Snapshot(catalog_id, generation, versions, channels, placed, intended)


def _channels(
    connection: Connection, scope: Scope | None
) -> dict[tuple[ImageName, ChannelName], Channel]:
    histories: dict[tuple[ImageName, ChannelName], list[Move]] = defaultdict(list)
    for row in _rows(connection, tables.moves, scope):
        history = histories[ImageName(row.image), ChannelName(row.channel)]
        history.append(_readable(f"channel {row.image}:{row.channel}", _move, row))
        if row.position != len(history):
            raise Unreadable(f"channel {row.image}:{row.channel}: move {len(history)} is missing")
    return {
        (image, name): Channel(image, name, tuple(moves))
        for (image, name), moves in histories.items()
    }


def _parts(
    connection: Connection, table: Table, scope: Scope | None
) -> dict[VersionRef, list[Row[Any]]]:
    """The table's rows for each version."""
    parts: dict[VersionRef, list[Row[Any]]] = defaultdict(list)
    for row in _rows(connection, table, scope):
        ref = _ref(row)
        parts[ref].append(row)
        if row.position != len(parts[ref]):
            raise Unreadable(f"version {ref}: row {len(parts[ref])} of {table.name} is missing")
    return parts


def _rows(connection: Connection, table: Table, scope: Scope | None) -> Iterator[Row[Any]]:
    """The table's rows in *scope*; those of one version or channel are together, in their order."""
    statement = select(table).order_by(*table.primary_key.columns)
    if scope is None:
        yield from connection.execute(statement)
        return
    columns, keys = (
        (scope.channel_columns, scope.channels)
        if table is tables.moves
        else (scope.version_columns, scope.versions)
    )
    # Alternatives, since SQLite 3.40 scans the whole table for (a, b) IN (VALUES ...).
    one = [
        and_(*(table.c[name] == value for name, value in zip(columns, key, strict=True)))
        for key in keys
    ]
    for start in range(0, len(one), AT_ONCE):
        yield from connection.execute(statement.where(or_(*one[start : start + AT_ONCE])))


def _readable(where: str, read: Callable[..., T], *parts: object) -> T:
    try:
        return read(*parts)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"{where}: {error}") from None


def _ref(row: Row[Any]) -> VersionRef:
    return VersionRef(ImageName(row.image), VersionId(row.day, row.serial))


def _version(
    ref: VersionRef, row: Row[Any], artifacts: list[Row[Any]], locations: list[Row[Any]]
) -> Version:
    parent = (
        None
        if row.parent_image is None
        else VersionRef(ImageName(row.parent_image), VersionId(row.parent_day, row.parent_serial))
    )
    return Version(
        ref=ref,
        created=datetime.fromisoformat(row.created),
        created_by=row.created_by,
        summary=row.summary,
        fingerprint=Sha256(row.fingerprint),
        parent=parent,
        tree=_whole(row, "tree", _tree),
        artifacts=tuple(
            Artifact(
                Format(each.format), Architecture(each.architecture), Sha256(each.sha256), each.size
            )
            for each in artifacts
        ),
        tests=TestSummary(
            passed=row.tests_passed,
            failed=row.tests_failed,
            seconds=row.tests_seconds,
            report=Sha256(row.tests_report),
            console=Sha256(row.tests_console),
        ),
        required_locations=tuple(LocationName(each.location) for each in locations),
        tool=row.tool,
        build_log=Sha256(row.build_log),
        seconds=row.seconds,
        origin=_whole(row, "origin", _origin),
        inside=_whole(row, "inside", _inside),
    )


def _whole(row: Row[Any], part: str, read: Callable[[Row[Any]], T]) -> T | None:
    """A part whose columns are all null, or none of them. Raises ValueError for half a part."""
    absent = [name for name in _COLUMNS[part] if getattr(row, name) is None]
    if not absent:
        return read(row)
    if len(absent) < len(_COLUMNS[part]):
        raise ValueError(f"{', '.join(absent)} is missing")
    return None


def _tree(row: Row[Any]) -> Tree:
    return Tree(Sha256(row.tree_sha256), row.tree_size, Sha256(row.tree_stored))


def _origin(row: Row[Any]) -> Origin:
    return Origin(
        epoch=row.origin_epoch,
        lock=Sha256(row.origin_lock),
        source=Sha256(row.origin_source),
        raw=Sha256(row.origin_raw),
        reproducible=Reproducible(row.origin_reproducible),
        cause=row.origin_cause,
    )


def _inside(row: Row[Any]) -> Inside:
    return Inside(
        contents=Sha256(row.inside_contents),
        manifest=Sha256(row.inside_manifest),
        spdx=Sha256(row.inside_spdx),
        cyclonedx=Sha256(row.inside_cyclonedx),
        provenance=Sha256(row.inside_provenance),
    )


def _placement(ref: VersionRef, row: Row[Any]) -> Placement:
    return Placement(
        version=ref,
        format=Format(row.format),
        architecture=Architecture(row.architecture),
        location=LocationName(row.location),
        provider_id=row.provider_id,
        reference=row.reference,
        sha256=Sha256(row.sha256),
        size=row.size,
        verified=datetime.fromisoformat(row.verified),
    )


def _intent(ref: VersionRef, row: Row[Any]) -> Intent:
    return Intent(
        version=ref,
        format=Format(row.format),
        architecture=Architecture(row.architecture),
        location=LocationName(row.location),
        named=row.named,
        since=datetime.fromisoformat(row.since),
        by=row.by,
    )


def _move(row: Row[Any]) -> Move:
    return Move(
        version=VersionId(row.day, row.serial),
        kind=MoveKind(row.kind),
        at=datetime.fromisoformat(row.at),
        by=row.by,
        reason=row.reason,
        generation=row.generation,
    )


def write(connection: Connection, before: Snapshot, after: Snapshot) -> None:
    """Add to the tables, which say *before*, what makes them say *after*."""
    new = [version for ref, version in after.versions.items() if ref not in before.versions]
    _insert(connection, tables.versions, [_version_row(version) for version in new])
    _insert(
        connection, tables.artifacts, [row for version in new for row in _artifact_rows(version)]
    )
    _insert(
        connection,
        tables.required_locations,
        [row for version in new for row in _location_rows(version)],
    )
    for ref, placed in after.placements.items():
        known = before.placed(ref)
        for position, placement in enumerate(placed, start=1):
            if position > len(known):
                _insert(connection, tables.placements, [_placement_row(placement, position)])
            elif placement != known[position - 1]:
                connection.execute(_renewal(placement, position))
    for ref in before.intents.keys() | after.intents.keys():
        _rewrite_intents(connection, ref, before.intended(ref), after.intended(ref))
    for (image, name), channel in after.channels.items():
        earlier = before.channel(image, name)
        _insert(connection, tables.moves, _move_rows(channel, len(earlier.moves) if earlier else 0))


def _insert(connection: Connection, table: Table, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _rewrite_intents(
    connection: Connection, ref: VersionRef, before: tuple[Intent, ...], after: tuple[Intent, ...]
) -> None:
    if after == before:
        return
    if before:
        key = [tables.intents.c[name] == value for name, value in _ref_row(ref).items()]
        connection.execute(delete(tables.intents).where(and_(*key)))
    _insert(
        connection,
        tables.intents,
        [_intent_row(intent, position) for position, intent in enumerate(after, start=1)],
    )


def _ref_row(ref: VersionRef) -> dict[str, object]:
    return {"image": ref.image, "day": ref.version.day, "serial": ref.version.serial}


def _version_row(version: Version) -> dict[str, object]:
    parent, tree, origin, inside = version.parent, version.tree, version.origin, version.inside
    return {
        **_ref_row(version.ref),
        "created": write_time(version.created),
        "created_by": version.created_by,
        "summary": version.summary,
        "fingerprint": version.fingerprint,
        "parent_image": parent.image if parent else None,
        "parent_day": parent.version.day if parent else None,
        "parent_serial": parent.version.serial if parent else None,
        "tree_sha256": tree.sha256 if tree else None,
        "tree_size": tree.size if tree else None,
        "tree_stored": tree.stored if tree else None,
        "tests_passed": version.tests.passed,
        "tests_failed": version.tests.failed,
        "tests_seconds": version.tests.seconds,
        "tests_report": version.tests.report,
        "tests_console": version.tests.console,
        "tool": version.tool,
        "build_log": version.build_log,
        "seconds": version.seconds,
        "origin_epoch": origin.epoch if origin else None,
        "origin_lock": origin.lock if origin else None,
        "origin_source": origin.source if origin else None,
        "origin_raw": origin.raw if origin else None,
        "origin_reproducible": origin.reproducible.value if origin else None,
        "origin_cause": origin.cause if origin else None,
        "inside_contents": inside.contents if inside else None,
        "inside_manifest": inside.manifest if inside else None,
        "inside_spdx": inside.spdx if inside else None,
        "inside_cyclonedx": inside.cyclonedx if inside else None,
        "inside_provenance": inside.provenance if inside else None,
    }


def _artifact_rows(version: Version) -> list[dict[str, object]]:
    return [
        {
            **_ref_row(version.ref),
            "position": position,
            "format": artifact.format.value,
            "architecture": artifact.architecture.value,
            "sha256": artifact.sha256,
            "size": artifact.size,
        }
        for position, artifact in enumerate(version.artifacts, start=1)
    ]


def _location_rows(version: Version) -> list[dict[str, object]]:
    return [
        {**_ref_row(version.ref), "position": position, "location": location}
        for position, location in enumerate(version.required_locations, start=1)
    ]


def _placement_row(placement: Placement, position: int) -> dict[str, object]:
    return {
        **_ref_row(placement.version),
        "position": position,
        "format": placement.format.value,
        "architecture": placement.architecture.value,
        "location": placement.location,
        "provider_id": placement.provider_id,
        "reference": placement.reference,
        "sha256": placement.sha256,
        "size": placement.size,
        "verified": write_time(placement.verified),
    }


def _intent_row(intent: Intent, position: int) -> dict[str, object]:
    return {
        **_ref_row(intent.version),
        "position": position,
        "format": intent.format.value,
        "architecture": intent.architecture.value,
        "location": intent.location,
        "named": intent.named,
        "since": write_time(intent.since),
        "by": intent.by,
    }


def _renewal(placement: Placement, position: int) -> Update:
    row = _placement_row(placement, position)
    key = [column == row[column.name] for column in tables.placements.primary_key.columns]
    return update(tables.placements).where(and_(*key)).values(row)


def _move_rows(channel: Channel, known: int) -> list[dict[str, object]]:
    """The channel's moves after the first *known* ones."""
    return [
        {
            "image": channel.image,
            "channel": channel.name,
            "position": position,
            "day": move.version.day,
            "serial": move.version.serial,
            "kind": move.kind.value,
            "at": write_time(move.at),
            "by": move.by,
            "reason": move.reason,
            "generation": move.generation,
        }
        for position, move in enumerate(channel.moves[known:], start=known + 1)
    ]
