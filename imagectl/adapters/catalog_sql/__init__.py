"""The catalog in a SQL database: SQLite in the project, or PostgreSQL for a team.

The only package that imports SQLAlchemy (0.16 s) and Alembic (0.1 s more, and only when tables have
to be made or changed), so import it only where the truth itself is read or written.

::

    catalog.py    SqlCatalog, the port
    database.py   from ``catalog.url`` to connections that lock and sync as the port promises
    schema.py     are the tables ours, and of this release? makes and migrates them
    tables.py     the tables; migrations/ is how they came to be
    rows.py       snapshots <-> rows; row_values.py: one value <-> one row
    stock.py      the catalog as cleanups read it
    resources.py  SqlResources, the ledger beside the catalog
    audit.py      ``catalog verify``
    failures.py   what the database's errors mean to people
"""

from __future__ import annotations

from imagectl.adapters.catalog_sql.catalog import SqlCatalog
from imagectl.adapters.catalog_sql.resources import SqlResources

__all__ = ["SqlCatalog", "SqlResources"]
