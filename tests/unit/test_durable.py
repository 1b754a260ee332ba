"""That a file under its final name has reached the disk, and its name too (P7).

A kill cannot show this, only a power cut could: so here the order of the calls is checked.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imagectl.adapters.content import ContentFolder
from imagectl.adapters.durable import PARTIAL, naming_failures, partial, write
from imagectl.errors import Failed, NoSpace


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Every sync and rename from here on, with the file that it was about, as then named."""
    seen: list[tuple[str, Path]] = []
    fsync, replace = os.fsync, os.replace

    def syncing(fd: int) -> None:
        seen.append(("sync", Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    def replacing(source: Path, target: Path) -> None:
        seen.append(("rename", Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    return seen


def test_content_then_name_then_folder(tmp_path: Path, calls: list[tuple[str, Path]]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / PARTIAL).mkdir()
    write(tmp_path, tmp_path / "a" / "file", b"data")
    (what, written), *then = calls
    assert (what, written.parent) == ("sync", tmp_path / PARTIAL)
    assert then == [("rename", tmp_path / "a" / "file"), ("sync", tmp_path / "a")]


def test_new_folders_are_durable_from_the_top(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    write(tmp_path, tmp_path / "a" / "b" / "file", b"data")
    at = [each for each in calls if each[1].parent != tmp_path / PARTIAL]
    assert at == [
        ("sync", tmp_path),  # now .partial has a name
        ("sync", tmp_path),  # a
        ("sync", tmp_path / "a"),  # b
        ("rename", tmp_path / "a" / "b" / "file"),
        ("sync", tmp_path / "a" / "b"),
    ]


def test_an_adopted_file_is_synced_before_it_moves_in(
    tmp_path: Path, calls: list[tuple[str, Path]]
) -> None:
    source = tmp_path / "work"
    source.write_bytes(b"data")
    folder = ContentFolder(tmp_path / "store", "the store")
    final = folder.path(folder.adopt(source))
    order = [path for _, path in calls]
    assert order.index(source) < order.index(final.parent)
    assert order[-1] == final.parent


def test_what_is_not_kept_is_gone(tmp_path: Path) -> None:
    with partial(tmp_path) as new:
        os.write(new.fd, b"half")
    assert not list((tmp_path / PARTIAL).iterdir())


def test_what_is_not_ours_in_the_folder_of_partial_files_is_let_be(tmp_path: Path) -> None:
    (tmp_path / PARTIAL / "somebody's").mkdir(parents=True)
    (tmp_path / PARTIAL / "link").symlink_to(tmp_path)
    write(tmp_path, tmp_path / "file", b"data")
    assert sorted(path.name for path in (tmp_path / PARTIAL).iterdir()) == ["link", "somebody's"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_and_a_full_quota_are_no_space(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(NoSpace, match="writing: no space left") as caught,
        naming_failures("writing", tmp_path, 1_000_000),
    ):
        raise OSError(number, os.strerror(number))
    assert caught.value.where == str(tmp_path)
    assert caught.value.why.startswith("1,000,000 bytes are needed, ")


def test_other_failures_name_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(Failed, match="writing failed") as caught,
        naming_failures("writing", tmp_path),
    ):
        (tmp_path / "nothing").read_bytes()
    assert not isinstance(caught.value, NoSpace)
    assert (caught.value.where, caught.value.why) == (
        str(tmp_path / "nothing"),
        "No such file or directory",
    )
