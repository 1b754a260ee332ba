"""Files that appear whole under their final name, durable, or not at all (P7).

A file is written under a temporary name in the folder's ``.partial``, synced, renamed, and the
folder that it is in is synced. Its writer holds a lock on it meanwhile, which the kernel drops with
the writer, however that ends: a file in ``.partial`` that can be locked is a dead writer's, and the
next writer removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imagectl.errors import Failed, NoSpace

PARTIAL = ".partial"


class Partial:
    """A file being written: ``fd`` is open for reading and writing."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path

    def write(self, data: bytes) -> None:
        """Write all of it behind what is there."""
        write_all(self.fd, data)

    def keep(self, final: Path, mode: int) -> None:
        """Give it its final name and *mode*, replacing what is there; durable on return."""
        os.fchmod(self.fd, mode)
        os.fsync(self.fd)
        make_folder(final.parent)
        os.replace(self.path, final)
        sync_folder(final.parent)


@contextlib.contextmanager
def partial(root: Path) -> Iterator[Partial]:
    """A new file to be kept below *root*; removed when the block is left without ``keep``."""
    folder = root / PARTIAL
    make_folder(folder)
    _remove_leftovers(folder)
    fd, path = _locked_file(folder)
    try:
        yield Partial(fd, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(fd)


def write(root: Path, final: Path, data: bytes, mode: int = 0o644) -> None:
    """Write the file *final*, which is below *root*, replacing what is there."""
    with partial(root) as new:
        new.write(data)
        new.keep(final, mode)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part of it, and says no to the rest."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def make_folder(path: Path) -> None:
    """Create the folder and those above it where absent, durable on return."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def naming_failures(what: str, folder: Path, needed: int = 0) -> Iterator[None]:
    """Turn what the file system says into an error that names the folder.

    ``what`` says what was being done; ``needed`` is how many bytes it takes, where known.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"{what}: no space left",
                where=str(folder),
                why=f"{needed:,} bytes are needed, {_free(folder)}",
                hint="make room there, and type the command again: it goes on where it stopped",
            ) from error
        raise Failed(
            f"{what} failed",
            where=str(error.filename or folder),
            why=error.strerror or str(error),
            hint="`imagectl doctor` checks each folder that imagectl writes to",
        ) from error


def _free(folder: Path) -> str:
    try:
        found = os.statvfs(folder)
    except OSError:
        return "how many are free is unknown"
    return f"{found.f_bavail * found.f_frsize:,} are free"


def _locked_file(folder: Path) -> tuple[int, Path]:
    while True:
        fd, name = tempfile.mkstemp(dir=folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return fd, Path(name)
        except BlockingIOError:
            pass  # another writer, removing leftovers, was faster than the lock: it removes this
        os.close(fd)


def _remove_leftovers(folder: Path) -> None:
    for path in list(folder.iterdir()):
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # gone already, or somebody else's
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except OSError:
            pass  # it is being written
        finally:
            os.close(fd)
