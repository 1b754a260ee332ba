"""A catalog of an earlier release is migrated with all that is in it, on both databases.

``golden/catalog-0001.sql`` was recorded from the release that had tables at 0001 and events of
version 1, ``catalog-0002.sql`` and ``catalog-0003.sql`` from those after it; they stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, select, text
from support.examples import (
    BASE,
    BETA,
    CI,
    STABLE,
    change,
    end,
    hold,
    intend,
    intent,
    locked,
    move,
    opaque,
    place,
    record,
    ref,
    step,
    version,
)

from imagectl.adapters.catalog_sql import SqlCatalog, schema, tables
from imagectl.adapters.catalog_sql.database import Database, database
from imagectl.formats.events import event_text, text_hash
from imagectl.model.change import RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.fold import fold
from imagectl.model.retention import Stage

pytest_plugins = ["support.postgresql"]

GOLDEN = Path(__file__).parent / "golden"
ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
PARENT = "debian-base@20261119.1"


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog as the first release left it."""
    return left(request, tmp_path, "0001")


@pytest.fixture(params=["sqlite", "postgresql"])
def second(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog as the release with tables at 0002 left it."""
    return left(request, tmp_path, "0002")


@pytest.fixture(params=["sqlite", "postgresql"])
def third(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog as the release with tables at 0003 left it."""
    return left(request, tmp_path, "0003")


def left(request: pytest.FixtureRequest, tmp_path: Path, revision: str) -> str:
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    else:
        (tmp_path / "catalog.sqlite3").touch()
    opened = database(url, patience=1)
    with opened.writing.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(schema.MIGRATIONS))
        command.upgrade(config, revision)
        for line in (GOLDEN / f"catalog-{revision}.sql").read_text().splitlines():
            if not line.startswith("--"):
                connection.exec_driver_sql(line)
    opened.close()
    return url


def looked_into(url: str) -> tuple[Database, Connection]:
    opened = database(url, patience=1)
    return opened, opened.reading.connect()


def events(url: str) -> list[tuple[int, str, str]]:
    opened, connection = looked_into(url)
    with connection:
        found = connection.execute(text("SELECT generation, hash, text FROM events ORDER BY 1"))
        rows = [(row.generation, row.hash, row.text) for row in found]
    opened.close()
    return rows


def test_an_old_catalog_is_opened_as_what_it_was(old: str) -> None:
    before = events(old)
    with SqlCatalog(old) as catalog:
        assert catalog.verify() == ()
        snapshot = catalog.snapshot()
        history = [event.change for event in catalog.events()]
    assert snapshot == fold(snapshot.catalog_id, history)
    assert (snapshot.catalog_id[-1], snapshot.generation) == ("1", 5)
    assert snapshot.versions[ref(TWO)] == version(TWO)
    assert snapshot.versions[ref(ONE)].summary == 'two "kinds" of quotes: it\'s für CI'
    assert snapshot.versions[ref(ONE)].seconds == 0.1 + 0.2
    assert all(each.origin is None for each in snapshot.versions.values())
    assert all(each.inside is None for each in snapshot.versions.values())
    assert snapshot.head(CI, STABLE) == ref(ONE).version
    assert [len(snapshot.placed(each)) for each in sorted(snapshot.versions)] == [1, 2, 0]
    assert snapshot.images == (BASE, CI)
    # Not one byte of the history has changed.
    assert events(old) == before
    assert all(text_hash(line) == sha256 for _, sha256, line in before)
    assert all(line.endswith('"v":1}') for _, _, line in before)


def test_its_chain_goes_on_in_the_new_words(old: str) -> None:
    wanted = [
        change("k6", 5, RecordVersion(locked("debian-ci@20261121.1")), place(ONE, "dc2")),
        change("k7", 6, RecordVersion(opaque("debian-ci@20261121.2"))),
        change("k8", 7, move(CI, BETA, "20261121.1"), record("debian-base@20261121.1")),
        change("k9", 8, move(CI, BETA, "20261120.1", MoveKind.ROLLBACK)),
        change("k10", 9, intend(ONE, "dc3"), intend(ONE)),
        change("k11", 10, end(ONE)),
    ]
    last = events(old)[-1][1]
    with SqlCatalog(old) as catalog:
        for each in wanted:
            catalog.commit(each)
        assert catalog.verify() == ()
        snapshot = catalog.snapshot()
        assert [event.change for event in catalog.events(5)] == wanted
        assert next(iter(catalog.events(5))).previous == last
    assert snapshot.versions[ref("debian-ci@20261121.1")] == locked("debian-ci@20261121.1")
    assert snapshot.versions[ref("debian-ci@20261121.2")] == opaque("debian-ci@20261121.2")
    assert snapshot.intended(ref(ONE)) == (intent(ONE, "dc3"),)
    assert [line[-6:] for _, _, line in events(old)] == ['"v":1}'] * 5 + ['"v":4}'] * 6


