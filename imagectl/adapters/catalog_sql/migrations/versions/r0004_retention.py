"""What protects versions and how they go, and the ledger of things made to be thrown away.

Frozen: a change to ``tables.py`` comes with a migration of its own.
"""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

revision = "0004"
down_revision = "0003"

WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    _create_once("stages", "stage", "at", "by", "reason")
    _create_several("holds", "by", "at", "reason")
    _create_several("leases", "consumer", "since", "until")
    _create_once("revocations", "by", "at", "reason")
    op.create_table(
        "tombstones",
        *_key("position"),
        *_texts("format", "architecture", "location", "provider_id", "reference", "sha256"),
        Column("size", WHOLE, nullable=False),
        *_texts("verified", "at", "by", "reason"),
        Column("begun", Text),
        Column("gone", Text),
        Column("returned", Text),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        _to_version(),
    )
    op.create_table(
        "resources",
        *_texts("id", "kind", "place", "name", "purpose", "by", "since", "until"),
        Column("tries", WHOLE, nullable=False),
        *_texts("trouble"),
        PrimaryKeyConstraint("id"),
    )


def _create_once(name: str, *columns: str) -> None:
    """Of which a version has one at most."""
    op.create_table(
        name,
        *_key(),
        *_texts(*columns),
        PrimaryKeyConstraint("image", "day", "serial"),
        _to_version(),
    )


def _create_several(name: str, whose: str, *columns: str) -> None:
    """Of which a version has one for each *whose*."""
    each = "person" if whose == "by" else whose
    op.create_table(
        name,
        *_key("position"),
        *_texts(whose, *columns),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        UniqueConstraint("image", "day", "serial", whose, name=f"{name}_once_for_each_{each}"),
        _to_version(),
    )


def _key(*more: str) -> list[Column[Any]]:
    names = ("serial", *more)
    numbers = (Column(name, WHOLE, nullable=False, autoincrement=False) for name in names)
    return [*_texts("image", "day"), *numbers]


def _texts(*names: str) -> list[Column[Any]]:
    return [Column(name, Text, nullable=False) for name in names]


def _to_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["image", "day", "serial"], ["versions.image", "versions.day", "versions.serial"]
    )
