"""Google Compute Engine's form of a disk: ``disk.raw`` in a gzipped tar, the same bytes always.

What is demanded of it: the member is called ``disk.raw``, the tar is of GNU's old format, and the
disk is a whole number of GiB (cloud.google.com/compute/docs/import/import-existing-image). The map
of what is empty is our own, from the content: GNU tar's would follow the holes of the host's file.
The headers are those of GNU tar's manual, "Storing Sparse Files", "Old GNU Format".

The compressor is fed through a pipe: nothing is staged.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagectl.adapters.disk.blocks import check_holds, filled_runs
from imagectl.adapters.disk.files import stored_size, whole_file
from imagectl.adapters.disk.tree import CHUNK
from imagectl.adapters.namespaces import Bind
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, Corrupt

GIB = 1 << 30
LEVEL = 5
"""Of compression. 6 took half as long again, for a file that was 0.8 % smaller (a Debian base)."""

_TAR_BLOCK = 512
_RECORD = 20 * _TAR_BLOCK
"""A tar is a whole number of these."""
_IN_HEADER, _IN_EXTENSION = 4, 21
"""How many runs the header, and each block that follows it, has room for."""
_MAP_AT, _MORE_AT, _SIZE_AT = 386, 482, 483
_NAME = b"disk.raw"


def write_gce(raw: Path, toolchain: Toolchain, out: Path) -> None:
    """Write the disk *raw* to *out* and read it back. The number of processors does not change
    the bytes. Raises BuildFailed for a size that cannot be, ToolFailed, NoSpace, Corrupt."""
    size = raw.stat().st_size
    if size % GIB:
        raise BuildFailed(
            f"a disk of {size} bytes cannot be given to Google Compute Engine",
            stage="disk",
            where=str(raw),
            why="it takes only disks of whole GiB",
            hint="let the disk have another size, or take gce out of `formats` in image.yaml",
        )
    with whole_file(out, need=stored_size(raw)) as unfinished, raw.open("rb", buffering=0) as disk:
        toolchain.run(
            ["sh", "-c", 'exec pigz -n "$0" > "$1"', f"-{LEVEL}", f"/mnt/out/{unfinished.name}"],
            binds=[Bind(out.parent, "out")],
            input=encode(disk.fileno(), size),
            what="compressing the disk for Google Compute Engine",
        )
        check_holds(raw, read_gce(unfinished), out)


def encode(disk: int, size: int) -> Iterator[bytes]:
    """The tar of an open disk of *size* bytes, in pieces, before it is compressed."""
    runs = filled_runs(disk, size)
    stored = sum(length for _, length in runs)
    headers = encode_headers(runs, size)
    yield headers
    for offset, length in runs:
        for start in range(offset, offset + length, CHUNK):
            yield os.pread(disk, min(CHUNK, offset + length - start), start)
    written = len(headers) + stored
    end = written + -stored % _TAR_BLOCK + 2 * _TAR_BLOCK
    yield bytes(end + -end % _RECORD - written)


def encode_headers(runs: Sequence[tuple[int, int]], size: int) -> bytes:
    """The header of the member, and as many more blocks as its map of *runs* needs."""
    numbers = [_number(offset) + _number(length) for offset, length in runs]
    if sum(runs[-1] if runs else (0, 0)) < size:
        numbers.append(_number(size) + _number(0))  # says where the last hole ends
    first, more = numbers[:_IN_HEADER], numbers[_IN_HEADER:]
    before = b"%s0000644\0%s%s%s%s" % (
        _NAME.ljust(100, b"\0"),
        b"0000000\0" * 2,
        _number(sum(length for _, length in runs)),
        _number(0),
        b" " * 8,  # what the checksum is made with
    )
    owner = b"root".ljust(32, b"\0") * 2
    after = b"S%sustar  \0%s" % (bytes(100), owner)
    map_ = b"".join(first).ljust(24 * _IN_HEADER, b"\0")
    header = (before + after).ljust(_MAP_AT, b"\0") + map_ + bytes([bool(more)]) + _number(size)
    header = header.ljust(_TAR_BLOCK, b"\0")
    blocks = [header[:148] + b"%06o\0 " % sum(header) + header[156:]]
    for start in range(0, len(more), _IN_EXTENSION):
        some = b"".join(more[start : start + _IN_EXTENSION]).ljust(24 * _IN_EXTENSION, b"\0")
        again = bytes([start + _IN_EXTENSION < len(more)])
        blocks.append((some + again).ljust(_TAR_BLOCK, b"\0"))
    return b"".join(blocks)


def _number(number: int) -> bytes:
    """Eleven octal digits; from 8 GiB on, GNU's binary form."""
    if number < 8**11:
        return b"%011o\0" % number
    return (1 << 95 | number).to_bytes(12, "big")


def _read_number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & (1 << 95) - 1
    return int(field.rstrip(b"\0 ") or b"0", 8)


def read_gce(path: Path) -> Iterator[tuple[int, bytes]]:
    """What is in the disk of such a file: (offset, content), ascending; at last (size, nothing).

    What is left out is empty. Raises Corrupt where the file is damaged.
    """
    try:
        with gzip.open(path, "rb") as file:
            yield from _read_tar(file)
    except (gzip.BadGzipFile, EOFError, ValueError, zlib.error) as error:
        raise Corrupt(
            "a disk for Google Compute Engine is damaged", where=str(path), why=str(error)
        ) from error


def _read_tar(file: gzip.GzipFile) -> Iterator[tuple[int, bytes]]:
    header = _exactly(file, _TAR_BLOCK)
    if header[: len(_NAME) + 1] != _NAME + b"\0":
        raise ValueError("its first member is not disk.raw")
    runs, more = header[_MAP_AT:_MORE_AT], header[_MORE_AT]
    while more:
        block = _exactly(file, _TAR_BLOCK)
        runs += block[: 24 * _IN_EXTENSION]
        more = block[24 * _IN_EXTENSION]
    for at in range(0, len(runs), 24):
        offset = _read_number(runs[at : at + 12])
        end = offset + _read_number(runs[at + 12 : at + 24])
        for start in range(offset, end, CHUNK):
            yield start, _exactly(file, min(CHUNK, end - start))
    yield _read_number(header[_SIZE_AT : _SIZE_AT + 12]), b""
    while file.read(CHUNK):  # up to gzip's own checksum
        pass


def _exactly(file: gzip.GzipFile, length: int) -> bytes:
    content = file.read(length)
    if len(content) != length:
        raise EOFError("it ends early")
    return content
