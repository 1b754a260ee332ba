"""Several tasks at the same time: asked to stop, and waited for together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from imagectl.services.abreast import abreast


def test_tasks_are_asked_to_stop_when_nobody_waits_for_them_any_more() -> None:
    stopped = threading.Event()
    ended: list[str] = []

    def task(name: str) -> Callable[[], None]:
        def run() -> None:
            assert stopped.wait(30)
            ended.append(name)

        return run

    def stop_waiting() -> None:
        with abreast({"a": task("a"), "b": task("b")}, stopped):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_waiting()
    assert sorted(ended) == ["a", "b"]


def test_tasks_that_hang_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagectl.services.abreast.GRACE", 0.3)
    over = threading.Event()

    def stop_waiting() -> None:
        with abreast({each: lambda: over.wait(60) for each in range(20)}, threading.Event()):
            raise KeyboardInterrupt

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            stop_waiting()
        assert time.monotonic() - began < 20 * 0.3
    finally:
        over.set()
