"""Every error that imagectl raises on purpose, and the exit code each one ends in.

A message has four parts: *what* went wrong, *where* (a file and line, a version, a location),
*why*, and a *hint*: the next thing to type. ``cli/output.py`` is the only place that renders them.

::

    ImagectlError                       exit code
    ├── Failed                          1   something that was tried did not work
    │   ├── ToolFailed                      a program ended badly; carries a command to paste
    │   │   └── ToolTimedOut                it took longer than it may
    │   ├── ToolMissing                     a program is not there, or too old
    │   ├── NoSpace                         the disk of this machine is full
    │   ├── BuildFailed                     a stage of the build pipeline failed
    │   ├── GuestUnreachable                a VM did not answer over SSH in time
    │   ├── TestsFailed                     a Testinfra suite failed on the booted image
    │   ├── Corrupt                         stored bytes are not what was recorded
    │   └── ImpossibleChange                the catalog cannot take what was asked for
    ├── BadUsage                        2   the command line asks for what cannot be
    │   └── Unsupported                     a location of that type cannot do it
    ├── BadInput                        2   a file is wrong; carries every problem with its line
    ├── Refused                         3   policy says no; carries every unmet rule
    ├── Conflict                        4   somebody else changed it; nothing was done
    ├── CannotTell                      5   the view is partial, stale or cannot be verified
    │   ├── Denied                          a location does not take our credentials
    │   └── Throttled                       a location asks for more patience than we have
    ├── NotFound                        6   there is no such image, channel or version
    └── Interrupted                     130 the user stopped it; cleaned up

Nothing below ``cli`` calls ``sys.exit``.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class ImagectlError(Exception):
    """The root. ``str(error)`` is *what*; the other parts are attributes, empty where absent.

    ``causes`` are the errors that this one sums up, by the place where each happened.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "failed"

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint
        self.causes: Mapping[str, ImagectlError] = {}

    @property
    def said(self) -> str:
        """*What*, and *why* where that is known, for a line that has room for no more."""
        return f"{self.what}: {self.why}" if self.why else self.what


class Failed(ImagectlError):
    """Something that was tried did not work."""


class ToolFailed(Failed):
    """A program ended badly. ``command`` can be pasted; ``tail`` is its last output."""

    kind = "tool-failed"

    def __init__(
        self,
        what: str,
        *,
        command: str,
        status: int,
        tail: str = "",
        where: str = "",
        why: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.command = command
        self.status = status
        self.tail = tail


class ToolTimedOut(ToolFailed):
    """A program took longer than it may, and was ended."""

    kind = "tool-timed-out"


class ToolMissing(Failed):
    """A program is not installed, or is too old."""

    kind = "tool-missing"


class NoSpace(Failed):
    """A file system of this machine has no room left."""

    kind = "no-space"


class BuildFailed(Failed):
    """A stage of the build pipeline failed. ``log`` names the build log, ``tail`` its end."""

    kind = "build-failed"

    def __init__(
        self,
        what: str,
        *,
        stage: str,
        log: str = "",
        tail: str = "",
        where: str = "",
        why: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.stage = stage
        self.log = log
        self.tail = tail


class GuestUnreachable(Failed):
    """A VM did not answer over SSH in time. ``tail`` is the end of its console."""

    kind = "guest-unreachable"

    def __init__(
        self, what: str, *, tail: str, where: str = "", why: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.tail = tail


class TestsFailed(Failed):
    """A Testinfra suite failed. ``failures``: (test, assertion); ``tail``: the console's end."""

    kind = "tests-failed"
    __test__ = False  # not a pytest class

    def __init__(
        self,
        what: str,
        *,
        failures: Sequence[tuple[str, str]],
        tail: str = "",
        where: str = "",
        why: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.failures = tuple(failures)
        self.tail = tail


class Corrupt(Failed):
    """Stored bytes are not what was recorded."""

    kind = "corrupt"


class ImpossibleChange(Failed):
    """A change contradicts the catalog, or cannot be written down: a version recorded twice, a
    move to an unknown one, a reason that is no text. Nothing was done."""

    kind = "impossible-change"


class BadUsage(ImagectlError):
    """The command line asks for what cannot be."""

    exit_code = 2
    kind = "bad-usage"


class Unsupported(BadUsage):
    """A location of that type cannot do what was asked for."""

    kind = "unsupported"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in an input file. ``line`` and ``column`` count from 1; 0 means unknown."""

    file: str
    line: int
    column: int
    what: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}:{self.column}" if self.column else f":{self.line}"
        return f"{place}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class BadInput(ImagectlError):
    """A file is wrong. All problems of it are reported together."""

    exit_code = 2
    kind = "bad-input"

    def __init__(self, problems: Sequence[Problem], *, what: str = "", hint: str = "") -> None:
        self.problems = tuple(sorted(problems))
        files = sorted({problem.file for problem in self.problems})
        count = len(self.problems)
        default = f"{count} problem{'s' if count != 1 else ''} in {', '.join(files)}"
        super().__init__(what or default, where=", ".join(files), hint=hint)


class Refused(ImagectlError):
    """Policy says no. ``reasons`` lists every unmet rule."""

    exit_code = 3
    kind = "refused"

    def __init__(
        self, what: str, *, reasons: Sequence[str], where: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where=where, why="; ".join(reasons), hint=hint)
        self.reasons = tuple(reasons)


class Conflict(ImagectlError):
    """Somebody else changed it since it was read. Nothing was done."""

    exit_code = 4
    kind = "conflict"


class CannotTell(ImagectlError):
    """The view is partial, stale or cannot be verified. Nothing was done."""

    exit_code = 5
    kind = "cannot-tell"


class Denial(enum.Enum):
    """Why a credential does not do."""

    MISSING = "missing"
    WRONG = "wrong"
    EXPIRED = "expired"
    TOO_NARROW = "too-narrow"
    """It is known who we are, but not enough is allowed."""


class Denied(CannotTell):
    """A location does not take our credentials. Never shows the credential itself."""

    kind = "denied"

    def __init__(
        self, what: str, *, denial: Denial, where: str = "", why: str = "", hint: str = ""
    ) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.denial = denial


class Throttled(CannotTell):
    """A location asked for patience (429, 503, rateLimitExceeded) until the deadline was over."""

    kind = "throttled"


class NotFound(ImagectlError):
    """There is no such image, channel, version or project."""

    exit_code = 6
    kind = "not-found"


class Interrupted(ImagectlError):
    """The user stopped it. What was started has been ended and removed."""

    exit_code = 130
    kind = "interrupted"


def summed_up(
    what: str,
    causes: Mapping[str, ImagectlError],
    *,
    counting: Collection[str],
    where: str = "",
    hint: str = "",
) -> ImagectlError:
    """One error for several *causes*, by the place where each happened.

    Its kind, and so the exit code, is that of those named in *counting*. Where they differ, what
    is known to have failed comes before a conflict, and that before what could not be told.
    """
    kinds: tuple[type[ImagectlError], ...] = (Failed, Conflict, CannotTell, NotFound, BadUsage)
    codes = {causes[place].exit_code for place in counting}
    kind = next((each for each in kinds if each.exit_code in codes), Failed)
    lines = [
        f"{place}: {error.said}" + (f" ({error.hint})" if error.hint else "")
        for place, error in causes.items()
    ]
    error = kind(what, where=where, why="\n".join(lines), hint=hint)
    error.causes = dict(causes)
    return error
