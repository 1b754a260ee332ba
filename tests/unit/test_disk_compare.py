"""What two trees differ in: every difference is found, named, and comes with something to type."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import tarfile
import tempfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from support.systems import workspace
from support.trees import ROOT, ListSource, file, folder, made, trees

from imagectl.adapters.disk.archive import END, TarSource, encode_header
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.compare import SHOWN, TreeComparer, pattern_of
from imagectl.adapters.disk.members import read_content, read_members
from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.errors import Corrupt
from imagectl.model.patterns import to_regex
from imagectl.services.ports.looking_inside import Difference
from imagectl.testing.build import RecordingProgress

EPOCH = 2_000_000_000

Files = list[tuple[Entry, bytes]]


def compare(folder_: Path, one: Files, other: Files, host: str = "h") -> tuple[Difference, ...]:
    left, right = folder_ / "one.tar", folder_ / "other.tar"
    write_tree(ListSource(one), (), EPOCH, left)
    write_tree(ListSource(other), (), EPOCH, right)
    return TreeComparer(host).compare(left, right, workspace(folder_ / "work"), RecordingProgress())


def only(found: tuple[Difference, ...]) -> Difference:
    assert len(found) == 1, found
    return found[0]


def of_content(tmp_path: Path, path: bytes, one: bytes, other: bytes) -> Difference:
    folders = [folder(path[:at]) for at, byte in enumerate(path) if byte == ord("/")]
    before = [ROOT, *folders]
    return only(compare(tmp_path, [*before, file(path, one)], [*before, file(path, other)]))


@settings(deadline=None)
@given(files=trees())
def test_members_are_what_a_tar_reader_reads(files: Files) -> None:
    with tempfile.TemporaryDirectory() as made_:
        tar = Path(made_) / "tar"
        write_tree(ListSource(files), (), EPOCH, tar)
        with TarSource(tar) as source, tar.open("rb") as opened:
            wanted = {
                entry.path: (replace(entry, inode=0), b"".join(source.content(entry)))
                if entry.kind is Kind.FILE
                else (replace(entry, inode=0), b"")
                for entry in source.entries()
            }
            firsts: dict[bytes, tuple[Entry, bytes]] = {}
            for member in read_members(opened, tar):
                entry = member.entry
                content = b"".join(read_content(opened, member))
                if member.link_to is not None:
                    # Of a link a tar has the path alone; what it is, its first path says.
                    entry = replace(firsts[member.link_to][0], path=entry.path)
                    content = firsts[member.link_to][1]
                firsts[entry.path] = (entry, content)
    assert firsts == wanted


@settings(deadline=None)
@given(files=trees())
def test_equal_trees_have_no_difference(files: Files) -> None:
    with tempfile.TemporaryDirectory() as made_:
        assert compare(Path(made_), files, files) == ()


@settings(deadline=None)
@given(one=trees(), other=trees())
def test_trees_differ_where_their_digests_do(one: Files, other: Files) -> None:
    with tempfile.TemporaryDirectory() as made_:
        found = compare(Path(made_), one, other)
        same = (Path(made_) / "one.tar").read_bytes() == (Path(made_) / "other.tar").read_bytes()
        turned = compare(Path(made_), other, one)
    assert bool(found) is not same
    assert [each.path for each in found] == [each.path for each in turned]
    for each in found:
        assert each.detail
        assert each.advice


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"mode": 0o4755}, "mode 0644 / 4755"),
        ({"uid": 7}, "owner 0:0 / 7:0"),
        ({"gid": 4_000_000}, "owner 0:0 / 0:4000000"),
        ({"mtime": 1001}, "modified at 1000 / 1001"),
        ({"xattrs": ((b"user.a", b"1"),)}, "extended attributes user.a"),
        ({"kind": Kind.FIFO}, "a file / a fifo"),
    ],
)
def test_each_property_of_a_path(tmp_path: Path, change: dict[str, object], detail: str) -> None:
    before = file(b"a b", b"")
    after = (replace(before[0], **change), b"")  # type: ignore[arg-type]  # of several types
    found = only(compare(tmp_path, [ROOT, before], [ROOT, after]))
    assert (found.path, found.detail) == ("/a b", detail)
    assert "fix the task" in found.advice or "fixed numbers" in found.advice


def test_links_and_devices(tmp_path: Path) -> None:
    one = [
        ROOT,
        made(b"dev", Kind.CHARACTER, device=(1, 3)),
        file(b"f", b"text", inode=1),
        file(b"g", b"text", inode=1),
        made(b"l", Kind.SYMLINK, target=b"a"),
    ]
    other = [
        ROOT,
        made(b"dev", Kind.CHARACTER, device=(1, 5)),
        file(b"f", b"text", inode=1),
        file(b"g", b"text", inode=2),
        made(b"l", Kind.SYMLINK, target=b"b"),
    ]
    found = compare(tmp_path, one, other)
    assert [(each.path, each.detail) for each in found] == [
        ("/dev", "device (1, 3) / (1, 5)"),
        ("/g", "hard link to /f / no hard link"),
        ("/l", "target /a / /b"),
    ]


def test_a_file_that_two_names_share_is_told_of_once(tmp_path: Path) -> None:
    one = [ROOT, file(b"f", b"text", inode=1), file(b"g", b"text", inode=1)]
    other = [ROOT, file(b"f", b"tent", inode=1), file(b"g", b"tent", inode=1)]
    assert only(compare(tmp_path, one, other)).path == "/f"


def test_a_folder_of_one_tree_is_told_of_once(tmp_path: Path) -> None:
    """``b-c`` is between ``b`` and ``b/c`` in the order of paths."""
    shared = [ROOT, file(b"b-c", b"")]
    more = [folder(b"b"), file(b"b/c", b"1"), folder(b"b/d"), file(b"b/d/e", b"")]
    found = only(compare(tmp_path, shared, [*shared, *more]))
    assert found.path == "/b"
    assert found.detail == "a directory that only the second tree has with 3 more below it"


def test_the_first_byte_that_differs(tmp_path: Path) -> None:
    """At every distance from the pieces in which content is read."""
    chunk = 1 << 20
    for at in (0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk + 3):
        one = bytearray(os.urandom(1) * (2 * chunk + 4))
        other = bytearray(one)
        other[at] ^= 0x80
        found = of_content(tmp_path, b"f", bytes(one), bytes(other))
        assert found.detail.startswith(f"content from byte {at} of {len(one)}"), at


def test_a_file_that_is_longer_in_one_tree(tmp_path: Path) -> None:
    found = of_content(tmp_path, b"f", b"\0\1", b"\0\1\2")
    assert found.detail == "content from byte 2 of 2 and 3: nothing / 02 |.|"


def test_at_most_a_hundred_are_told_one_by_one(tmp_path: Path) -> None:
    one = [ROOT, *(file(b"%04d" % number, b"a") for number in range(SHOWN + 20))]
    other = [
        ROOT,
        *(file(b"%04d" % number, b"bb"[: 1 + number % 2]) for number in range(SHOWN + 20)),
    ]
    found = compare(tmp_path, one, other)
    assert len(found) == SHOWN + 1
    assert found[-1].detail == "and 20 more paths differ"


STAMPS = (gzip.compress(b"text", mtime=1), gzip.compress(b"text", mtime=2))


def zipped(year: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("name", (year, 1, 1, 0, 0, 0)), b"text")
    return out.getvalue()


def tarred(mtime: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("name")
        member.mtime = mtime
        archive.addfile(member)
    return out.getvalue()


def pyc(flags: int, mtime: int) -> bytes:
    return b"\xa7\r\r\n" + struct.pack("<III", flags, mtime, 9) + b"code"


def program(build_id: bytes) -> bytes:
    return b"\x7fELF" + bytes(600) + struct.pack("<III", 4, 20, 3) + b"GNU\0" + build_id + bytes(9)


def database(counter: int) -> bytes:
    return b"SQLite format 3\0" + bytes(8) + struct.pack(">I", counter) + bytes(100)


@pytest.mark.parametrize(
    ("path", "one", "other", "what", "advice"),
    [
        (b"a.gz", *STAMPS, "gzip's time stamp", "gzip -n"),
        (b"m.pyc", pyc(0, 1), pyc(0, 2), "the time of its source", "checked-hash"),
        (
            b"m.pyc",
            pyc(1, 0) + b"/tmp/pip-a1/x",
            pyc(1, 0) + b"/tmp/pip-b2/x",
            "the name of a temporary folder",
            "compileall -s",
        ),
        (b"p", program(b"a" * 20), program(b"b" * 20), "the build id", "--build-id=none"),
        (b"p", program(b"a" * 20), program(b"a" * 9 + b"b" * 11), "the build id", "--build-id"),
        (b"d", database(1), database(2), "the change counter of an SQLite", "action: drop"),
        (b"j.jar", zipped(2001), zipped(2002), "the time of a file in a zip", "nondeterminism"),
        (b"t.tar", tarred(1), tarred(2), "the time of a file in a tar", "tar --sort=name"),
        (b"l.a", b"!<arch>\nx 1", b"!<arch>\nx 2", "a static library", "ar crD"),
        (
            b"k",
            b"-----BEGIN PRIVATE KEY-----\nAAAA",
            b"-----BEGIN PRIVATE KEY-----\nBBBB",
            "a key or a certificate",
            "action: drop",
        ),
        (b"c", b"a\nat 2026-01-01 10:00:00Z", b"a\nat 2026-11-21 09:10:00Z", "a time", "date -u"),
        (b"c", b"# Sat Nov 21 10:00:00 UTC 2026", b"# Sun Nov 22 10:00:00 UTC 2026", "a time", ""),
        (b"c", b"t=1795000000", b"t=1795000009", "a time", "SOURCE_DATE_EPOCH"),
        (
            b"c",
            b"id 01234567-89ab-cdef-0123-456789abcdef",
            b"id 11234567-89ab-cdef-0123-456789abcdee",
            "a random id",
            "drop",
        ),
        (b"c", b"x /tmp/tmp1234 y", b"x /tmp/tmp12ab y", "a temporary folder", "drop"),
        (b"c", b"pid 123", b"pid 4567", "the number of a process, or a count", "drop"),
        (b"c", b"on h at", b"on j at", "the name of the machine", "drop"),
        (b"c", b"a\nb\nc\n", b"a\nc\nb\n", "the same lines in another order", "LC_ALL=C sort"),
        (
            b"etc/aliases.db",
            bytes(12) + b"\x61\x15\x06\0a",
            bytes(12) + b"\x61\x15\x06\0b",
            "Berkeley DB",
            "first_boot_postfix",
        ),
        (
            b"etc/ssl/certs/java/cacerts",
            b"\xfe\xed\xfe\xed1",
            b"\xfe\xed\xfe\xed2",
            "Java key store",
            "first_boot_java_cacerts",
        ),
    ],
)
def test_what_is_recognised(
    tmp_path: Path, path: bytes, one: bytes, other: bytes, what: str, advice: str
) -> None:
    found = of_content(tmp_path, path, one, other)
    assert what in found.detail
    assert advice in found.advice


def test_what_is_not_recognised_is_not_guessed(tmp_path: Path) -> None:
    found = of_content(tmp_path, b"var/log/x", b"\0\0\1", b"\0\0\2")
    assert found.detail == "content from byte 2 of 3: 01 |.| / 02 |.|"
    assert found.advice.endswith(
        'volatile: [{path: "var/log/x", action: empty, reason: "differs from build to build"}]'
    )


@given(files=trees())
def test_the_rule_that_is_advised_matches_its_path(files: Files) -> None:
    for entry, _ in files[1:]:
        pattern = pattern_of(entry.path)
        assert re.compile(to_regex(pattern), re.DOTALL).fullmatch(entry.path)


def test_the_same_answer_again(tmp_path: Path) -> None:
    one = [ROOT, *(file(b"%d" % number, b"%d" % number) for number in range(9))]
    other = [ROOT, *(file(b"%d" % number, b"%d" % (number % 3)) for number in range(9))]
    assert compare(tmp_path, one, other) == compare(tmp_path, one, other)


def test_diffoscopes_report_on_the_first_file_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program of its name will do: it is given both files, under the name they have."""
    program = tmp_path / "bin" / "diffoscope"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != --text ]; do shift; done; out=$2; shift 3\n'
        'echo "$(basename "$1") $(cat "$1") $(cat "$2")" > "$out"; exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    of_content(tmp_path, b"name.gz", b"left", b"right")
    assert (
        "--- diffoscope on /name.gz ---\nname.gz left right\n"
        in (tmp_path / "work" / "log").read_text()
    )
    assert [each.name for each in (tmp_path / "work").iterdir()] == ["log"]


