"""How long work shows its progress. Each class implements ``services.ports.Progress``.

On a terminal a display that redraws itself: the stages that are done with their time, the current
one with what it is doing now, its time so far and the time expected from earlier builds, and below
it what is being moved, with its rate. Elsewhere plain lines with the time of day, which read well
in a CI log. Notes stay in both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TextIO

from imagectl.cli.text import clean, duration, size
from imagectl.errors import Interrupted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from imagectl.services.ports.clock import Clock

REFRESH = 8
"""Times a second that the live display is drawn."""


SAID_AGAIN = 10.0
"""Seconds after which plain lines tell anew how far something has been moved."""


@dataclass(slots=True)
class _Transfer:
    """Something that is being moved. A broken-off upload goes on at ``first`` bytes."""

    began: float
    first: int
    total: int
    done: int
    latest: float
    said: float | None = None
    ended: bool = False

    def __str__(self) -> str:
        seconds = self.latest - self.began
        moved = self.done - self.first
        rate = f", {size(round(moved / seconds))}/s" if seconds >= 1 and moved else ""
        if self.done >= self.total:
            return f"{size(self.total)} in {duration(seconds)}{rate}"
        return f"{self.done * 100 // self.total:3} % of {size(self.total)}{rate}"


def _move(
    transfers: dict[str, _Transfer], what: str, done: int, total: int, now: float
) -> _Transfer:
    known = transfers.get(what)
    if known is None or done < known.done:  # the same again, from its beginning
        known = transfers[what] = _Transfer(now, done, total, done, now)
    known.done, known.latest = done, now
    return known


class Silent:
    """Says nothing: ``-q``."""

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        pass

    def step(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def moved(self, what: str, done: int, total: int) -> None:
        pass


class Plain:
    """A line for each stage, step and note, with the time of day in UTC."""

    def __init__(self, tell: Callable[[str], None], clock: Clock, title: str = "") -> None:
        self._tell = tell
        self._title = f"{title}: " if title else ""
        self._clock = clock
        self._lock = threading.Lock()
        self._step = ""
        self._transfers: dict[str, _Transfer] = {}

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        about = f" (about {duration(expected_seconds)})" if expected_seconds else ""
        with self._lock:
            self._step = ""
            self._transfers.clear()
            self._line(f"== {self._title}{name}{about}")

    def step(self, text: str) -> None:
        with self._lock:
            if text != self._step:
                self._step = text
                self._line(f"   {text}")

    def note(self, text: str) -> None:
        with self._lock:
            for line in text.splitlines():
                self._line(f"   {line}")

    def moved(self, what: str, done: int, total: int) -> None:
        with self._lock:
            now = self._clock.monotonic()
            transfer = _move(self._transfers, what, done, total, now)
            if transfer.said is None and done < total:
                transfer.said = now  # the first line comes after a while, or at the end
            if done >= total:
                due = not transfer.ended  # some tell the end twice
                transfer.ended = True
            else:
                due = transfer.said is not None and now >= transfer.said + SAID_AGAIN
            if due:
                transfer.said = now
                self._line(f"   {what}: {transfer}")

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a closed pipe must not end a build
            self._tell(f"{self._clock.now():%H:%M:%S}Z {clean(text)}")


@dataclass(slots=True)
class _Stage:
    name: str
    began: float
    expected: float | None
    ended: float | None = None
    step: str = ""
    transfers: dict[str, _Transfer] = field(default_factory=dict)


class Live:
    """A display that redraws itself. Made by :func:`live`, which also starts and ends it."""

    def __init__(self, console: Console, clock: Clock, title: str = "") -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._lock = threading.Lock()
        self._stages: list[_Stage] = []
        self._outcome: Literal["running", "done", "failed", "stopped"] = "running"
        self._unicode = "utf" in console.encoding.lower()

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        with self._lock:
            now = self._clock.monotonic()
            if self._stages and self._stages[-1].ended is None:
                self._stages[-1].ended = now
            self._stages.append(_Stage(name, now, expected_seconds))

    def step(self, text: str) -> None:
        with self._lock:
            if self._stages:
                self._stages[-1].step = " ".join(clean(text).split())

    def note(self, text: str) -> None:
        from rich.text import Text

        with contextlib.suppress(OSError, ValueError):
            self._console.print(Text(clean(text)), soft_wrap=True)

    def moved(self, what: str, done: int, total: int) -> None:
        with self._lock:
            if self._stages:
                now = self._clock.monotonic()
                _move(self._stages[-1].transfers, what, done, total, now)

    def finish(self, outcome: Literal["done", "failed", "stopped"]) -> None:
        """The work is over; the last picture stays on the screen."""
        with self._lock:
            self._outcome = outcome
            if self._stages and self._stages[-1].ended is None:
                self._stages[-1].ended = self._clock.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        with self._lock:
            now = self._clock.monotonic()
            if self._title and self._stages:
                yield Text(self._title, "bold")
            width = max((len(stage.name) for stage in self._stages), default=0)
            for index, stage in enumerate(self._stages):
                last = index == len(self._stages) - 1
                lines = [self._line(stage, now, width, last=last)]
                if last:
                    lines += [
                        Text(f"     {clean(what)}  {transfer}", "dim")
                        for what, transfer in stage.transfers.items()
                    ]
                for line in lines:
                    line.truncate(
                        options.max_width, overflow="ellipsis" if self._unicode else "crop"
                    )
                    yield line

    def _line(self, stage: _Stage, now: float, width: int, *, last: bool) -> Text:
        from rich.text import Text

        taken = duration((stage.ended if stage.ended is not None else now) - stage.began)
        about, doing = "", ""
        if last and self._outcome in ("failed", "stopped"):
            mark, style, doing = ("✗" if self._unicode else "x"), "bold red", self._outcome
        elif stage.ended is not None:
            mark, style = ("✓" if self._unicode else "+"), "green"
        else:
            frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if self._unicode else "|/-\\"
            mark, style = frames[int(now * REFRESH) % len(frames)], "bold cyan"
            about = f" of about {duration(stage.expected)}" if stage.expected else ""
            doing = stage.step
        return Text.assemble(
            (f" {mark} ", style),
            f"{stage.name:<{width}}  {taken:>7}{about}  ",
            (doing, style if doing == self._outcome else "dim"),
        )


@contextlib.contextmanager
def live(stream: TextIO, clock: Clock, title: str = "") -> Iterator[Live]:
    """A live display on *stream* while the block runs. ``NO_COLOR`` is honoured by rich."""
    from rich.console import Console
    from rich.live import Live as Screen

    console = Console(file=stream, highlight=False)
    display = Live(console, clock, title)
    with Screen(
        get_renderable=lambda: display,
        console=console,
        refresh_per_second=REFRESH,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as screen:
        try:
            yield display
        except (KeyboardInterrupt, Interrupted):
            display.finish("stopped")
            raise
        except BaseException:
            display.finish("failed")
            raise
        else:
            display.finish("done")
        finally:
            screen.refresh()
