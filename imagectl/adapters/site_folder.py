"""A folder of finished files that is replaced as a whole, or stays as it was (P7).

The new folder is made beside the old one. A file that has not changed is the old one, linked, so
that its time stays and whoever copies or caches the folder has little to do. Then the two change
places, in one step where the file system can; killed at any moment, the old or the new one is
there. Only a folder that this module has made is ever replaced.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters.durable import make_folder, naming_failures, sync_folder
from imagectl.errors import BadUsage, Conflict

MARK = ".imagectl-site"
"""The file by which a folder of ours is known."""

_MARK = b"Made by `imagectl site build`, which replaces this folder as a whole.\n"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""renameat2(2)."""

_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV)

Content = bytes | Callable[[], Path]
"""A file's bytes; or where they are, for a file whose name tells its digest: asked only where the
old folder does not have it."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many files there are, and how many of them are new or others than before."""

    files: int
    changed: int


def replace_folder(folder: Path, files: Iterable[tuple[str, Content]]) -> Written:
    """Make *folder* hold these files, by their paths, and nothing else; durable on return.

    Raises BadUsage where something else is there, Conflict while another process does the same, and
    whatever *files* raises: nothing has changed then.
    """
    folder = folder.resolve()
    with naming_failures("writing the site", folder):
        make_folder(folder.parent)
        with _alone(folder):
            new = folder.with_name(f".{folder.name}.new")
            _recover(folder, new)
            _check(folder)
            try:
                written = _fill(new, folder, files)
                _sync_all(new)
                _change_places(new, folder)
                sync_folder(folder.parent)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return written


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The kernel gives the lock back, however the process ends."""
    fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "another process is writing a site there",
                where=str(folder),
                hint="type it again when that is done",
            ) from None
        yield
    finally:
        os.close(fd)


def _recover(folder: Path, new: Path) -> None:
    """Put right what a killed process has left."""
    old = _aside(folder)
    for left in (old, new):
        _check(left)
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    for left in (old, new):
        if left.is_dir():
            shutil.rmtree(left)


def _check(folder: Path) -> None:
    """Raise BadUsage where what is there is not ours."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BadUsage("the site cannot be written", where=str(folder), why="it is not a folder")
    if (folder / MARK).exists() or not any(folder.iterdir()):
        return
    raise BadUsage(
        "that folder holds something else than a site",
        where=str(folder),
        why=f"it is replaced as a whole, and has no {MARK}, by which a site is known",
        hint="name a folder that is empty or not there yet",
    )


def _fill(new: Path, old: Path, files: Iterable[tuple[str, Content]]) -> Written:
    new.mkdir()
    new.chmod(0o755)  # whatever the umask: a web server of another user reads it
    (new / MARK).write_bytes(_MARK)  # first: what a killed process leaves is known as ours
    count = changed = 0
    made: set[Path] = set()
    for path, content in files:
        target, before = new / path, old / path
        if target.parent not in made:
            _make_folders(target.parent, new)
            made.add(target.parent)
        if _is_there(before, content):
            _link(before, target)
        else:
            changed += 1
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content(), target)
            target.chmod(0o644)
        count += 1
    return Written(count, changed)


def _make_folders(folder: Path, top: Path) -> None:
    if folder != top and not folder.is_dir():
        _make_folders(folder.parent, top)
        folder.mkdir()
        folder.chmod(0o755)


def _is_there(before: Path, content: Content) -> bool:
    try:
        if not isinstance(content, bytes):
            return before.is_file()
        return before.stat().st_size == len(content) and before.read_bytes() == content
    except OSError:
        return False


def _link(before: Path, target: Path) -> None:
    try:
        os.link(before, target)
    except OSError:  # a file system without links, or too many of them
        shutil.copy2(before, target)


def _sync_all(folder: Path) -> None:
    """Everything that was written on that file system, in one call instead of thousands."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(fd)


def _change_places(new: Path, folder: Path) -> None:
    """The new folder has the name, and what was there is under the other one, to be removed."""
    if not folder.exists():
        new.rename(folder)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    ours, theirs = os.fsencode(new), os.fsencode(folder)
    if libc.renameat2(_AT_FDCWD, ours, _AT_FDCWD, theirs, _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number), str(folder))
    # In two steps: for a moment there is none, and a killed process's old one is put back by the
    # next (``_recover``).
    old = _aside(folder)
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
