"""How much work a program is, whatever else runs on the machine."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Sequence


def processor_seconds(command: Sequence[str], tries: int = 5) -> float:
    """The least processor time that *command* took in *tries* runs.

    On an idle machine, for a program of one thread that waits for nothing, that is its duration;
    on a busy one the clock on the wall says nothing about the program.
    """
    taken = []
    for _ in range(tries):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)
