"""What a build asked for and was refused, or could not be had: remembered with what was going on,
and told in one error.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from imagectl.errors import BuildFailed, CannotTell, ImagectlError, NoSpace

STAGE = "inputs"
SHOWN = 10
"""How many names a message lists before it only counts."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    url: str
    during: str
    error: ImagectlError


class Troubles:
    """Those of one build. Any number of threads may use it."""

    def __init__(self) -> None:
        self.during = "the build"
        self._found: dict[tuple[str, str], _Trouble] = {}
        self._lock = threading.Lock()

    def remember(self, kind: str, url: str, error: ImagectlError) -> None:
        """The first of that kind at that URL, while ``during`` was going on."""
        with self._lock:
            self._found.setdefault((kind, url), _Trouble(url, self.during, error))

    def forget(self, kind: str, url: str) -> None:
        """A later attempt has worked."""
        with self._lock:
            self._found.pop((kind, url), None)

    def check(self) -> None:
        """Raises all of them as one, if there are any."""
        with self._lock:
            found = list(self._found.values())
        if found:
            raise _summary(found)


def listing(names: Sequence[str]) -> str:
    """A line each; of many, the first and how many more there are."""
    more = len(names) - SHOWN
    return "\n".join([*names[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _summary(troubles: Sequence[_Trouble]) -> ImagectlError:
    first = troubles[0]
    if len(troubles) == 1:
        what, why = first.error.what, f"{first.error.why}; " if first.error.why else ""
        why += f"it was asked for during {first.during}"
    else:
        what = f"{len(troubles)} downloads were refused or could not be had"
        why = listing([f"{each.url} ({each.during}): {each.error.what}" for each in troubles])
    for kind in (NoSpace, CannotTell):
        if all(isinstance(each.error, kind) for each in troubles):
            return kind(what, where=first.url, why=why, hint=first.error.hint)
    return BuildFailed(what, stage=STAGE, where=first.url, why=why, hint=first.error.hint)
