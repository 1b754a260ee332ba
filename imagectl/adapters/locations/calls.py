"""Calls to a location's provider: counted, limited, and repeated where that is worth it.

Each call waits in one line with those of all processes of the project that talk to the same
location (a file with a lock, which ``cat`` shows): ten commands at once ask no more of the provider
than one. A provider that asks for patience makes the whole line wait. What fails in passing is
tried again, with growing and jittered pauses, until a total deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import stamina
import stamina.instrumentation

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.durable import make_folder, naming_failures
from imagectl.errors import CannotTell, Throttled
from imagectl.model.names import LocationName

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

# What is tried again is in our own errors; stamina's log would show whole exceptions, and in them
# headers and URLs that may hold secrets.
stamina.instrumentation.set_on_retry_hooks(())

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 20.0
"""Seconds between two attempts, where the provider does not say: doubled each time, plus or minus
half."""

SILENCE = 5.0
"""Seconds for which nothing is said of what is tried again, since it last was."""

BURST_SECONDS = 1.0
"""What may be used at once of a limit after a rest: this many seconds' worth."""

LONGEST_LINE = 10.0
"""Seconds that a call waits for those before it, at most. No project has so many at once; a file
that says so has stayed from something else."""

LONGEST_HOLD = 3600.0
"""Seconds that a provider is believed to ask for."""


@dataclass(frozen=True, slots=True)
class Again:
    """It may work when it is tried again, in ``after`` seconds at the earliest (Retry-After).

    ``throttled``: the provider asks for patience. ``why`` is its own words, for people.
    """

    after: float | None
    throttled: bool
    why: str


class Calls:
    """How one location is called. Any number of threads and processes may share it. *remark* is
    told, in a line for people, what is being tried again, where that takes long."""

    def __init__(
        self,
        location: LocationName,
        state: Path,
        *,
        per_second: float,
        deadline: float = 300.0,
        remark: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._remark = remark
        self._location = location
        self._line = Line(state / "limits" / f"{location}.json", per_second)
        self._deadline = deadline
        self._clock = SystemClock()
        self._counting = threading.Lock()
        self._requests = 0

    @property
    def requests(self) -> int:
        """How many calls this process has made."""
        return self._requests

    def run(
        self,
        what: str,
        attempt: Callable[[], T],
        again: Callable[[Exception], Again | None],
        progressed: Callable[[], float] = lambda: 0.0,
    ) -> T:
        """What *attempt* returns.

        Where it raises and ``again(error)`` says so, it is tried again until the deadline, which
        raises Throttled or CannotTell; any other exception goes through. ``what`` says what is
        being done, for messages ("listing images"). The deadline counts from the beginning, or from
        ``progressed()``, where that is later: when the attempts last got further than any before
        (of the monotonic clock), for those that may take longer than the deadline themselves.
        """
        began = said = self._clock.monotonic()
        tries = 0
        last: Again | None = None

        def until() -> float:
            return max(began, progressed()) + self._deadline

        def pause_after(error: Exception) -> float | bool:
            nonlocal last, said
            if isinstance(error, _Held):
                last = Again(error.seconds, True, str(error))
                return False
            last = again(error)
            if last is None:
                return False
            pause = pause_before(tries + 1, last.after)
            now = self._clock.monotonic()
            soon = now + pause < until()
            # A pause that is only our guess, and at which we give up, binds nobody else.
            if last.throttled and (soon or last.after is not None):
                self._line.hold(pause)
            if soon and now + pause >= said + SILENCE:
                said = now
                self._remark(
                    f"location {self._location}: {what} did not work yet, and is tried again in "
                    f"{max(pause, 1.0):.0f} s: {last.why}"
                )
            return pause if soon else False

        try:
            for each in stamina.retry_context(on=pause_after, attempts=None, timeout=None):
                with each:
                    self._line.wait(until())
                    tries += 1
                    with self._counting:
                        self._requests += 1
                    return attempt()
        except Exception as error:
            if last is None:
                raise
            raise self._given_up(what, last, tries, began) from error
        raise AssertionError("stamina ends in a result or an error")

    def _given_up(self, what: str, last: Again, tries: int, began: float) -> CannotTell:
        seconds = self._clock.monotonic() - began
        kind = Throttled if last.throttled else CannotTell
        times = "once" if tries == 1 else f"{tries} times"
        tried = f"tried {times} in {seconds:.0f} s; the last answer was: " if tries else ""
        return kind(
            f"{what} did not work",
            where=f"location {self._location}",
            why=f"{tried}{last.why}",
            hint="type the command again later: it goes on where it stopped",
        )


def calls_of(name: LocationName, around: Surroundings, per_second: float) -> Calls:
    """How a location is called with so many calls a second at most."""
    return Calls(
        name,
        around.state,
        per_second=per_second,
        deadline=around.patience,
        remark=around.remark,
    )


def pause_before(attempt: int, after: float | None) -> float:
    """Seconds to wait before that attempt (the second is 2), never less than ``after``.

    With jitter: many that were refused at once must not come back at once.
    """
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 2, 16)) * random.uniform(0.5, 1.5)
    return pause if after is None else after + min(pause, 1.0)


