"""How decisions, pages and verbs speak of times, sizes, lists and misspelt names. For people:
nothing parses it, but for what ``stamp`` gives."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

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


def ahead(length: timedelta) -> str:
    """``in 7 d``: how long until something, to the nearest of what ``span`` shows. What was said to
    be in a week is still that a second later."""
    for (_, size), (_, smaller) in pairwise(_UNITS):
        if length.total_seconds() >= size - smaller / 2:
            return (
                f"in {span(timedelta(seconds=smaller * round(length.total_seconds() / smaller)))}"
            )
    return "in less than a minute"


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


def has_to(number: int) -> str:
    """``it has to``, ``they have to``: after a word of as many things."""
    return "it has to" if number == 1 else "they have to"


def stamp(at: datetime) -> str:
    """The form that JSON documents carry: RFC 3339 in UTC, such as ``2026-11-20T14:03:22Z``."""
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def size(count: int) -> str:
    """Bytes in binary units, three digits: ``312 MiB``, ``1.21 GiB``."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1023.5 and len(units) > 1:
        value /= 1024
        units.pop(0)
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {units[0]}"


def duration(seconds: float) -> str:
    """``0:42``, ``12:05``, ``1:02:09``."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def clean(text: str) -> str:
    """*text* without the characters that steer a terminal: a tool's output, or a reason that
    somebody typed, must not move the cursor, hide a line or change the window's title."""
    return "".join(
        character
        if character in "\n\t" or not unicodedata.category(character).startswith("C")
        else f"\\x{ord(character):02x}"
        for character in text.replace("\r\n", "\n").replace("\r", "\n")
    )
