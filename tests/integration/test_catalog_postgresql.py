"""The catalog on a real PostgreSQL: locks, races, kills, and servers that break down."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from support.children import Child, Say
from support.examples import change, place, record
from support.releasing import begin, check_race, check_together, compete, release

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.adapters.catalog_sql.database import database, make_durable
from imagectl.errors import CannotTell, Failed, NotFound

if TYPE_CHECKING:
    from support.postgresql import Server

pytestmark = pytest.mark.integration
pytest_plugins = ["support.postgresql"]

ONE = "debian-ci@20261120.1"


def new_id() -> str:
    return "id"


def sql(url: str, *statements: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def schema_of(url: str) -> str:
    return url.rpartition("%3D")[2]


@pytest.fixture
def url(postgresql_url: str) -> str:
    """The URL of a catalog at generation 1."""
    with SqlCatalog(postgresql_url, new_id=new_id) as catalog:
        begin(catalog)
    return postgresql_url


@pytest.fixture
def role(postgresql: Server) -> Iterator[str]:
    """A role that may do nothing yet."""
    with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        yield "guest"
        connection.execute("DROP OWNED BY guest")
        connection.execute("DROP ROLE guest")


# --- opening ---


def test_where_there_is_none_none_is_made_unasked(postgresql_url: str) -> None:
    with pytest.raises(NotFound, match="no catalog yet"):
        SqlCatalog(postgresql_url)
    with SqlCatalog(postgresql_url, new_id=lambda: "first") as catalog:
        assert catalog.snapshot().catalog_id == "first"
    with SqlCatalog(postgresql_url) as catalog:
        assert catalog.snapshot().catalog_id == "first"


@pytest.mark.parametrize("table", ["bookmarks", "head", "versions"])
def test_a_schema_of_another_application_is_left_alone(postgresql_url: str, table: str) -> None:
    sql(postgresql_url, f"CREATE TABLE {table} (x TEXT)")
    for ask in (None, new_id):
        with pytest.raises(CannotTell, match="another application") as caught:
            SqlCatalog(postgresql_url, new_id=ask)
        assert table in caught.value.why
    sql(postgresql_url, f"INSERT INTO {table} VALUES ('still there')")


def test_a_newer_schema_is_refused_also_while_open(url: str) -> None:
    with SqlCatalog(url) as catalog:
        sql(url, "UPDATE schema_revision SET version_num = '9999'")
        for ask in (
            catalog.snapshot,
            catalog.verify,
            lambda: list(catalog.events()),
            lambda: catalog.commit(release("key", 1)),
        ):
            with pytest.raises(CannotTell, match="newer imagectl"):
                ask()
    with pytest.raises(CannotTell, match="newer imagectl"):
        SqlCatalog(url, new_id=new_id)


def test_processes_that_make_the_same_catalog_agree_on_one(postgresql: Server) -> None:
    for _ in range(3):
        url = postgresql.schema()

        def open_it(say: Say, url: str = url) -> None:
            with SqlCatalog(url, new_id=lambda: str(time.monotonic_ns())) as catalog:
                say(catalog.snapshot().catalog_id)

        children = [Child(open_it) for _ in range(4)]
        assert len({line for child in children for line in child.end()}) == 1


def test_a_server_that_is_not_there(url: str) -> None:
    for bad in (
        "postgresql+psycopg://u:secret@/db?host=/nonexistent",
        "postgresql://u:secret@127.0.0.1:1/db",
        url.replace("postgres?", "nosuchdatabase?"),
        url.replace("//postgres@", "//nosuchrole:secret@"),
        url.replace("//postgres@", "//nosuchrole@") + "&password=secret",
    ):
        with pytest.raises(CannotTell, match="cannot be reached") as caught:
            SqlCatalog(bad, new_id=new_id)
        assert caught.value.why
        assert "secret" not in caught.value.where + caught.value.why


def test_a_role_that_may_only_read(url: str, role: str) -> None:
    schema = schema_of(url)
    sql(url, f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    sql(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
    with SqlCatalog(url.replace("//postgres@", f"//{role}@")) as catalog:
        assert catalog.snapshot().generation == 1
        assert catalog.verify() == ()
        with pytest.raises(Failed, match="may not be written") as caught:
            catalog.commit(release("key", 1))
        assert "granted" in caught.value.hint


def test_a_database_that_does_not_know_unicode(postgresql: Server) -> None:
    """What PostgreSQL makes where the machine's language is C."""
    with psycopg.connect(postgresql.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE plain ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    url = postgresql.schema().replace("/postgres?", "/plain?").partition("&options")[0]
    with SqlCatalog(url, new_id=new_id) as catalog:
        wanted = change("clé", 0, record(ONE), reason="schön \U0001f600")
        catalog.commit(wanted)
        assert [event.change for event in catalog.events()] == [wanted]
        assert catalog.verify() == ()


# --- locks and durability ---


@pytest.mark.timeout(60)
def test_a_lock_that_is_held_for_long_is_no_conflict(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with SqlCatalog(url, patience=0.2) as catalog:
        with engine.begin() as other:
            other.execute(text("SELECT * FROM head FOR UPDATE"))
            with pytest.raises(CannotTell, match="busy"):
                catalog.commit(release("key", 1))
            assert catalog.snapshot().generation == 1  # reading goes on
        assert catalog.commit(release("key", 1)).generation == 2


def test_a_commit_is_durable_whatever_the_server_is_set_to(url: str, role: str) -> None:
    sql(url, f"ALTER ROLE {role} SET synchronous_commit = off")
    sql(url, f"ALTER ROLE {role} SET default_transaction_isolation = 'serializable'")
    opened = database(url.replace("//postgres@", f"//{role}@"), patience=1.5)
    with opened.writing.begin() as connection:
        make_durable(connection, opened.patience)
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("synchronous_commit", "lock_timeout", "transaction_isolation")
        ]
    assert shown == ["on", "1500ms", "read committed"]
    with opened.reading.begin() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("transaction_isolation", "transaction_read_only")
        ]
    assert shown == ["repeatable read", "on"]
    opened.close()


