"""The contract of ``services.ports.Receipts``, and what the folder promises beyond it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import NOW, ref

from imagectl.adapters.receipts import MARKER, FileReceipts
from imagectl.errors import CannotTell, Failed
from imagectl.formats.receipt_v1 import FORMAT, parse_receipt, receipt_path, write_receipt
from imagectl.model.retention import Receipt
from imagectl.services.ports.stores import Receipts
from imagectl.testing.receipts import MemoryReceipts

ONE, TWO = ref("debian-ci@20261120.1"), ref("debian-base@20261120.12")
HOUR = timedelta(hours=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "receipts"


@pytest.fixture(params=["memory", "folder"])
def receipts(request: pytest.FixtureRequest, root: Path) -> Receipts:
    return MemoryReceipts() if request.param == "memory" else FileReceipts(root)


def test_nobody_has_resolved_anything_yet(receipts: Receipts) -> None:
    assert receipts.latest() == {}


def test_the_latest_of_each_version_counts(receipts: Receipts) -> None:
    receipts.add(Receipt(ONE, "ci-1", NOW + HOUR))
    receipts.add(Receipt(ONE, "ci-2", NOW))
    receipts.add(Receipt(TWO, "ci-1", NOW - HOUR))
    assert receipts.latest() == {ONE: NOW + HOUR, TWO: NOW - HOUR}


def test_a_consumers_later_receipt_takes_the_place_of_its_earlier_one(receipts: Receipts) -> None:
    receipts.add(Receipt(ONE, "ci-1", NOW))
    receipts.add(Receipt(ONE, "ci-1", NOW + HOUR))
    assert receipts.latest() == {ONE: NOW + HOUR}


@pytest.mark.parametrize("consumer", ["../../etc/passwd", "", "a/b", "Zürich", "x" * 5000, "\n"])
def test_a_consumer_is_called_whatever_it_likes(receipts: Receipts, consumer: str) -> None:
    receipts.add(Receipt(ONE, consumer, NOW))
    assert receipts.latest() == {ONE: NOW}


def files(root: Path) -> list[Path]:
    return sorted(root.glob("*/*/*.json"))


def test_there_is_one_file_for_a_version_and_a_consumer(root: Path) -> None:
    receipts = FileReceipts(root)
    for at in (NOW, NOW + HOUR):
        receipts.add(Receipt(ONE, "ci-1", at))
    receipts.add(Receipt(ONE, "ci-2", NOW))
    assert len(files(root)) == 2
    content = json.loads(files(root)[0].read_text())
    assert (content["format"], content["version"]) == (FORMAT, str(ONE))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def lock_up(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


def other(path: Path) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": str(TWO)}))


def lock_up_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to("/nowhere")


@pytest.mark.parametrize("damage", [cut, lock_up, other, lock_up_folder])
def test_one_that_cannot_be_read_is_not_nobody(root: Path, damage: Callable[[Path], None]) -> None:
    receipts = FileReceipts(root)
    receipts.add(Receipt(ONE, "ci-1", NOW))
    damage(files(root)[0])
    with pytest.raises(CannotTell, match="who has resolved what") as caught:
        receipts.latest()
    assert str(root / "debian-ci") in caught.value.where


def test_a_folder_that_is_expected_and_not_there_is_not_nobody(root: Path) -> None:
    for _ in range(2):  # not there at all; then there and empty, as where nothing is mounted
        with pytest.raises(CannotTell, match="is not the folder of receipts"):
            FileReceipts(root, expected=True).latest()
        with pytest.raises(CannotTell, match="is not the folder of receipts"):
            FileReceipts(root, expected=True).add(Receipt(ONE, "ci-1", NOW))
        root.mkdir(exist_ok=True)
    assert os.listdir(root) == []
    (root / MARKER).touch()
    assert FileReceipts(root, expected=True).latest() == {}
    FileReceipts(root, expected=True).add(Receipt(ONE, "ci-1", NOW))
    assert FileReceipts(root, expected=True).latest() == {ONE: NOW}


def test_a_folder_of_something_else_is_not_nobody_either(root: Path) -> None:
    root.mkdir()
    with pytest.raises(CannotTell, match="is not the folder of receipts"):
        FileReceipts(root).latest()


def test_what_else_lies_there_is_passed_over(root: Path) -> None:
    receipts = FileReceipts(root)
    receipts.add(Receipt(ONE, "ci-1", NOW))
    (root / "README").touch()
    (root / "debian-ci" / "notes.txt").touch()
    assert receipts.latest() == {ONE: NOW}


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="noting who has resolved what"):
        FileReceipts(tmp_path / "file").add(Receipt(ONE, "ci-1", NOW))


def test_nothing_is_left_of_a_receipt_that_could_not_be_written(root: Path) -> None:
    receipts = FileReceipts(root)
    receipts.add(Receipt(ONE, "ci-1", NOW))
    (root / "debian-base").write_text("in the way")
    with pytest.raises(Failed):
        receipts.add(Receipt(TWO, "ci-1", NOW))
    assert os.listdir(root / ".partial") == []
    assert receipts.latest() == {ONE: NOW}


times = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001  # hypothesis wants them without, and adds it
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@given(st.text(st.characters(exclude_categories=["Cs"])), times)
def test_what_is_written_is_read(consumer: str, at: datetime) -> None:
    receipt = Receipt(ONE, consumer, at)
    assert parse_receipt(write_receipt(receipt), receipt_path(receipt)) == receipt


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    st.sampled_from(["format", "version", "consumer", "at", ""]),
)
def test_anything_else_is_not_a_receipt(value: object, key: str) -> None:
    receipt = Receipt(ONE, "ci", NOW)
    content = json.loads(write_receipt(receipt))
    changed = {**content, key: value} if key else value
    if changed == content or (key == "" and isinstance(changed, dict) and "format" in changed):
        return
    with pytest.raises(ValueError, match=r"."):
        parse_receipt(json.dumps(changed).encode(), receipt_path(receipt))
