"""The parts of writing a disk that need no toolchain."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.trees import ROOT, ListSource, file, folder

from imagectl.adapters.disk import writer
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.files import HashedWriter, whole_file
from imagectl.adapters.disk.partitions import MIB
from imagectl.adapters.disk.tree import CanonicalTree, Entry
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, NoSpace
from imagectl.model.lock import Inputs, LockedToolchain
from imagectl.model.names import Sha256

NOWHERE = Toolchain(Path("/nonexistent"), LockedToolchain("trixie", Sha256("0" * 64), Inputs()))


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


def test_many_small_files_need_a_larger_disk(tmp_path: Path) -> None:
    """A file system has room for one file for each 16 KiB."""
    crowd = CanonicalTree(tmp_path / "tree.tar", Sha256("0" * 64), 1 << 30, 1_000_000)
    assert writer.too_small(crowd, 8 << 30).hint == "set `disk_size: 18GiB` or more in image.yaml"


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


def test_a_full_file_system_is_named_with_what_is_needed(tmp_path: Path) -> None:
    """``/dev/full`` says ENOSPC to every write. A program's NoSpace is told the same way."""
    out = tmp_path / "disk.raw"

    def fill() -> None:
        with whole_file(out, need=3 * MIB + 1) as unfinished:
            unfinished.write_bytes(b"half")
            Path("/dev/full").write_bytes(b"x")

    def fail() -> None:
        with whole_file(out, need=3 * MIB + 1) as unfinished:
            unfinished.write_bytes(b"half")
            raise NoSpace("making the file system: no space left")

    for write in (fill, fail):
        with pytest.raises(NoSpace, match="no room for disk") as caught:
            write()
        assert caught.value.where == str(out)
        assert "it needs up to 4 MiB" in caught.value.why
        assert str(tmp_path) in caught.value.hint
        assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_are_let_through(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), whole_file(tmp_path / "out"):
        raise PermissionError


@pytest.mark.parametrize("length", [0, 1, MIB - 1, MIB, 3 * MIB + 5])
def test_what_is_written_is_hashed(tmp_path: Path, length: int) -> None:
    content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    with (tmp_path / "out").open("wb", buffering=0) as opened, HashedWriter(opened) as writer:
        for start in range(0, length, 100_000):
            writer.write(content[start : start + 100_000])
    assert (tmp_path / "out").read_bytes() == content
    assert writer.sha256 == hashlib.sha256(content).hexdigest()
    assert writer.size == length


def test_a_full_file_system_ends_the_writing() -> None:
    def write() -> None:
        with open("/dev/full", "wb", buffering=0) as full, HashedWriter(full) as writer:
            writer.write(bytes(3 * MIB))

    with pytest.raises(OSError, match="No space left"):
        write()
