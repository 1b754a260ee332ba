"""Working folders that leave nothing behind, even after ``kill -9``.

A run owns a private folder below ``.imagectl/runs`` and a short one for sockets below the system's
temporary folder (a socket's path may have 107 bytes only, unix(7)). It holds a lock on its folder
for as long as its process lives; the kernel drops the lock with the process. ``sweep`` therefore
knows a dead run by a lock that it can take, ends the processes that carry the run's id in their
environment, and removes the folders. It never looks at names, ages or process ids to decide that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagectl.adapters.namespaces import remove_tree
from imagectl.errors import Conflict

VARIABLE = "IMAGECTL_RUN"
"""The environment variable that marks every process of a run."""

DEATH_SECONDS = 10.0
"""How long to wait for killed processes to be gone."""


@dataclass(frozen=True, slots=True)
class Run:
    """A working folder that this process owns. ``folder`` and ``sockets`` are private (0700)."""

    id: str
    folder: Path
    sockets: Path

    def sub(self, name: str) -> Path:
        """A folder of that name inside the run's, created where absent."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Swept:
    """What a dead run had left: its id, and the processes that were ended."""

    id: str
    processes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it was found. ``alive``: its process holds its lock. ``began`` is aware, in UTC."""

    id: str
    folder: Path
    alive: bool
    began: datetime


def new_id() -> str:
    """The id of a run that is to be."""
    return secrets.token_hex(6)


def _sockets(run_id: str) -> Path:
    return Path(tempfile.gettempdir()) / f"imagectl-{os.getuid()}-{run_id}"


@contextlib.contextmanager
def open_run(root: Path, run_id: str = "") -> Iterator[Run]:
    """A run in *root*; everything of it is ended and removed when the block is left."""
    root.mkdir(parents=True, exist_ok=True)
    run_id = run_id or new_id()
    folder = root / run_id
    with _serial(root):  # a sweep must never find a living run whose lock is not taken yet
        folder.mkdir(mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    sockets = _sockets(run_id)
    sockets.mkdir(mode=0o700)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = run_id
    try:
        yield Run(run_id, folder.resolve(), sockets)
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
        _empty(folder, run_id)
        with _serial(root):  # nor may it find the folder of one that is just going
            remove_tree(folder)
        os.close(lock)


def sweep(root: Path) -> tuple[Swept, ...]:
    """End and remove what dead runs have left in *root*. Living runs are not touched."""
    if not root.is_dir():
        return ()
    with _serial(root):
        return tuple(
            swept
            for folder in sorted(root.iterdir())
            if folder.is_dir() and (swept := _sweep_one(folder)) is not None
        )


def _sweep_one(folder: Path) -> Swept | None:
    """None where the run lives."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ended = _empty(folder, folder.name)
        remove_tree(folder)
        return Swept(folder.name, ended)
    except BlockingIOError:
        return None
    finally:
        os.close(lock)


def look(root: Path) -> tuple[Seen, ...]:
    """All runs in *root*, living and dead. Changes nothing. Raises OSError."""
    if not root.is_dir():
        return ()
    with _serial(root):
        return tuple(seen for each in sorted(root.iterdir()) if (seen := _seen(each)) is not None)


def _seen(folder: Path) -> Seen | None:
    """What is there; None where that is no run, or is gone."""
    try:
        began = folder.stat().st_mtime
    except FileNotFoundError:
        return None
    if not folder.is_dir():
        return None
    alive = False
    try:
        with (folder / "lock").open("rb") as lock:
            began = os.fstat(lock.fileno()).st_mtime
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                alive = True
    except FileNotFoundError:
        pass  # killed before it took its lock, or while it was being removed
    return Seen(folder.name, folder, alive, datetime.fromtimestamp(began, UTC))


def collect(root: Path, run_id: str, check: Callable[[Seen], None]) -> tuple[int, ...]:
    """End and remove one dead run, after *check* of what it is now has not raised; the processes
    that were ended. What is gone is fine. Raises Conflict where it lives."""
    folder = root / run_id
    if not root.is_dir():
        return ()
    with _serial(root):
        seen = _seen(folder)
        if seen is None:
            return ()
        if seen.alive:
            raise Conflict(
                f"run {run_id} is needed", where=str(folder), why="its process is running"
            )
        check(seen)
        swept = _sweep_one(folder)
        return swept.processes if swept is not None else ()


@contextlib.contextmanager
def _serial(root: Path) -> Iterator[None]:
    """One process at a time makes or removes folders of runs in *root*."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _empty(folder: Path, run_id: str) -> tuple[int, ...]:
    """End what runs there and remove what is there, but not the lock: as long as anything else is
    there, the folder can be recognised. The processes that were ended."""
    ended = _end_processes(run_id)
    shutil.rmtree(_sockets(run_id), ignore_errors=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        elif entry.name != "lock":
            entry.unlink()
    return ended


def _end_processes(run_id: str) -> tuple[int, ...]:
    """Kill every process whose environment carries this run's id, but not this process.

    On return none of them runs any more, save one that the kernel does not let die.
    """
    mark = f"{VARIABLE}={run_id}".encode()
    ended: list[int] = []
    deadline = time.monotonic() + DEATH_SECONDS
    while time.monotonic() < deadline:
        environments = {pid: _environment(pid) for pid in _pids()}
        found = [pid for pid, variables in environments.items() if variables and mark in variables]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended += [pid for pid in found if pid not in ended]
        if not found and None not in environments.values():
            break
        # A killed process takes a moment to go; one that starts a program tells soon.
        time.sleep(0.002)
    return tuple(ended)


def _pids() -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            yield int(name)


def _environment(pid: int) -> list[bytes] | None:
    """The process's environment; None while it is starting a program (execve), when the old one is
    gone and the new one not there yet: nobody can tell then whose it is (P8)."""
    try:
        found = Path(f"/proc/{pid}/environ").read_bytes()
        if not found and not _has_none(Path(f"/proc/{pid}/stat").read_bytes()):
            return None
    except OSError:  # gone, or another user's
        return []
    return found.split(b"\0")


def _has_none(stat: bytes) -> bool:
    """Whether a process is certain to have no environment: proc(5), the fields after its name."""
    state, *fields = stat[stat.rindex(b")") + 1 :].split()
    begins, ends = int(fields[_ENV_START]), int(fields[_ENV_END])
    kernel_thread = int(fields[_FLAGS]) & _PF_KTHREAD
    # The kernel counts the environment up from nothing (create_elf_tables), and only then says
    # where the program's code is: before that, "nothing" may be what it has counted so far.
    started = int(fields[_END_CODE]) != 0
    return bool(kernel_thread) or state in (b"Z", b"X") or (begins == ends != 0 and started)


_FLAGS, _END_CODE, _ENV_START, _ENV_END = 5, 23, 46, 47  # places behind the state
_PF_KTHREAD = 0x00200000
