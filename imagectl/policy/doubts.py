"""What does not fit in what was read, and how it is told (P3).

Promises: all doubts are told together, each with what is missing and what to do about it, in one
CannotTell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagectl.errors import CannotTell

SHOWN = 10
"""How many of many missing things a message names."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that does not fit, and the way out."""

    what: str
    where: str
    why: str
    hint: str


def insist(doubts: Sequence[Doubt]) -> None:
    """Raise CannotTell where there is a doubt. The first one is its headline."""
    if not doubts:
        return
    first = doubts[0]
    others = [
        ": ".join(filter(None, (each.where, each.what, each.why)))
        + (f" ({each.hint})" if each.hint else "")
        for each in doubts[1:]
    ]
    raise CannotTell(
        f"{first.what}; nothing was done",
        where=first.where,
        why="\n".join([first.why, *others]),
        hint=first.hint,
    )


def some_of(what: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    texts = list(what)
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more} more" if more > 0 else "")
