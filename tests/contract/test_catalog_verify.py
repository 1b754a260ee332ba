"""``catalog verify`` names whatever was changed behind imagectl's back, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from support.examples import (
    BETA,
    CI,
    NOW,
    STABLE,
    begin,
    change,
    confirm,
    end,
    hold,
    intend,
    lease,
    locked,
    move,
    place,
    record,
    revoke,
    step,
)

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.errors import CannotTell
from imagectl.formats.events import text_hash
from imagectl.model.change import Change, RecordVersion

pytest_plugins = ["support.postgresql"]

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
OLD = "debian-ci@20261101.1"
BASE_ONE = "debian-base@20261119.1"
HISTORY: tuple[Change, ...] = (
    change("k1", 0, record(BASE_ONE), record(ONE), place(ONE), place(ONE, "dc1")),
    change("k2", 1, move(CI, BETA, "20261120.1")),
    change(
        *("k3", 2, RecordVersion(locked(TWO)), place(TWO)),
        *(intend(TWO, "dc1"), intend(TWO), intend(TWO, "dc2"), end(TWO)),
    ),
    change("k4", 3, move(CI, BETA, "20261120.2")),
    change("k5", 4, move(CI, STABLE, "20261120.1"), reason="soaked"),
)
RETAINED: tuple[Change, ...] = (
    change("k6", 5, record(OLD), place(OLD), place(OLD, "dc1"), place(OLD, "dc2")),
    change("k7", 6, *step(OLD), begin(OLD), confirm(OLD, begun=NOW), reason="because"),
    change("k8", 7, hold(ONE), lease(ONE), lease(ONE, "ci-8"), revoke(ONE), reason="CVE"),
)
"""What protects versions, and how they go."""
ZEROS = "0" * 64


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalog with a sound history."""
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    with SqlCatalog(url, new_id=lambda: "id") as catalog:
        for each in HISTORY:
            catalog.commit(each)
        assert catalog.verify() == ()
    return url


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    with SqlCatalog(url) as opened:
        yield opened


