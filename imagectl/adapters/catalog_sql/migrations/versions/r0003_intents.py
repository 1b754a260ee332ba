"""What is about to be made in locations.

Frozen: a change to ``tables.py`` comes with a migration of its own.
"""

from __future__ import annotations

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

revision = "0003"
down_revision = "0002"

WHOLE = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "intents",
        *(Column(name, Text, nullable=False) for name in ("image", "day")),
        *(
            Column(name, WHOLE, nullable=False, autoincrement=False)
            for name in ("serial", "position")
        ),
        *(Column(name, Text, nullable=False) for name in ("format", "architecture", "location")),
        *(Column(name, Text, nullable=False) for name in ("named", "since", "by")),
        PrimaryKeyConstraint("image", "day", "serial", "position"),
        UniqueConstraint(
            *("image", "day", "serial", "format", "architecture", "location", "named"),
            name="intents_once_for_each_name",
        ),
        ForeignKeyConstraint(
            ["image", "day", "serial"], ["versions.image", "versions.day", "versions.serial"]
        ),
    )
