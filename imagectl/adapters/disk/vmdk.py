"""VMware's ``streamOptimized`` VMDK, the form that OVAs hold: the same bytes always.

Our own writer, since qemu-img's puts a random number and a file name inside, and vSphere is
reported to refuse its files. The form is that of VMware's "Virtual Disk Format 5.0", sections
"Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents": a header, a description,
then each grain (64 KiB) with its marker, compressed by itself, the tables after what they point to,
and at the end the header again, which then knows where the tables are.

Compression is that of the toolchain: another zlib gives other bytes.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from imagectl.adapters.disk.blocks import BLOCK, filled_blocks
from imagectl.adapters.disk.files import stored_size, whole_file
from imagectl.adapters.disk.parallel import in_order
from imagectl.adapters.disk.qcow2 import compare
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, Failed
from imagectl.model.names import Sha256

LEVEL = 6
"""Of compression, in zlib's numbers."""

_SECTOR = 512
_GRAIN = BLOCK // _SECTOR
_PER_TABLE = 512
"""Grains that a grain table has entries for."""
_DESCRIPTION_AT, _DESCRIPTION_SECTORS, _DATA_AT = 1, 20, 128
_AT_END = 2**64 - 1
_FLAGS = 1 | 1 << 16 | 1 << 17
"""The test for line ends is valid; grains are compressed; there are markers."""
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_END_OF_STREAM, _TABLE, _DIRECTORY, _FOOTER = range(4)

_DESCRIPTION = """\
# Disk DescriptorFile
version=1
CID={content}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {sectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.encoding = "UTF-8"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.longContentID = "{long_content}"
ddb.virtualHWVersion = "10"
"""


def write_vmdk(raw: Path, sha256: Sha256, toolchain: Toolchain, out: Path) -> None:
    """Write the disk *raw*, whose digest is *sha256*, to *out* and compare what QEMU reads there.

    The number of processors does not change the bytes. Raises BuildFailed for a size that cannot
    be, ToolFailed, NoSpace, Corrupt.
    """
    size = raw.stat().st_size
    if size % _SECTOR:
        raise BuildFailed(
            f"a disk of {size} bytes cannot be a VMDK",
            stage="disk",
            where=str(raw),
            why=f"it is not a whole number of sectors of {_SECTOR} bytes",
        )
    deflate = load_deflate(toolchain.root)
    with whole_file(out, need=stored_size(raw)) as unfinished:
        with raw.open("rb", buffering=0) as disk, unfinished.open("wb") as file:
            for piece in encode(disk.fileno(), size, sha256, deflate):
                file.write(piece)
        compare(raw, unfinished, "vmdk", toolchain)


def encode(
    disk: int, size: int, sha256: Sha256, deflate: Callable[[bytes], bytes]
) -> Iterator[bytes]:
    """The VMDK of an open disk of *size* bytes, in pieces of whole sectors."""
    sectors = size // _SECTOR
    yield _header(sectors, _AT_END)
    yield _padded(_description(sectors, sha256), (_DATA_AT - _DESCRIPTION_AT) * _SECTOR)
    here = _DATA_AT
    directory = [0] * -(-sectors // (_GRAIN * _PER_TABLE))
    table = [0] * _PER_TABLE
    number = 0  # of the table

    def compressed(block: tuple[int, bytes]) -> tuple[int, bytes]:
        return block[0] // BLOCK, deflate(block[1].ljust(BLOCK, b"\0"))

    def end_table() -> Iterator[bytes]:
        nonlocal here, table
        if any(table):
            yield _marker(_TABLE, _sectors(4 * _PER_TABLE))
            yield struct.pack(f"<{_PER_TABLE}I", *table)
            directory[number] = here + 1
            here += 1 + _sectors(4 * _PER_TABLE)
            table = [0] * _PER_TABLE

    for grain, content in in_order(compressed, filled_blocks(disk, 0, size)):
        if grain // _PER_TABLE != number:
            yield from end_table()
            number = grain // _PER_TABLE
        table[grain % _PER_TABLE] = here
        piece = struct.pack("<QI", grain * _GRAIN, len(content)) + content
        here += _sectors(len(piece))
        yield _padded(piece, _sectors(len(piece)) * _SECTOR)
    yield from end_table()
    length = _sectors(4 * len(directory))
    yield _marker(_DIRECTORY, length)
    yield _padded(struct.pack(f"<{len(directory)}I", *directory), length * _SECTOR)
    yield _marker(_FOOTER, 1)
    yield _header(sectors, here + 1)
    yield _marker(_END_OF_STREAM, 0)


def _header(sectors: int, directory_at: int) -> bytes:
    return _HEADER.pack(
        *(b"KDMV", 3, _FLAGS, sectors, _GRAIN, _DESCRIPTION_AT, _DESCRIPTION_SECTORS),
        *(_PER_TABLE, 0, directory_at, _DATA_AT, 0, b"\n \r\n", 1),
    )


def _description(sectors: int, sha256: Sha256) -> bytes:
    """What is content's own (its ids) follows from the content: the digest of the raw disk."""
    content = "fffffff0" if sha256.startswith("fffffff") else sha256[:8]  # f's mean: none
    return _DESCRIPTION.format(
        content=content,
        long_content=sha256[:24] + content,
        sectors=sectors,
        cylinders=min(sectors // (255 * 63), 65535),
    ).encode()


def _marker(kind: int, sectors: int) -> bytes:
    """What stands before metadata: its length, that it is no grain, and what it is."""
    return _padded(struct.pack("<QII", sectors, 0, kind), _SECTOR)


def _padded(content: bytes, length: int) -> bytes:
    return content.ljust(length, b"\0")


def _sectors(length: int) -> int:
    return -(-length // _SECTOR)


def load_deflate(root: Path) -> Callable[[bytes], bytes]:
    """``compress2`` of the zlib in the Debian root *root*: bytes to a zlib stream.

    It is loaded into this process beside Python's own, and lets other threads run meanwhile.
    """
    (path,) = root.glob("usr/lib/*-linux-gnu/libz.so.1")
    # DEEPBIND: the library calls its own functions, not those of the zlib that Python has loaded.
    zlib = ctypes.CDLL(str(path.resolve()), mode=os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    zlib.compressBound.restype = ctypes.c_ulong
    zlib.compressBound.argtypes = [ctypes.c_ulong]
    zlib.compress2.argtypes = [
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_ulong),
        ctypes.c_char_p,
        ctypes.c_ulong,
        ctypes.c_int,
    ]

    def deflate(content: bytes) -> bytes:
        room = ctypes.c_ulong(zlib.compressBound(len(content)))
        out = ctypes.create_string_buffer(room.value)
        status = zlib.compress2(out, ctypes.byref(room), content, len(content), LEVEL)
        if status:
            raise Failed("zlib could not compress", where=str(path), why=f"status {status}")
        return out.raw[: room.value]

    return deflate
