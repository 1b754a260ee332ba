"""Sizes (``4G``, ``512M``) and durations (``3d``, ``45s``) as people type them.

Units of size are binary whatever their spelling: ``4G``, ``4GB`` and ``4GiB`` are 4 x 1024^3 bytes,
as QEMU and Linux count. Printing picks the largest unit that loses nothing, so that
``parse(print(x)) == x``.
"""

from __future__ import annotations

import re
from datetime import timedelta

SIZE_PATTERN = r"^[0-9]{1,16}([KMGT](i?B)?|B)?$"
"""What a size looks like, as a regular expression that Python and JSON Schema read alike."""

DURATION_PATTERN = r"^[0-9]{1,10}[smhdw]$"
"""What a duration looks like."""

SOME_DURATION_PATTERN = r"^(?=0*[1-9])[0-9]{1,10}[smhdw]$"
"""What a duration looks like that is not ``0s``."""

MAX_SIZE = 1 << 50
"""1 PiB, in bytes."""

MAX_DURATION = timedelta(days=36500)
"""A hundred years: any longer, and a date minus the duration may not exist."""

_SIZE = re.compile(r"([0-9]{1,16})(?:([KMGT])(?:i?B)?|B)?\Z")
_DURATION = re.compile(r"([0-9]{1,10})([smhdw])\Z")
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


class BadSize(ValueError):
    """Text is not a size or a duration. The message is for people."""


def parse_size(text: str) -> int:
    """Bytes: ``4G`` is 4294967296. A bare number is bytes. Raises :class:`BadSize`."""
    match = _SIZE.match(text)
    if not match:
        raise BadSize(f"{text[:40]!r} is not a size: write a whole number and K, M, G or T, as 4G")
    size = int(match[1]) << _SHIFTS[match[2] or ""]
    if size > MAX_SIZE:
        raise BadSize(f"{text[:40]!r} is larger than {format_size(MAX_SIZE)}")
    return size


def format_size(size: int) -> str:
    """Bytes as the shortest exact text: 4294967296 is ``4G``, 1000 is ``1000B``."""
    for unit in "TGMK":
        shift = _SHIFTS[unit]
        if size and not size & ((1 << shift) - 1):
            return f"{size >> shift}{unit}"
    return f"{size}B"


def parse_duration(text: str) -> timedelta:
    """``45s``, ``30m``, ``12h``, ``3d`` or ``1w``. Raises :class:`BadSize`."""
    match = _DURATION.match(text)
    if not match:
        raise BadSize(
            f"{text[:40]!r} is not a duration: write a whole number and s, m, h, d or w, as 3d"
        )
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_DURATION.total_seconds():
        raise BadSize(f"{text[:40]!r} is longer than a hundred years")
    return timedelta(seconds=seconds)
