"""Source archives: whatever a build may read is in them, and nothing in one leads out of them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.workshop import IMAGE

from imagectl.adapters.definition_digest import definition_digests
from imagectl.adapters.definition_files import Entry, Kind, playbook_files, suite_files
from imagectl.adapters.sources import unpack_archive, write_archive
from imagectl.errors import Corrupt

Member = tuple[str, bytes | str | None]
"""A name, and the content of a file, ``-> TARGET`` of a link, or None for a folder."""


def project(folder: Path) -> Path:
    """A project with everything odd that a build may read."""
    root = folder / "project"
    for path in (
        "playbooks/ci.yml",
        "playbooks/roles/one/tasks/main.yml",
        "shared/deep/file",
        "tests/images/test_x.py",
        "tests/images/conftest.py",
        os.fsdecode(b"playbooks/latin\xff1"),
        "playbooks/new\nline",
        f"playbooks/{'long' * 40}",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"content of {path!r}")
    (root / "playbooks/empty").mkdir()
    (root / "playbooks/program").write_text("#!/bin/sh\n")
    (root / "playbooks/program").chmod(0o755)
    os.symlink("../shared", root / "playbooks/files")
    os.symlink("..", root / "playbooks/roles/up")
    os.symlink("../../shared/deep/file", root / "playbooks/roles/link")
    return root


def archive_of(root: Path, out: Path) -> Path:
    entries = {each.path: each for each in (*playbook_files(root), *suite_files(root, IMAGE))}
    write_archive(out, root, entries.values(), [(PurePosixPath("images/x/image.yaml"), b"x")])
    return out


def test_what_was_archived_has_the_same_digests_when_it_is_unpacked(tmp_path: Path) -> None:
    root = project(tmp_path)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    unpack_archive(archive_of(root, tmp_path / "a.tar"), unpacked)
    assert definition_digests(unpacked, IMAGE) == definition_digests(root, IMAGE)
    assert (unpacked / "images/x/image.yaml").read_bytes() == b"x"
    assert os.readlink(unpacked / "playbooks/files") == "../shared"


def test_equal_projects_give_equal_archives(tmp_path: Path) -> None:
    one, other = project(tmp_path / "one"), project(tmp_path / "other")
    os.utime(other / "playbooks/ci.yml", (1, 1))
    (other / "playbooks/ci.yml").chmod(0o600)
    first = archive_of(one, tmp_path / "one.tar").read_bytes()
    assert archive_of(other, tmp_path / "other.tar").read_bytes() == first


NAMES = st.lists(
    st.text(st.sampled_from("aß\n .\udcff"), min_size=1, max_size=3).filter(
        lambda name: name not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=8))
def test_any_file_comes_back(
    tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    root, out = folder / "root", folder / "out"
    out.mkdir()
    root.mkdir()
    kept: dict[PurePosixPath, bytes] = {}
    for name, content in files.items():
        path = PurePosixPath(name)
        if any(above in kept for above in path.parents) or (root / path).exists():
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        kept[path] = content
    write_archive(folder / "a", root, [Entry(path, Kind.FILE) for path in kept], [])
    unpack_archive(folder / "a", out)
    assert {
        PurePosixPath(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    } == kept


def hostile(out: Path, members: Iterable[Member], kind: bytes | None = None) -> Path:
    with tarfile.open(out, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            data = b""
            if kind is not None:
                member.type = kind
                member.linkname = "x"
            elif content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type = tarfile.SYMTYPE
                member.linkname = content
            else:
                data = content
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/passwd", b"x")],
        [("../out", b"x")],
        [("a/../../out", b"x")],
        [("", b"x")],
        [("a", "/etc")],
        [("a", "../out")],
        [("a/b", "../../out")],
        [("a/b", "c/../../../out")],
        # Neither leads out by itself; together they would.
        [("a/here", "."), ("a/up", "here/../../out")],
        [("a", "b"), ("a/out", b"x")],
        [("a/out", b"x"), ("a", "b")],
        [("a", b"x"), ("a/out", b"x")],
        [("a", b"x"), ("a", b"y")],
        [("a", b"x"), ("a", "b")],
        [("a", b"x"), ("./a", b"y")],
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: list[Member]) -> None:
    folder = tmp_path / "below" / "in"
    folder.mkdir(parents=True)
    with pytest.raises(Corrupt, match="not one that imagectl wrote"):
        unpack_archive(hostile(tmp_path / "a.tar", members), folder)
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["in"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_devices_and_hard_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(Corrupt, match="not one that imagectl wrote") as caught:
        unpack_archive(hostile(tmp_path / "a.tar", [("a", b"")], kind), folder)
    assert "neither file, folder nor link" in caught.value.why
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"x" * 512, b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_tar_is_corrupt(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(Corrupt):
        unpack_archive(tmp_path / "a.tar", tmp_path)


def test_a_truncated_archive_is_corrupt(tmp_path: Path) -> None:
    whole = archive_of(project(tmp_path), tmp_path / "a.tar").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 2 - 700])
    with pytest.raises(Corrupt):
        unpack_archive(tmp_path / "a.tar", tmp_path / "in")
