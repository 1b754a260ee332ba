"""The parts of writing a disk that need no toolchain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.trees import ROOT, ListSource, file, folder

from imagectl.adapters.disk import writer
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.partitions import MIB
from imagectl.adapters.disk.tree import CanonicalTree, Entry
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed
from imagectl.model.names import Sha256

NOWHERE = Toolchain(Path("/nonexistent"), Sha256("0" * 64))


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [(0, b"a")],
        [(5 * MIB, b"a" * 5000)],
        [(0, b"a" * 4096), (3 * MIB + 4096, b"b" * 8192), (7 * MIB - 1, b"c")],
        [(0, b"x" * (7 * MIB))],
    ],
)
def test_holes_count_as_zeros(tmp_path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        for position, content in pieces:
            file.seek(position)
            file.write(content)
        file.truncate(7 * MIB)
    assert writer.hash_sparse(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def tree(tmp_path: Path, *files: tuple[Entry, bytes]) -> CanonicalTree:
    return write_tree(ListSource([ROOT, *files]), (), 10**9, tmp_path / "tree.tar")


@pytest.mark.parametrize("size", [0, 100 * MIB, 192 * MIB, 4096 * MIB + 1])
def test_a_disk_that_cannot_be_is_refused_before_anything_is_done(
    tmp_path: Path, size: int
) -> None:
    made = tree(tmp_path, file(b"a", b"x" * 5 * MIB))
    with pytest.raises(BuildFailed, match=r"too small|cannot be") as caught:
        writer.write_raw(made, size, 10**9, NOWHERE, tmp_path, tmp_path / "out")
    assert "disk_size" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["tree.tar"]


def test_the_message_says_how_much_is_needed(tmp_path: Path) -> None:
    big = CanonicalTree(tmp_path / "tree.tar", Sha256("0" * 64), 3 << 30, 50_000)
    error = writer.too_small(big, 1 << 30)
    assert error.what == "the disk of 1024 MiB is too small for the image's files"
    assert "50000 files" in error.why
    assert error.hint == "set `disk_size: 5GiB` or more in image.yaml"


def test_a_tree_without_a_boot_loader_is_refused(tmp_path: Path) -> None:
    made = tree(tmp_path, folder(b"boot"), file(b"vmlinuz"), file(b"initrd.img"))
    with pytest.raises(BuildFailed, match="no /usr/lib/shim") as caught:
        writer.write_raw(made, 512 * MIB, 10**9, NOWHERE, tmp_path, tmp_path / "out")
    assert "shim-signed" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["tree.tar"]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """P7. What was there before stays until the new one is whole."""
    out = tmp_path / "out"
    out.write_text("before")

    def write(text: str, *, stop: type[BaseException] | None) -> None:
        with whole_file(out) as unfinished:
            unfinished.write_text(text)
            if stop is not None:
                raise stop

    for stop in (KeyboardInterrupt, OSError):
        with pytest.raises(stop):
            write("half", stop=stop)
        assert out.read_text() == "before"
        assert list(tmp_path.iterdir()) == [out]
    write("after", stop=None)
    assert out.read_text() == "after"
    assert list(tmp_path.iterdir()) == [out]
