"""The only place that starts a process.

Promises: arguments are lists, never a shell's text; a child sees UTC and ``C.UTF-8`` unless told
otherwise, and no terminal; it leads its own session, so that Ctrl-C reaches imagectl alone, which
then ends the child with all its descendants; a failure carries a command that can be pasted.

Every child inherits ``IMAGECTL_RUN`` (see ``runs.py``), by which a later run recognises what a
killed one has left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imagectl.errors import NoSpace, ToolFailed, ToolMissing, ToolTimedOut

Child = subprocess.Popen[bytes]
"""A running program, as :func:`start` yields it."""

TAIL_LINES = 40
"""How many of a program's last lines a failure shows."""

GRACE_SECONDS = 5.0
"""How long a child has between the polite and the final signal."""


@dataclass(frozen=True, slots=True)
class Grace:
    """For a program that cleans up by itself when it is told to end: it alone gets the polite
    signal, since it still needs those that it has started, and has ``seconds`` until the final one.
    ``tell`` is given what is waited for, and what was not waited for to the end."""

    seconds: float
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended. ``output`` is its standard output, ``tail`` the end of both."""

    args: tuple[str, ...]
    status: int
    output: str
    tail: str


def find(program: str, *, hint: str = "") -> str:
    """The program's full path. ``/usr/sbin`` and ``/sbin`` count even where PATH lacks them."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise ToolMissing(
            f"{program} is not installed",
            why=f"it is not in {path}",
            hint=hint or "`imagectl doctor` lists every tool that is needed and how to get it",
        )
    return found


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child sees: this process's environment, with a fixed language and time zone."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LC_")}
    return {**kept, "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC", **(extra or {})}


def pasteable(args: Sequence[str], cwd: Path | None = None) -> str:
    """The command as it can be typed into a shell."""
    command = shlex.join(args)
    return f"cd {shlex.quote(str(cwd))} && {command}" if cwd else command


def run(
    args: Sequence[str | Path],
    *,
    what: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | Iterable[bytes] | None = None,
    timeout: float | None = None,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    grace: Grace | None = None,
    hint: str = "",
) -> Completed:
    """Run a program to its end and return what it said.

    ``what`` begins the message of a failure ("making the file system"). ``timeout`` is in seconds.
    ``input`` may come piece by piece; a program that ends before it has read all is no error.
    ``on_line`` is given each line of both streams as it comes, from another thread. Raises
    ToolMissing, ToolTimedOut, NoSpace where the program says that the disk is full, and ToolFailed
    where it ended with another status than 0 and ``check`` is true.
    """
    argv = [str(arg) for arg in args]
    stdin = input is not None
    with start(argv, cwd=cwd, env=env, stdin=stdin, grace=grace, hint=hint) as child:
        collected: list[str] = []
        tail: deque[str] = deque(maxlen=TAIL_LINES)

        def keep(stream: IO[bytes], into: list[str] | None) -> None:
            for raw in _lines(stream):
                line = raw.decode("utf-8", "replace")
                tail.append(line)
                if into is not None:
                    into.append(line)
                if on_line is not None:
                    on_line(line.rstrip("\r\n"))

        threads = [
            threading.Thread(target=keep, args=(child.stdout, collected), daemon=True),
            threading.Thread(target=keep, args=(child.stderr, None), daemon=True),
        ]
        for thread in threads:
            thread.start()
        if input is not None:
            _feed(child, [input] if isinstance(input, bytes) else input)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            end(child, grace)
            raise ToolTimedOut(
                f"{what or argv[0]} took longer than {timeout:g} s and was ended",
                command=pasteable(argv, cwd),
                status=-signal.SIGKILL,
                tail="".join(tail),
                hint=hint,
            ) from None
        for thread in threads:
            thread.join(GRACE_SECONDS)
    text = "".join(tail)
    if check and status != 0:
        fail(what or f"{Path(argv[0]).name} failed", argv, status, text, cwd=cwd, hint=hint)
    return Completed(tuple(argv), status, "".join(collected), text)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines until the end, or until the stream is closed by whoever gives the program up."""
    with contextlib.suppress(ValueError):
        while line := stream.readline():
            yield line


def _feed(child: Child, pieces: Iterable[bytes]) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for piece in pieces:
            child.stdin.write(piece)
        child.stdin.close()


def fail(
    what: str,
    argv: Sequence[str],
    status: int,
    tail: str,
    *,
    cwd: Path | None = None,
    hint: str = "",
) -> None:
    """Raise what a program's failure means: NoSpace where it says so, else ToolFailed."""
    if os.strerror(errno.ENOSPC) in tail:
        raise NoSpace(
            f"{what}: no space left",
            where=str(cwd or Path.cwd()),
            why=_last_line(tail),
            hint="`imagectl doctor` shows the free space of each folder that imagectl writes to",
        )
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    raise ToolFailed(
        what,
        command=pasteable(argv, cwd),
        status=status,
        tail=tail,
        why=f"{Path(argv[0]).name} ended with {ended}",
        hint=hint,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


@contextlib.contextmanager
def start(
    args: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bool = False,
    stdout: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    grace: Grace | None = None,
    hint: str = "",
) -> Iterator[Child]:
    """A running program, ended with all its descendants when the block is left.

    Its output is in ``stdout``/``stderr`` pipes, or both go to the file ``stdout``.
    """
    argv = [str(arg) for arg in args]
    argv[0] = argv[0] if os.sep in argv[0] else find(argv[0], hint=hint)
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=stdout if stdout is not None else subprocess.PIPE,
        stderr=subprocess.STDOUT if stdout is not None else subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
    )
    try:
        yield child
    finally:
        try:
            end(child, grace)
        finally:
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


def end(child: Child, grace: Grace | None = None) -> None:
    """End a child and everything in its session's process group, politely first."""
    try:
        if child.poll() is None:
            if grace is None:
                _signal(child.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE_SECONDS)
            else:
                _let_clean_up(child, grace)
    finally:  # whoever waits may be interrupted as well
        _signal(child.pid, signal.SIGKILL)
        child.wait()


def _let_clean_up(child: Child, grace: Grace) -> None:
    assert isinstance(child.args, list)
    name = Path(child.args[0]).name
    child.terminate()
    grace.tell(
        f"waiting for {name} to clean up, at most {grace.seconds / 60:g} min; Ctrl-C twice more "
        "kills it at once, and leaves what it has made"
    )
    try:
        child.wait(grace.seconds)
    except subprocess.TimeoutExpired:
        grace.tell(f"{name} did not end and is killed: look for what it has left, and remove it")
    except KeyboardInterrupt:
        grace.tell(f"{name} is killed before its end: look for what it has left, and remove it")
        raise


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
