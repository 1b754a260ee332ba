"""Writes what is read from a location to a file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagectl.adapters.content import READ_ONLY
from imagectl.adapters.durable import partial
from imagectl.services.ports.locations import Moved


def fetch(to: Path, moved: Moved, read: Callable[[Callable[[bytes], None]], object]) -> None:
    """*read* hands over the bytes in order, and raises where they are not those that they should
    be: then nothing is at *to*."""
    with partial(to.parent) as copy:
        size = 0

        def keep(data: bytes) -> None:
            nonlocal size
            copy.write(data)
            size += len(data)
            moved(size)

        read(keep)
        copy.keep(to, READ_ONLY)
