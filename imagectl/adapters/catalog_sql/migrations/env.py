"""Alembic runs this to migrate. The caller gives the connection, its transaction and its lock."""

from __future__ import annotations

from alembic import context

from imagectl.adapters.catalog_sql.tables import REVISION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=REVISION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
