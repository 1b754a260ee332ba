"""Reading tars of other programs, and the corners of the header that we write."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.trees import contents

from imagectl.adapters.disk.archive import TarSource, encode_header
from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.errors import Corrupt


def parse(header: bytes) -> tarfile.TarInfo:
    """A header as Python's own tarfile understands it."""
    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024)), errors="surrogateescape") as tar:
        member = tar.next()
    assert member is not None
    return member


def test_a_plain_entry_needs_one_block() -> None:
    header = encode_header(Entry(b"usr/bin/true", Kind.FILE, 0o755, mtime=1000, size=7))
    assert len(header) == 512
    member = parse(header)
    assert (member.name, member.mode, member.mtime, member.size) == (
        "./usr/bin/true",
        0o755,
        1000,
        7,
    )
    assert (member.uname, member.gname) == ("", "")


@pytest.mark.parametrize("length", [96, 97, 98, 99, 100, 101, 155, 256, 1000])
def test_names_of_any_length(length: int) -> None:
    name = b"d/" + b"n" * (length - 2)
    assert parse(encode_header(Entry(name, Kind.FILE, 0o644))).name == "./" + name.decode()
    link = parse(encode_header(Entry(b"l", Kind.SYMLINK, 0o777, target=name)))
    assert link.linkname == name.decode()


@pytest.mark.parametrize("name", [b"caf\xe9" * 40, b"caf\xe9", b"a\nb", b"caf\xc3\xa9" * 40])
def test_names_of_any_bytes(name: bytes) -> None:
    member = parse(encode_header(Entry(name, Kind.FILE, 0o644)))
    assert member.name.encode("utf-8", "surrogateescape") == b"./" + name


def test_numbers_that_the_old_header_cannot_say() -> None:
    big = Entry(b"a", Kind.FILE, 0o644, uid=2**31, gid=2**21, size=2**33)
    member = parse(encode_header(big))
    assert (member.uid, member.gid, member.size) == (2**31, 2**21, 2**33)


@pytest.mark.parametrize("size", [1, 9, 10, 85, 86, 87, 88, 89, 90, 975, 976, 977, 978, 990])
def test_attributes_of_any_length_and_content(size: int) -> None:
    """The length of a record counts its own digits."""
    value = (b"=\n\xff" * size)[:size]
    header = encode_header(Entry(b"a", Kind.FILE, 0o644, xattrs=((b"user.x", value),)))
    stored = parse(header).pax_headers["SCHILY.xattr.user.x"]
    assert stored.encode("utf-8", "surrogateescape") == value


def gnu_tar(folder: Path, out: Path, *options: str) -> None:
    subprocess.run(["tar", "--create", f"--file={out}", *options, "."], cwd=folder, check=True)


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_what_gnu_tar_writes(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "a").write_bytes(b"text")
    os.link(tree / "a", tree / "b")
    (tree / ("n" * 180)).write_bytes(b"long")
    (tree / "link").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    os.utime(tree / "a", ns=(0, 1_234_567_890_987_654_321))
    gnu_tar(tree, tmp_path / "tar", f"--format={form}")
    with TarSource(tmp_path / "tar") as source:
        found = contents(source)
        names = {entry.path: entry.inode for entry in source.entries()}
    assert set(found) == {b"", b"a", b"b", b"empty", b"fifo", b"link", b"n" * 180}
    assert names[b"a"] == names[b"b"]
    assert names[b"a"] != names[b"link"]
    assert found[b"b"][1] == b"text"
    assert found[b"a"][0].mtime == 1_234_567_890
    assert found[b"link"][0].target == b"nowhere"
    assert found[b"fifo"][0].kind is Kind.FIFO


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_files_come_out_whole(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(5 << 20)
    gnu_tar(tree, tmp_path / "tar", f"--format={form}", "--sparse")
    assert (tmp_path / "tar").stat().st_size < 1 << 20
    with TarSource(tmp_path / "tar") as source:
        entry, content = contents(source)[b"sparse"]
    assert entry.size == 5 << 20
    assert content == (tree / "sparse").read_bytes()


def test_a_later_entry_replaces_an_earlier_one(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tar", "w") as archive:
        for text in (b"first", b"second"):
            member = tarfile.TarInfo("./a")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    with TarSource(tmp_path / "tar") as source:
        assert contents(source)[b"a"][1] == b"second"


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "tar", "w") as archive:
        member = tarfile.TarInfo("./a")
        member.type, member.linkname = tarfile.LNKTYPE, "./gone"
        archive.addfile(member)
    with (
        TarSource(tmp_path / "tar") as source,
        pytest.raises(Corrupt, match=r"hard link to \./gone"),
    ):
        list(source.entries())


@pytest.mark.parametrize("damage", ["not a tar", "cut", "flipped"])
def test_a_damaged_tar_is_refused(tmp_path: Path, damage: str) -> None:
    text = b"x" * 100_000
    tar = tmp_path / "tar"
    with tarfile.open(tar, "w") as archive:
        for name in "ab":
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    whole = tar.read_bytes()
    if damage == "not a tar":
        tar.write_bytes(b"hello" * 1000)
    elif damage == "cut":
        tar.write_bytes(whole[:150_000])
    else:
        at = whole.index(b"b\0", 100_000)
        tar.write_bytes(whole[:at] + b"c" + whole[at + 1 :])
    with TarSource(tar) as source, pytest.raises(Corrupt):
        contents(source)