def test_a_snapshot_is_of_one_moment(url: str) -> None:
    """Writers go on while it is read; it never mixes two generations."""

    child = Child(partial(compete, url, "writer", 60))
    seen: set[int] = set()
    with SqlCatalog(url) as catalog:
        enough, deadline = time.monotonic() + 1.5, time.monotonic() + 50
        while time.monotonic() < enough or (len(seen) <= 5 and time.monotonic() < deadline):
            snapshot = catalog.snapshot()
            check_together(snapshot)
            for channel in snapshot.channels.values():
                assert channel.head.generation == snapshot.generation
            seen.add(snapshot.generation)
    said = child.kill()
    assert len(seen) > 5, said


# --- races and kills ---


def test_processes_that_race_are_applied_once_or_told(url: str) -> None:
    check_race(url)


def test_kill_9_while_promoting_and_rolling_back(url: str) -> None:
    """One catalog all through: what a killed client leaves must not stop the next one."""
    dice = random.Random(20261121)

    def release_for_ever(start: int, say: Say) -> None:
        with SqlCatalog(url) as catalog:
            for generation in count(start):
                say(f"try {generation}")
                catalog.commit(release(f"key-{generation}", generation))
                say(f"done {generation}")

    generation = 1
    for _ in range(40):
        child = Child(partial(release_for_ever, generation))
        heard = [child.hear(), child.hear()]
        time.sleep(dice.uniform(0, 0.03))
        heard += child.kill()
        tried = [int(line.split()[1]) for line in heard if line.startswith("try ")]
        done = [int(line.split()[1]) for line in heard if line.startswith("done ")]
        assert tried[: len(done)] == done
        with SqlCatalog(url) as catalog:
            last = tried[-1]
            again = catalog.commit(release(f"key-{last}", last))
            assert again.generation == last + 1
            assert again.replayed or last not in done
            snapshot = catalog.snapshot()
            assert snapshot.generation == last + 1
            check_together(snapshot)
            generation = snapshot.generation
    with SqlCatalog(url) as catalog:
        keys = [event.change.key for event in catalog.events(1)]
        assert keys == [f"key-{each}" for each in range(1, generation)]
        assert catalog.verify() == ()


def test_a_server_that_crashes_and_comes_back(url: str, postgresql: Server) -> None:
    with SqlCatalog(url) as catalog:
        catalog.commit(release("key-1", 1))
        before = catalog.snapshot()
        postgresql.stop(signal.SIGQUIT)
        try:
            for ask in (catalog.snapshot, lambda: catalog.commit(release("key-2", 2))):
                with pytest.raises(CannotTell, match="cannot be reached") as caught:
                    ask()
                assert caught.value.hint
        finally:
            postgresql.start()
        assert catalog.snapshot() == before
        assert catalog.commit(release("key-2", 2)).generation == 3
        assert catalog.verify() == ()
        # Nobody who asks only afterwards notices that it was away.
        postgresql.stop(signal.SIGQUIT)
        postgresql.start()
        assert catalog.commit(release("key-3", 3)).generation == 4
        assert catalog.snapshot().generation == 4


def test_a_connection_that_breaks_within_a_commit(url: str, tmp_path: Path) -> None:
    """The server ends the session while the commit waits: it can be tried again."""
    locked = tmp_path / "locked"

    def wait_for_the_lock(say: Say) -> None:
        with SqlCatalog(url) as catalog:
            while not locked.exists():
                time.sleep(0.01)
            with pytest.raises(CannotTell, match="cannot be reached"):
                catalog.commit(release("key", 1))
            say(str(catalog.commit(release("key", 1))))

    child = Child(wait_for_the_lock)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as other:
        other.execute(text("SELECT * FROM head FOR UPDATE"))
        locked.touch()
        waiting = text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        deadline = time.monotonic() + 60
        while not other.execute(waiting).all():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert child.end() == ["Committed(generation=2, replayed=False)"]


_COPIED = (
    "created, created_by, summary, fingerprint, tests_passed, tests_failed, tests_seconds, "
    "tests_report, tests_console, tool, build_log, seconds"
)


def test_what_the_tables_refuse_is_told(url: str) -> None:
    """Rows that no event made stand in the way of one that an event would make."""
    sql(
        url,
        f"INSERT INTO versions (image, day, serial, {_COPIED}) "
        f"SELECT 'debian-ci', '20270101', 1, {_COPIED} FROM versions LIMIT 1",
        "ALTER TABLE events ADD CHECK (generation < 2)",
    )
    with SqlCatalog(url) as catalog:
        with pytest.raises(Failed, match="refused a statement") as caught:
            catalog.commit(change("key", 1, record(ONE.replace(".1", ".9")), place(ONE)))
        assert "catalog verify" in caught.value.hint
        assert catalog.snapshot().generation == 1
