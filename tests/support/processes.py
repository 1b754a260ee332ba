"""Child processes that tests start in order to kill them.

They are forked, not started anew: everything is imported already, so that a hundred of them cost
what one start of Python does.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable


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


def kill_after(seconds: float, action: Callable[[], object]) -> bool:
    """Kill a child running *action* after that time. Whether it was still running."""
    child = fork(action)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return end(child) == -signal.SIGKILL
