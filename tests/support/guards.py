"""Takes out each safety guard in turn, in a copy, and sees that the tests named beside it fail.

A zero that no test can break proves nothing: a guard that can be taken out unnoticed is as good as
not there. ``tests/guards.toml`` names the guards::

    [[guard]]
    name = "held versions are never stepped down"    # what is promised
    promise = "P1"
    file = "imagectl/policy/retention.py"
    find = "yield from _held(version)"               # there exactly once
    replace = "pass"                                 # without the guard
    tests = ["tests/unit/test_policy_retention.py"]  # these must fail then; seconds, not minutes

A file of ``tuf/`` is python-tuf's, as it is installed: most of what protects consumers is there.

That they pass with every guard in its place is what ``make test`` shows. Run it with
``make test-guards``, or ``PYTHONPATH=tests python -m support.guards [WORDS]`` for the
guards whose names have these words.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tuf

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests/guards.toml"
TUF = Path(tuf.__file__).parent
AT_ONCE = 2
LIMIT = 300
"""Seconds for the tests of one guard: without a guard, some loop for ever, which counts as seen."""

_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "catalog", "dist")


@dataclass(frozen=True, slots=True)
class Guard:
    """One row of the table."""

    name: str
    promise: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


def guards() -> tuple[Guard, ...]:
    """The table."""
    rows = tomllib.loads(TABLE.read_text())["guard"]
    return tuple(Guard(**{**row, "tests": tuple(row["tests"])}) for row in rows)


def without(guard: Guard, text: str) -> str:
    """The file's text without the guard. Raises ValueError where it is not there exactly once."""
    if (count := text.count(guard.find)) != 1:
        raise ValueError(f"{guard.file}: {guard.name!r} is there {count} times")
    return text.replace(guard.find, guard.replace)


def place(guard: Guard) -> Path:
    """The file that the guard is in."""
    return (TUF.parent if guard.file.startswith(f"{TUF.name}/") else ROOT) / guard.file


def judge(guard: Guard, copy: Path) -> str:
    """What is wrong with the guard; empty where the tests see that it is gone."""
    file = copy / guard.file
    before = file.read_text()
    try:
        file.write_text(without(guard, before))
        status, said = _test(copy, guard.tests)
    except ValueError as problem:
        return str(problem)
    finally:
        file.write_text(before)
    match status:
        case 1:
            return ""
        case 0:
            return "no test fails without it"
        case _:
            return f"the tests did not run (pytest ended with {status}): {said}"


def _test(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy}:{copy / 'tests'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis"),
    }
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return 1, ""
    return done.returncode, "\n".join(done.stdout.splitlines()[-15:])


@contextmanager
def _copies() -> Iterator[queue.SimpleQueue[Path]]:
    """As many copies of the project as tests run at once."""
    with tempfile.TemporaryDirectory(prefix="imagectl-guards-") as folder:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(AT_ONCE):
            copy = Path(folder, str(number))
            shutil.copytree(ROOT, copy, ignore=_NOT_COPIED, symlinks=True)
            shutil.copytree(ROOT / "catalog", copy / "catalog")
            shutil.copytree(TUF, copy / TUF.name, ignore=_NOT_COPIED)
            copies.put(copy)
        yield copies


def main(words: Sequence[str]) -> int:
    """How many guards no test sees, and say which."""
    chosen = [each for each in guards() if all(word in each.name for word in words)]
    with _copies() as copies, ThreadPoolExecutor(AT_ONCE) as pool:

        def run(guard: Guard) -> tuple[str, float]:
            copy, began = copies.get(), time.monotonic()
            try:
                return judge(guard, copy), time.monotonic() - began
            finally:
                copies.put(copy)

        bad = 0
        for guard, (wrong, seconds) in zip(chosen, pool.map(run, chosen), strict=True):
            verdict = f"NOT SEEN: {wrong}" if wrong else "seen"
            sys.stdout.write(f"{seconds:5.1f} s  {guard.promise:4} {guard.name}: {verdict}\n")
            sys.stdout.flush()
            bad += bool(wrong)
    sys.stdout.write(f"{len(chosen)} guards, {bad} of them not seen by any test\n")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
