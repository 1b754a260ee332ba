"""Child processes that tests start in order to kill them, and whether they have ended.

They are forked, not started anew: everything is imported already, so that a hundred of them cost
what one start of Python does.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended does not, though nobody may have asked yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def ends(pid: int, seconds: float = 60) -> bool:
    """Whether the process, which has been told to, ends within that time."""
    until = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def fork(action: Callable[[], object]) -> int:
    """Run *action* in a child and return its process id. The child ends with it, 0 or 1."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # no exit handlers: they are the test run's


def end(child: int) -> int:
    """Wait for the child. Its exit status, or the signal that ended it, negative."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Killer:
    """Kills children at random moments of their lives.

    How long they live depends on what else the machine does, so it is learnt all the time: the
    moments are chosen such that about three of four children are killed before their end.
    """

    def __init__(self, seed: int, first: Callable[[], object]) -> None:
        """*first* is run once, to its end."""
        self._chance = random.Random(seed)
        self.killed = 0
        began = time.monotonic()
        if end(fork(first)) != 0:
            raise AssertionError("the child failed without being killed")
        self._life = time.monotonic() - began

    def kill(self, action: Callable[[], object]) -> None:
        """Run *action* in a child, and kill it at some moment."""
        child = fork(action)
        time.sleep(self._chance.uniform(0, self._life))
        os.kill(child, signal.SIGKILL)
        status = end(child)
        if status == -signal.SIGKILL:
            self.killed += 1
            self._life *= 1.03
        elif status == 0:
            self._life *= 0.9
        else:
            raise AssertionError("the child failed by itself")
