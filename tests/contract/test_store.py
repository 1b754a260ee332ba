"""The contract of ``services.ports.ArtifactStore``, and what the one on disk promises beyond it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import Killer, end, fork

from imagectl.adapters.durable import PARTIAL, partial
from imagectl.adapters.store import FileStore
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound
from imagectl.model.names import Sha256
from imagectl.services.ports.stores import ArtifactStore
from imagectl.testing.store import MemoryStore

Make = Callable[[Path], ArtifactStore]

DATA = b"an artifact" * 1000


def sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, root: Path) -> ArtifactStore:
    if request.param == "memory":
        root.mkdir()
        return MemoryStore(root)
    return FileStore(root)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def names(root: Path) -> set[str]:
    """All files that the store has under their final names."""
    return {path.name for path in (root / "sha256").glob("*/*")}


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_is_added_is_there_under_its_digest(store: ArtifactStore, source: Path) -> None:
    assert store.add(source) == sha256(DATA)
    assert source.read_bytes() == DATA
    assert store.path(sha256(DATA)).read_bytes() == DATA
    assert store.verify(sha256(DATA)) == store.path(sha256(DATA))


def test_the_copy_is_its_own(store: ArtifactStore, source: Path) -> None:
    store.add(source)
    source.write_bytes(b"something else")
    assert store.verify(sha256(DATA)).read_bytes() == DATA


def test_adding_again_changes_nothing(store: ArtifactStore, source: Path) -> None:
    store.add(source)
    before = store.path(sha256(DATA)).stat()
    assert store.add(source) == sha256(DATA)
    after = store.path(sha256(DATA)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_adopted_has_moved_in(store: ArtifactStore, source: Path) -> None:
    assert store.adopt(source) == sha256(DATA)
    assert not source.exists()
    assert store.verify(sha256(DATA)).read_bytes() == DATA


def test_adopting_what_is_there_removes_the_source_only(store: ArtifactStore, source: Path) -> None:
    store.add(source)
    assert store.adopt(source) == sha256(DATA)
    assert not source.exists()
    kept = store.path(sha256(DATA))
    assert store.adopt(kept) == sha256(DATA)
    assert store.verify(sha256(DATA)).read_bytes() == DATA


def test_an_empty_file_is_a_file(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert store.verify(store.add(tmp_path / "empty")).read_bytes() == b""


def test_what_was_never_added_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        store.path(sha256(DATA))
    with pytest.raises(NotFound):
        store.verify(sha256(DATA))


def test_everything_that_is_kept_is_listed_with_its_size(
    store: ArtifactStore, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"other")
    store.add(source)
    store.add(tmp_path / "other")
    expected = sorted([(sha256(DATA), len(DATA)), (sha256(b"other"), 5)])
    assert sorted(store.digests()) == expected


def test_what_is_removed_is_not_kept_any_more(
    store: ArtifactStore, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"other")
    for path in (source, tmp_path / "other"):
        store.add(path)
    store.remove(sha256(DATA))
    store.remove(sha256(DATA))
    store.remove(sha256(b"never there"))
    with pytest.raises(NotFound):
        store.path(sha256(DATA))
    assert list(store.digests()) == [(sha256(b"other"), 5)]
    assert store.add(source) == sha256(DATA)
    assert store.verify(sha256(DATA)).read_bytes() == DATA


def test_a_store_that_was_never_made_is_empty(root: Path) -> None:
    assert list(FileStore(root).digests()) == []


def test_what_is_not_a_kept_file_is_not_listed(root: Path, source: Path) -> None:
    store = FileStore(root)
    kept = store.path(store.add(source))
    wrong_folder = "ab" if kept.parent.name != "ab" else "cd"
    for stray in (
        root / "sha256" / "README",
        kept.parent / "notes.txt",
        kept.parent / f"{kept.name}.part",
        root / "sha256" / wrong_folder / kept.name,
    ):
        stray.parent.mkdir(exist_ok=True)
        stray.write_text("stray")
    assert list(store.digests()) == [(sha256(DATA), len(DATA))]


def test_a_store_that_cannot_be_listed_is_not_an_empty_one(root: Path, source: Path) -> None:
    """P3."""
    FileStore(root).add(source)
    shutil.rmtree(root / "sha256")
    (root / "sha256").write_text("not a folder")
    with pytest.raises(CannotTell, match="the artifact store cannot be read"):
        list(FileStore(root).digests())


def test_damage_is_found_and_never_overwritten(store: ArtifactStore, source: Path) -> None:
    path = store.path(store.add(source))
    overwrite(path, b"damaged")
    with pytest.raises(Corrupt):
        store.verify(sha256(DATA))
    with pytest.raises(Corrupt):
        store.add(source)
    with pytest.raises(Corrupt):
        store.adopt(source)
    assert source.read_bytes() == DATA
    assert path.read_bytes() == b"damaged"


def test_files_are_read_only_below_two_digits_of_their_digest(root: Path, source: Path) -> None:
    store = FileStore(root)
    for sha in (store.add(source), store.adopt(source)):
        path = store.path(sha)
        assert path == root / "sha256" / sha[:2] / sha
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_holes_stay_holes(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    parts = {0: b"boot", 37 << 20: b"x" * 5_000_000, (100 << 20) - 4: b"last"}
    with disk.open("wb") as file:
        for at, data in parts.items():
            file.seek(at)
            file.write(data)
        file.truncate(200 << 20)
    expected = bytearray(200 << 20)
    for at, data in parts.items():
        expected[at : at + len(data)] = data
    store = FileStore(root)
    kept = store.path(store.add(disk))
    assert kept.name == sha256(bytes(expected))
    assert kept.read_bytes() == expected
    assert kept.stat().st_blocks * 512 < 6_000_000


def test_a_file_that_is_one_hole(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate((9 << 20) + 1)
    store = FileStore(root)
    kept = store.verify(store.add(disk))
    assert kept.name == sha256(bytes((9 << 20) + 1))
    assert kept.stat().st_blocks == 0


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than temporary files are on."""
    folder = Path("/dev/shm") / f"imagectl-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_sources_may_be_on_another_file_system(root: Path, source: Path, elsewhere: Path) -> None:
    if elsewhere.stat().st_dev == source.stat().st_dev:
        pytest.skip("temporary files are on the same file system as /dev/shm here")
    data = DATA * 900  # more than one chunk
    store = FileStore(root)
    for keep in (store.add, store.adopt):
        (elsewhere / "source").write_bytes(data)
        assert keep(elsewhere / "source") == sha256(data)
        assert store.verify(sha256(data)).read_bytes() == data
        store.path(sha256(data)).unlink()
    assert not (elsewhere / "source").exists()


