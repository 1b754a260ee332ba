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

In the end, the tests that failed are run in the copy with every guard in its place, where they must
pass: a test that fails in a copy whatever is in it sees nothing. Run it with
``make test-guards``, or ``PYTHONPATH=tests python -m support.guards [WORDS]`` for the
guards whose names have these words.
"""

from __future__ import annotations

import select
import shutil
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from support.forked import Forked, Warm

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests/guards.toml"
TUF = Path(sysconfig.get_path("purelib"), "tuf")
AT_ONCE = 4
"""Also on two cores: with two, half of the cores' time went unused, and a fifth with three, while
all waited for servers, for disks and for what must not be waited for."""
LIMIT = 300
"""Seconds for the tests of one guard: without a guard, some loop for ever, which counts as seen."""

_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "dist")


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """``wrong``: what is wrong with the guard; empty where tests see that it is gone, by ``seen``.
    Without any, they were still running after LIMIT."""

    guard: Guard
    wrong: str
    seconds: float = 0.0
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """The tests of a guard, running in a copy that is without it."""

    guard: Guard
    copy: Path
    before: str
    began: float
    run: Forked

    @classmethod
    def begin(cls, warm: Warm, guard: Guard, copy: Path) -> Trial:
        """Take the guard out, and begin its tests. Raises as ``without``."""
        file = copy / guard.file
        before = file.read_text()
        file.write_text(without(guard, before))
        return cls(guard, copy, before, time.monotonic(), warm.start(copy, ["-x", *guard.tests]))

    def end(self) -> Verdict:
        """Wait for the tests, and put the guard back."""
        try:
            status = self.run.wait(max(self.began + LIMIT - time.monotonic(), 0))
        finally:
            (self.copy / self.guard.file).write_text(self.before)
        seconds = time.monotonic() - self.began
        match status:
            case None:
                return Verdict(self.guard, "", seconds)
            case 1 if failed := self.run.failed():
                return Verdict(self.guard, "", seconds, failed)
            case 0:
                return Verdict(self.guard, "no test fails without it", seconds)
            case _:
                wrong = f"the tests did not run (pytest ended with {status}): {self.run.said()}"
                return Verdict(self.guard, wrong, seconds)


def judge(warm: Warm, chosen: Sequence[Guard], copies: Sequence[Path]) -> Iterator[Verdict]:
    """Each guard, as many at once as there are copies."""
    free, running, coming = list(copies), list[Trial](), list(chosen)
    try:
        while coming or running:
            if free and coming:
                guard = coming.pop(0)
                try:
                    running.append(Trial.begin(warm, guard, free[-1]))
                except ValueError as problem:
                    yield Verdict(guard, str(problem))
                else:
                    free.pop()
                continue
            trial = _first_done(running)
            running.remove(trial)
            free.append(trial.copy)
            yield trial.end()
    finally:
        for trial in running:
            trial.run.wait(0)


def judge_again(warm: Warm, seen: Sequence[Verdict], copies: Sequence[Path]) -> Iterator[Verdict]:
    """Those of the guards that were seen by tests which fail with the guard in its place, too."""
    tests = sorted({test for each in seen for test in each.seen})
    share = -(-len(tests) // len(copies))
    runs = [
        warm.start(copy, tests[at * share : (at + 1) * share])
        for at, copy in enumerate(copies)
        if tests[at * share : (at + 1) * share]
    ]
    broken: set[str] = set()
    for run in runs:
        status = run.wait(LIMIT * 3)
        if status not in (0, 1):
            raise RuntimeError(f"the tests did not run (pytest ended with {status}): {run.said()}")
        broken.update(run.failed())
    for each in seen:
        if whatever := broken & set(each.seen):
            yield replace(each, wrong=f"fails with it, too: {', '.join(whatever)}")


def _first_done(running: Sequence[Trial]) -> Trial:
    """The first that ends, or the first whose time is over."""
    oldest = min(running, key=lambda each: each.began)
    left = max(oldest.began + LIMIT - time.monotonic(), 0)
    done, _, _ = select.select([each.run.ended for each in running], [], [], left)
    return next((each for each in running if each.run.ended in done), oldest)


@contextmanager
def _copies(chosen: Sequence[Guard]) -> Iterator[tuple[Warm, Sequence[Path]]]:
    """As many copies of the project as tests run at once, and a process that is ready for them."""
    with tempfile.TemporaryDirectory(prefix="imagectl-guards-") as folder:
        first, *others = (Path(folder, str(number)) for number in range(AT_ONCE))
        shutil.copytree(ROOT, first, ignore=_NOT_COPIED, symlinks=True)
        shutil.copytree(TUF, first / TUF.name, ignore=_NOT_COPIED)
        files = sorted({test.partition("::")[0] for each in chosen for test in each.tests})
        warm = Warm(first, ("imagectl", TUF.name, "tests/support", "tests/peers"), files)
        for copy in others:
            shutil.copytree(first, copy, symlinks=True)
        yield warm, (first, *others)


def main(words: Sequence[str]) -> int:
    """How many guards no test sees, and say which."""
    chosen = [each for each in guards() if all(word in each.name for word in words)]
    bad, seen = 0, list[Verdict]()
    with _copies(chosen) as (warm, copies):
        for verdict in judge(warm, chosen, copies):
            _tell(verdict)
            if verdict.wrong:
                bad += 1
            else:
                seen.append(verdict)
        for verdict in judge_again(warm, seen, copies):
            _tell(verdict)
            bad += 1
    sys.stdout.write(f"{len(chosen)} guards, {bad} of them not seen by any test\n")
    return bad


def _tell(verdict: Verdict) -> None:
    guard = verdict.guard
    what = f"NOT SEEN: {verdict.wrong}" if verdict.wrong else "seen"
    sys.stdout.write(f"{verdict.seconds:5.1f} s  {guard.promise:4} {guard.name}: {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