class _Held(Exception):
    """A provider has asked for more patience than the caller has. ``seconds``: how much more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the provider asked for patience, for {seconds:.0f} s more")
        self.seconds = seconds


@functools.cache
def boot_id() -> str:
    """Another one whenever the machine is started: its monotonic clock begins anew then."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(slots=True)
class Limit:
    """What the file says. Times are those of the machine's monotonic clock, in seconds, since it
    was started as ``boot``.

    ``free_at`` is when the calls that were let in are over, at the rate allowed; ``held_until``,
    what a provider asked for; ``calls`` counts all that were let in.
    """

    per_second: float
    boot: str
    free_at: float = 0.0
    held_until: float = 0.0
    calls: int = 0


class Line:
    """A limit that all processes of a project share: a file, held by a lock while it is changed."""

    def __init__(self, path: Path, per_second: float) -> None:
        self._path = path
        self._per_second = per_second
        self._clock = SystemClock()

    def wait(self, until: float) -> None:
        """Return when it is our turn, or at *until* (of the monotonic clock), if that is earlier:
        the caller's deadline is its own. Raises _Held at once where a provider has asked for
        patience until later than that."""
        with self._limit() as limit:
            now = self._clock.monotonic()
            if limit.held_until > max(now, until):
                raise _Held(limit.held_until - now)
            # A call is let in when the line is less than a burst long.
            begin = max(now, limit.free_at)
            limit.free_at = begin + 1 / self._per_second
            limit.calls += 1
            turn = max(begin - BURST_SECONDS, limit.held_until)
        pause = min(turn, until) - now
        if pause > 0:
            time.sleep(pause)

    def hold(self, seconds: float) -> None:
        """Nobody's turn comes for that long."""
        with self._limit() as limit:
            until = self._clock.monotonic() + min(seconds, LONGEST_HOLD)
            limit.held_until = max(limit.held_until, until)

    @contextlib.contextmanager
    def _limit(self) -> Iterator[Limit]:
        with naming_failures("keeping to the limit of calls", self._path.parent):
            make_folder(self._path.parent)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                limit = self._read(os.pread(fd, 1 << 16, 0))
                yield limit
                text = json.dumps(asdict(limit)).encode()
                os.ftruncate(fd, os.pwrite(fd, text, 0))
            finally:
                os.close(fd)

    def _read(self, text: bytes) -> Limit:
        """What is unreadable, of before the machine was started, or of another machine that shares
        the folder, is forgotten; and what nobody can have meant."""
        limit = Limit(self._per_second, boot_id())
        try:
            found = json.loads(text)
            limit.calls = int(found["calls"])
            if found["boot"] != limit.boot:
                return limit
            limit.free_at = float(found["free_at"])
            limit.held_until = float(found["held_until"])
        except (ValueError, KeyError, TypeError):
            return Limit(self._per_second, boot_id())
        now = self._clock.monotonic()
        limit.free_at = min(limit.free_at, now + LONGEST_LINE)
        if not limit.held_until <= now + LONGEST_HOLD:
            limit.held_until = 0.0
        return limit
