"""What holds for every test, however they were started: nothing hangs untold.

pytest-timeout fails a test that takes too long, and lets the rest run. But its alarm rings once,
and only where Python can hear it; and it is taken off as soon as a test fails. So a fixture that
waits for ever while a failed test is taken down, a library that waits outside Python, or a thread
that is left when all is done would block the run with nobody told. The alarm here is set anew for
each phase of each test and for the end, rings later than the other, and ends the process; then
pytest-xdist tells which test it was, and begins another for the rest.

A shell that starts its commands in the background, and many a CI, has SIGINT ignored in them; who
inherits that cannot be stopped by Ctrl-C, and tests that stop a build so would wait for ever. So
would they after a test in whose course a library (ansible-runner) began to take signals for itself.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Generator

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GRACE = "hang_grace"
_ERRORS = pytest.StashKey[int]()
_HANDLERS = {
    number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
}


def pytest_addoption(parser: pytest.Parser) -> None:
    said = "seconds after the limit of a test when a run that hangs is ended"
    parser.addini(GRACE, said, type="float", default=300.0)


def pytest_configure(config: pytest.Config) -> None:
    # While a test runs, what it writes there is caught.
    config.stash[_ERRORS] = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    _set_alarm(item.config, _limit(item))
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    _set_alarm(item.config, _limit(item))
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    _set_alarm(item.config, 0)
    try:
        return (yield)
    finally:
        for number, handler in _HANDLERS.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Stays until the process is gone, which waits for its threads."""
    _set_alarm(session.config, 0)
    return (yield)


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0])
    return float(item.config.getoption("timeout") or item.config.getini("timeout"))


def _set_alarm(config: pytest.Config, seconds: float) -> None:
    seconds += float(config.getini(GRACE))
    faulthandler.dump_traceback_later(seconds, exit=True, file=config.stash[_ERRORS])
