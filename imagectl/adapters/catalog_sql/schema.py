"""Are the tables there, are they ours, and of this release? Makes and migrates them.

Alembic is imported only when something has to be done, which a look into one table tells. A new
SQLite catalog appears under its name complete or not at all (P7). Tables that are not known to be
ours are never touched, and a schema newer than this release is refused: migrations only go up.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, column, insert, inspect, select, table, text

from imagectl.adapters.catalog_sql import tables
from imagectl.adapters.catalog_sql.database import Database, make_durable, sqlite_file
from imagectl.adapters.catalog_sql.failures import RESTORE
from imagectl.errors import CannotTell, NotFound
from imagectl.model.event import GENESIS

MIGRATIONS = Path(__file__).with_name("migrations")

NEWER = "install the newer imagectl; a catalog never goes back"

_revision = table(tables.REVISION_TABLE, column("version_num"))
_NOTED = select(_revision.c.version_num)

_ADVISORY_LOCK = 0x696D616765  # "image": whoever makes or migrates tables on PostgreSQL holds it


Fill = Callable[[Connection], None]
"""Puts something into a catalog that is being made, in the same transaction."""


def ensure(
    database: Database,
    new_id: Callable[[], str] | None,
    *,
    fill: Fill = lambda _: None,
    migrations: Path = MIGRATIONS,
    revision: str = tables.REVISION,
) -> None:
    """Leave a catalog of this release in *database*, or raise and leave it as it was.

    Where there is none, it is made under the identity that *new_id* gives, with what *fill* puts
    into it; without *new_id* that is NotFound. Raises CannotTell for what is no catalog, or one of
    a newer release.
    """
    if database.file is not None and not database.file.exists():
        if new_id is None:
            raise _missing(database)
        _make_file(database.file, new_id(), fill, database.patience, migrations)
    size = _size_at_rest(database.file)
    with database.reading.begin() as connection:
        _check_whole_pages(connection, database.where, size)
        found = _current(connection, database.where, revision)
        if found == revision:
            return
        if found is None:
            _check_vacant(connection, database, new_id)
    with _locked(database) as connection:
        # Somebody else may have done it while this process waited for the lock.
        found = _current(connection, database.where, revision)
        if found is None and new_id is not None:
            _make(connection, new_id(), fill, migrations)
        elif found != revision:
            _migrate(connection, migrations)


def _size_at_rest(file: Path | None) -> int:
    """How long a SQLite file is that nobody has open; 0 where that says nothing: while there is a
    log, that may have the rest. Only asked for: to open and close the file would end SQLite's own
    locks on it (sqlite.org/howtocorrupt.html, 2.2)."""
    if file is None or file.with_name(f"{file.name}-wal").exists():
        return 0
    return file.stat().st_size


def _check_whole_pages(connection: Connection, where: str, size: int) -> None:
    """Raise CannotTell where a file was cut within its last page. SQLite reads zeros there; it says
    nothing unless that is in its way."""
    if size and size % (page := connection.exec_driver_sql("PRAGMA page_size").scalar_one()):
        raise CannotTell(
            "the catalog's file is damaged",
            where=where,
            why=f"it ends within a page: {size} bytes are no multiple of {page}",
            hint=RESTORE,
        )


def check(connection: Connection, where: str) -> None:
    """Raise CannotTell unless the tables are those of this release."""
    if _noted(connection, where, tables.REVISION) != tables.REVISION:
        raise CannotTell("the catalog's tables have been put back to an older release", where=where)


def _current(connection: Connection, where: str, revision: str) -> str | None:
    """The migration that the tables are at; None where the catalog's tables are not there."""
    if inspect(connection).has_table(tables.REVISION_TABLE):
        return _noted(connection, where, revision)
    return None


def _noted(connection: Connection, where: str, revision: str) -> str:
    found = connection.scalar(_NOTED)
    if not isinstance(found, str):
        raise CannotTell(
            "the catalog does not say which release its tables are of", where=where, hint=RESTORE
        )
    if found > revision:
        raise CannotTell(
            "this catalog was made by a newer imagectl",
            where=where,
            why=f"its tables are at {found}, this imagectl knows {revision}",
            hint=NEWER,
        )
    return found


def _missing(database: Database) -> NotFound:
    return NotFound(
        "there is no catalog yet",
        where=database.where,
        hint="check `catalog.url` in imagectl.yaml if there should be one",
    )


def _check_vacant(
    connection: Connection, database: Database, new_id: Callable[[], str] | None
) -> None:
    """Raise unless a catalog may be made here: an absent table is no evidence of a vacant place."""
    others = inspect(connection).get_table_names()
    if others:
        names = ", ".join(sorted(others)[:3]) + (", ..." if len(others) > 3 else "")
        raise CannotTell(
            "this database belongs to another application",
            where=database.where,
            why=f"it has tables ({names}), but none of a catalog",
            hint="give the catalog a database, or a PostgreSQL schema, of its own",
        )
    if database.file is not None:
        raise CannotTell(
            "the catalog's file is an empty database",
            where=database.where,
            why="imagectl never leaves one behind, so something else has emptied or made it",
            hint=f"{RESTORE}; to begin a new catalog, remove the file first",
        )
    if new_id is None:
        raise _missing(database)


@contextlib.contextmanager
def _locked(database: Database) -> Iterator[Connection]:
    """A transaction in which nobody else makes, migrates or writes."""
    with database.writing.begin() as connection:
        make_durable(connection, database.patience)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            if inspect(connection).has_table(tables.head.name):
                connection.execute(select(tables.head).with_for_update())
        yield connection


def _make(connection: Connection, catalog_id: str, fill: Fill, migrations: Path) -> None:
    _migrate(connection, migrations)
    connection.execute(
        insert(tables.head).values(id=1, catalog=catalog_id, generation=0, hash=GENESIS)
    )
    fill(connection)


def _make_file(path: Path, catalog_id: str, fill: Fill, patience: float, migrations: Path) -> None:
    """Make a whole catalog beside its place, then give it its name. The first one to do so wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with contextlib.closing(sqlite3.connect(draft)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        database = sqlite_file(draft, patience)
        with _locked(database) as connection:
            _make(connection, catalog_id, fill, migrations)
        database.close()  # the last connection writes the log back and syncs the file
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _migrate(connection: Connection, migrations: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    command.upgrade(config, "head")
