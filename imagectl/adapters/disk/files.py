"""Output files that are there whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """A name beside *out* to write to, which becomes *out* when the block ends well (P7).

    Whatever else happens, Ctrl-C included, the file is removed.
    """
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        yield unfinished
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
