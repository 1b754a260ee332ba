"""Output files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from imagectl.errors import NoSpace
from imagectl.model.names import Sha256

_TOGETHER = 1 << 20
"""Bytes that are written and hashed in one go."""

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


class HashedWriter:
    """Writes to an unbuffered file and hashes what it writes, while the caller makes more of it.

    A context manager: ``sha256`` and ``size`` (bytes) are known when its block has ended well.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._digest = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._before: Future[None] | None = None
        self.size = 0
        self.sha256 = Sha256("")

    def __enter__(self) -> HashedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        with self._thread:
            if kind is None:
                self._flush()
                self._wait()
                self.sha256 = Sha256(self._digest.hexdigest())

    def write(self, piece: bytes) -> None:
        """Write *piece*, or at least soon. Raises OSError, for this piece or an earlier one."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        together = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self.size += len(together)
        self._wait()
        self._before = self._thread.submit(self._put, together)

    def _wait(self) -> None:
        if self._before is not None:
            self._before.result()

    def _put(self, together: bytes) -> None:
        self._digest.update(together)
        view = memoryview(together)
        while view:
            view = view[self._file.write(view) :]
