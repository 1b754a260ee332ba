"""What Compute Engine must be told of a disk, read from the disk's own partition table.

``UEFI_COMPATIBLE`` makes machines start by UEFI: said of a disk without an EFI system partition, it
would never boot. The others are what the kernels of Debian 11 and later have drivers for
(cloud.google.com/compute/docs/images/create-custom#guest-os-features).
"""

from __future__ import annotations

import gzip
import struct
import tarfile
import uuid
import zlib
from pathlib import Path

from imagectl.errors import Corrupt

ALWAYS = ("VIRTIO_SCSI_MULTIQUEUE", "GVNIC")
UEFI = "UEFI_COMPATIBLE"

_SECTOR = 512
_TABLE = 34 * _SECTOR
"""The protective MBR, the GPT's header and its 128 entries (UEFI specification, 5.3)."""
_SYSTEM_PARTITION = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")


def features(archive: Path) -> tuple[str, ...]:
    """The guest OS features of the disk in a ``disk.raw`` tar.gz. Raises Corrupt."""
    try:
        with tarfile.open(archive, "r|gz") as tar:
            member = tar.next()
            disk = tar.extractfile(member) if member is not None else None
            start = b"" if disk is None else disk.read(_TABLE)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise Corrupt(
            f"{archive.name} is not a disk for Compute Engine", where=str(archive), why=str(error)
        ) from None
    return (*ALWAYS, UEFI) if has_system_partition(start) else ALWAYS


def has_system_partition(start: bytes) -> bool:
    """Whether a disk that begins with those bytes has an EFI system partition in a GPT."""
    header = start[_SECTOR : 2 * _SECTOR]
    if header[:8] != b"EFI PART":
        return False
    count, size = struct.unpack_from("<II", header, 80)
    table = start[2 * _SECTOR :]
    return any(
        table[at * size : at * size + 16] == _SYSTEM_PARTITION.bytes_le
        for at in range(min(count, 128))
    )
