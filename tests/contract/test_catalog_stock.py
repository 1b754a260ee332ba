"""The contract of ``services.ports.Catalog.stock``, over every implementation of it: the same as a
snapshot says, at one generation, and never a part of it (P3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.catalogs import ID, Fresh
from support.examples import (
    BASE,
    BETA,
    CI,
    NOW,
    STABLE,
    begin,
    change,
    confirm,
    end_lease,
    hold,
    intend,
    lease,
    move,
    place,
    record,
    ref,
    revoke,
    step,
    tombstone,
    unhold,
    version,
)
from support.strategies import histories

from imagectl.adapters.catalog_sql import SqlCatalog, streams
from imagectl.errors import CannotTell
from imagectl.model.change import Change, RecordVersion
from imagectl.model.names import LocationName, Sha256
from imagectl.model.retention import DELETING, Stage
from imagectl.model.stock import Counted, Kept, Shelf, Shelved, Whereabouts
from imagectl.model.version import VersionRef
from imagectl.services.ports.catalog import Catalog
from imagectl.testing.catalog import MemoryCatalog

pytest_plugins = ["support.catalogs"]

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
PARENT = "debian-base@20261119.1"


def commit(catalog: Catalog, *changes: Change) -> Catalog:
    for each in changes:
        catalog.commit(replace(each, based_on=catalog.snapshot(()).generation))
    return catalog


def shelves(catalog: Catalog) -> list[Shelf]:
    with catalog.stock() as stock:
        return list(stock.shelves())


def kept(text: str, location: str) -> Kept:
    return Kept(LocationName(location), "sha256/ab", Sha256(place(text).placement.sha256))


def test_an_empty_catalog_has_no_shelves(catalog: Catalog) -> None:
    with catalog.stock() as stock:
        assert (stock.catalog_id, stock.generation) == (ID, 0)
        assert stock.counted == Counted(0, 0, 0, 0)
        assert list(stock.shelves()) == []
        assert list(stock.whereabouts()) == []


def test_everything_that_a_cleanup_asks_of_a_version_is_there(catalog: Catalog) -> None:
    down = replace(change("b", 1, *step(TWO, Stage.DEPRECATED)), at=NOW + timedelta(days=1))
    commit(
        catalog,
        change("a", 0, record(PARENT), RecordVersion(version(ONE, parent=ref(PARENT)))),
        change("c", 1, place(ONE, "dc1"), place(ONE), move(CI, BETA, "20261120.1")),
        change("d", 2, record(TWO), place(TWO), lease(ONE, hours=2), lease(ONE, "ci-8", hours=3)),
        down,
        change("e", 3, hold(ONE), intend(ONE, "dc2"), revoke(TWO)),
        replace(change("f", 4, hold(ONE)), actor="bob"),
        change("g", 5, *step(PARENT, Stage.DEPRECATED)),
    )
    base, ci = shelves(catalog)
    assert (base.image, ci.image) == (BASE, CI)
    assert ci.versions == (
        Shelved(
            ref(ONE).version,
            NOW,
            ref(PARENT),
            Stage.ACTIVE,
            NOW,
            (kept(ONE, "dc1"), kept(ONE, "local")),
            held=("alice", "bob"),
            leased=NOW + timedelta(hours=3),
            leased_by="ci-8",
            begun=True,
        ),
        Shelved(
            *(ref(TWO).version, NOW, None, Stage.DEPRECATED, NOW + timedelta(days=1)),
            (kept(TWO, "local"),),
            revoked=True,
        ),
    )
    assert list(ci.channels) == [BETA]
    assert ci.channels[BETA] == catalog.snapshot().channel(CI, BETA)
    assert base.channels == {}
    assert [each.stage for each in base.versions] == [Stage.DEPRECATED]


def test_only_open_tombstones_are_buried(catalog: Catalog) -> None:
    commit(
        catalog,
        change("a", 0, record(ONE), place(ONE, "dc1"), place(ONE, "dc2"), place(ONE)),
        change("b", 1, *step(ONE)),
        change("c", 2, confirm(ONE, "dc1"), begin(ONE, "dc2")),
        replace(
            change("d", 3, *step(ONE, Stage.QUARANTINED), place(ONE)),
            at=NOW + DELETING,
        ),
    )
    (shelf,) = shelves(catalog)
    assert shelf.buried == (tombstone(ONE, "dc2", begun=NOW),)
    (only,) = shelf.versions
    assert only.placed == (kept(ONE, "local"),)


def test_shelves_are_in_order_and_can_be_had_again(catalog: Catalog) -> None:
    names = ["ab", "a-z", "a0", "a", "b", "a-a"]
    refs = [
        f"{name}@{day}.{n}" for name in names for day in ("20261120", "20260101") for n in (9, 10)
    ]
    commit(catalog, change("a", 0, *(record(each) for each in refs)))
    with catalog.stock() as stock:
        for _ in range(2):
            found = list(stock.shelves())
            assert [each.image for each in found] == sorted(names)
            for shelf in found:
                ids = [each.id for each in shelf.versions]
                assert ids == sorted(ids)
                assert len(ids) == 4
        everything = [each.version for each in stock.whereabouts()]
        assert everything == sorted(map(ref, refs))


def test_everything_is_counted(catalog: Catalog) -> None:
    commit(
        catalog,
        change("a", 0, record(PARENT), record(ONE), record(TWO), place(ONE), place(PARENT, "dc1")),
        change("b", 1, move(CI, BETA, "20261120.1"), move(CI, STABLE, "20261120.1")),
    )
    with catalog.stock() as stock:
        assert stock.counted == Counted(versions=3, placements=2, moves=2, events=2)


def test_what_is_committed_meanwhile_is_not_seen(catalog: Catalog) -> None:
    commit(catalog, change("a", 0, record(ONE), place(ONE)))
    with catalog.stock() as stock:
        before = list(stock.shelves())
        commit(catalog, change("b", 1, record(TWO), hold(ONE)))
        assert list(stock.shelves()) == before
        assert [each.version for each in stock.whereabouts()] == [ref(ONE)]
        assert stock.generation == 1
    assert shelves(catalog) != before


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(most=12))
def test_it_says_what_a_snapshot_says(fresh: Fresh, history: list[Change]) -> None:
    catalog, plain = fresh(), MemoryCatalog(ID)
    for each in history:
        catalog.commit(each)
        plain.commit(each)
    with catalog.stock() as stock, plain.stock() as expected:
        assert stock.counted == expected.counted
        shelves = list(stock.shelves())
        assert shelves == list(expected.shelves())
        assert list(stock.whereabouts()) == [
            Whereabouts(VersionRef(shelf.image, each.id), each.stage, each.placed)
            for shelf in shelves
            for each in shelf.versions
        ]


def test_trouble_of_whoever_reads_is_left_as_it_is(catalog: Catalog) -> None:
    with pytest.raises(OSError, match="the plan's disk is full"), catalog.stock():
        raise OSError("the plan's disk is full")


# --- what is not whole is not read (P3) ---


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Callable[[str], SqlCatalog]]:
    """Opens a catalog after somebody ran a statement on its tables."""
    path = tmp_path / "catalog.sqlite3"
    opened = SqlCatalog(f"sqlite:///{path}", new_id=lambda: ID)
    commit(
        opened,
        change("a", 0, record(PARENT), record(ONE), record(TWO), place(ONE), place(ONE, "dc1")),
        change("b", 1, move(CI, BETA, "20261120.1"), move(CI, STABLE, "20261120.1")),
        change("p", 1, place(PARENT)),
        change("c", 2, move(CI, BETA, "20261120.2"), hold(ONE), *step(PARENT)),
    )

    def run(statement: str) -> SqlCatalog:
        with closing(sqlite3.connect(path)) as connection:
            for each in statement.split("; "):
                connection.execute(each)
            connection.commit()
        return opened

    with opened:
        yield run


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM events WHERE generation = 4", "there are 3 events, and the last one is 4"),
        ("UPDATE head SET generation = 2", "there are 4 events, and the last one is 2"),
        (
            "DELETE FROM versions WHERE serial = 2",
            "there are 2 versions, and the events record 3",
        ),
        (
            "DELETE FROM moves WHERE channel = 'stable'",
            "there are 2 moves, and the events record 3",
        ),
        ("DELETE FROM head", "the head row is missing"),
    ],
)
def test_fewer_than_were_recorded_is_not_the_catalog(
    damaged: Callable[[str], SqlCatalog], statement: str, why: str
) -> None:
    catalog = damaged(statement)
    with pytest.raises(CannotTell, match="cannot be read") as caught, catalog.stock():
        pytest.fail("it was read")
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM placements WHERE position = 1", "row 1 of placements is missing"),
        ("UPDATE moves SET position = 3 WHERE position = 2", f"{CI}:beta: move 2 is missing"),
        ("UPDATE moves SET kind = 'sideways'", f"{CI}:beta: 'sideways'"),
        ("UPDATE moves SET at = 'now'", f"{CI}:beta: Invalid isoformat"),
        ("UPDATE versions SET created = 'x' WHERE serial = 2", f"{TWO}: Invalid isoformat"),
        ("UPDATE stages SET stage = 'gone'", f"{PARENT}: 'gone'"),
        ("UPDATE tombstones SET at = 'x'", f"{PARENT}: Invalid isoformat"),
        ("UPDATE placements SET serial = 7", "a row of placements is of a version that is not"),
        ("UPDATE stages SET image = 'ghost'", "a row of stages is of a version that is not"),
        ("UPDATE moves SET image = 'ghost'", "a row of moves is of a version that is not"),
    ],
)
def test_what_does_not_fit_together_is_not_guessed(
    damaged: Callable[[str], SqlCatalog], statement: str, why: str
) -> None:
    with damaged(statement).stock() as stock:
        check_unreadable(stock.shelves(), why)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM placements WHERE position = 1", "row 1 of placements is missing"),
        ("UPDATE stages SET stage = 'gone'", f"{PARENT}: 'gone'"),
        ("UPDATE placements SET serial = 7", "a row of placements is of a version that is not"),
        ("UPDATE placements SET image = 'ghost'", "a row of placements is of a version that is"),
        ("UPDATE stages SET image = 'ghost'", "a row of stages is of a version that is not"),
    ],
)
def test_nor_is_where_a_version_is(
    damaged: Callable[[str], SqlCatalog], statement: str, why: str
) -> None:
    with damaged(statement).stock() as stock:
        check_unreadable(stock.whereabouts(), why)


def check_unreadable(facts: Iterator[object], why: str) -> None:
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        list(facts)
    assert why in caught.value.why
    assert "catalog verify" in caught.value.hint


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM holds WHERE by = 'bob'", f"in holds, {ONE} by bob is missing"),
        ("DELETE FROM leases", f"in leases, {ONE} by ci-7 is missing"),
        ("UPDATE holds SET serial = 2 WHERE by = 'bob'", f"in holds, {ONE} by bob is missing"),
        ("UPDATE leases SET consumer = 'ci-8'", f"in leases, {ONE} by ci-7 is missing"),
        (
            "INSERT INTO holds SELECT image, day, serial, 3, 'eve', at, '' FROM holds LIMIT 1",
            f"in holds, {ONE} by eve is there, and the events do not record it",
        ),
    ],
)
def test_what_protects_a_version_is_not_lost_unseen(
    tmp_path: Path, statement: str, why: str
) -> None:
    """P1: nothing else tells that somebody held it."""
    path = tmp_path / "catalog.sqlite3"
    with SqlCatalog(f"sqlite:///{path}", new_id=lambda: ID) as catalog:
        theirs = replace(change("b", 1, hold(ONE), lease(ONE), lease(TWO)), actor="bob")
        commit(
            catalog,
            change("a", 0, record(ONE), record(TWO), hold(ONE)),
            theirs,
            change("c", 2, hold(ONE), hold(TWO), lease(ONE, hours=2)),
            change("d", 3, unhold(TWO), end_lease(TWO)),
        )
        assert [len(each.held) for each in shelves(catalog)[0].versions] == [2, 0]
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
        with pytest.raises(CannotTell, match="cannot be read") as caught, catalog.stock():
            pytest.fail("it was read")
        assert why in caught.value.why


def test_what_looks_like_an_operation_inside_a_text_is_not_counted(catalog: Catalog) -> None:
    tricky = '"op":"record-version" \\"op\\":\\"move-channel\\" "op":"move-channel", déjà vu'
    commit(catalog, change("a", 0, record(ONE), record(TWO), reason=tricky))
    assert [each.image for each in shelves(catalog)] == [CI]


def test_pages_of_rows_are_read_to_their_end(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PAGE", 2)
    refs = [f"{image}@20261120.{serial}" for image in ("a", "b") for serial in range(1, 6)]
    commit(
        catalog,
        change("a", 0, *(record(each) for each in refs)),
        change("b", 1, *(place(each, to) for each in refs for to in ("dc1", "dc2", "dc3"))),
    )
    assert [[len(each.placed) for each in shelf.versions] for shelf in shelves(catalog)] == [
        [3] * 5
    ] * 2
