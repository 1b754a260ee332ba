"""The only module that prints.

Data goes to standard output, talk to standard error. With ``--json`` the answer, or the error, is
one JSON object on standard output; the same error is still said in words on standard error, for
whoever reads the log. Meaning survives without colour.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

from imagectl import errors
from imagectl.cli.crash import InternalError
from imagectl.cli.text import clean, hanging

if TYPE_CHECKING:
    from imagectl.cli.documents import Document
    from imagectl.services.ports.clock import Clock
    from imagectl.services.ports.progress import Progress

TAIL_LINES = 15
"""How many of a program's last lines an error shows; ``-v`` shows all that were kept."""

_LABELS = {
    "refused": "refused",
    "conflict": "conflict",
    "cannot-tell": "cannot tell",
    "not-found": "not found",
}
_RED, _YELLOW, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1m", "\x1b[0m"


class ProblemDocument(TypedDict):
    """One thing wrong in an input file."""

    file: Annotated[str, "the file, as the user knows it"]
    line: Annotated[int, "line, from 1; 0 where unknown"]
    column: Annotated[int, "column, from 1; 0 where unknown"]
    what: Annotated[str, "what is wrong"]
    hint: Annotated[str, "what to write instead; may be empty"]


class FailureDocument(TypedDict):
    """One failed test."""

    test: Annotated[str, "the test's name"]
    assertion: Annotated[str, "what it found"]


class TroubleDocument(TypedDict):
    """An error after which the run went on."""

    kind: Annotated[str, "a word for programs, as of errors"]
    what: Annotated[str, "what went wrong"]
    where: Annotated[str, "may be empty"]
    why: Annotated[str, "may be empty"]
    hint: Annotated[str, "the next thing to type; may be empty"]


class CauseDocument(TroubleDocument):
    """One of several errors."""

    place: Annotated[str, "where it happened: a location"]
    exit_code: Annotated[int, "the exit code that it would have had alone"]


class ErrorDocument(TypedDict):
    """What went wrong. The parts that a kind of error does not have are absent."""

    kind: Annotated[str, "a word for programs: `refused`, `not-found`, `tool-failed`, ..."]
    exit_code: Annotated[int, "the exit code of the process"]
    what: Annotated[str, "what went wrong, in one line"]
    where: Annotated[str, "a file and line, a version, a location; may be empty"]
    why: Annotated[str, "the cause, where it is known; may be empty"]
    hint: Annotated[str, "the next thing to type; may be empty"]
    problems: NotRequired[Annotated[list[ProblemDocument], "`bad-input`: all that is wrong"]]
    reasons: NotRequired[Annotated[list[str], "`refused`: every unmet rule"]]
    command: NotRequired[Annotated[str, "`tool-failed`: the command, to paste into a shell"]]
    status: NotRequired[Annotated[int, "`tool-failed`: its exit status; negative: the signal"]]
    stage: NotRequired[Annotated[str, "`build-failed`: the stage of the build"]]
    log: NotRequired[Annotated[str, "the file that holds the whole log or traceback"]]
    tail: NotRequired[Annotated[str, "the last lines of the program, the log or the console"]]
    causes: NotRequired[Annotated[list[CauseDocument], "the errors that it sums up"]]
    failures: NotRequired[Annotated[list[FailureDocument], "`tests-failed`: each failed test"]]


class Failure(TypedDict):
    """What is on standard output when a verb with ``--json`` fails."""

    error: Annotated[ErrorDocument, "what went wrong"]


class Output:
    """Where one run of imagectl speaks."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        showing: list[Progress] | None = None,
    ) -> None:
        """*showing* is the progress that is shown at present, of whatever output of this run."""
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self._showing = [] if showing is None else showing

    def answer(self, document: Document, lines: Iterable[str]) -> None:
        """The verb's answer: *document* with ``--json``, else *lines*."""
        if self.json:
            print(json.dumps(document, indent=2))
        else:
            for line in lines:
                print(hanging(line))
        sys.stdout.flush()

    def data(self, text: str) -> None:
        """*text* as it is on standard output, whatever the flags."""
        print(text, flush=True)

    def say(self, text: str) -> None:
        """Talk: what is being done or what comes next. Not with ``-q``."""
        if not self.quiet:
            self._tell(hanging(text))

    def warn(self, text: str) -> None:
        """Something that the user should know though it went well. Also with ``-q``."""
        self._tell(f"{self._paint(_YELLOW, 'warning:')} {hanging(text)}")

    def remark(self, text: str) -> None:
        """Talk, from any thread: among the progress where that is shown."""
        if self._showing:
            self._showing[-1].note(text)
        else:
            self.say(text)

    def error(self, error: errors.ImagectlError) -> None:
        """The end of the run: what went wrong, where, why, and what to type next."""
        if self.json:
            print(json.dumps(failure(error), indent=2), flush=True)
        self.tell_error(error)

    def tell_error(self, error: errors.ImagectlError) -> None:
        """The same in words alone, for an error after which the run goes on."""
        first, *rest = error_lines(error, verbose=self.verbose)
        label, _, what = first.partition(": ")
        self._tell(f"{self._paint(_RED, f'{label}:')} {what}" if what else label)
        for line in rest:
            head = line[2:7]
            if head in ("where", "why: ", "hint:"):
                label, _, what = line.partition(":")
                line = f"{self._paint(_BOLD, f'{label}:')}{what}"
            self._tell(line)

    @contextlib.contextmanager
    def progress(self, clock: Clock, title: str = "") -> Iterator[Progress]:
        """Where long work tells how it is getting on: live on a terminal, else in plain lines.

        *title* says what the work is on, such as the image.
        """
        from imagectl.cli import progress

        with contextlib.ExitStack() as stack:
            shown: Progress
            if self.quiet:
                shown = progress.Silent()
            elif live(sys.stderr):
                shown = stack.enter_context(progress.live(sys.stderr, clock, title))
            else:
                shown = progress.Plain(self._tell, clock, title)
            self._showing.append(shown)
            stack.callback(self._showing.remove, shown)
            yield shown

    def urgent(self, text: str) -> None:
        """Talk from a signal handler, where the streams may be in the middle of a write."""
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode())

    def _tell(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)

    def _paint(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if colour(sys.stderr) else text


def live(stream: object) -> bool:
    """True where a display that redraws itself makes sense."""
    isatty: Callable[[], bool] | None = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and os.environ.get("TERM", "") not in ("", "dumb")


def colour(stream: object) -> bool:
    """True where colour helps: a terminal, and no ``NO_COLOR``."""
    return live(stream) and not os.environ.get("NO_COLOR")


def failure(error: errors.ImagectlError) -> Failure:
    """The JSON document of an error."""
    document: ErrorDocument = {
        "kind": error.kind,
        "exit_code": error.exit_code,
        "what": error.what,
        "where": error.where,
        "why": error.why,
        "hint": error.hint,
    }
    if isinstance(error, errors.BadInput):
        document["problems"] = [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "what": problem.what,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
    elif isinstance(error, errors.Refused):
        document["reasons"] = list(error.reasons)
    elif isinstance(error, errors.ToolFailed):
        document["command"] = error.command
        document["status"] = error.status
        document["tail"] = error.tail
    elif isinstance(error, errors.BuildFailed):
        document["stage"] = error.stage
        document["log"] = error.log
        document["tail"] = error.tail
    elif isinstance(error, errors.GuestUnreachable):
        document["tail"] = error.tail
    elif isinstance(error, errors.TestsFailed):
        document["failures"] = [
            {"test": test, "assertion": assertion} for test, assertion in error.failures
        ]
        document["tail"] = error.tail
    elif isinstance(error, InternalError):
        document["log"] = error.log
    if error.causes:
        document["causes"] = [
            {"place": place, "exit_code": cause.exit_code, **trouble_document(cause)}
            for place, cause in error.causes.items()
        ]
    return {"error": document}


def trouble_document(error: errors.ImagectlError) -> TroubleDocument:
    """The parts that every error has."""
    return TroubleDocument(
        kind=error.kind, what=error.what, where=error.where, why=error.why, hint=error.hint
    )


def error_lines(error: errors.ImagectlError, *, verbose: bool = False) -> Iterator[str]:
    """The error in words, line by line, without colour."""
    if isinstance(error, errors.Interrupted):
        yield clean(error.what)
    else:
        yield f"{_LABELS.get(error.kind, 'error')}: {clean(error.what)}"
    if isinstance(error, errors.BadInput):
        for problem in error.problems:
            place = problem.file
            if problem.line:
                place += f":{problem.line}" + (f":{problem.column}" if problem.column else "")
            yield f"  {clean(place)}: {clean(problem.what)}"
            if problem.hint:
                yield f"      {clean(problem.hint)}"
    elif isinstance(error, errors.Refused):
        for reason in error.reasons:
            yield hanging(f"  - {reason}")
    else:
        yield from _part("where", error.where)
        yield from _part("why", error.why)
    if isinstance(error, errors.TestsFailed):
        for test, assertion in error.failures:
            yield f"  failed: {clean(test)}"
            yield from _quoted(assertion, len(assertion) if verbose else TAIL_LINES)
        if error.tail:
            yield "  the console's last lines:"
            yield from _quoted(error.tail, len(error.tail) if verbose else TAIL_LINES)
    elif isinstance(error, errors.ToolFailed | errors.BuildFailed | errors.GuestUnreachable):
        if error.tail.strip():
            whose = "console" if isinstance(error, errors.GuestUnreachable) else "program"
            yield f"  the {whose}'s last lines:"
            yield from _quoted(error.tail, len(error.tail) if verbose else TAIL_LINES)
        if isinstance(error, errors.ToolFailed):
            yield "  the command, to try it by hand:"
            yield f"    {clean(error.command)}"
        if isinstance(error, errors.BuildFailed) and error.log:
            yield from _part("log", error.log)
    yield from _part("hint", error.hint)


def _part(name: str, text: str) -> Iterator[str]:
    if text:
        first, *rest = clean(text).splitlines()
        yield f"  {f'{name}:':<6} {first}"
        for line in rest:
            yield f"         {line}"


def _quoted(text: str, limit: int) -> Iterator[str]:
    lines = clean(text.rstrip()).splitlines()
    if len(lines) > limit:
        yield f"    | ... ({len(lines) - limit} more above; -v shows them)"
    for line in lines[-limit:]:
        yield f"    | {line}"
