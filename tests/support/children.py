"""Child processes that share what the test has imported, so that hundreds can be killed.

They are forked: a child sees the test's own functions, and takes 10 ms instead of half a second.
The test must hold no database connection while it forks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO

Say = Callable[[str], None]
"""Send the test one line."""

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
NOBODY = 65534


class Child:
    """A process that does *work*. Leave it by ``end`` or ``kill``."""

    def __init__(self, work: Callable[[Say], None]) -> None:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 and later warn of threads, which the test runner has and no child uses.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _work(work, lambda line: _write(writing, line))
        os.close(writing)
        self._lines: IO[str] = open(reading, encoding="utf-8")  # noqa: SIM115 (closed in _reap)

    def hear(self) -> str:
        """The next line that it says, without the line's end; empty where it has ended."""
        return self._lines.readline().rstrip("\n")

    def kill(self) -> list[str]:
        """Kill it with SIGKILL, and return the lines that it had said and nobody heard."""
        os.kill(self._pid, signal.SIGKILL)
        return self._reap()

    def end(self) -> list[str]:
        """Wait for its end and return its lines. Its exceptions are raised here."""
        lines = self._reap()
        for at, line in enumerate(lines):
            if line == "Traceback (most recent call last):":
                raise AssertionError("in a child process:\n" + "\n".join(lines[at:]))
        return lines

    def _reap(self) -> list[str]:
        with self._lines:
            lines = self._lines.read().splitlines()
        os.waitpid(self._pid, 0)
        return lines


def _work(work: Callable[[Say], None], say: Say) -> None:
    """Never returns: nothing of the test may run in the child."""
    try:
        work(say)
    except BaseException:
        say(traceback.format_exc())
    finally:
        os._exit(0)


def _write(handle: int, line: str) -> None:
    os.write(handle, f"{line}\n".encode())


def become_nobody() -> None:
    """From here on, this process may do no more than others may; it is not root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def mount_tmpfs(folder: Path, size: int) -> None:
    """A file system of *size* bytes on *folder*, seen by this process alone. Needs no root."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    namespaces = CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER
    _check(libc.unshare(namespaces))
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    private = 0x44000  # MS_REC | MS_PRIVATE: nothing of it is seen outside
    _check(libc.mount(b"none", b"/", None, private, None))
    _check(libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={size}".encode()))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
