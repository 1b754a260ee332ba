"""What is fetched from a location is whole at its name, or not there."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagectl.adapters.locations.fetching import fetch
from imagectl.errors import Corrupt

ROOM = 1 << 20
"""In bytes: what a file may have in these tests."""


@contextmanager
def little_room() -> Iterator[None]:
    """As on a disk that is nearly full: what does not fit is taken in part, and then refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_it_is_kept_once_all_of_it_is_there(tmp_path: Path) -> None:
    moved: list[int] = []

    def read(take: Callable[[bytes], None]) -> None:
        for part in (b"one ", b"two"):
            take(part)
            assert not (tmp_path / "disk").exists()

    fetch(tmp_path / "disk", moved.append, read)
    assert (tmp_path / "disk").read_bytes() == b"one two"
    assert moved == [4, 7]


def test_what_is_taken_in_part_is_not_kept(tmp_path: Path) -> None:
    """P7: the last part ends where the disk does."""
    with pytest.raises(OSError, match="File too large"), little_room():
        fetch(tmp_path / "disk", lambda _: None, lambda take: take(b"x" * (ROOM + 1)))
    assert not (tmp_path / "disk").exists()


def test_what_is_another_one_is_not_kept(tmp_path: Path) -> None:
    def read(take: Callable[[bytes], None]) -> None:
        take(b"some")
        raise Corrupt("it has changed")

    with pytest.raises(Corrupt):
        fetch(tmp_path / "disk", lambda _: None, read)
    assert not (tmp_path / "disk").exists()
