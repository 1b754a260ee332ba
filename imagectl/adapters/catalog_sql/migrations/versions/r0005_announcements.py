"""What consumers are told of before it happens.

Frozen: a change to ``tables.py`` comes with a migration of its own.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text

revision = "0005"
down_revision = "0004"

WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "announcements",
        Column("image", Text, nullable=False),
        Column("position", WHOLE, nullable=False, autoincrement=False),
        Column("kind", Text, nullable=False),
        Column("channel", Text),
        Column("day", Text),
        Column("serial", WHOLE),
        Column("due", Text, nullable=False),
        Column("successor", Text),
        Column("brownouts", Text, nullable=False),
        Column("at", Text, nullable=False),
        Column("by", Text, nullable=False),
        Column("reason", Text, nullable=False),
        PrimaryKeyConstraint("image", "position"),
        ForeignKeyConstraint(
            ["image", "day", "serial"], ["versions.image", "versions.day", "versions.serial"]
        ),
    )
