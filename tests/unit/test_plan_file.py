"""Cleanup plans as files: what is read is what was signed, or nothing is."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import NOW, digest, placement, ref

from imagectl.adapters.person_key import PersonKey, key_file, open_key
from imagectl.adapters.plan_file import approve_plan, read_plan, write_plan
from imagectl.errors import BadInput, Corrupt, Failed, NotFound
from imagectl.formats.plan_v1 import parse_entries, parse_plan, plan_lines, signature_lines
from imagectl.model.cleanup import (
    Because,
    CleanupPlan,
    Entry,
    Reason,
    Scope,
    Sight,
    Unknown,
)
from imagectl.model.names import ImageName, LocationName
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.signature import Role, Signature
from imagectl.model.stock import Kept

LOCAL = LocationName("local")
DAY = timedelta(days=1)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
kept = st.builds(Kept, st.just(LOCAL), texts, texts.map(digest))
reasons = st.builds(Reason, st.sampled_from(Because), texts)
entries = st.builds(
    Entry,
    st.integers(1, 9999).map(lambda serial: ref(f"debian-ci@20260101.{serial}")),
    st.sampled_from(Stage),
    st.none() | st.sampled_from(Stage),
    st.lists(reasons, max_size=3).map(tuple),
    st.lists(kept, max_size=2).map(tuple),
    st.lists(kept, max_size=2).map(tuple),
)
sights = st.builds(
    Sight,
    st.just(LOCAL),
    texts,
    texts.map(digest),
    *(st.integers(0, 10**9) for _ in range(4)),
    times,
)
unknown = st.builds(
    Unknown,
    st.just(LOCAL),
    texts,
    texts,
    texts,
    st.none() | st.integers(0, 10**12),
    st.none() | times,
)
tombstones = st.builds(
    Tombstone, st.just(placement("debian-ci@20260101.1", LOCAL)), times, texts, texts
)
plans = st.builds(
    CleanupPlan,
    texts,
    st.integers(0, 10**9),
    times,
    times,
    texts,
    st.builds(
        Scope,
        st.sampled_from([(), (ImageName("debian-ci"),)]),
        st.just((LOCAL,)),
        st.booleans(),
    ),
    st.lists(sights, max_size=2).map(tuple),
    st.lists(entries, max_size=4).map(tuple),
    st.lists(unknown, max_size=3).map(tuple),
    st.lists(tombstones, max_size=2).map(tuple),
)
signatures = st.builds(Signature, st.sampled_from(Role), texts, texts, times, texts)


def step(text: str, to: Stage | None = Stage.DEPRECATED) -> Entry:
    because = () if to else (Reason(Because.CHANNEL, "stable"),)
    where = (Kept(LOCAL, f"id of {text}", digest(text)),)
    return Entry(ref(text), Stage.ACTIVE, to, because, where)


PLAN = CleanupPlan(
    "a-catalog",
    7,
    NOW,
    NOW + DAY,
    "alice",
    Scope((), (LOCAL,)),
    (Sight(LOCAL, "folder x", digest("x"), 3, 3, 3, 1, NOW),),
    (step("b@20260103.1"), step("c@20260102.1", None), step("d@20260101.1")),
    (),
    (),
    3,
    "/mnt/receipts",
)


@pytest.fixture
def key(tmp_path: Path) -> PersonKey:
    return open_key(tmp_path / "alice.pem")


@pytest.fixture
def file(tmp_path: Path, key: PersonKey) -> Path:
    path = tmp_path / "plan.json"
    write_plan(path, PLAN, key)
    return path


@given(plans, st.lists(signatures, max_size=2))
def test_what_is_written_is_what_is_read(plan: CleanupPlan, signed: list[Signature]) -> None:
    lines = [*plan_lines(plan), *signature_lines(signed)]
    again = parse_plan(lines, "plan.json", tuple(parse_entries(lines, "plan.json")))
    assert again.plan == plan
    assert again.signatures == tuple(signed)
    assert {each.version for each in again.steps} == {
        each.version for each in plan.entries if each.to is not None
    }
    assert json.loads("".join(lines))["format"] == "imagectl-cleanup-plan-1"


@given(plans, st.data())
def test_no_part_of_a_plan_is_a_plan(plan: CleanupPlan, data: st.DataObject) -> None:
    lines = [*plan_lines(plan), *signature_lines([])]
    at = data.draw(st.integers(0, len(lines) - 1))
    for damaged in (lines[:at], [*lines[:at], *lines[at + 1 :]], [*lines, "{}\n"]):
        if damaged[at : at + 1] == lines[at : at + 1] and len(damaged) <= len(lines):
            continue  # two equal lines: taking out one or the other is the same
        try:
            read = parse_plan(damaged, "plan.json")
        except BadInput:
            continue
        assert read.digest != parse_plan(lines, "plan.json").digest


@given(st.lists(texts.map(lambda text: f"{text}\n"), max_size=4))
def test_other_text_is_no_plan(lines: list[str]) -> None:
    with pytest.raises(BadInput):
        parse_plan(lines, "plan.json")


def test_steps_are_the_oldest_first(file: Path) -> None:
    assert [str(each.version) for each in read_plan(file).steps] == ["d@20260101.1", "b@20260103.1"]
    assert len(list(read_plan(file).plan.entries)) == 3


def test_a_plan_is_signed_by_its_author(file: Path, key: PersonKey) -> None:
    author = read_plan(file).author
    assert author is not None
    assert (author.by, author.key) == ("alice", key.public)


def test_only_the_plan_is_left_in_the_folder(file: Path) -> None:
    assert {each.name for each in file.parent.iterdir()} == {"alice.pem", "plan.json"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"to":"deprecated"', '"to":"deleted"'),
        ('"stage":"active"', '"stage":"quarantined"'),
        ('"expires":"2026', '"expires":"2027'),
        ('"generation":7', '"generation":8'),
        ('"by":"alice"', '"by":"mallory"'),
        ('"role":"author"', '"role":"approval"'),
        ('"at":"2026-11-20T12:00:00.000000Z","by"', '"at":"2026-11-21T12:00:00.000000Z","by"'),
    ],
)
def test_a_plan_that_was_changed_is_no_plan(file: Path, one: str, other: str) -> None:
    text = file.read_text()
    assert one in text
    file.write_text(text.replace(one, other))
    with pytest.raises(Corrupt, match="is not what"):
        read_plan(file)


def test_a_signature_of_another_plan_does_not_count(
    file: Path, tmp_path: Path, key: PersonKey
) -> None:
    other = tmp_path / "other.json"
    write_plan(other, replace(PLAN, generation=8), key)
    mine, theirs = file.read_text(), other.read_text()
    line = next(each for each in theirs.splitlines() if '"role"' in each)
    old = next(each for each in mine.splitlines() if '"role"' in each)
    file.write_text(mine.replace(old, line))
    with pytest.raises(Corrupt):
        read_plan(file)


def test_approvals_are_added(file: Path, tmp_path: Path, key: PersonKey) -> None:
    before = read_plan(file)
    bob, carol = open_key(tmp_path / "bob.pem"), open_key(tmp_path / "carol.pem")
    approve_plan(file, "bob", NOW, bob)
    approve_plan(file, "carol", NOW, carol)
    approve_plan(file, "bob", NOW + DAY, bob)
    after = read_plan(file)
    assert after.digest == before.digest
    assert after.author == before.author
    assert [(each.by, each.at) for each in after.approvals] == [("carol", NOW), ("bob", NOW + DAY)]


def test_what_was_changed_is_not_approved(file: Path, tmp_path: Path) -> None:
    file.write_text(file.read_text().replace('"to":"deprecated"', '"to":"deleted"'))
    before = file.read_text()
    with pytest.raises(Corrupt):
        approve_plan(file, "bob", NOW, open_key(tmp_path / "bob.pem"))
    assert file.read_text() == before


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_plan(tmp_path / "nothing.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput):
        read_plan(tmp_path / "binary")
    with pytest.raises(Failed):
        read_plan(tmp_path)


# --- the key ---


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "settings" / "key.pem"
    one, again = open_key(path), open_key(path)
    assert one.public == again.public
    assert len(one.public) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["key.pem"]


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    open_key(path)
    path.chmod(0o640)
    with pytest.raises(Failed, match="can be read by others"):
        open_key(path)


def test_something_else_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("a secret")
    path.chmod(0o600)
    with pytest.raises(Corrupt) as caught:
        open_key(path)
    assert "a secret" not in str(caught.value)


def test_where_the_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_file({}) == tmp_path / ".config/imagectl/key.pem"
    assert key_file({"XDG_CONFIG_HOME": "/settings"}) == Path("/settings/imagectl/key.pem")
    assert key_file({"IMAGECTL_KEY": "/mine.pem", "XDG_CONFIG_HOME": "/s"}) == Path("/mine.pem")
