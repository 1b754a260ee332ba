from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagectl.adapters.disk.partitions import (
    BIOS_BOOT,
    BIOS_START,
    EFI_SYSTEM,
    ESP_START,
    MIB,
    ROOT_START,
    ROOT_X86_64,
    SECTOR,
    TABLE_BYTES,
    Partition,
    bios_boot_code,
    decode_table,
    encode_table,
    layout,
)
from imagectl.errors import Corrupt

IDS = [UUID(int=number << 64 | 0x4000 << 48 | number) for number in range(1, 5)]


def our_layout(size: int) -> tuple[Partition, ...]:
    return layout(size, *IDS[1:])


def test_the_layout_is_that_of_debians_cloud_images() -> None:
    root, bios, esp = our_layout(4096 * MIB)
    assert (root.number, root.type, root.offset) == (1, ROOT_X86_64, ROOT_START)
    assert (bios.number, bios.type, bios.offset) == (14, BIOS_BOOT, BIOS_START)
    assert (esp.number, esp.type, esp.offset) == (15, EFI_SYSTEM, ESP_START)
    assert bios.offset + bios.size == esp.offset
    assert esp.offset + esp.size == root.offset
    assert root.offset + root.size == 4095 * MIB


@given(st.integers(130, 1 << 22), st.lists(st.uuids(), min_size=4, max_size=4, unique=True))
def test_what_is_written_is_read(mebibytes: int, ids: list[UUID]) -> None:
    partitions = layout(mebibytes * MIB, *ids[1:])
    table = encode_table(mebibytes * MIB, ids[0], partitions)
    assert len(table.head) == TABLE_BYTES
    assert decode_table(table.head) == partitions


def test_both_copies_of_the_table_name_each_other() -> None:
    size = 256 * MIB
    table = encode_table(size, IDS[0], our_layout(size))
    last = size // SECTOR - 1
    first_header, second_header = table.head[SECTOR : 2 * SECTOR], table.tail[-SECTOR:]
    assert struct.unpack_from("<QQ", first_header, 24) == (1, last)
    assert struct.unpack_from("<QQ", second_header, 24) == (last, 1)
    (entries_at,) = struct.unpack_from("<Q", second_header, 72)
    assert entries_at * SECTOR == size - len(table.tail)
    assert table.tail[:-SECTOR] == table.head[2 * SECTOR :]


def test_sfdisk_agrees(tmp_path: Path) -> None:
    """util-linux reads the same table, and finds nothing wrong with it."""
    sfdisk = shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin")
    assert sfdisk, "apt-get install fdisk"
    size = 256 * MIB
    table = encode_table(size, IDS[0], our_layout(size))
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(table.head)
        file.seek(size - len(table.tail))
        file.write(table.tail)
    verified = subprocess.run([sfdisk, "--verify", disk], capture_output=True, text=True)
    assert "No errors detected" in verified.stdout, verified
    dump = subprocess.run([sfdisk, "--dump", disk], capture_output=True, text=True, check=True)
    lines = [line.split(" : ")[1] for line in dump.stdout.splitlines() if " : " in line]
    described = [dict(part.strip().split("=") for part in line.split(",")) for line in lines]
    assert [(int(each["start"]), UUID(each["uuid"]), each["name"]) for each in described] == [
        (partition.first, partition.id, f'"{partition.name}"') for partition in our_layout(size)
    ]


@pytest.mark.parametrize("at", [SECTOR + 24, SECTOR + 60, 2 * SECTOR + 40])
def test_a_damaged_table_is_refused(at: int) -> None:
    head = bytearray(encode_table(256 * MIB, IDS[0], our_layout(256 * MIB)).head)
    head[at] ^= 1
    with pytest.raises(Corrupt, match="damaged"):
        decode_table(bytes(head))


@pytest.mark.parametrize("head", [b"", bytes(TABLE_BYTES)])
def test_no_table_is_refused(head: bytes) -> None:
    with pytest.raises(Corrupt, match="no GPT"):
        decode_table(head)


def boot_image() -> bytes:
    return bytes(range(256)) + bytes(254) + b"\x55\xaa"


def test_the_boot_sector_is_told_where_the_core_is() -> None:
    boot, _ = bios_boot_code(boot_image(), bytes(2000), 2048)
    assert len(boot) == 440
    assert boot[0x5C:0x64] == (2048).to_bytes(8, "little")
    assert boot[0x66:0x68] == b"\x90\x90"
    untouched = bytearray(boot)
    untouched[0x5C:0x64] = boot_image()[0x5C:0x64]
    untouched[0x66:0x68] = boot_image()[0x66:0x68]
    assert untouched == boot_image()[:440]


@pytest.mark.parametrize(("size", "rest"), [(513, 1), (1024, 1), (1025, 2), (40_000, 78)])
def test_the_core_is_told_where_the_rest_of_it_is(size: int, rest: int) -> None:
    original = bytes(index % 251 for index in range(size))
    _, core = bios_boot_code(boot_image(), original, 2048)
    assert len(core) == (rest + 1) * SECTOR
    assert struct.unpack_from("<QHH", core, 0x1F4) == (2049, rest, 0x820)
    assert core[:0x1F4] == original[:0x1F4]
    assert core[SECTOR:size] == original[SECTOR:]
    assert not any(core[size:])


@pytest.mark.parametrize(
    ("boot", "core"),
    [(bytes(512), bytes(2000)), (boot_image()[:-1], bytes(2000)), (boot_image(), bytes(512))],
)
def test_images_that_cannot_be_grubs_are_refused(boot: bytes, core: bytes) -> None:
    with pytest.raises(Corrupt):
        bios_boot_code(boot, core, 2048)
