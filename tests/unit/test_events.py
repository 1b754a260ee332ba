"""Events as text: what is written is read back as the same, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import (
    BETA,
    CI,
    NOW,
    begin,
    change,
    confirm,
    digest,
    end,
    end_lease,
    forget,
    hold,
    intend,
    lease,
    locked,
    move,
    opaque,
    place,
    record,
    restore,
    revoke,
    step,
    tombstone,
    unhold,
    version,
)
from support.strategies import changes, digests, wholes

from imagectl.errors import ImpossibleChange
from imagectl.formats.event_parts import MAX_INTEGER, BadEvent, NewerEvent, write_time
from imagectl.formats.events import (
    NEWEST,
    event_hash,
    event_text,
    make_event,
    parse_event,
    text_hash,
)
from imagectl.model.change import Change, ConfirmGone, Operation, RecordVersion
from imagectl.model.event import GENESIS
from imagectl.model.names import ImageName, Sha256
from imagectl.model.version import Version

GOLDEN = Path(__file__).parent / "golden"

CHANGE = change("k1", 0, record("debian-ci@20261120.1"), place("debian-ci@20261120.1"))
TEXT = event_text(1, CHANGE, GENESIS)
OLD_TEXT = event_text(1, CHANGE, GENESIS, version=1)
BEGUN = change("k1", 0, intend("debian-ci@20261120.1", "gce-prod"))
BEGUN_TEXT = event_text(1, BEGUN, GENESIS)
PROTECTED = change(
    *("k1", 0, record("debian-ci@20261120.1"), place("debian-ci@20261120.1")),
    *(hold("debian-ci@20261120.1"), unhold("debian-ci@20261120.1", "bob")),
    *(lease("debian-ci@20261120.1"), end_lease("debian-ci@20261120.1")),
    *(revoke("debian-ci@20261120.1"), restore("debian-ci@20261120.1")),
    *step("debian-ci@20261120.1"),
    begin("debian-ci@20261120.1"),
    begin("debian-ci@20261120.1", begun=NOW),
    confirm("debian-ci@20261120.1", begun=NOW),
)
"""Each operation that protects a version, or takes one down."""
PROTECTED_TEXT = event_text(1, PROTECTED, GENESIS)
MADE = change("k1", 0, RecordVersion(locked("debian-ci@20261120.1")))


@given(wholes, changes, digests)
def test_an_event_is_read_back_as_it_was_written(
    generation: int, change: Change, previous: Sha256
) -> None:
    event = make_event(generation, change, previous)
    text = event_text(generation, change, previous)
    assert parse_event(text, event.hash) == event
    assert text_hash(text) == event_hash(generation, change, previous) == event.hash


@given(wholes, changes, digests)
def test_the_text_is_canonical_json(generation: int, change: Change, previous: Sha256) -> None:
    text = event_text(generation, change, previous)
    value = json.loads(text, parse_float=lambda _: pytest.fail("a float"))
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "\n" not in text


def test_what_is_forgotten_has_its_placement() -> None:
    text = event_text(1, change("k1", 0, forget("debian-ci@20261120.1")), GENESIS)
    (said,) = json.loads(text)["change"]["operations"]
    assert said["op"] == "forget-placement"
    assert (said["placement"]["location"], said["placement"]["format"]) == ("local", "qcow2")
    for older in (1, 2, 3):
        with pytest.raises(NewerEvent, match="forget-placement"):
            parse_event(text.replace('"v":4', f'"v":{older}'), GENESIS)


def test_the_text_stays_what_it_is() -> None:
    """Chains that were written by earlier releases must verify for ever."""
    text = event_text(
        7,
        change("k", 6, move(CI, BETA, "20261120.1"), reason='"ü"\n'),
        digest("before"),
        version=1,
    )
    assert text == (
        '{"change":{"action":"promote stable","actor":"alice","at":"2026-11-20T12:00:00.000000Z",'
        '"based_on":6,"key":"k","operations":[{"channel":"beta","image":"debian-ci",'
        '"kind":"promote","op":"move-channel","to":"20261120.1"}],"reason":"\\"ü\\"\\n"},'
        f'"generation":7,"previous":"{hashlib.sha256(b"before").hexdigest()}","v":1}}'
    )
    assert text_hash(text) == hashlib.sha256(text.encode()).hexdigest()
    assert text_hash(OLD_TEXT) == "9d07323a3580ee1337280ceca04174ed19da5e5340d6b6aaf3b755a3e0ae75c9"
    second = event_text(1, CHANGE, GENESIS, version=2)
    assert text_hash(second) == "40128bc598eccc0f8aab297e1dabde260c2b0793e4a529ba4e9feb0761941524"
    assert (
        text_hash(event_text(1, MADE, GENESIS, version=2))
        == "dc1c147019bfb056c0f5504f6dee0b1ec934d5390be720d5718dbcebc6f91168"
    )
    third = event_text(1, CHANGE, GENESIS, version=3)
    assert text_hash(third) == "fee948f776c213c76beeff43428805806a8c5a58124d2f8e4b984ad7b40c860b"
    assert (
        text_hash(event_text(1, BEGUN, GENESIS, version=3))
        == "2115e4caa0aa12d7621e9450eb3bc61bd0d352a41d9e7da148bf46526661cbe6"
    )
    assert (GOLDEN / "event-v4.json").read_text().rstrip("\n") == PROTECTED_TEXT
    assert (
        text_hash(PROTECTED_TEXT)
        == "36578dd9f91289bfd7b3f8974f5369723732106386ad91e2d4ab56697e423f98"
    )


def test_new_events_are_of_the_newest_version() -> None:
    assert TEXT.endswith(f'"v":{NEWEST}}}')
    assert '"inside":null,"origin":null,' in TEXT
    assert '"reproducible":"yes"' in event_text(1, MADE, GENESIS)


@pytest.mark.parametrize(
    ("number", "sha256"),
    [
        (1, "9d07323a3580ee1337280ceca04174ed19da5e5340d6b6aaf3b755a3e0ae75c9"),
        (2, "40128bc598eccc0f8aab297e1dabde260c2b0793e4a529ba4e9feb0761941524"),
        (3, "53474b1ab9292e5b738bf195efe009e1442b0e94e7abd9e98a619d43dbcf9c1a"),
    ],
)
def test_an_event_of_an_older_version_is_read_as_what_it_was(number: int, sha256: str) -> None:
    """Recorded by the release that wrote that version, and never written since."""
    (line,) = (GOLDEN / f"event-v{number}.json").read_text().splitlines()
    event = parse_event(line, Sha256(sha256))
    said = (
        CHANGE if number < 3 else replace(CHANGE, operations=CHANGE.operations + BEGUN.operations)
    )
    assert (event.generation, event.change, event.previous) == (1, said, GENESIS)
    assert text_hash(line) == event.hash == sha256
    assert event_text(1, event.change, GENESIS, version=number) == line


@pytest.mark.parametrize("new", [locked("a@20261120.1"), opaque("a@20261120.1")])
def test_version_1_never_drops_what_it_cannot_say(new: Version) -> None:
    with pytest.raises(ImpossibleChange, match="cannot say how a version was made"):
        event_text(1, change("k", 0, RecordVersion(new)), GENESIS, version=1)
    treeless = replace(version("a@20261120.1"), tree=None)
    with pytest.raises(ImpossibleChange, match="cannot say how a version was made"):
        event_text(1, change("k", 0, RecordVersion(treeless)), GENESIS, version=1)


def test_the_words_of_one_version_are_not_taken_in_another() -> None:
    for text in (TEXT.replace('"v":4', '"v":1'), OLD_TEXT.replace('"v":1', '"v":2')):
        with pytest.raises(
            BadEvent, match=r"unknown inside, origin|inside is missing|origin is missing"
        ):
            parse_event(text, GENESIS)


@pytest.mark.parametrize("number", [1, 2])
def test_older_versions_have_no_words_for_intents(number: int) -> None:
    with pytest.raises(ImpossibleChange, match="cannot say what is about to be made"):
        event_text(1, BEGUN, GENESIS, version=number)
    for text in (BEGUN_TEXT, event_text(1, change("k", 0, end("a@20261120.1")), GENESIS)):
        with pytest.raises(BadEvent, match=r"operation '(record|end)-intent'"):
            parse_event(text.replace('"v":4', f'"v":{number}'), GENESIS)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("operation", PROTECTED.operations[2:])
def test_older_versions_have_no_words_for_what_protects(number: int, operation: Operation) -> None:
    said = change("k", 0, operation)
    with pytest.raises(ImpossibleChange, match="cannot say what protects versions"):
        event_text(1, said, GENESIS, version=number)
    text = event_text(1, said, GENESIS)
    assert parse_event(text, GENESIS).change == said
    with pytest.raises(NewerEvent, match="written by a newer imagectl"):
        parse_event(text.replace('"v":4', f'"v":{number}'), GENESIS)


def test_only_an_open_tombstone_is_written_down_as_confirmed() -> None:
    closed = replace(tombstone("debian-ci@20261120.1"), gone=NOW)
    with pytest.raises(ImpossibleChange, match="not be the same when read back"):
        event_text(1, change("k", 0, ConfirmGone(closed)), GENESIS)


@given(changes, st.data())
def test_a_damaged_text_is_refused_and_never_ends_in_a_traceback(
    change: Change, data: st.DataObject
) -> None:
    text = event_text(1, change, GENESIS)
    at = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(at, min(len(text), at + 5)))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[end:]
    try:
        event = parse_event(damaged, GENESIS)
    except BadEvent:
        return
    assert event_text(event.generation, event.change, event.previous) == damaged


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_json_is_an_event_or_refused(value: object) -> None:
    for whole in (value, {"v": 1, "change": value}, {"v": 2, "change": value}, {"v": value}):
        with pytest.raises(BadEvent):
            parse_event(json.dumps(whole), GENESIS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "null",
        "{}",
        TEXT + " ",
        TEXT + "\n",
        TEXT.replace('"v":4', '"v":4.0'),
        TEXT.replace('"v":4', '"v":true'),
        TEXT.replace('"v":4', '"v":0'),
        TEXT.replace('"v":4', '"v":4,"v":4'),
        TEXT.replace('"v":4', '"v":4,"w":1'),
        TEXT.replace('"v":4', '"v":NaN'),
        TEXT.replace('"based_on":0', '"based_on":-1'),
        TEXT.replace('"based_on":0', f'"based_on":{MAX_INTEGER + 1}'),
        TEXT.replace('"based_on":0', f'"based_on":{"9" * 5000}'),
        TEXT.replace('"key":"k1"', '"key":""'),
        TEXT.replace('"key":"k1"', '"key":"\\u0000"'),
        TEXT.replace('"key":"k1"', '"key":"\\ud800"'),
        TEXT.replace('"key":"k1"', '"key":"\\u006b1"'),
        TEXT.replace('"key":"k1"', '"key":1'),
        TEXT.replace("debian-ci", "../debian"),
        TEXT.replace('"148.5"', '"148.50"'),
        TEXT.replace('"148.5"', '"nan"'),
        TEXT.replace('"148.5"', '"-1.0"'),
        TEXT.replace("12:00:00.000000Z", "12:00:00Z"),
        TEXT.replace("12:00:00.000000Z", "12:00:00.000000"),
        TEXT.replace("2026-11-20T12:00:00.000000Z", "0001-01-01T00:00:00+23:00"),
        TEXT.replace("20261120.1", "20261320.1"),
        TEXT.replace('"required_locations":["local"]', '"required_locations":[1]'),
        TEXT.replace('"required_locations":["local"]', '"required_locations":"local"'),
        TEXT.replace(GENESIS, GENESIS.replace("0", "A")),
        TEXT.replace(GENESIS, "sha256:" + GENESIS),
        BEGUN_TEXT.replace('"named":"sha256/ab",', ""),
        BEGUN_TEXT.replace('"named":"sha256/ab"', '"named":null'),
        BEGUN_TEXT.replace('"location":"gce-prod"', '"location":"GCE"'),
        PROTECTED_TEXT.replace('"stage":"obsolete"', '"stage":null'),
        PROTECTED_TEXT.replace('"consumer":"ci-7",', ""),
        PROTECTED_TEXT.replace('"op":"hold-version"', '"by":"bob","op":"hold-version"'),
        PROTECTED_TEXT.replace('"tombstone":{', '"tombstone":{"gone":null,'),
        PROTECTED_TEXT.replace('"until":"2026-11-20T13', '"until":"2026-11-20 13'),
    ],
)
def test_only_the_one_text_is_accepted(text: str) -> None:
    assert text not in (TEXT, BEGUN_TEXT, PROTECTED_TEXT)
    with pytest.raises(BadEvent):
        parse_event(text, GENESIS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v":4', '"v":5'),
        ('"op":"record-version"', '"op":"bless-version"'),
        ('"format":"qcow2"', '"format":"vhd"'),
        ('"architecture":"amd64"', '"architecture":"riscv64"'),
        ('"reproducible":"yes"', '"reproducible":"perhaps"'),
        ('"stage":"quarantined"', '"stage":"shredded"'),
    ],
)
def test_what_a_newer_imagectl_wrote_is_told_as_such(old: str, new: str) -> None:
    said = replace(MADE, operations=(*MADE.operations, *PROTECTED.operations[2:]))
    text = event_text(1, said, GENESIS)
    assert old in text
    with pytest.raises(NewerEvent, match="written by a newer imagectl"):
        parse_event(text.replace(old, new), GENESIS)


@pytest.mark.parametrize(
    "bad",
    [
        replace(CHANGE, key=""),
        replace(CHANGE, reason="\0"),
        replace(CHANGE, actor="\udcff"),
        replace(CHANGE, based_on=-1),
        replace(CHANGE, based_on=2**60),
        replace(CHANGE, at=NOW.replace(tzinfo=None)),
        replace(CHANGE, at=datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))),
        replace(CHANGE, operations=(RecordVersion(replace(version("a@20261120.1"), seconds=-1)),)),
        replace(
            CHANGE,
            operations=(RecordVersion(replace(version("a@20261120.1"), seconds=float("nan"))),),
        ),
        replace(CHANGE, operations=(move(ImageName("../etc"), BETA, "20261120.1"),)),
        replace(CHANGE, operations=(move(CI, BETA, "20261320.1"),)),
    ],
)
def test_what_could_not_be_read_back_is_not_written(bad: Change) -> None:
    with pytest.raises(ImpossibleChange, match="cannot be written down"):
        make_event(1, bad, GENESIS)


def test_times_of_another_zone_are_written_in_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert write_time(NOW.astimezone(east)) == write_time(NOW) == "2026-11-20T12:00:00.000000Z"


def test_each_part_of_an_event_is_in_its_hash() -> None:
    other = {
        event_hash(1, CHANGE, GENESIS),
        event_hash(2, CHANGE, GENESIS),
        event_hash(1, CHANGE, digest("x")),
        event_hash(1, replace(CHANGE, reason="another"), GENESIS),
        event_hash(1, replace(CHANGE, operations=CHANGE.operations[:1]), GENESIS),
        event_hash(1, MADE, GENESIS),
    }
    assert len(other) == 6
