"""How a version was made, and what is inside; and versions without a tree.

Frozen: a change to ``tables.py`` comes with a migration of its own.

SQLite cannot take NOT NULL off a column, and may not drop a table that others refer to. So each
column of the tree is copied into a new one, which then takes its name; PostgreSQL can do that too.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, Text, column, table, update

revision = "0002"
down_revision = "0001"

WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    for name, kind in (("tree_sha256", Text), ("tree_size", WHOLE), ("tree_stored", Text)):
        _make_nullable(Column(name, kind))
    op.add_column("versions", Column("origin_epoch", WHOLE))
    for name in ("lock", "source", "raw", "reproducible", "cause"):
        op.add_column("versions", Column(f"origin_{name}", Text))
    for name in ("contents", "manifest", "spdx", "cyclonedx", "provenance"):
        op.add_column("versions", Column(f"inside_{name}", Text))


def _make_nullable(old: Column[object]) -> None:
    new = f"new_{old.name}"
    op.add_column("versions", Column(new, old.type))
    op.execute(update(table("versions", column(new))).values({new: column(old.name)}))
    op.drop_column("versions", old.name)
    op.execute(f"ALTER TABLE versions RENAME COLUMN {new} TO {old.name}")
