"""Runs of pytest that begin in milliseconds: forks of a process that has imported what they need.

Of a run that takes a second, most goes into importing what is the same every time: pytest, its
plugins and the libraries. ``Warm`` imports these once, and each run is a fork of it. What is tried
is never in it: nothing of a copy of the project, and nothing of *own*. A run imports these itself,
from its copy, and one that finds any of them elsewhere ends with ``ELSEWHERE`` and proves nothing.
"""

from __future__ import annotations

import compileall
import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NoReturn

import pytest

ELSEWHERE = 99
"""The status of a run that had modules of its own from somewhere else than its copy."""

_PLUGINS = ("_hypothesis_pytestplugin", "pytest_timeout")
"""Those that tests need which run in a fork; the others take longer to start than the tests."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A run, and the process group that it leads."""

    pid: int
    ended: int
    """A descriptor that can be read once it has ended."""
    output: Path
    """What it prints."""
    failures: Path
    """The tests that failed, as JSON; none as long as it runs."""

    def wait(self, seconds: float) -> int | None:
        """Its status, or None if it has none by then. Whatever it has started is killed."""
        done, _, _ = select.select([self.ended], [], [], seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.ended)
        return os.waitstatus_to_exitcode(status) if done else None

    def said(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-15:])

    def failed(self) -> tuple[str, ...]:
        """The tests that failed, as pytest names them."""
        return tuple(json.loads(self.failures.read_text())) if self.failures.exists() else ()


class Warm:
    """This process, with all imported that *tests* import in a copy, but for what is in *copy*."""

    def __init__(self, copy: Path, own: Sequence[str], tests: Sequence[str]) -> None:
        """*own*: the folders in a copy of its packages, all of which are compiled here."""
        self._own = frozenset(Path(each).name for each in own)
        for each in own:
            _compile(copy / each)
        names = copy / "modules"
        run = self.start(copy, ["--collect-only", *tests], names=names)
        if run.wait(300) != 0:
            raise RuntimeError(f"the tests cannot be collected: {run.said()}")
        for name in json.loads(names.read_text()):
            importlib.import_module(name)
        if (threads := len(list(Path("/proc/self/task").iterdir()))) != 1:
            raise RuntimeError(f"{threads} threads: a fork has one of them")

    def start(self, copy: Path, arguments: Sequence[str], *, names: Path | None = None) -> Forked:
        """Run pytest on what is in *copy*; *names*: where to write which modules it imported that
        are not of it. pytest keeps what it compiles of tests then, and only then."""
        output, failures = copy / "output", copy / "failures"
        failures.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _talk_to(output)
            self._run(copy, arguments, failures, names)
        return Forked(pid, os.pidfd_open(pid), output, failures)

    def _run(
        self, copy: Path, arguments: Sequence[str], failures: Path, names: Path | None
    ) -> NoReturn:
        """Never returns: a fork has nothing to do with what its parent was about to."""
        status = ELSEWHERE
        try:
            os.setsid()
            os.chdir(copy)
            os.environ.update(
                PYTHONPATH=f"{copy}:{copy / 'tests'}",
                PYTHONDONTWRITEBYTECODE="1",
                HYPOTHESIS_STORAGE_DIRECTORY=str(copy / ".hypothesis"),
            )
            sys.dont_write_bytecode = names is None
            sys.path[:0] = [str(copy), str(copy / "tests")]
            for module in [each for each in sys.modules if self._is_own(each)]:
                del sys.modules[module]
            importlib.invalidate_caches()
            failed = _Failed()
            status = _pytest(copy, arguments, failed)
            failures.write_text(json.dumps(failed.tests))
            if elsewhere := [each for each in self._imported() if not _within(each, copy)]:
                print("not of the copy:", *elsewhere)  # noqa: T201
                status = ELSEWHERE
            if names is not None:
                names.write_text(json.dumps(self._foreign(copy)))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # no exit handlers: they are the parent's

    def _is_own(self, module: str) -> bool:
        return module.partition(".")[0] in self._own

    def _imported(self) -> Iterator[str]:
        return (each for each in sys.modules if self._is_own(each))

    def _foreign(self, copy: Path) -> list[str]:
        return [
            name
            for name, module in list(sys.modules.items())
            if getattr(module, "__spec__", None) is not None
            and not self._is_own(name)
            and not _within(name, copy)
        ]


def _within(module: str, folder: Path) -> bool:
    found = sys.modules[module]
    places = [getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)]
    return all(
        each is not None and Path(each).resolve().is_relative_to(folder.resolve())
        for each in places
    )


def _compile(package: Path) -> None:
    """Known by a hash of the source: a file that is changed and back within a second is compiled
    again, which by its time and size it might not be."""
    compileall.compile_dir(package, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def _talk_to(output: Path) -> None:
    """Nothing else: a child that is left behind must not keep a pipe of ours open."""
    with output.open("wb") as said, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)


class _Failed:
    """Which tests failed, for the process that waits for them."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid)


def _pytest(copy: Path, arguments: Sequence[str], failed: _Failed) -> int:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Beside the copy: in it, there would be a project above every folder of a test.
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={copy}-tmp"]
    for plugin in _PLUGINS:
        options += ["-p", plugin]
    # That plugins are imported before pytest could rewrite their assertions is the point of it.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *arguments], [failed]))
