"""What all workers of a server have answered, counted together in shared memory."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import BaseContext

ROUTES = ("file", "resolve", "images", "versions", "openapi", "metrics", "healthz")
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

_ROW = len(ROUTES) * len(CLASSES)


class Counts:
    """Made before the workers are started; each counts in a row of its own, so nobody waits.

    There is room for as many workers as are ever *expected*: the rows of those that ended stay,
    and go on being counted in by others once all are taken.
    """

    def __init__(self, expected: int, context: BaseContext | None = None) -> None:
        made = context or multiprocessing.get_context()
        self._rows = expected
        self._numbers = made.RawArray("Q", _ROW * expected)
        self._taken = made.Value("I", 0)
        self._base = 0

    def begin(self) -> int:
        """In a worker, before it counts. How many workers have begun, with this one."""
        with self._taken.get_lock():
            self._base = self._taken.value % self._rows * _ROW
            self._taken.value += 1
            return int(self._taken.value)

    def add(self, route: int, status: int) -> None:
        """One answer; *route* is an index into ``ROUTES``."""
        self._numbers[self._base + route * len(CLASSES) + status // 100 - 1] += 1

    def totals(self) -> Iterator[tuple[str, str, int]]:
        """Each route and class of status with how often it was answered, by all workers."""
        for route, name in enumerate(ROUTES):
            for kind, label in enumerate(CLASSES):
                at = route * len(CLASSES) + kind
                count = sum(self._numbers[at::_ROW])
                if count:
                    yield name, label, count
