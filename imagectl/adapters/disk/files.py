"""Output files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from imagectl.errors import NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(out: Path, *, need: int | None = None) -> Iterator[Path]:
    """A name beside *out* to write to, which becomes *out* when the block ends well (P7).

    Whatever else happens, Ctrl-C included, the file is removed. Where the file system is full, by
    a write of our own or of a program, NoSpace is raised that names *out* and what it may ``need``,
    in bytes.
    """
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        yield unfinished
        unfinished.replace(out)
    except (OSError, NoSpace) as problem:
        if isinstance(problem, OSError) and problem.errno not in _FULL:
            raise
        unfinished.unlink(missing_ok=True)
        raise _no_space(out, need) from problem
    finally:
        unfinished.unlink(missing_ok=True)


def _no_space(out: Path, need: int | None) -> NoSpace:
    free = shutil.disk_usage(out.parent).free >> 20
    wanted = "it is larger than that" if need is None else f"it needs up to {-(-need >> 20)} MiB"
    return NoSpace(
        f"there is no room for {out.name}",
        where=str(out),
        why=f"{free} MiB are free for it, and {wanted}",
        hint=f"make room in {out.parent}; `df -h` shows what is full",
    )


def stored_size(path: Path) -> int:
    """How much of a file is really there, in bytes: holes take nothing."""
    return path.stat().st_blocks * 512
