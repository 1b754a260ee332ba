"""A SQLite catalog that is absent, foreign, damaged, locked, read-only, full or of another release.

Each ends in one clear error, and leaves what is there as it is.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.children import Child, Say, become_nobody, mount_tmpfs
from support.examples import BETA, CI, change, move, place, record
from support.releasing import begin, release

from imagectl.adapters.catalog_sql import SqlCatalog, schema, tables
from imagectl.adapters.catalog_sql.database import sqlite_file
from imagectl.errors import BadUsage, CannotTell, Failed, ImagectlError, NoSpace, NotFound
from imagectl.model.fold import fold

ONE = "debian-ci@20261120.1"


def new_id() -> str:
    return "id"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "catalog.sqlite3"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def made(path: Path, url: str) -> Path:
    """A closed catalog of one event."""
    with SqlCatalog(url, new_id=new_id) as catalog:
        catalog.commit(change("k1", 0, record(ONE), place(ONE), move(CI, BETA, "20261120.1")))
    return path


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# --- opening ---


def test_where_there_is_none_none_is_made_unasked(path: Path, url: str) -> None:
    with pytest.raises(NotFound, match="no catalog yet") as caught:
        SqlCatalog(url)
    assert (caught.value.where, bool(caught.value.hint)) == (str(path), True)
    assert not path.parent.exists()


def test_a_new_one_has_its_folder_made_and_keeps_its_identity(path: Path, url: str) -> None:
    with SqlCatalog(url, new_id=lambda: "first") as catalog:
        assert catalog.where == str(path)
        assert catalog.snapshot() == fold("first", [])
    with SqlCatalog(url, new_id=lambda: pytest.fail("asked for a new identity")) as catalog:
        assert catalog.snapshot() == fold("first", [])
    with SqlCatalog(url) as catalog:
        assert catalog.snapshot() == fold("first", [])
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_relative_path_is_below_the_root(tmp_path: Path) -> None:
    with SqlCatalog("sqlite:///a/b.sqlite3", root=tmp_path, new_id=new_id) as catalog:
        assert catalog.where == str(tmp_path / "a" / "b.sqlite3")
    assert (tmp_path / "a" / "b.sqlite3").is_file()


def test_odd_letters_in_a_path(tmp_path: Path) -> None:
    odd = tmp_path / "a b#c%20d'é" / "x.sqlite3"
    database = sqlite_file(odd, 1)
    assert database.file == odd
    with SqlCatalog("sqlite:///x.sqlite3", root=odd.parent, new_id=new_id) as catalog:
        assert catalog.verify() == ()
    assert odd.is_file()


@pytest.mark.parametrize(
    "bad",
    [
        *("", "catalog.sqlite3", "sqlite://", "sqlite:///", "sqlite:///:memory:"),
        *("sqlite:///file:x?uri=true", "sqlite:///x?mode=ro", "sqlite+aiosqlite:///x"),
        *("mysql://u:secret@host/db", "postgresql+psycopg2://u:secret@host/db"),
    ],
)
def test_other_urls_are_refused_without_showing_a_password(bad: str, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=r"catalog\.url") as caught:
        SqlCatalog(bad, root=tmp_path, new_id=new_id)
    assert "sqlite:///" in caught.value.hint
    assert "secret" not in str(vars(caught.value))
    assert list(tmp_path.iterdir()) == []


def junk(path: Path) -> None:
    path.write_bytes(b"#!/bin/sh\necho this is no database\n" * 100)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_application(path: Path) -> None:
    path.unlink()
    sql(path, "CREATE TABLE bookmarks (url TEXT)", "CREATE TABLE head (x)", "PRAGMA user_version=7")


def without_tables(path: Path) -> None:
    path.unlink()
    sql(path, "PRAGMA user_version = 7")


def cut_short(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def cut_within_a_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overwritten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * 40960 + data[4096 + 40960 :])


def no_longer_text(path: Path) -> None:
    sql(path, "UPDATE versions SET summary = CAST(x'ff' AS TEXT)")


def of_a_newer_release(path: Path) -> None:
    sql(path, "UPDATE schema_revision SET version_num = '9999'")


def of_no_release(path: Path) -> None:
    sql(path, "DELETE FROM schema_revision")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (junk, "not a SQLite database"),
        (emptied, "empty database"),
        (folder, "cannot be read"),
        (of_another_application, "another application"),
        (without_tables, "empty database"),
        (cut_short, "damaged"),
        (cut_within_a_page, "damaged"),
        (overwritten, "damaged"),
        (no_longer_text, "damaged"),
        (of_a_newer_release, "made by a newer imagectl"),
        (of_no_release, "does not say which release"),
    ],
)
def test_what_is_no_sound_catalog_is_told_and_left_alone(
    made: Path, url: str, damage: object, message: str
) -> None:
    assert callable(damage)
    damage(made)
    before = made.read_bytes() if made.is_file() else None
    for ask in (None, new_id):
        with (
            pytest.raises(CannotTell, match=message) as caught,
            SqlCatalog(url, new_id=ask) as catalog,
        ):
            catalog.snapshot()  # some damage shows only here
        assert caught.value.where == str(made)
        assert caught.value.hint
        after = made.read_bytes() if made.is_file() else None
        assert after == before


def test_a_link_that_leads_nowhere_gets_its_target_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "catalog.sqlite3")
    with SqlCatalog(f"sqlite:///{tmp_path}/link", new_id=new_id) as catalog:
        assert catalog.where == str(tmp_path / "disk" / "catalog.sqlite3")
    assert (tmp_path / "link").is_symlink()


# --- while it is open ---


def test_another_process_that_migrates_is_noticed_at_once(made: Path, url: str) -> None:
    with SqlCatalog(url) as catalog:
        sql(made, "UPDATE schema_revision SET version_num = '9999'")
        for ask in (
            catalog.snapshot,
            catalog.verify,
            lambda: list(catalog.events()),
            lambda: catalog.commit(change("k2", 1, place(ONE))),
        ):
            with pytest.raises(CannotTell, match="newer imagectl"):
                ask()
        sql(made, "UPDATE schema_revision SET version_num = '0000'")
        with pytest.raises(CannotTell, match="older release"):
            catalog.snapshot()


def test_a_lock_that_is_held_for_long_is_no_conflict(made: Path, url: str) -> None:
    with (
        SqlCatalog(url, patience=0.2) as catalog,
        closing(sqlite3.connect(made, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CannotTell, match="busy") as caught:
            catalog.commit(change("k2", 1, place(ONE)))
        assert "try again" in caught.value.hint
        assert catalog.snapshot().generation == 1  # reading goes on
        other.execute("ROLLBACK")
        assert catalog.commit(change("k2", 1, place(ONE))).generation == 2


def test_each_connection_syncs_and_checks_references(made: Path) -> None:
    database = sqlite_file(made, 1)
    with database.writing.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    database.close()


def test_a_damaged_page_is_a_finding(made: Path, url: str) -> None:
    sql(
        made,
        "PRAGMA ignore_check_constraints = ON",
        "INSERT INTO head SELECT 2, catalog, generation, hash FROM head",
    )
    with SqlCatalog(url) as catalog:
        assert catalog.verify() == ("file: CHECK constraint failed in head",)
        assert catalog.commit(change("k2", 1, place(ONE))).generation == 2


def test_a_file_that_goes_away_is_told(made: Path, url: str) -> None:
    with SqlCatalog(url) as catalog:
        catalog.close()
        made.unlink()
        with pytest.raises(CannotTell, match="cannot be read"):
            catalog.snapshot()
    assert list(made.parent.iterdir()) == []


# --- the machine ---


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def tell(say: Say, url: str, *, write: bool) -> None:
    try:
        with SqlCatalog(url, new_id=new_id) as catalog:
            if write:
                catalog.commit(change("k2", 1, place(ONE)))
            say(f"generation {catalog.snapshot().generation}")
    except ImagectlError as error:
        say(f"{type(error).__name__}: {error}" if error.hint and error.where else "too short")


def test_without_permission_to_write(shared: Path) -> None:
    path = shared / "state" / "catalog.sqlite3"
    url = f"sqlite:///{path}"

    def try_all(say: Say) -> None:
        become_nobody()
        tell(say, url, write=False)
        tell(say, url, write=True)
        tell(say, f"sqlite:///{shared}/other/catalog.sqlite3", write=False)

    with SqlCatalog(url, new_id=new_id) as catalog:
        catalog.commit(change("k1", 0, record(ONE)))
    # A user without root runs this too: then the owner may not write either.
    path.chmod(0o444)
    path.parent.chmod(0o555)
    shared.chmod(0o555)
    try:
        told = Child(try_all).end()
    finally:
        shared.chmod(0o755)
        path.parent.chmod(0o755)
    assert told == [
        "CannotTell: the catalog's file cannot be read or written",
        "CannotTell: the catalog's file cannot be read or written",
        "Failed: the catalog's file could not be made",
    ]


def test_a_read_only_file_in_a_writable_folder(shared: Path) -> None:
    path = shared / "catalog.sqlite3"
    url = f"sqlite:///{path}"
    with SqlCatalog(url, new_id=new_id) as catalog:
        catalog.commit(change("k1", 0, record(ONE)))
    path.chmod(0o444)
    shared.chmod(0o777)

    def try_all(say: Say) -> None:
        become_nobody()
        tell(say, url, write=False)
        tell(say, url, write=True)

    assert Child(try_all).end() == [
        "generation 1",
        "Failed: the catalog may not be written by this user; it is as it was",
    ]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="could not be made") as caught:
        SqlCatalog(f"sqlite:///{tmp_path}/file/state/catalog.sqlite3", new_id=new_id)
    assert "Not a directory" in caught.value.why


def test_no_space_left(tmp_path: Path) -> None:
    """On a real, full file system: nothing is half done, and with room it goes on."""

    def fill(say: Say) -> None:
        mount_tmpfs(tmp_path, 1 << 20)
        with SqlCatalog(f"sqlite:///{tmp_path}/catalog.sqlite3", new_id=new_id) as catalog:
            begin(catalog)
            ballast = tmp_path / "ballast"
            ballast.write_bytes(b"x" * (300 << 10))
            generation = 1
            with pytest.raises(NoSpace) as caught:  # noqa: PT012 (how many commits fit is unknown)
                while generation < 10_000:
                    catalog.commit(release(f"key-{generation}", generation))
                    generation += 1
            assert "it is as it was" in str(caught.value)
            assert catalog.snapshot().generation == generation
            assert catalog.verify() == ()
            with pytest.raises(NoSpace):
                catalog.commit(release(f"key-{generation}", generation))
            ballast.unlink()
            again = catalog.commit(release(f"key-{generation}", generation))
            assert (again.generation, again.replayed) == (generation + 1, False)
            assert catalog.verify() == ()
            # Even to read, SQLite makes a file beside it.
            catalog.close()
            room = os.statvfs(tmp_path)
            ballast.write_bytes(b"x" * (room.f_bavail * room.f_frsize))
            with pytest.raises(NoSpace):
                catalog.snapshot()
            ballast.unlink()
            assert catalog.snapshot().generation == generation + 1
            say(f"commits: {generation}")

    (line,) = Child(fill).end()
    assert int(line.removeprefix("commits: ")) > 1


@pytest.mark.parametrize("free", [0, 8 << 10, 48 << 10])
def test_no_space_left_for_a_new_catalog(tmp_path: Path, free: int) -> None:
    def fill(say: Say) -> None:
        mount_tmpfs(tmp_path, 64 << 10)
        (tmp_path / "ballast").write_bytes(b"x" * ((64 << 10) - free))
        with pytest.raises(NoSpace):
            SqlCatalog(f"sqlite:///{tmp_path}/catalog.sqlite3", new_id=new_id)
        say(str([each.name for each in tmp_path.iterdir()]))

    assert Child(fill).end() == ["['ballast']"]


# --- releases of imagectl ---

SECOND = """
from alembic import op

