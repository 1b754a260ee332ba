"""Peers that take long to start: once for all tests of a process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

T = TypeVar("T")

_OPENED: dict[object, object] = {}


def for_session(
    request: pytest.FixtureRequest, opener: Callable[[], AbstractContextManager[T]]
) -> T:
    """What *opener* opens, the same each time, until the tests have ended."""
    if opener not in _OPENED:
        stack = ExitStack()
        _OPENED[opener] = stack.enter_context(opener())
        request.config.add_cleanup(stack.close)
    found: T = _OPENED[opener]  # type: ignore[assignment]  # it is what this opener gave
    return found
