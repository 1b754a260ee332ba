"""How values read: ages, sizes, durations, tables. Pure; knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from imagectl.policy.wording import clean as clean
from imagectl.policy.wording import counted
from imagectl.policy.wording import duration as duration
from imagectl.policy.wording import size as size
from imagectl.policy.wording import stamp as stamp

_AGES = ((86400, "day"), (3600, "hour"), (60, "minute"))


def age(then: datetime, now: datetime) -> str:
    """``3 days ago``. A time ahead of *now* (two clocks that differ) reads ``just now``."""
    seconds = (now - then).total_seconds()
    for unit, name in _AGES:
        count = int(seconds // unit)
        if count >= 1:
            return f"{counted(count, name)} ago"
    return "just now"


def hanging(line: str) -> str:
    """A line that may have others in it, such as a reason that somebody typed: cleaned, and the
    others indented below it, so that they are not taken for lines of ours."""
    first, *more = clean(line).split("\n")
    indent = " " * (len(first) - len(first.lstrip()) + 4)
    return "\n".join((first, *(f"{indent}{each}".rstrip() for each in more)))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns, two spaces apart, without trailing blanks. The last one may be long."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
