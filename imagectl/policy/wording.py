"""How decisions speak of times, lists and misspelt names. For people; nothing parses it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def moment(at: datetime) -> str:
    """A time to the minute: ``2026-11-24 09:12 UTC``. *at* is in UTC."""
    return at.strftime("%Y-%m-%d %H:%M UTC")


def span(length: timedelta) -> str:
    """A length of time in its two largest units, cut off below: ``2 d 4 h``, ``12 min``."""
    seconds = max(0, int(length.total_seconds()))
    for place, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            if place + 1 < len(_UNITS):
                smaller, smaller_size = _UNITS[place + 1]
                if rest >= smaller_size:
                    return f"{count} {unit} {rest // smaller_size} {smaller}"
            return f"{count} {unit}"
    return "0 s"


def listed(words: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``; ``nothing`` where there are none."""
    texts = [str(word) for word in words]
    if not texts:
        return "nothing"
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean X?``, or nothing where no known word is near."""
    from difflib import get_close_matches  # only for a message: resolving must start fast

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def counted(number: int, what: str) -> str:
    """``1 test``, ``14 tests``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