revision = "9999"
down_revision = "0005"


def upgrade():
    op.execute("ALTER TABLE head ADD COLUMN motto TEXT")
    {then}
"""


def later_release(folder: Path, then: str = "") -> Path:
    """The migrations of an imagectl to come."""
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions" / "r9999_later.py").write_text(SECOND.format(then=then))
    return folder


def revision(path: Path) -> tuple[str, bool]:
    """What the tables say that they are at, and whether the migration's column is there."""
    with closing(sqlite3.connect(path)) as connection:
        (noted,) = connection.execute("SELECT version_num FROM schema_revision").fetchone()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(head)")]
    return noted, "motto" in columns


def test_an_older_schema_is_migrated_with_all_that_is_in_it(made: Path, tmp_path: Path) -> None:
    migrations = later_release(tmp_path / "migrations")
    database = sqlite_file(made, 1)
    with database.reading.begin() as connection:
        before = connection.execute(text("SELECT * FROM events")).all()
    schema.ensure(database, None, migrations=migrations, revision="9999")
    schema.ensure(database, None, migrations=migrations, revision="9999")
    assert revision(made) == ("9999", True)
    with database.reading.begin() as connection:
        assert connection.execute(text("SELECT * FROM events")).all() == before
    database.close()


def test_a_migration_that_fails_leaves_the_old_schema(made: Path, tmp_path: Path) -> None:
    migrations = later_release(tmp_path / "migrations", then="raise RuntimeError('half way')")
    database = sqlite_file(made, 1)
    with pytest.raises(RuntimeError, match="half way"):
        schema.ensure(database, None, migrations=migrations, revision="9999")
    database.close()
    assert revision(made) == (tables.REVISION, False)


def test_processes_that_migrate_at_once_do_it_once(made: Path, tmp_path: Path) -> None:
    migrations = later_release(tmp_path / "migrations")

    def migrate(say: Say) -> None:
        database = sqlite_file(made, 10)
        schema.ensure(database, None, migrations=migrations, revision="9999")
        database.close()
        say("migrated")

    children = [Child(migrate) for _ in range(4)]
    assert [child.end() for child in children] == [["migrated"]] * 4
    assert revision(made) == ("9999", True)