def edit(url: str, *statements: str) -> None:
    """Run SQL as whoever has the database's password could, with no foreign key checked."""
    engine = create_engine(url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def rewrite(url: str, generation: int, change: Callable[[str], str]) -> None:
    """Change an event's text, and make the whole chain fit again, as a careful forger would."""
    engine = create_engine(url)
    with engine.begin() as connection:
        previous = ZEROS
        rows = connection.exec_driver_sql("SELECT generation, text FROM events ORDER BY 1").all()
        for number, text in rows:
            value = {**json.loads(text), "previous": previous}
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            if number == generation:
                text = change(text)
            previous = text_hash(text)
            quoted = text.replace("'", "''")
            connection.exec_driver_sql(
                f"UPDATE events SET text = '{quoted}', hash = '{previous}' "
                f"WHERE generation = {number}"
            )
        connection.exec_driver_sql(f"UPDATE head SET hash = '{previous}'")
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "findings"),
    [
        (
            "UPDATE events SET text = replace(text, 'soaked', 'it is fine') WHERE generation = 5",
            [
                "event 5: its text has the hash",
                f"channel {CI}:stable: moves[0].reason is 'soaked', the events say 'it is fine'",
            ],
        ),
        (
            f"UPDATE events SET hash = '{ZEROS}' WHERE generation = 3",
            ["event 3: its text has the hash", "event 4: it follows"],
        ),
        (
            f"UPDATE events SET hash = '{ZEROS}' WHERE generation = 5",
            ["event 5: its text has the hash", "head: its hash is"],
        ),
        (
            "UPDATE events SET key = 'k9' WHERE generation = 2",
            ["event 2: its key is 'k2', recorded is 'k9'"],
        ),
        (
            "UPDATE events SET text = '{}' WHERE generation = 2",
            [
                "event 2: its text has the hash",
                "event 2: event: v is missing",
                "tables: not compared",
            ],
        ),
        (
            "DELETE FROM events WHERE generation = 3",
            ["event 3: missing; the next is 4", "event 4: it follows", "tables: not compared"],
        ),
        (
            "DELETE FROM events WHERE generation = 1",
            ["event 1: missing; the next is 2", "event 2: it follows", "tables: not compared"],
        ),
        (
            "DELETE FROM events WHERE generation = 5",
            [
                "head: it is at generation 5, the last event is 4",
                "head: its hash is",
                f"channel {CI}:stable: in the tables, but no event records it",
            ],
        ),
        (
            "UPDATE events SET generation = 6 WHERE generation = 5",
            [
                "event 5: missing; the next is 6",
                "event 6: it says that it is event 5",
                "event 6: it was decided on generation 4",
                "head: it is at generation 5, the last event is 6",
                "tables: not compared",
            ],
        ),
        (
            "UPDATE head SET generation = 4",
            ["head: it is at generation 4, the last event is 5"],
        ),
        (f"UPDATE head SET hash = '{ZEROS}'", ["head: its hash is"]),
        ("DELETE FROM head", ["head: missing"]),
        (
            "UPDATE versions SET summary = 'safe' WHERE serial = 2",
            [f"version {TWO}: summary is 'safe', the events say 'a CI worker'"],
        ),
        (
            f"UPDATE versions SET tree_sha256 = '{ZEROS}' WHERE serial = 2",
            [f"version {TWO}: tree.sha256 is '{ZEROS}', the events say"],
        ),
        (
            "UPDATE versions SET tree_size = NULL WHERE serial = 2",
            [f"version {TWO}: tree_size is missing"],
        ),
        (
            "UPDATE versions SET tree_sha256 = NULL, tree_size = NULL, tree_stored = NULL "
            "WHERE serial = 2",
            [f"version {TWO}: tree is None, the events say Tree(sha256="],
        ),
        (
            "UPDATE versions SET origin_reproducible = 'no' WHERE serial = 2",
            [
                f"version {TWO}: origin.reproducible is Reproducible.NO, "
                "the events say Reproducible.YES"
            ],
        ),
        (
            "UPDATE versions SET origin_reproducible = 'often' WHERE serial = 2",
            [f"version {TWO}: 'often' is not a valid Reproducible"],
        ),
        (
            "UPDATE versions SET origin_cause = 'none' WHERE serial = 2",
            [f"version {TWO}: origin.cause is 'none', the events say ''"],
        ),
        (
            "UPDATE versions SET origin_cause = NULL WHERE serial = 2",
            [f"version {TWO}: origin_cause is missing"],
        ),
        (
            "UPDATE versions SET origin_epoch = 0 WHERE serial = 2",
            [f"version {TWO}: origin.epoch is 0, the events say 1795176000"],
        ),
        (
            f"UPDATE versions SET inside_spdx = '{ZEROS}' WHERE serial = 2",
            [f"version {TWO}: inside.spdx is '{ZEROS}', the events say"],
        ),
        (
            "UPDATE versions SET inside_contents = NULL, inside_manifest = NULL, "
            "inside_spdx = NULL, inside_cyclonedx = NULL, inside_provenance = NULL "
            "WHERE serial = 2",
            [f"version {TWO}: inside is None, the events say Inside(contents="],
        ),
        (
            f"UPDATE versions SET inside_spdx = '{ZEROS}' WHERE serial = 1 AND image = '{CI}'",
            [
                f"version {ONE}: inside_contents, inside_manifest, inside_cyclonedx, "
                "inside_provenance is missing"
            ],
        ),
        (
            "UPDATE versions SET tests_failed = 1 WHERE serial = 2",
            [f"version {TWO}: tests.failed is 1, the events say 0"],
        ),
        (
            "UPDATE versions SET created = 'yesterday' WHERE serial = 2",
            [f"version {TWO}: Invalid isoformat"],
        ),
        (
            f"UPDATE artifacts SET sha256 = '{ZEROS}' WHERE serial = 2",
            [f"version {TWO}: artifacts[0].sha256 is '{ZEROS}', the events say"],
        ),
        (
            "UPDATE artifacts SET format = 'floppy' WHERE serial = 2",
            [f"version {TWO}: 'floppy' is not a valid Format"],
        ),
        (
            "DELETE FROM artifacts WHERE serial = 2",
            [f"version {TWO}: artifacts has 0 entries, the events make 1"],
        ),
        (
            "UPDATE artifacts SET position = 2 WHERE serial = 2",
            [f"version {TWO}: row 1 of artifacts is missing"],
        ),
        (
            "DELETE FROM required_locations WHERE serial = 2",
            [f"version {TWO}: required_locations has 0 entries, the events make 1"],
        ),
        (
            "DELETE FROM versions WHERE image = 'debian-base'",
            [f"version {BASE_ONE}: it has parts, but is not recorded itself"],
        ),
        (
            "DELETE FROM versions WHERE image = 'debian-base'; "
            "DELETE FROM artifacts WHERE image = 'debian-base'; "
            "DELETE FROM required_locations WHERE image = 'debian-base'",
            [f"version {BASE_ONE}: missing from the tables, the events record it"],
        ),
        (
            "INSERT INTO required_locations VALUES ('ghost', '20261120', 1, 1, 'local')",
            ["version ghost@20261120.1: it has parts, but is not recorded itself"],
        ),
        (
            "UPDATE placements SET provider_id = 'sha256/cd' WHERE location = 'dc1'",
            [f"placements {ONE}: [1].provider_id is 'sha256/cd', the events say 'sha256/ab'"],
        ),
        (
            "DELETE FROM placements WHERE location = 'dc1'",
            [f"placements {ONE}: has 1 entries, the events make 2"],
        ),
        (
            "DELETE FROM placements WHERE serial = 2",
            [f"placements {TWO}: missing from the tables, the events record it"],
        ),
        (
            "DELETE FROM intents WHERE position = 2",
            [f"intents {TWO}: has 1 entries, the events make 2"],
        ),
        (
            "DELETE FROM intents",
            [f"intents {TWO}: missing from the tables, the events record it"],
        ),
        (
            "DELETE FROM intents WHERE position = 1",
            [f"version {TWO}: row 1 of intents is missing"],
        ),
        (
            "UPDATE intents SET named = 'x' WHERE location = 'dc2'",
            [f"intents {TWO}: [1].named is 'x', the events say 'sha256/ab'"],
        ),
        (
            "INSERT INTO intents SELECT image, day, 1, position, format, architecture, location, "
            "named, since, by FROM intents WHERE position = 1",
            [f"intents {ONE}: in the tables, but no event records it"],
        ),
        (
            "UPDATE intents SET serial = 7",
            ["version debian-ci@20261120.7: it has parts, but is not recorded itself"],
        ),
        (
            "UPDATE moves SET serial = 1 WHERE position = 2",
            [f"channel {CI}:beta: moves[1].version.serial is 1, the events say 2"],
        ),
        (
            "UPDATE moves SET generation = 3 WHERE position = 2",
            [f"channel {CI}:beta: moves[1].generation is 3, the events say 4"],
        ),
        (
            "DELETE FROM moves WHERE channel = 'beta' AND position = 2",
            [f"channel {CI}:beta: moves has 1 entries, the events make 2"],
        ),
        (
            "DELETE FROM moves WHERE channel = 'beta' AND position = 1",
            [f"channel {CI}:beta: move 1 is missing"],
        ),
        (
            "UPDATE moves SET channel = 'prod' WHERE channel = 'stable'",
            [
                f"channel {CI}:prod: in the tables, but no event records it",
                f"channel {CI}:stable: missing from the tables, the events record it",
            ],
        ),
    ],
)
def test_what_was_edited_is_named(
    url: str, catalog: SqlCatalog, statement: str, findings: list[str]
) -> None:
    edit(url, *statement.split("; "))
    found = catalog.verify()
    assert [line[: len(wanted)] for line, wanted in zip(found, findings, strict=False)] == findings
    assert len(found) == len(findings), found


