"""The contract of ``services.ports.Resources``, over every implementation of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from support.examples import NOW, change, record

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.errors import CannotTell
from imagectl.model.resource import Resource, ResourceKind
from imagectl.services.ports.janitor import Resources
from imagectl.testing.resources import MemoryResources

pytest_plugins = ["support.postgresql"]

MACHINE = Resource(
    id="m1",
    kind=ResourceKind.MACHINE,
    place="host/ci-1",
    name="build-7",
    purpose='building "debian-ci"\n',
    by="alice",
    since=NOW,
    until=NOW + timedelta(minutes=15),
)
LATER = NOW + timedelta(hours=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_url"))
    return f"sqlite:///{tmp_path}/catalog.sqlite3"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Resources]:
    if request.param == "memory":
        yield MemoryResources()
        return
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    with SqlCatalog(url, new_id=lambda: "id") as opened:
        yield opened.resources


def test_a_new_ledger_is_empty(ledger: Resources) -> None:
    assert ledger.all() == ()


def test_what_has_begun_is_there_until_it_ends(ledger: Resources) -> None:
    others = [replace(MACHINE, id=f"k-{kind.value}", kind=kind) for kind in ResourceKind]
    for each in (MACHINE, *others):
        ledger.begin(each)
    assert set(ledger.all()) == {MACHINE, *others}
    for other in others:
        ledger.end(other.id)
    assert ledger.all() == (MACHINE,)
    ledger.end("m1")
    ledger.end("m1")
    ledger.end("never-there")
    assert ledger.all() == ()


def test_beginning_again_changes_nothing(ledger: Resources) -> None:
    ledger.begin(MACHINE)
    ledger.begin(replace(MACHINE, until=LATER, name="another"))
    assert ledger.all() == (MACHINE,)


def test_they_come_oldest_first(ledger: Resources) -> None:
    ages = {"b": 2, "a": 2, "d": 3, "c": 1}
    for id, hours in ages.items():
        ledger.begin(replace(MACHINE, id=id, since=NOW - timedelta(hours=hours)))
    assert [each.id for each in ledger.all()] == ["d", "a", "b", "c"]


def test_a_lease_is_made_longer_and_never_shorter(ledger: Resources) -> None:
    second = replace(MACHINE, id="m2", until=LATER + timedelta(hours=1))
    third = replace(MACHINE, id="m3")
    for each in (MACHINE, second, third):
        ledger.begin(each)
    ledger.renew(["m1", "m1", "m2", "never-there"], LATER)
    ledger.renew([], LATER)
    found = {each.id: each.until for each in ledger.all()}
    assert found == {"m1": LATER, "m2": second.until, "m3": third.until}
    ledger.end("m1")
    ledger.renew(["m1"], LATER)
    assert {each.id for each in ledger.all()} == {"m2", "m3"}


def test_many_leases_are_renewed_at_once(ledger: Resources) -> None:
    ids = [f"m{number}" for number in range(1100)]
    for id in ids[::50]:
        ledger.begin(replace(MACHINE, id=id))
    ledger.renew(ids, LATER)
    assert {each.until for each in ledger.all()} == {LATER}


def test_failures_are_counted_with_the_last_reason(ledger: Resources) -> None:
    ledger.begin(MACHINE)
    ledger.failed("m1", "power-off timed out")
    ledger.failed("m1", "no permission: VirtualMachine.Inventory.Delete")
    ledger.failed("never-there", "x")
    (found,) = ledger.all()
    assert (found.tries, found.trouble) == (2, "no permission: VirtualMachine.Inventory.Delete")
    assert replace(found, tries=0, trouble="") == MACHINE


def test_times_of_another_zone_are_the_same_times(ledger: Resources) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    ledger.begin(replace(MACHINE, since=NOW.astimezone(east), until=MACHINE.until.astimezone(east)))
    ledger.renew(["m1"], (MACHINE.until - timedelta(seconds=1)).astimezone(east))
    assert ledger.all() == (MACHINE,)


def test_threads_lose_nothing(ledger: Resources) -> None:
    def work(name: int) -> None:
        for number in range(10):
            each = replace(MACHINE, id=f"{name}-{number}")
            ledger.begin(each)
            ledger.renew([each.id], LATER)
            if number % 2:
                ledger.end(each.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledger.all()
    assert len(found) == 20
    assert {each.until for each in found} == {LATER}


# --- beside the catalog ---


def test_the_ledger_is_no_part_of_the_catalog(url: str) -> None:
    with SqlCatalog(url, new_id=lambda: "id") as catalog:
        catalog.resources.begin(MACHINE)
        assert catalog.snapshot().generation == 0
        assert catalog.verify() == ()
        catalog.commit(change("a", 0, record("debian-ci@20261120.1")))
        assert catalog.resources.all() == (MACHINE,)


def test_it_is_there_for_every_process(url: str) -> None:
    with SqlCatalog(url, new_id=lambda: "id") as one, SqlCatalog(url) as another:
        one.resources.begin(MACHINE)
        assert another.resources.all() == (MACHINE,)
        another.resources.end("m1")
        assert one.resources.all() == ()


def test_no_commit_waits_for_a_lease_nor_a_lease_for_a_commit(postgresql_url: str) -> None:
    """On PostgreSQL, where there may be more than one writer at a time."""
    with (
        SqlCatalog(postgresql_url, new_id=lambda: "id", patience=0.2) as catalog,
        closing(psycopg.connect(_libpq(postgresql_url))) as other,
    ):
        other.execute("SELECT * FROM head FOR UPDATE")
        catalog.resources.begin(MACHINE)
        catalog.resources.renew(["m1"], LATER)
        with pytest.raises(CannotTell, match="busy"):
            catalog.commit(change("a", 0, record("debian-ci@20261120.1")))
        other.rollback()
        other.execute("SELECT * FROM resources FOR UPDATE")
        catalog.commit(change("a", 0, record("debian-ci@20261120.1")))


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def test_a_ledger_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    with SqlCatalog(f"sqlite:///{path}", new_id=lambda: "id", patience=0.1) as catalog:
        catalog.resources.begin(MACHINE)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE resources SET kind = 'submarine'")
            connection.commit()
            with pytest.raises(CannotTell, match="cannot be read") as caught:
                catalog.resources.all()
            assert "submarine" in caught.value.why
        path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(CannotTell):
        SqlCatalog(f"sqlite:///{path}")


def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    with (
        SqlCatalog(f"sqlite:///{path}", new_id=lambda: "id", patience=0.1) as catalog,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CannotTell, match="busy"):
            catalog.resources.begin(MACHINE)
        with pytest.raises(CannotTell, match="busy"):
            catalog.resources.renew(["m1"], LATER)
        with pytest.raises(CannotTell, match="busy"):
            catalog.resources.end("m1")
