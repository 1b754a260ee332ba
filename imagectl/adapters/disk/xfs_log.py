"""Whether an XFS was unmounted: the last record of its log says so, and nothing else does.

A log is a ring of blocks of 512 bytes. Each record has a header with a number that only grows; the
newest one is a single operation, "unmount", or there are changes that are not in their place yet
(fs/xfs/xfs_log_recover.c, ``xlog_check_unmount_rec``).
"""

from __future__ import annotations

import struct

from imagectl.adapters.disk.tree import CHUNK
from imagectl.adapters.disk.xfs_inodes import Volume

_BLOCK = 512
_MAGIC = b"\xfe\xed\xba\xbe"
_HEADER = struct.Struct(">4sIIIQQ")
_UNMOUNT = 0x20
_PER_HEADER = 32 << 10
"""How many bytes of a record one header block describes."""


def was_unmounted(volume: Volume) -> bool:
    """True where the log has no record, as mkfs may leave it, or ends in an unmount."""
    newest, place = -1, 0
    sb = volume.superblock
    start, length = volume.linear(sb.log_start), sb.log_blocks * sb.block
    for at in range(0, length, CHUNK):
        chunk = volume.read(start, min(CHUNK, length - at), at)
        found = chunk.find(_MAGIC)
        while found >= 0:
            if found % _BLOCK == 0:
                number = _record_number(chunk[found : found + _BLOCK], sb.uuid, at + found)
                if number > newest:
                    newest, place = number, at + found
            found = chunk.find(_MAGIC, found + 1)
    if newest < 0:
        return True
    header = volume.read(start, _BLOCK, place)
    (operations,) = struct.unpack_from(">I", header, 40)
    (version,) = struct.unpack_from(">I", header, 8)
    (size,) = struct.unpack_from(">I", header, 320)
    headers = -(-size // _PER_HEADER) if version & 2 and size > _PER_HEADER else 1
    data = volume.read(start, _BLOCK, (place + headers * _BLOCK) % length)
    return operations == 1 and bool(data[9] & _UNMOUNT)


def _record_number(header: bytes, uuid: bytes, place: int) -> int:
    """The number of the record that *header* begins; -1 where it is none, or of another time."""
    if len(header) < _BLOCK or header[304:320] != uuid:
        return -1
    _, cycle, _, _, number, _ = _HEADER.unpack_from(header)
    # A record knows its own place: anything else is a copy of one, in what some record holds.
    return int(number) if number == cycle << 32 | place // _BLOCK else -1