@pytest.mark.parametrize(
    ("statement", "findings"),
    [
        (
            "UPDATE stages SET stage = 'active'",
            [f"stage {OLD}: stage is Stage.ACTIVE, the events say Stage.DELETED"],
        ),
        ("UPDATE stages SET stage = 'gone'", [f"version {OLD}: 'gone' is not a valid Stage"]),
        ("DELETE FROM stages", [f"stage {OLD}: missing from the tables, the events record it"]),
        (
            "INSERT INTO stages VALUES ('debian-ci', '20261120', 1, 'deprecated', "
            "'2026-11-20T12:00:00.000000Z', 'mallory', '')",
            [f"stage {ONE}: in the tables, but no event records it"],
        ),
        ("DELETE FROM holds", [f"holds {ONE}: missing from the tables, the events record it"]),
        (
            "UPDATE holds SET by = 'bob'",
            [f"holds {ONE}: [0].by is 'bob', the events say 'alice'"],
        ),
        ("UPDATE holds SET position = 2", [f"version {ONE}: row 1 of holds is missing"]),
        (
            "UPDATE leases SET until = '2026-11-20T12:00:01.000000Z' WHERE consumer = 'ci-8'",
            [f"leases {ONE}: [1].until is 2026-11-20 12:00:01+00:00, the events say"],
        ),
        (
            "DELETE FROM leases WHERE consumer = 'ci-8'",
            [f"leases {ONE}: has 1 entries, the events make 2"],
        ),
        (
            "DELETE FROM revocations",
            [f"revocation {ONE}: missing from the tables, the events record it"],
        ),
        (
            "UPDATE revocations SET reason = ''",
            [f"revocation {ONE}: reason is '', the events say 'CVE'"],
        ),
        (
            "UPDATE revocations SET serial = 7",
            ["version debian-ci@20261120.7: it has parts, but is not recorded itself"],
        ),
        (
            "UPDATE tombstones SET provider_id = 'other' WHERE position = 2",
            [f"tombstones {OLD}: [1].placement.provider_id is 'other', the events say"],
        ),
        (
            "UPDATE tombstones SET gone = NULL",
            [f"tombstones {OLD}: [0].gone is None, the events say 2026-11-20"],
        ),
        (
            "UPDATE tombstones SET begun = NULL",
            [f"tombstones {OLD}: [0].begun is None, the events say 2026-11-20"],
        ),
        (
            "UPDATE tombstones SET gone = at WHERE position = 3",
            [f"tombstones {OLD}: [2].gone is 2026-11-20 12:00:00+00:00, the events say None"],
        ),
        (
            "UPDATE tombstones SET returned = at WHERE position = 3",
            [f"tombstones {OLD}: [2].returned is 2026-11-20 12:00:00+00:00, the events say None"],
        ),
        (
            "DELETE FROM tombstones WHERE position = 3",
            [f"tombstones {OLD}: has 2 entries, the events make 3"],
        ),
    ],
)
def test_what_was_edited_of_protections_and_deletions_is_named(
    url: str, catalog: SqlCatalog, statement: str, findings: list[str]
) -> None:
    for each in RETAINED:
        catalog.commit(each)
    assert catalog.verify() == ()
    edit(url, statement)
    found = catalog.verify()
    assert [line[: len(wanted)] for line, wanted in zip(found, findings, strict=False)] == findings
    assert len(found) == len(findings), found


