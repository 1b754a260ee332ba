"""Several long tasks at the same time, each in a thread of its own.

Promises: outcomes come as the tasks end; one that fails stops no other; when the one who waits
stops (Ctrl-C), all are asked to stop, and what does not do so soon is left to die with the process.
So tasks must be such that dying at any moment does no harm (P7).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")

GRACE = 10.0
"""Seconds that all tasks together have to come to an end after they were asked to."""


@contextmanager
def abreast(
    tasks: Mapping[K, Callable[[], T]], stopped: threading.Event
) -> Iterator[Iterator[tuple[K, T | Exception]]]:
    """Begin all *tasks*; gives their results, or what they raised, in the order in which they end.

    Leaving the block sets *stopped*, which tasks look at, and waits for their end, but not longer
    than ``GRACE``. A single task runs in this very thread, which the user can interrupt.
    """
    if len(tasks) == 1:
        yield ((name, _outcome(task)) for name, task in tasks.items())
        return
    outcomes: queue.SimpleQueue[tuple[K, T | Exception]] = queue.SimpleQueue()

    def run(name: K, task: Callable[[], T]) -> None:
        outcomes.put((name, _outcome(task)))

    threads = [
        threading.Thread(target=run, args=each, name=f"task-{number}", daemon=True)
        for number, each in enumerate(tasks.items(), start=1)
    ]
    try:
        for thread in threads:  # an interrupt may come before the last one has begun
            thread.start()
        yield (outcomes.get() for _ in threads)
    finally:
        stopped.set()
        deadline = time.monotonic() + GRACE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))


def _outcome(task: Callable[[], T]) -> T | Exception:
    try:
        return task()
    except Exception as error:
        return error
