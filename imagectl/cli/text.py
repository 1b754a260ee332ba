"""How values read: ages, sizes, durations, tables. Pure; knows nothing of terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime

from imagectl.policy.wording import counted

_AGES = ((86400, "day"), (3600, "hour"), (60, "minute"))


def age(then: datetime, now: datetime) -> str:
    """``3 days ago``. A time ahead of *now* (two clocks that differ) reads ``just now``."""
    seconds = (now - then).total_seconds()
    for unit, name in _AGES:
        count = int(seconds // unit)
        if count >= 1:
            return f"{counted(count, name)} ago"
    return "just now"


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns, two spaces apart, without trailing blanks. The last one may be long."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
