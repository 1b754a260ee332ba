"""``images/<name>/image.lock``: written the same, read back the same, and never edited silently."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from support.examples import BASE, digest, lock, package, ref
from support.strategies import locks

from imagectl.errors import BadInput, Failed
from imagectl.formats.lock_text import parse_lock, write_lock
from imagectl.model.lock import (
    Archive,
    Download,
    Inputs,
    Lock,
    LockedDiskBase,
    LockedParentBase,
    sorted_inputs,
)
from imagectl.model.names import Sha256, parse_sha256

GOLDEN = Path(__file__).parent / "golden"
FILE = "images/debian-base/image.lock"
WRITTEN = write_lock(lock())


def refused(text: str | bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_lock(text, FILE)
    return caught.value


def said_of(text: str | bytes) -> list[str]:
    return [str(problem) for problem in refused(text).problems]


def edited(old: str, new: str) -> str:
    assert old in WRITTEN
    return WRITTEN.replace(old, new)


@settings(max_examples=150, deadline=None)
@given(lock=locks)
def test_a_lock_that_is_written_is_read_back_the_same(lock: Lock) -> None:
    text = write_lock(lock)
    again = parse_lock(text, FILE)
    assert again == lock
    assert write_lock(again) == text
    # Equality of packages leaves the archive out.
    archives = [each.archive for each in lock.inputs.packages]
    assert [each.archive for each in again.inputs.packages] == archives


@settings(max_examples=60, deadline=None)
@given(lock=locks)
def test_every_reader_of_yaml_reads_the_same_texts(lock: Lock) -> None:
    """Quotes are there where PyYAML, for one, would see a number, a date or a boolean."""
    found = yaml.safe_load(write_lock(lock))
    assert found["image"] == lock.image
    assert found["project"]["rules"] == lock.definition.rules
    for written, locked in zip(
        found["inputs"].get("packages", ()), lock.inputs.packages, strict=True
    ):
        assert written["version"] == locked.version
        assert written["architecture"] == locked.architecture
        assert written["path"] == locked.path
        assert written["sha256"] == locked.sha256
    for written, download in zip(
        found["inputs"].get("downloads", ()), lock.inputs.downloads, strict=True
    ):
        assert written["url"] == download.url
        assert written.get("location", "") == download.location


def test_a_lock_looks_like_this() -> None:
    assert (GOLDEN / "image.lock").read_text() == WRITTEN


def test_each_input_has_one_line_in_order() -> None:
    lines = WRITTEN.splitlines()
    names = [line.split("name: ")[1].split(",")[0] for line in lines if "- {name: " in line]
    assert names == ["e2fsprogs", "mtools", "adduser", "openssh-server"]
    assert sum("sha256: " in line for line in lines) == len(lock().inputs.all) + 2


def test_the_order_in_which_inputs_were_fetched_does_not_matter() -> None:
    one = lock()
    backwards = Inputs(
        one.inputs.indexes[::-1], one.inputs.packages[::-1], one.inputs.downloads[::-1]
    )
    assert write_lock(replace(one, inputs=backwards)) == WRITTEN
    assert sorted_inputs(backwards.all) == one.inputs


def test_a_new_version_of_a_package_changes_its_line_and_the_checksum() -> None:
    one = lock()
    newer = [package("adduser", "3.135", architecture="all"), *one.inputs.all]
    newer.remove(package("adduser", "3.134", architecture="all"))
    other = write_lock(replace(one, inputs=sorted_inputs(newer)))
    pairs = list(zip(WRITTEN.splitlines(), other.splitlines(), strict=True))
    changed = [old.split(":")[0].strip() for old, new in pairs if old != new]
    assert changed == ["checksum", "- {name"]


def test_bases_of_all_kinds() -> None:
    disk = LockedDiskBase("https://mirror.example/cloud.qcow2", digest("disk"), 5)
    assert parse_lock(write_lock(replace(lock(), base=disk)), FILE).base == disk
    parent = LockedParentBase(ref("debian-base@20261120.1"), digest("tree"))
    assert parse_lock(write_lock(replace(lock(), base=parent)), FILE).base == parent


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (digest("rules"), digest("other")),
        ("size: 151075", "size: 151076"),
        ('epoch: "2026-11-20T12:00:00Z"', 'epoch: "2026-11-20T12:00:01Z"'),
        ("archive: debian-security, ", "archive: debian, "),
        ("status: 302", "status: 301"),
        (', location: "/tool-1.2"', ""),
        ('version: "3.134"', 'version: "3.135"'),
        ("checksum: ", "checksum: sha256:0000"),
    ],
)
def test_an_edit_by_hand_is_noticed(old: str, new: str) -> None:
    text = edited(old, new)
    if old == "checksum: ":
        text = edited(WRITTEN.split("checksum: ")[1][:64], "0" * 64)
    error = refused(text)
    said = "this lock was edited by hand: it is not what imagectl wrote"
    assert [str(problem) for problem in error.problems] == [f"{FILE}:5:11: checksum: {said}"]
    assert error.hint == (
        "restore it from git, or make it anew: `imagectl lock debian-base --update`"
    )


def test_a_line_taken_out_is_noticed() -> None:
    lines = WRITTEN.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if "- {" in line:
            assert "edited by hand" in said_of("".join(lines[:index] + lines[index + 1 :]))[0]


def test_what_git_does_to_line_ends_is_no_edit() -> None:
    assert parse_lock(WRITTEN.replace("\n", "\r\n"), FILE) == lock()
    assert parse_lock(b"\xef\xbb\xbf" + WRITTEN.encode(), FILE) == lock()
    assert parse_lock(WRITTEN + "# reviewed\n", FILE) == lock()


def test_every_problem_of_a_lock_is_reported_with_its_place() -> None:
    text = edited('"3.134"', '"3 134"').replace("status: 302", "status: 99")
    text = text.replace("mode: vm", "mode: chroot").replace("size: 48000", "size: 1.5")
    text = text.replace("  raw: ", "  row: ").replace("12:00:00Z", "25:00:00Z")
    assert said_of(text) == (GOLDEN / "image.lock.problems.txt").read_text().splitlines()
    assert refused(text).hint.startswith("restore it from git")


def test_two_answers_for_one_thing_are_a_problem() -> None:
    lines = WRITTEN.splitlines(keepends=True)
    for name in ("adduser", "InRelease", "black"):
        at = max(index for index, line in enumerate(lines) if name in line and "- {" in line)
        sha256 = lines[at].split("sha256: ")[1][:64]
        twin = lines[at].replace(sha256, digest("other"))
        said = said_of("".join([*lines[: at + 1], twin, *lines[at + 1 :]]))
        assert len(said) == 1
        assert said[0].startswith(f"{FILE}:{at + 2}:7: inputs.")
        assert said[0].endswith("a second time, with another answer")


def test_a_merge_conflict_is_called_one() -> None:
    lines = WRITTEN.splitlines()
    conflict = [*lines[:9], "<<<<<<< HEAD", lines[9], "=======", lines[9], ">>>>>>> theirs"]
    error = refused("\n".join([*conflict, *lines[10:]]))
    said = [str(problem) for problem in error.problems]
    assert said == [f"{FILE}:10:1: a merge conflict", f"{FILE}:14:1: a merge conflict"]
    assert "git checkout" in error.hint


def test_a_lock_of_a_newer_imagectl_says_so_and_nothing_else() -> None:
    error = refused(edited("version: 1\n", "version: 2\nnew: thing\n"))
    assert [str(problem) for problem in error.problems] == [
        f"{FILE}:4:10: this lock is of version 2, written by a newer imagectl"
    ]
    assert error.hint == "use that one; this one reads version 1"


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"a", b"a: b\n", b"\xe9: x", b"\0"])
def test_what_is_no_lock_is_bad_input(data: bytes) -> None:
    assert said_of(data)


def test_text_that_is_no_unicode_is_bad_input() -> None:
    assert "not UTF-8" in said_of(edited("black", "\ud800"))[0]


@pytest.mark.parametrize(
    "odd",
    [
        replace(lock(), epoch=-1),
        replace(lock(), epoch=10**15),
        replace(lock(), mirrors={Archive.DEBIAN: "ftp://mirror.example/"}),
        replace(lock(), inputs=Inputs(packages=(replace(package("a", "1"), path="/a"),))),
        replace(lock(), inputs=Inputs(downloads=(Download("http://a b/", 200, digest(""), 0),))),
        replace(lock(), inputs=Inputs(downloads=(Download("http://\ud800", 200, digest(""), 0),))),
        replace(
            lock(),
            expected=replace(lock().expected, raw=Sha256("0")),
        ),
    ],
)
def test_what_could_not_be_read_back_is_not_written(odd: Lock) -> None:
    with pytest.raises(Failed, match="the lock of debian-base cannot be written"):
        write_lock(odd)


def test_a_lock_of_five_hundred_inputs_is_read_at_once() -> None:
    """28 ms on an idle machine; a reader that looks at each line anew takes minutes."""
    many = sorted_inputs(package(f"package-{number}", f"{number}.1-2") for number in range(500))
    text = write_lock(replace(lock(), inputs=many))
    begun = time.process_time()
    assert len(parse_lock(text, FILE).inputs.packages) == 500
    assert time.process_time() - begun < 1


def test_digests_are_the_real_ones() -> None:
    assert parse_sha256(WRITTEN.split("checksum: ")[1][:64])
    assert f"image: {BASE}\n" in WRITTEN