def test_a_catalog_of_the_second_release_is_opened_as_what_it_was(second: str) -> None:
    before = events(second)
    with SqlCatalog(second) as catalog:
        assert catalog.verify() == ()
        snapshot = catalog.snapshot()
        history = [event.change for event in catalog.events()]
        assert events(second) == before
        catalog.commit(change("k6", 5, intend(TWO, "dc1")))
        assert catalog.verify() == ()
        assert catalog.snapshot().intended(ref(TWO)) == (intent(TWO, "dc1"),)
    assert snapshot == fold(snapshot.catalog_id, history)
    assert (snapshot.catalog_id[-1], snapshot.generation) == ("2", 5)
    assert snapshot.versions[ref(TWO)] == opaque(TWO)
    assert snapshot.versions[ref(ONE)].origin == locked(ONE).origin
    assert snapshot.head(CI, STABLE) == ref(ONE).version
    assert snapshot.intents == {}
    assert [line[-6:] for _, _, line in events(second)] == ['"v":2}'] * 5 + ['"v":4}']


def test_a_catalog_of_the_third_release_is_opened_as_what_it_was(third: str) -> None:
    before = events(third)
    with SqlCatalog(third) as catalog:
        assert catalog.verify() == ()
        snapshot = catalog.snapshot()
        history = [event.change for event in catalog.events()]
        assert events(third) == before
        catalog.commit(change("k6", 5, *step(PARENT, Stage.DEPRECATED), hold(ONE), reason="old"))
        assert catalog.verify() == ()
        after = catalog.snapshot()
    assert snapshot == fold(snapshot.catalog_id, history)
    assert (snapshot.catalog_id[-1], snapshot.generation) == ("3", 5)
    assert snapshot.versions[ref(ONE)] == replace(locked(ONE), parent=ref(PARENT))
    assert snapshot.intended(ref(TWO)) == (intent(TWO, "dc1"),)
    assert not any((snapshot.stages, snapshot.holds, snapshot.leases, snapshot.revoked))
    assert after.stage(ref(PARENT)) is Stage.DEPRECATED
    assert [line[-6:] for _, _, line in events(third)] == ['"v":3}'] * 5 + ['"v":4}']


def test_an_old_event_written_again_in_new_words_is_a_forgery(old: str) -> None:
    """It says the same, but the text that was recorded is the text that counts."""
    with SqlCatalog(old) as catalog:
        (*_, event) = catalog.events()
    opened = database(old, patience=1)
    with opened.writing.begin() as connection:
        new = event_text(event.generation, event.change, event.previous)
        connection.execute(
            tables.events.update().where(tables.events.c.generation == 5).values(text=new)
        )
    opened.close()
    with SqlCatalog(old) as catalog:
        (finding,) = catalog.verify()
    assert finding.startswith("event 5: its text has the hash")


def test_a_migrated_catalog_has_the_tables_of_a_new_one(old: str, tmp_path: Path) -> None:
    """And those are what ``tables.py`` says."""
    SqlCatalog(old).close()
    fresh = f"sqlite:///{tmp_path}/fresh.sqlite3"
    SqlCatalog(fresh, new_id=lambda: "id").close()
    for url in (old, fresh):
        opened, connection = looked_into(url)
        with connection:
            noted = connection.scalar(select(text("version_num FROM schema_revision")))
            assert noted == tables.REVISION
            found = inspect(connection)
            for table in tables.metadata.tables.values():
                columns = {each["name"]: each["nullable"] for each in found.get_columns(table.name)}
                assert columns == {each.name: each.nullable for each in table.columns}
                foreign = found.get_foreign_keys(table.name)
                assert len(foreign) == len(table.foreign_key_constraints)
        opened.close()
