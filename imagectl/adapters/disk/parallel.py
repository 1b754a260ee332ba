"""The same work on many pieces, on all processors, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_AHEAD = 4
"""How many pieces for each processor are in memory at a time."""


def in_order(work: Callable[[A], B], pieces: Iterable[A]) -> Iterator[B]:
    """``map``, in threads: worth it where *work* lets others run, as C libraries do.

    The number of processors decides how long it takes and nothing else. Pieces are taken as they
    are needed, so memory stays small.
    """
    processors = len(os.sched_getaffinity(0))
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(processors) as threads:
        for piece in pieces:
            waiting.append(threads.submit(work, piece))
            if len(waiting) >= _AHEAD * processors:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
