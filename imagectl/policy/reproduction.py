"""Whether a version is known to be reproducible (P9), and what to say where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagectl.model.lock import Expected
from imagectl.model.names import Sha256
from imagectl.model.version import Reproducible
from imagectl.policy.wording import counted, listed

MAX_NAMED = 3
"""How many paths a cause names. It is kept with the version; the rest is in the build log."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A digest of one build that is not that of another. None: the build has no such thing."""

    what: str
    """``tree``, ``raw disk``, or a format."""
    expected: Sha256 | None
    found: Sha256 | None


def deviations(expected: Expected, found: Expected) -> tuple[Deviation, ...]:
    """In which digests two builds differ; none where they gave the same bytes."""
    one, other = _digests(expected), _digests(found)
    return tuple(
        Deviation(what, one.get(what), other.get(what))
        for what in dict.fromkeys((*one, *other))
        if one.get(what) != other.get(what)
    )


def _digests(of: Expected) -> dict[str, Sha256 | None]:
    formats = sorted(of.formats.items(), key=lambda each: each[0].value)
    named = {disk_format.value: sha256 for disk_format, sha256 in formats}
    return {"tree": of.tree, "raw disk": of.raw, **named}


def judge(kept_as_is: str, compared: int, causes: Sequence[str]) -> tuple[Reproducible, str]:
    """Whether a build is reproducible, and why not.

    *kept_as_is*: why its disk was kept as Packer left it; empty where it was written from a tree.
    *compared*: with how many other builds from the same inputs it was compared. *causes*: why those
    that differ do.
    """
    if kept_as_is:
        return Reproducible.NO, f"the disk is kept as Packer left it: {kept_as_is}"
    if causes:
        return Reproducible.NO, causes[0]
    return (Reproducible.YES if compared else Reproducible.UNPROVEN), ""


def cause(found: Sequence[Deviation], paths: Sequence[str] | None, *, more: bool = False) -> str:
    """Why two builds from the same inputs are not the same, in one line.

    *paths* says of each path that differs how it does; None where one of the trees is gone.
    *more*: there are others.
    """
    what = listed(each.what for each in found)
    if all(each.what != "tree" for each in found):
        return f"the file tree is the same, but not what was written from it: {what}"
    if not paths:
        why = "of the earlier build only digests are left" if paths is None else "in no path"
        return f"two builds from the same inputs differ ({why})"
    named = "; ".join(_printable(path) for path in paths[:MAX_NAMED])
    rest = len(paths) - MAX_NAMED
    said = f"; and {'more' if more else f'{rest} more'}" if rest > 0 or more else ""
    verb = "differs" if len(paths) == 1 and not more else "differ"
    count = f"{'more than ' if more else ''}{counted(len(paths), 'path')}"
    return f"{count} {verb} between two builds: {named}{said}"


def _printable(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 160 else f"{shown[:157]}..."
