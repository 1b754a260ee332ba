"""Looks at this machine for ``imagectl doctor``, and changes nothing on it.

What is seen is judged in ``services/doctor.py``.
"""

from __future__ import annotations

import errno
import getpass
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from imagectl.adapters import process
from imagectl.errors import ToolFailed, ToolMissing
from imagectl.services.doctor import ANSIBLE, TOOLS, SeenFolder, SeenTool, Tool

ANSWER_SECONDS = 20.0
"""How long a program may take to tell its version. Ansible, cold, was measured at 1.4 s."""


def see_tools() -> tuple[SeenTool, ...]:
    """Every program that imagectl runs, with what each says about its version."""
    found = [_see(tool, _path(tool.name)) for tool in TOOLS]
    ansible = Path(sys.executable).with_name(ANSIBLE.name)
    return (*found, _see(ANSIBLE, str(ansible) if ansible.exists() else ""))


def _path(program: str) -> str:
    try:
        return process.find(program)
    except ToolMissing:
        return ""


def _see(tool: Tool, path: str) -> SeenTool:
    if not path or not tool.asks:
        return SeenTool(tool, path, "")
    try:
        done = process.run([path, *tool.asks], check=False, timeout=ANSWER_SECONDS)
    except (ToolFailed, OSError):  # it hangs, or is not a program of this machine
        return SeenTool(tool, path, "")
    return SeenTool(tool, path, done.output or done.tail)


def see_folders(folders: Iterable[tuple[str, Path, int]]) -> tuple[SeenFolder, ...]:
    """Each folder (name, path, bytes needed): its free space, and whether it can be written to."""
    return tuple(_folder(name, path, needed) for name, path, needed in folders)


def _folder(name: str, path: Path, needed: int) -> SeenFolder:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return SeenFolder(name, path, 0, "", needed, in_the_way=there)
    try:
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there):
            trouble = ""
    except OSError as failure:
        full = failure.errno == errno.ENOSPC
        free, trouble = 0, "" if full else f"cannot be written to: {failure.strerror}"
    return SeenFolder(name, path, free, trouble, needed, empty=there != path or _is_empty(path))


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in it; what cannot be read is not known to be empty."""
    try:
        return next(folder.iterdir(), None) is None
    except OSError:
        return False


def memory() -> int:
    """This machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def user() -> str:
    """Who runs this: the name, or the number where it has none (in containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def boot_kernel() -> Path | None:
    """A kernel of this machine that can be read and booted; None where there is none."""
    for kernel in sorted(Path("/boot").glob("vmlinuz-*"), reverse=True):
        if os.access(kernel, os.R_OK):
            return kernel
    return None


def has_kvm() -> bool:
    """True where this user may open ``/dev/kvm``. Whether it works is another question."""
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def python() -> str:
    """The version of Python that runs this."""
    return platform.python_version()
