"""The tables of the catalog, as the newest migration leaves them.

``head`` has one row, which every commit takes for writing. ``events`` is the history; all other
tables say the same once more, in a form that can be queried, and ``catalog verify`` compares them.

Times are text as in ``formats/event_parts.py``: fixed width, in UTC, sorting by age. A version's
two parts are columns of their own, so that versions sort by age too. ``position`` counts from 1.
The columns ``tree_...``, ``origin_...`` and ``inside_...`` are all null together where a version
has no such part. ``intents`` holds the open ones alone; ``tombstones`` all there ever were. Of
``announcements``, a move has a channel and the version that it will point to; a deprecation has one
of the two or neither, maybe a successor, and brownouts as ``BEGINS/ENDS`` with a space between.

``resources`` is no part of the catalog: it is the ledger of things that are made to be thrown away,
which no event speaks of and which is written without the head row.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.schema import SchemaItem

REVISION = "0005"
"""The newest migration's name. Names sort by age."""

REVISION_TABLE = "schema_revision"
"""Where Alembic notes the migration that the tables are at, as ``version_num`` in its one row."""

WHOLE = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on both; SQLite makes a row's number of it only under the name INTEGER."""

metadata = MetaData()


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _number(name: str) -> Column[int]:
    return Column(name, WHOLE, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, WHOLE, nullable=False)


def _version() -> tuple[SchemaItem, ...]:
    """What names the version that a row is about, or of."""
    return _key("image"), _key("day"), _number("serial")


def _placement() -> tuple[SchemaItem, ...]:
    return (
        _number("position"),
        _text("format"),
        _text("architecture"),
        _text("location"),
        _text("provider_id"),
        _text("reference"),
        _text("sha256"),
        _whole("size"),
        _text("verified"),
    )


def _to_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["image", "day", "serial"], ["versions.image", "versions.day", "versions.serial"]
    )


head = Table(
    "head",
    metadata,
    _number("id"),
    _text("catalog"),
    _whole("generation"),
    _text("hash"),
    CheckConstraint("id = 1", name="head_is_one_row"),
)

events = Table(
    "events",
    metadata,
    _number("generation"),
    _text("key"),
    _text("hash"),
    _text("text"),
    UniqueConstraint("key", name="events_key_once"),
)

versions = Table(
    "versions",
    metadata,
    *_version(),
    _text("created"),
    _text("created_by"),
    _text("summary"),
    _text("fingerprint"),
    Column("parent_image", Text),
    Column("parent_day", Text),
    Column("parent_serial", WHOLE),
    Column("tree_sha256", Text),
    Column("tree_size", WHOLE),
    Column("tree_stored", Text),
    _whole("tests_passed"),
    _whole("tests_failed"),
    Column("tests_seconds", Double, nullable=False),
    _text("tests_report"),
    _text("tests_console"),
    _text("tool"),
    _text("build_log"),
    Column("seconds", Double, nullable=False),
    Column("origin_epoch", WHOLE),
    *(Column(f"origin_{name}", Text) for name in ("lock", "source", "raw")),
    *(Column(f"origin_{name}", Text) for name in ("reproducible", "cause")),
    *(Column(f"inside_{name}", Text) for name in ("contents", "manifest", "spdx")),
    *(Column(f"inside_{name}", Text) for name in ("cyclonedx", "provenance")),
)

artifacts = Table(
    "artifacts",
    metadata,
    *_version(),
    _number("position"),
    _text("format"),
    _text("architecture"),
    _text("sha256"),
    _whole("size"),
    _to_version(),
)

required_locations = Table(
    "required_locations",
    metadata,
    *_version(),
    _number("position"),
    _text("location"),
    _to_version(),
)

placements = Table(
    "placements",
    metadata,
    *_version(),
    *_placement(),
    UniqueConstraint(
        *("image", "day", "serial", "format", "architecture", "location"),
        name="placements_once_for_each_location",
    ),
    _to_version(),
)

intents = Table(
    "intents",
    metadata,
    *_version(),
    _number("position"),
    _text("format"),
    _text("architecture"),
    _text("location"),
    _text("named"),
    _text("since"),
    _text("by"),
    UniqueConstraint(
        *("image", "day", "serial", "format", "architecture", "location", "named"),
        name="intents_once_for_each_name",
    ),
    _to_version(),
)

moves = Table(
    "moves",
    metadata,
    _key("image"),
    _key("channel"),
    _number("position"),
    _text("day"),
    _whole("serial"),
    _text("kind"),
    _text("at"),
    _text("by"),
    _text("reason"),
    _whole("generation"),
    _to_version(),
)

stages = Table(
    "stages",
    metadata,
    *_version(),
    _text("stage"),
    _text("at"),
    _text("by"),
    _text("reason"),
    _to_version(),
)

holds = Table(
    "holds",
    metadata,
    *_version(),
    _number("position"),
    _text("by"),
    _text("at"),
    _text("reason"),
    UniqueConstraint("image", "day", "serial", "by", name="holds_once_for_each_person"),
    _to_version(),
)

leases = Table(
    "leases",
    metadata,
    *_version(),
    _number("position"),
    _text("consumer"),
    _text("since"),
    _text("until"),
    UniqueConstraint("image", "day", "serial", "consumer", name="leases_once_for_each_consumer"),
    _to_version(),
)

revocations = Table(
    "revocations",
    metadata,
    *_version(),
    _text("by"),
    _text("at"),
    _text("reason"),
    _to_version(),
)

tombstones = Table(
    "tombstones",
    metadata,
    *_version(),
    *_placement(),
    _text("at"),
    _text("by"),
    _text("reason"),
    Column("begun", Text),
    Column("gone", Text),
    Column("returned", Text),
    _to_version(),
)

announcements = Table(
    "announcements",
    metadata,
    _key("image"),
    _number("position"),
    _text("kind"),
    Column("channel", Text),
    Column("day", Text),
    Column("serial", WHOLE),
    _text("due"),
    Column("successor", Text),
    _text("brownouts"),
    _text("at"),
    _text("by"),
    _text("reason"),
    _to_version(),
)

resources = Table(
    "resources",
    metadata,
    _key("id"),
    _text("kind"),
    _text("place"),
    _text("name"),
    _text("purpose"),
    _text("by"),
    _text("since"),
    _text("until"),
    _whole("tries"),
    _text("trouble"),
)