def test_a_source_that_is_not_there_is_one_clear_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="putting nothing in the artifact store failed") as caught:
        FileStore(root).add(tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing")


def test_a_link_is_never_moved_in_for_a_file(root: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(Failed):
        FileStore(root).adopt(tmp_path / "link")
    assert source.read_bytes() == DATA


@pytest.mark.parametrize("put_there", [os.mkfifo, os.mkdir])
def test_what_is_not_a_file_is_corrupt(
    root: Path, source: Path, put_there: Callable[[Path], None]
) -> None:
    store = FileStore(root)
    path = store.path(store.add(source))
    path.unlink()
    put_there(path)
    with pytest.raises(Corrupt, match="not what its name says"):
        store.verify(sha256(DATA))


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(root: Path, source: Path) -> None:
    store = FileStore(root)
    path = store.path(store.add(source))
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("not a folder")
    with pytest.raises(CannotTell, match="the artifact store cannot be read"):
        store.verify(sha256(DATA))
    with pytest.raises(CannotTell, match="the artifact store cannot be read"):
        store.path(sha256(DATA))


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(
    root: Path, source: Path
) -> None:
    def write_and_die() -> None:
        with partial(root) as new:
            os.write(new.fd, b"half")
            os._exit(0)

    end(fork(write_and_die))
    (left,) = (root / PARTIAL).iterdir()
    with partial(root) as living:
        assert not left.exists()
        FileStore(root).add(source)
        assert living.path.exists()
    assert not any((root / PARTIAL).iterdir())


def test_killed_at_any_moment_it_has_the_whole_file_or_none(root: Path, tmp_path: Path) -> None:
    """P7. Killed between its first and last instruction, 40 times."""
    data = random.Random(2).randbytes(6 << 20)
    source = tmp_path / "source"
    source.write_bytes(data)
    store = FileStore(root)
    killer = Killer(2, lambda: store.add(source))
    for _ in range(40):
        if names(root):
            assert store.verify(sha256(data)).stat().st_size == len(data)
            store.path(sha256(data)).unlink()
        killer.kill(lambda: store.add(source))
    assert killer.killed >= 13, "the kills came too late to prove anything"
    store.add(source)
    assert names(root) == {sha256(data)}
    assert not any((root / PARTIAL).iterdir())


FULL = """
import sys
from pathlib import Path
from imagectl.adapters.store import FileStore
from imagectl.errors import NoSpace
root, source = map(Path, sys.argv[1:])
try:
    FileStore(root).add(source)
except NoSpace as error:
    assert not list(root.glob("sha256/*/*")) and not list(root.glob(".partial/*"))
    print(error.what, error.where, error.why, sep="|")
"""


def test_a_full_disk_is_named_with_what_is_needed(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    source = tmp_path / "disk.raw"
    source.write_bytes(b"x" * (3 << 20))
    mounting = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounting, root, sys.executable, "-c", FULL, root, source],
        check=True,
        capture_output=True,
        text=True,
    )
    what, where, why = done.stdout.strip().split("|")
    assert what == "putting disk.raw in the artifact store: no space left"
    assert where == str(root)
    assert why.startswith("3,145,728 bytes are needed, ")