def damaged(tmp_path: Path, tar: bytes) -> None:
    (tmp_path / "bad.tar").write_bytes(tar)
    TreeComparer("h").compare(
        tmp_path / "bad.tar", tmp_path / "bad.tar", workspace(tmp_path / "w"), RecordingProgress()
    )


def test_a_tar_that_is_damaged_or_not_canonical_is_refused(tmp_path: Path) -> None:
    good = encode_header(ROOT[0]) + encode_header(replace(file(b"a")[0], size=600)) + bytes(1024)
    damaged(tmp_path, good + END)
    for bad in (
        good,
        good[:-100],
        good[:600],
        b"",
        good[:520] + b"x" + good[521:] + END,
        encode_header(file(b"b")[0]) + encode_header(file(b"a")[0]) + END,
        tarred(1),
    ):
        with pytest.raises(Corrupt, match="canonical tar is damaged"):
            damaged(tmp_path, bad)


def test_memory_does_not_grow_with_the_trees(tmp_path: Path) -> None:
    peaks = []
    for count in (1000, 8000):
        files = [ROOT, *(file(b"%08d" % number, b"x" * 100) for number in range(count))]
        tar = tmp_path / f"{count}.tar"
        write_tree(ListSource(files), (), EPOCH, tar)
        del files
        tracemalloc.start()
        TreeComparer("h").compare(tar, tar, workspace(tmp_path / "w"), RecordingProgress())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5