def test_a_forged_reason_differs_from_the_tables(url: str, catalog: SqlCatalog) -> None:
    rewrite(url, 5, lambda text: text.replace("soaked", "urgent"))
    assert catalog.verify() == (
        f"channel {CI}:stable: moves[0].reason is 'soaked', the events say 'urgent'",
    )


@pytest.mark.parametrize(
    ("generation", "old", "new", "findings"),
    [
        (
            3,
            '"reproducible":"yes"',
            '"reproducible":"no"',
            [
                f"version {TWO}: origin.reproducible is Reproducible.YES, "
                "the events say Reproducible.NO"
            ],
        ),
        (5, '"generation":5', '"generation":7', ["event 5: it says that it is event 7"]),
        (5, '"based_on":4', '"based_on":3', ["event 5: it was decided on generation 3"]),
        (5, '"key":"k5"', '"key":"k6"', ["event 5: its key is 'k6', recorded is 'k5'"]),
        (
            3,
            "20261120.2",
            "20261120.1",
            ["event 3: debian-ci@20261120.1 is already recorded", "tables: not compared"],
        ),
        (
            2,
            "20261120.1",
            "20261120.7",
            ["event 2: beta cannot point to debian-ci@20261120.7", "tables: not compared"],
        ),
        (2, '"v":4', '"v":4 ', ["event 2: not in canonical form", "tables: not compared"]),
    ],
)
def test_a_forged_event_that_hashes_well_is_named(
    url: str, catalog: SqlCatalog, generation: int, old: str, new: str, findings: list[str]
) -> None:
    def forge(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    rewrite(url, generation, forge)
    found = catalog.verify()
    assert [line[: len(wanted)] for line, wanted in zip(found, findings, strict=False)] == findings
    assert len(found) == len(findings), found


def test_every_broken_event_is_named_not_only_the_first(url: str, catalog: SqlCatalog) -> None:
    rewrite(url, 2, lambda text: text.replace("20261120.1", "20261120.7"))
    edit(url, f"UPDATE events SET hash = '{ZEROS}' WHERE generation = 4")
    assert [line.split(": ")[0] for line in catalog.verify()] == [
        "event 2",
        "event 4",
        "event 5",
        "tables",
    ]


def test_an_event_of_a_newer_release_is_no_finding_but_cannot_be_told(
    url: str, catalog: SqlCatalog
) -> None:
    rewrite(url, 5, lambda text: text.replace("move-channel", "bless-version"))
    for ask in (catalog.verify, lambda: list(catalog.events())):
        with pytest.raises(CannotTell, match="written by a newer imagectl") as caught:
            ask()
        assert "event 5" in str(caught.value)
        assert "newer imagectl" in caught.value.hint
    assert len(catalog.snapshot().versions) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE versions SET created = 'yesterday'",
        "UPDATE artifacts SET format = 'floppy'",
        "UPDATE placements SET position = position + 10",
        "UPDATE moves SET kind = 'sideways'",
        "DELETE FROM moves WHERE position = 1 AND channel = 'beta'",
        "DELETE FROM versions",
        "DELETE FROM head",
    ],
)
def test_rows_that_cannot_be_read_are_never_guessed(
    url: str, catalog: SqlCatalog, statement: str
) -> None:
    edit(url, statement)
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        catalog.snapshot()
    assert "catalog verify" in caught.value.hint
    assert caught.value.where == catalog.where
    with pytest.raises(CannotTell, match="cannot be read"):
        catalog.commit(change("k6", 5, place(ONE, "dc1"), move(CI, BETA, "20261120.1")))


def test_an_event_that_cannot_be_read_is_never_guessed(url: str, catalog: SqlCatalog) -> None:
    edit(url, "UPDATE events SET text = 'null' WHERE generation = 5")
    events = catalog.events()
    with pytest.raises(CannotTell, match="cannot be read") as caught:
        list(events)
    assert "event 5" in caught.value.why
    with pytest.raises(CannotTell, match="cannot be read"):
        catalog.commit(change("k6", 4, place(ONE)))


def test_findings_do_not_stop_at_one_image(url: str, catalog: SqlCatalog) -> None:
    edit(
        url,
        "UPDATE versions SET created = 'x' WHERE image = 'debian-base'",
        "UPDATE versions SET tool = '9' WHERE image = 'debian-ci' AND serial = 1",
    )
    assert [line.split(": ")[0] for line in catalog.verify()] == [
        f"version {BASE_ONE}",
        f"version {ONE}",
    ]
