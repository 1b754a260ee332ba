"""What is in a raw disk, found out by reading it.

Whether its file has holes on this machine decides how long that takes, and nothing else: blocks of
zeros count as empty wherever they come from (P9).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagectl.adapters.disk.tree import CHUNK
from imagectl.errors import Corrupt
from imagectl.model.names import Sha256

BLOCK = 64 << 10
"""Bytes of a disk that count as empty or not together."""

_ZEROS = bytes(CHUNK)


@dataclass(frozen=True, slots=True)
class RawDisk:
    """A raw disk. ``size`` in bytes as a machine sees it."""

    path: Path
    sha256: Sha256
    size: int


def describe_raw(path: Path) -> RawDisk:
    """A raw disk that is there. Its digest takes half a second for each GB, empty or not."""
    return RawDisk(path, hash_raw(path), path.stat().st_size)


def filled_blocks(descriptor: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Where something is between *start* (a multiple of BLOCK) and *end*, and what it is.

    The offset is a multiple of BLOCK, the content a block or, at the end, what is left of one.
    """
    position = start
    while position < end:
        try:
            data = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        position = max(position, data // BLOCK * BLOCK)
        if position >= end:
            return
        chunk = os.pread(descriptor, min(CHUNK, end - position), position)
        if not chunk:
            return
        if not is_empty(chunk):
            for offset in range(0, len(chunk), BLOCK):
                block = chunk[offset : offset + BLOCK]
                if not is_empty(block):
                    yield position + offset, block
        position += len(chunk)


def is_empty(content: bytes) -> bool:
    """True where there are only zeros. At most CHUNK bytes."""
    return content == (_ZEROS if len(content) == CHUNK else _ZEROS[: len(content)])


def filled_runs(descriptor: int, size: int) -> list[tuple[int, int]]:
    """The same as (offset, length), with what lies side by side made one."""
    runs: list[tuple[int, int]] = []
    for offset, block in filled_blocks(descriptor, 0, size):
        if runs and sum(runs[-1]) == offset:
            runs[-1] = (runs[-1][0], runs[-1][1] + len(block))
        else:
            runs.append((offset, len(block)))
    return runs


def check_holds(raw: Path, found: Iterable[tuple[int, bytes]], where: Path) -> None:
    """Raise Corrupt unless *found*, read from the file *where*, is what the disk *raw* holds.

    *found* is (offset, content) in ascending order, at last (size, nothing); what it leaves out
    must be empty.
    """
    with raw.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        position = 0
        for offset, content in found:
            same = offset >= position and _all_empty(descriptor, position, offset)
            if not same or os.pread(descriptor, len(content), offset) != content:
                raise _differs(where, offset)
            position = offset + len(content)
        if position != size:
            raise _differs(where, position)


def _all_empty(descriptor: int, start: int, end: int) -> bool:
    aligned = min(end, -(-start // BLOCK) * BLOCK)
    return (
        is_empty(os.pread(descriptor, aligned - start, start))
        and next(filled_blocks(descriptor, aligned, end), None) is None
    )


def _differs(where: Path, offset: int) -> Corrupt:
    return Corrupt(
        "a disk that was just written does not hold what was written",
        where=str(where),
        why=f"it differs from the raw disk at byte {offset} or just before",
        hint="the memory or the storage of this machine may be faulty; build again",
    )


def hash_raw(path: Path) -> Sha256:
    """The sha256 of a file; its holes are not read, but they do count (2 GB/s with SHA-NI)."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        for start, end in data_ranges(file.fileno(), size):
            _hash_zeros(digest.update, start - position)
            file.seek(start)
            while start < end:
                count = file.readinto(view[: min(CHUNK, end - start)])
                if not count:
                    raise Corrupt("a disk became shorter while it was read", where=str(path))
                digest.update(view[:count])
                start += count
            position = end
        _hash_zeros(digest.update, size - position)
    return Sha256(digest.hexdigest())


def _hash_zeros(update: Callable[[bytes], None], length: int) -> None:
    while length > 0:
        update(_ZEROS if length >= CHUNK else _ZEROS[:length])
        length -= CHUNK


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: (start, end) in bytes. What is in between reads as zeros."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
        position = end


def write_sparse(found: Iterable[tuple[int, bytes]], out: Path) -> None:
    """The disk that *found*, as for ``check_holds``, is what is in. Raises OSError."""
    end = 0
    with out.open("wb") as file:
        for offset, content in found:
            file.seek(offset)
            file.write(content)
            end = offset + len(content)
        file.truncate(end)
