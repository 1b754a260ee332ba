"""The site's folder is replaced as a whole, or stays as it was (P7)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagectl.adapters.site_folder import MARK, Content, Written, replace_folder
from imagectl.errors import BadUsage, CannotTell, Conflict, Failed

OLD: list[tuple[str, Content]] = [
    ("index.html", b"old"),
    ("same/page.html", b"same"),
    ("gone.html", b""),
]
NEW: list[tuple[str, Content]] = [("index.html", b"new"), ("same/page.html", b"same")]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


def beside(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.parent.iterdir() if each != folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "www" / "site"


def test_a_folder_becomes_what_is_asked_for(folder: Path) -> None:
    assert replace_folder(folder, OLD) == Written(3, 3)
    assert tree(folder) == {"index.html": b"old", "same/page.html": b"same", "gone.html": b""}
    assert replace_folder(folder, NEW) == Written(2, 1)
    assert tree(folder) == dict(NEW)
    assert beside(folder) == []


def test_what_has_not_changed_is_left_alone(folder: Path) -> None:
    replace_folder(folder, OLD)
    before = (folder / "same/page.html").stat()
    replace_folder(folder, NEW)
    after = (folder / "same/page.html").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_nlink == 1, "the old folder is gone"


def test_files_can_be_read_by_a_web_server(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "document"
    secret.write_bytes(b"x")
    secret.chmod(0o400)
    old = os.umask(0o077)
    try:
        replace_folder(folder, [("a.html", b"a"), ("d/x.json", lambda: secret)])
    finally:
        os.umask(old)
    assert (folder / "a.html").stat().st_mode & 0o777 == 0o644
    assert (folder / "d/x.json").stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "d").stat().st_mode & 0o777 == 0o755


def test_a_file_named_by_its_digest_is_copied_once(folder: Path, tmp_path: Path) -> None:
    document = tmp_path / "document"
    document.write_bytes(b"bill of materials")
    replace_folder(folder, [("d/ab.json", lambda: document)])
    assert (folder / "d/ab.json").read_bytes() == b"bill of materials"

    def again() -> Path:
        raise AssertionError("it is there")

    assert replace_folder(folder, [("d/ab.json", again)]) == Written(1, 0)


def test_whatever_fails_the_old_site_stays(folder: Path) -> None:
    replace_folder(folder, OLD)

    def broken() -> Iterator[tuple[str, Content]]:
        yield from NEW
        raise CannotTell("a document cannot be read")

    with pytest.raises(CannotTell):
        replace_folder(folder, broken())
    assert tree(folder) == dict(OLD)
    assert beside(folder) == []


def test_a_folder_of_something_else_is_never_replaced(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(BadUsage, match="something else") as caught:
        replace_folder(folder, NEW)
    assert caught.value.hint
    assert (folder / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", [".site.new", ".site.old"])
def test_nor_is_one_that_happens_to_have_the_name_of_ours(folder: Path, name: str) -> None:
    other = folder.with_name(name)
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(BadUsage):
        replace_folder(folder, NEW)
    assert (other / "thesis.tex").exists()


def test_a_file_is_not_replaced(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    with pytest.raises(BadUsage, match="cannot be written"):
        replace_folder(folder, NEW)


def test_an_empty_folder_is(folder: Path) -> None:
    folder.mkdir(parents=True)
    replace_folder(folder, NEW)
    assert tree(folder) == dict(NEW)


def test_a_link_goes_on_pointing_there(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    replace_folder(folder, OLD)
    replace_folder(link, NEW)
    assert link.is_symlink()
    assert tree(folder) == dict(NEW)


def test_one_writes_at_a_time(folder: Path) -> None:
    folder.parent.mkdir()
    fd = os.open(folder.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with pytest.raises(Conflict):
            replace_folder(folder, NEW)
    finally:
        os.close(fd)
    replace_folder(folder, NEW)


KILLED = """
import os, sys
from pathlib import Path
from imagectl.adapters.site_folder import replace_folder
def files():
    yield "index.html", b"half"
    os.kill(os.getpid(), 9)
replace_folder(Path(sys.argv[1]), files())
"""


def test_killed_in_between_the_old_site_stays_and_the_next_one_works(folder: Path) -> None:
    replace_folder(folder, OLD)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert ended.returncode == -9
    assert tree(folder) == dict(OLD)
    replace_folder(folder, NEW)
    assert tree(folder) == dict(NEW)
    assert beside(folder) == []


LIMITED = """
import resource, sys
from pathlib import Path
from imagectl.adapters.site_folder import replace_folder
from imagectl.errors import ImagectlError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_folder(Path(sys.argv[1]), [("index.html", b"new"), ("large.html", b"x" * 2000)])
except ImagectlError as problem:
    print(problem.what, problem.where)
"""


def test_a_file_that_cannot_be_written_leaves_the_old_site(folder: Path) -> None:
    """As on a full disk: write(2) itself refuses."""
    replace_folder(folder, OLD)
    said = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)], check=True, capture_output=True, text=True
    ).stdout
    assert said.startswith("writing the site failed")
    assert tree(folder) == dict(OLD)
    assert beside(folder) == []


class Without:
    """A C library whose file system cannot exchange two folders."""

    def __init__(self, path: None, use_errno: bool) -> None:
        self._real = REAL(path, use_errno=use_errno)
        self.syncfs = self._real.syncfs

    def renameat2(self, *arguments: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


REAL = ctypes.CDLL


def test_a_file_system_that_cannot_exchange_folders(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_folder(folder, OLD)
    monkeypatch.setattr(ctypes, "CDLL", Without)
    replace_folder(folder, NEW)
    assert tree(folder) == dict(NEW)
    assert beside(folder) == []


def test_killed_between_two_renames_the_old_site_is_put_back(folder: Path) -> None:
    replace_folder(folder, OLD)
    folder.rename(folder.with_name(".site.old"))

    def broken() -> Iterator[tuple[str, Content]]:
        raise CannotTell("no")
        yield

    with pytest.raises(CannotTell):
        replace_folder(folder, broken())
    assert tree(folder) == dict(OLD)


def test_no_right_to_write_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed) as caught:
        replace_folder(tmp_path / "file" / "below", NEW)
    assert str(tmp_path) in caught.value.where
