"""The catalog's first tables.

Frozen: a change to ``tables.py`` comes with a migration of its own.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

revision = "0001"
down_revision = None

WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, WHOLE, nullable=False, autoincrement=False)


def _seconds(name: str) -> Column[float]:
    return Column(name, Double, nullable=False)


def _to_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["image", "day", "serial"], ["versions.image", "versions.day", "versions.serial"]
    )


def upgrade() -> None:
    op.create_table(
        "head",
        _whole("id"),
        _text("catalog"),
        _whole("generation"),
        _text("hash"),
        PrimaryKeyConstraint("id"),
        CheckConstraint("id = 1", name="head_is_one_row"),
    )
    op.create_table(
        "events",
        _whole("generation"),
        _text("key"),
        _text("hash"),
        _text("text"),
        PrimaryKeyConstraint("generation"),
        UniqueConstraint("key", name="events_key_once"),
    )
    op.create_table(
        "versions",
        _text("image"),
        _text("day"),
        _whole("serial"),
        _text("created"),
        _text("created_by"),
        _text("summary"),
        _text("fingerprint"),
        Column("parent_image", Text),
        Column("parent_day", Text),
        Column("parent_serial", WHOLE),
        _text("tree_sha256"),
        _whole("tree_size"),
        _text("tree_stored"),
        _whole("tests_passed"),
        _whole("tests_failed"),
        _seconds("tests_seconds"),
        _text("tests_report"),
        _text("tests_console"),
        _text("tool"),
        _text("build_log"),
        _seconds("seconds"),
        PrimaryKeyConstraint("image", "day", "serial"),
    )
    op.create_table(
        "artifacts",
        _text("image"),
        _text("day"),
        _whole("serial"),
        _whole("position"),
        _text("format"),
        _text("architecture"),
        _text("sha256"),
        _whole("size"),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        _to_version(),
    )
    op.create_table(
        "required_locations",
        _text("image"),
        _text("day"),
        _whole("serial"),
        _whole("position"),
        _text("location"),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        _to_version(),
    )
    op.create_table(
        "placements",
        _text("image"),
        _text("day"),
        _whole("serial"),
        _whole("position"),
        _text("format"),
        _text("architecture"),
        _text("location"),
        _text("provider_id"),
        _text("reference"),
        _text("sha256"),
        _whole("size"),
        _text("verified"),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        UniqueConstraint(
            *("image", "day", "serial", "format", "architecture", "location"),
            name="placements_once_for_each_location",
        ),
        _to_version(),
    )
    op.create_table(
        "moves",
        _text("image"),
        _text("channel"),
        _whole("position"),
        _text("day"),
        _whole("serial"),
        _text("kind"),
        _text("at"),
        _text("by"),
        _text("reason"),
        _whole("generation"),
        PrimaryKeyConstraint("image", "channel", "position"),
        _to_version(),
    )
