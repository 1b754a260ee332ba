"""The partition table of our disks, and the arithmetic of starting from them by BIOS.

GPT as in the UEFI specification 2.10, section 5.3; the same layout as Debian's cloud images:
partition 1 is the root file system, last on the disk so that it can grow; 14 is where GRUB's core
is for BIOS; 15 is the EFI system partition. All numbers are in sectors of 512 bytes unless said.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from imagectl.errors import Corrupt

SECTOR = 512
MIB = 1 << 20
ENTRIES = 128
ENTRY_SIZE = 128
TABLE_SECTORS = ENTRIES * ENTRY_SIZE // SECTOR

TABLE_BYTES = (2 + TABLE_SECTORS) * SECTOR
"""What is read from the start of a disk to know its partitions."""

ROOT_X86_64 = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
"""The root partition of an x86-64 system, by which systemd-repart recognises it."""
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
"""Any Linux file system; what the root partition is called where nobody was more exact."""
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")

ROOT_START = 128 * MIB
"""Where the root file system begins, in bytes."""
BIOS_START = 1 * MIB
ESP_START = 4 * MIB
TAIL = 1 * MIB
"""Bytes left free behind the root file system; the second copy of the table is at their end."""

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition. ``first`` and ``last`` are sectors, both included."""

    number: int
    type: UUID
    id: UUID
    first: int
    last: int
    name: str

    @property
    def offset(self) -> int:
        """Where it begins on the disk, in bytes."""
        return self.first * SECTOR

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return (self.last - self.first + 1) * SECTOR


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table as it is on a disk: *head* at its start, *tail* at its end."""

    head: bytes
    tail: bytes


def layout(disk_size: int, root_id: UUID, bios_id: UUID, esp_id: UUID) -> tuple[Partition, ...]:
    """The partitions of our disks. ``disk_size`` in bytes, a multiple of 1 MiB."""
    return (
        Partition(
            1,
            ROOT_X86_64,
            root_id,
            ROOT_START // SECTOR,
            (disk_size - TAIL) // SECTOR - 1,
            "root",
        ),
        Partition(
            14, BIOS_BOOT, bios_id, BIOS_START // SECTOR, ESP_START // SECTOR - 1, "bios-boot"
        ),
        Partition(15, EFI_SYSTEM, esp_id, ESP_START // SECTOR, ROOT_START // SECTOR - 1, "esp"),
    )


def encode_table(disk_size: int, disk_id: UUID, partitions: Sequence[Partition]) -> Table:
    """The bytes of a partition table, protective MBR (without boot code) included."""
    sectors = disk_size // SECTOR
    slots = [bytes(ENTRY_SIZE)] * ENTRIES
    for partition in partitions:
        slots[partition.number - 1] = _ENTRY.pack(
            partition.type.bytes_le,
            partition.id.bytes_le,
            partition.first,
            partition.last,
            0,
            partition.name.encode("utf-16-le"),
        )
    entries = b"".join(slots)
    first_usable, last_usable = 2 + TABLE_SECTORS, sectors - TABLE_SECTORS - 2

    def header(here: int, other: int, table: int) -> bytes:
        def packed(checksum: int) -> bytes:
            return _HEADER.pack(
                b"EFI PART",
                0x10000,
                _HEADER.size,
                checksum,
                0,
                here,
                other,
                first_usable,
                last_usable,
                disk_id.bytes_le,
                table,
                ENTRIES,
                ENTRY_SIZE,
                zlib.crc32(entries),
            )

        return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")

    return Table(
        head=_protective_mbr(sectors) + header(1, sectors - 1, 2) + entries,
        tail=entries + header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS),
    )


def _protective_mbr(sectors: int) -> bytes:
    """One partition of type EE over the whole disk, as far as an MBR can say."""
    entry = struct.pack(
        "<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, min(sectors - 1, 2**32 - 1)
    )
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def decode_table(head: bytes) -> tuple[Partition, ...]:
    """The partitions in the first TABLE_BYTES of a disk. Raises Corrupt where there is no GPT."""
    if head[SECTOR : SECTOR + 8] != b"EFI PART":
        raise Corrupt("the disk has no GPT partition table")
    fields = _HEADER.unpack_from(head, SECTOR)
    size, checksum, table, count, entry_size, entries_checksum = (
        fields[2],
        fields[3],
        fields[10],
        fields[11],
        fields[12],
        fields[13],
    )
    header = bytearray(head[SECTOR : SECTOR + size])
    header[16:20] = bytes(4)
    entries = head[table * SECTOR : table * SECTOR + count * entry_size]
    if zlib.crc32(header) != checksum or zlib.crc32(entries) != entries_checksum:
        raise Corrupt("the disk's GPT partition table is damaged", why="a checksum is wrong")
    found = []
    for number in range(1, count + 1):
        type_, id_, first, last, _, name = _ENTRY.unpack_from(entries, (number - 1) * entry_size)
        if any(type_):
            found.append(
                Partition(
                    number,
                    UUID(bytes_le=type_),
                    UUID(bytes_le=id_),
                    first,
                    last,
                    name.decode("utf-16-le").rstrip("\0"),
                )
            )
    return tuple(found)


def bios_boot_code(boot_image: bytes, core_image: bytes, core_sector: int) -> tuple[bytes, bytes]:
    """GRUB's two images, made ready to find each other: (for sector 0, for *core_sector*).

    ``boot.img`` is told the sector of the core; the core's first sector loads the rest of it. The
    places are those of grub-core/boot/i386/pc/{boot,diskboot}.S and what grub-bios-setup writes.
    """
    if len(boot_image) != SECTOR or boot_image[510:] != b"\x55\xaa":
        raise Corrupt("GRUB's boot.img is not a boot sector")
    boot = bytearray(boot_image[:440])
    boot[0x5C:0x64] = struct.pack("<Q", core_sector)
    boot[0x66:0x68] = b"\x90\x90"  # keep the drive that the BIOS names
    core = bytearray(core_image.ljust(-(-len(core_image) // SECTOR) * SECTOR, b"\0"))
    rest = len(core) // SECTOR - 1
    if rest < 1 or rest > 0xFFFF:
        raise Corrupt(f"GRUB's core has {len(core_image)} bytes, which cannot be")
    core[0x1F4:0x200] = struct.pack("<QHH", core_sector + 1, rest, 0x820)
    return bytes(boot), bytes(core)
