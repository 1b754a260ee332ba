"""A command run under strace, with a fault at any one of its system calls.

The command runs in a fork of this process, which has imported everything already: a try takes a
tenth of what a start of Python does, and every call that it makes is its own. It waits until strace
is attached. Faults come before the call: a killed one was not made, nor one that has failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import re
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from imagectl.cli.main import main

CHANGING = (
    *("openat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range"),
    *("sendfile", "fallocate", "ftruncate", "truncate", "fsync", "fdatasync", "rename"),
    *("renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat"),
)
"""The system calls that change files or make changes durable; of ``openat``, only some do."""

_LINE = re.compile(r"(?P<task>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_NAME = re.compile(r'"([^"]*)"')
_HANDLE = re.compile(r"\b\d+<([^>]+)>")
_OPENED_TO_CHANGE = re.compile(r"\bO_(CREAT|TRUNC|WRONLY|RDWR)\b")
_OF_ARTIFACTS = re.compile(r"(^|/)(sha256|owners)/")
"""Paths that are artifacts, or say whose they are."""
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = -1


Place = tuple[str, int]
"""Where strace can put a fault: the how manieth call of that name by one thread, from 1. Every
thread has such a place of its own."""


class Fault(enum.Enum):
    """What happens at a call, as strace's ``inject`` is told.

    A full disk stays full, and a broken one broken, or else it is over at once: both, since then
    other calls come after. Only ``write`` works again at once: the command speaks by it, too.
    """

    KILL = "signal=KILL:when={}"
    NO_SPACE = "error=ENOSPC:when={}"
    FULL = "error=ENOSPC:when={}+"
    ERROR = "error=EIO:when={}"
    BROKEN = "error=EIO:when={}+"

    def can_be_at(self, place: Place) -> bool:
        return not self.value.endswith("+") or place[0] != "write"

    def at(self, place: Place) -> str:
        name, number = place
        return f"inject={name}:{self.value.format(number)}"


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that a thread has made. ``number`` counts its calls of that name, from 1.

    ``names`` are the paths that it gives and ``handles`` those of its open files, relative to the
    command's folder; others are absolute.
    """

    task: int
    name: str
    number: int
    names: tuple[str, ...]
    handles: tuple[str, ...]
    result: str

    def __str__(self) -> str:
        return f"{self.name} {self.number} of {' '.join((*self.handles, *self.names))}"

    @property
    def place(self) -> Place:
        return self.name, self.number


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command has ended. ``status`` is its exit code, or the signal that ended it, negative.

    ``calls`` are those that it made to change something below its folder. ``hit``: the fault came.
    """

    status: int
    answer: str
    told: str
    calls: tuple[Call, ...]
    hit: bool


def run(root: Path, arguments: Sequence[str], beside: Path, inject: str = "") -> Ended:
    """Run ``imagectl`` with *arguments* in the folder *root*. *inject*: what ``Fault.at`` gives.

    *beside* is a folder for what the command says and for what strace does. The test must hold no
    database connection.
    """
    trace = beside / "trace"
    waiting, gate = os.pipe()
    ready, say_ready = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads, which the test runner has and no child uses.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(gate)
        os.close(ready)
        _become_imagectl(root, arguments, beside, say_ready, waiting)
    os.close(waiting)
    os.close(say_ready)
    os.read(ready, 1)  # what it does until then is not counted
    os.close(ready)
    strace = subprocess.Popen(
        [
            *("strace", "-f", "-y", "-s", "0", "-o", trace, "-p", str(child)),
            *("-e", "signal=none", "-e", f"trace={','.join(CHANGING)}"),
            *(("-e", inject) if inject else ()),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert strace.stderr is not None
    said = strace.stderr.readline()
    os.close(gate)  # that is what it waits for
    _, status = os.waitpid(child, 0)
    said += strace.communicate()[1]
    assert f"Process {child} attached" in said, said
    lines = trace.read_text()
    status = os.waitstatus_to_exitcode(status)
    return Ended(
        status,
        (beside / "answer").read_text(),
        (beside / "told").read_text(),
        tuple(_calls(lines, root)),
        status == -signal.SIGKILL or "(INJECTED)" in lines,
    )


def _become_imagectl(
    root: Path, arguments: Sequence[str], beside: Path, say_ready: int, waiting: int
) -> NoReturn:
    """Never returns: nothing of the test may run in the child."""
    status = 70
    try:
        # Where the kernel lets only parents attach (Yama), strace is not ours.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANYBODY), 0, 0, 0)
        os.chdir(root)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "answer"), (2, "told")):
            os.dup2(os.open(beside / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["imagectl", *arguments]
        os.close(say_ready)
        os.read(waiting, 1)
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 71
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _calls(trace: str, root: Path) -> Iterator[Call]:
    counts: Counter[tuple[str, str]] = Counter()
    for line in trace.splitlines():
        found = _LINE.match(line)
        if found is None:  # the end of a call that another thread came in between, or of a thread
            continue
        task, name, rest = found.group("task", "name", "rest")
        counts[task, name] += 1
        if f"{root}/" not in rest or (name == "openat" and not _OPENED_TO_CHANGE.search(rest)):
            continue
        # Of a call that another thread came in between, the result is on a later line.
        arguments, _, result = rest.partition(" = ")
        names = _NAME.findall(arguments)
        handles = _HANDLE.findall(arguments)
        yield Call(
            int(task),
            name,
            counts[task, name],
            tuple(each.removeprefix(f"{root}/") for each in names if each),
            tuple(each.removeprefix(f"{root}/") for each in handles),
            result,
        )


def unsynced(calls: Sequence[Call]) -> list[str]:
    """What a loss of power could undo or tear after these *calls*, which no kill can show.

    What a thread has written is synced before it gives anything its final name: so is the catalog's
    change before consumers are shown it. The folder in which it has made a name, or removed an
    artifact's, is synced before it changes the catalog again. And all that before the end.

    Of no account is what SQLite shares between processes (``-shm``), and what is only locked.
    """
    written: dict[str, Call] = {}
    named: dict[str, Call] = {}
    wrong = []
    for call in calls:
        if call.result.startswith("-1"):
            continue
        match call.name:
            case "write" | "pwrite64" | "copy_file_range" | "ftruncate" | "fchmod":
                path = call.handles[-1]
                if path.endswith("-wal"):
                    for folder, each in tuple(named.items()):
                        if each.task == call.task:
                            wrong.append(f"{named.pop(folder)}: not synced before {call}")
                if not path.endswith(("-shm", ".lock")):
                    written[path] = call
            case "fsync" | "fdatasync":
                written.pop(call.handles[0], None)
                named.pop(call.handles[0], None)
            case "rename":
                own = [each for each in written.values() if each.task == call.task]
                wrong += [f"{each}: not synced before {call}" for each in own]
                named[os.path.dirname(call.names[1])] = call
            case "mkdir":
                if not call.names[0].endswith("/locks"):
                    named[os.path.dirname(call.names[0])] = call
            case "unlink":
                written.pop(call.names[0], None)
                if _OF_ARTIFACTS.search(call.names[0]):
                    named[os.path.dirname(call.names[0])] = call
            case _:
                pass
    return wrong + [f"{each}: not synced after" for each in (*written.values(), *named.values())]
