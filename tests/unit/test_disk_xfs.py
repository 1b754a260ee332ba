"""XFS read without mounting it: what another reader reads, all of it, or an error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from dissect.xfs import XFS
from support import disks
from support.trees import contents

from imagectl.adapters.disk.partitions import Partition
from imagectl.adapters.disk.tree import Entry, Kind, NotUnderstood
from imagectl.adapters.disk.xfs import XfsSource
from imagectl.adapters.disk.xfs_attributes import acl_value
from imagectl.adapters.disk.xfs_inodes import device_number, seconds
from imagectl.errors import Corrupt, Failed

SIZE = 320 << 20
"""mkfs.xfs makes none below 300 MiB."""

Found = dict[bytes, tuple[Entry, bytes]]


def open_xfs(disk: Path) -> XfsSource:
    return XfsSource(
        disk, Partition(0, UUID(int=0), UUID(int=0), 0, disk.stat().st_size // 512 - 1, "")
    )


def read(disk: Path) -> Found:
    with open_xfs(disk) as source:
        return contents(source)


def make(
    tmp_path: Path,
    lines: Sequence[str] = (),
    *,
    options: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> Path:
    """An XFS with what *lines* of a prototype say (mkfs.xfs(8), -p), changed by xfs_db."""
    prototype = tmp_path / "prototype"
    prototype.write_text("\n".join(["boot", "0 0", "d--755 0 0", *lines, "$", ""]))
    disk = tmp_path / "disk"
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(SIZE)
    disks.run("mkfs.xfs", "-q", "-f", *options, "-p", str(prototype), str(disk))
    if commands:
        arguments = [part for command in commands for part in ("-c", command)]
        disks.run("xfs_db", "-x", *arguments, str(disk))
    return disk


def of_dissect(disk: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """Path, mode and content or target of each file, as dissect.xfs reads them."""
    with disk.open("rb") as file:
        folders = [(b"", XFS(file).root)]
        yield b"", folders[0][1].inode.di_mode, b""
        while folders:
            path, folder = folders.pop()
            for node in folder.iterdir():
                if node.filename in (".", ".."):
                    continue
                child = (path + b"/" if path else b"") + os.fsencode(node.filename)
                mode = node.inode.di_mode
                if stat.S_ISDIR(mode):
                    folders.append((child, node))
                content = b""
                if stat.S_ISREG(mode):
                    content = node.open().read()
                elif stat.S_ISLNK(mode):
                    content = os.fsencode(node.link)
                yield child, mode, content


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-b", "size=1024"),
        ("-n", "size=16384", "-i", "size=1024"),
        ("-m", "bigtime=0,rmapbt=1"),
    ],
)
def test_another_reader_reads_the_same(tmp_path: Path, options: Sequence[str]) -> None:
    lines = []
    for size in (0, 1, 4095, 4096, 4097, 3_000_001):
        (tmp_path / f"c{size}").write_bytes(disks.content(size))
        lines.append(f"f{size} ---644 0 0 {tmp_path}/c{size}")
    for length in (1, 100, 335, 336):  # mkfs.xfs 6.1 writes longer ones wrongly
        lines.append(f"l{length} l--777 0 0 {'t' * length}")
    for count in (3, 70, 900):
        lines.append(f"d{count} d--755 0 0")
        lines += [f"{n:03}{'x' * (n % 200)} ---600 0 0 {tmp_path}/c1" for n in range(count)]
        lines.append("$")
    disk = make(tmp_path, lines, options=options)
    found = read(disk)
    ours = {(path, entry.mode, entry.target or content) for path, (entry, content) in found.items()}
    theirs = {(path, mode & 0o7777, content) for path, mode, content in of_dissect(disk)}
    assert len(found) == 1 + 6 + 4 + 3 + 973
    # dissect.xfs loses names where a folder's blocks are not as large as the others, or small.
    assert ours == theirs if options in ((), ("-m", "bigtime=0,rmapbt=1")) else theirs < ours


def test_owners_modes_and_devices(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"text")
    disk = make(
        tmp_path,
        [
            f"a -ug751 100000 4000000 {tmp_path}/c",
            "fifo p--600 1 2",
            "c1 c--666 0 0 1 3",
            "c2 c--600 0 0 5 300",
            "b1 b--660 0 6 254 65535",
        ],
    )
    found = read(disk)
    a = found[b"a"][0]
    assert (a.mode, a.uid, a.gid, a.size) == (0o6751, 100_000, 4_000_000, 4)
    assert (found[b"fifo"][0].kind, found[b"fifo"][0].gid) == (Kind.FIFO, 2)
    assert (found[b"c1"][0].kind, found[b"c1"][0].device) == (Kind.CHARACTER, (1, 3))
    assert found[b"c2"][0].device == (5, 300)
    assert (found[b"b1"][0].kind, found[b"b1"][0].device) == (Kind.BLOCK, (254, 65_535))


def test_attributes_in_the_inode_and_in_blocks(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"text")
    disk = make(tmp_path, [f"{name} ---644 0 0 {tmp_path}/c" for name in ("few", "long", "many")])
    inodes = {path: entry.inode for path, (entry, _) in with_inodes(disk).items()}
    commands = [
        f"inode {inodes[b'few']}",
        "attr_set -u -v 5 short",
        "attr_set -s -v 20 capability",
        "attr_set -r -v 1 note",
        f"inode {inodes[b'long']}",
        "attr_set -u -v 3000 long",
        "attr_set -u -v 60000 longest",
        f"inode {inodes[b'many']}",
        *(f"attr_set -u -v {n} name{n:03}" for n in range(1, 200)),
    ]
    disks.run("xfs_db", "-x", *(part for each in commands for part in ("-c", each)), str(disk))
    found = {path: dict(entry.xattrs) for path, (entry, _) in read(disk).items()}
    assert set(found[b"few"]) == {b"user.short", b"security.capability", b"trusted.note"}
    assert {name: len(value) for name, value in found[b"long"].items()} == {
        b"user.long": 3000,
        b"user.longest": 60_000,
    }
    assert [len(found[b"many"][b"user.name%03d" % n]) for n in range(1, 200)] == [*range(1, 200)]


def with_inodes(disk: Path) -> dict[bytes, tuple[Entry, None]]:
    with open_xfs(disk) as source:
        return {entry.path: (entry, None) for entry in source.entries()}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "c").write_bytes(b"text" * 5000)
    return make(tmp_path, [f"a ---644 0 0 {tmp_path}/c", "d d--755 0 0", "$"])


def poke(disk: Path, place: int, change: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(place)
        file.write(change)


@pytest.mark.parametrize(
    ("place", "change", "why"),
    [
        (100, b"\xb4\xa4", "version 4"),
        (216, b"\0\0\0\x13", "in need of xfs_repair"),
        (216, b"\0\0\1\3", "has 0x100"),
        (48, bytes(8), "another device"),
        (24, b"\0\0\0\0\0\0\0\1", "another device"),
    ],
)
def test_kinds_that_are_not_known_are_not_understood(
    disk: Path, place: int, change: bytes, why: str
) -> None:
    poke(disk, place, change)
    with pytest.raises(NotUnderstood, match="cannot be read") as caught:
        read(disk)
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, b"NOPE"),
        (4, b"\0\0\0\1"),
        (104, b"\0\1"),
        (84, b"\xff\xff\xff\xff"),
        (124, b"\0"),
        (56, b"\0\0\0\0\xff\xff\xff\xff"),
        (126, b"\1"),
    ],
)
def test_a_superblock_that_contradicts_itself_is_refused(
    disk: Path, place: int, change: bytes
) -> None:
    poke(disk, place, change)
    with pytest.raises(Corrupt, match="damaged"):
        read(disk)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_the_reader_did_not_see_is_an_error(disk: Path, change: int) -> None:
    """P3: without the count, a reader that overlooks a file would make an image without it."""
    with disk.open("rb") as file:
        file.seek(136)
        (free,) = struct.unpack(">Q", file.read(8))
    poke(disk, 136, struct.pack(">Q", free + change))
    with pytest.raises(Corrupt, match="damaged") as caught:
        read(disk)
    assert "inodes are in use" in caught.value.why


def last_record(disk: Path) -> int:
    """Where the log's newest record is: mkfs.xfs writes one, which says "unmounted"."""
    (place,) = (match.start() for match in re.finditer(b"\xfe\xed\xba\xbe", disk.read_bytes()))
    return place


def test_a_file_system_that_was_not_unmounted_is_refused(disk: Path) -> None:
    read(disk)
    place = last_record(disk)
    poke(disk, place + 512 + 9, b"\0")  # no longer the operation "unmount"
    with pytest.raises(Failed, match="not unmounted") as caught:
        read(disk)
    assert "poweroff" in caught.value.hint


def test_a_later_record_of_the_log_counts(disk: Path) -> None:
    """What an older unmount said is over once the log has grown."""
    place = last_record(disk)
    with disk.open("rb") as file:
        file.seek(place)
        header = bytearray(file.read(512))
    cycle, number = struct.unpack_from(">I", header, 4)[0], struct.unpack_from(">Q", header, 16)[0]
    struct.pack_into(">Q", header, 16, cycle << 32 | (number & 0xFFFFFFFF) + 8)
    poke(disk, place + 8 * 512, bytes(header))
    with pytest.raises(Failed, match="not unmounted"):
        read(disk)
    header[304] ^= 1  # a record of another file system that was here before does not count
    poke(disk, place + 8 * 512, bytes(header))
    read(disk)


def test_any_damage_is_an_error_and_not_a_crash(disk: Path) -> None:
    """Bytes of the folders' and the file's inodes, one after the other turned over."""
    with open_xfs(disk) as source:
        entries = list(source.entries())
        place = disk.read_bytes().index(struct.pack(">Q", entries[0].inode) + source_id(disk)) - 152
        for number in range(3):  # mkfs puts them side by side
            for at in [*range(0, 104, 5), *range(176, 260, 3)]:
                spot = place + number * 512 + at
                with disk.open("rb") as file:
                    file.seek(spot)
                    (before,) = file.read(1)
                poke(disk, spot, bytes([before ^ 0xFF]))
                with contextlib.suppress(Corrupt, NotUnderstood):
                    found = [entry.path for entry in source.entries()]
                    assert len(set(found)) == len(found)
                poke(disk, spot, bytes([before]))
        assert list(source.entries()) == entries


@pytest.mark.parametrize("name", disks.NO_NAMES)
def test_a_name_that_no_file_can_have_is_damage(tmp_path: Path, name: bytes) -> None:
    """It could lead out of its folder."""
    disk = make(tmp_path, [f"{disks.NAME} p--600 0 0"])
    disks.rename(disk, name)
    with pytest.raises(Corrupt, match="damaged") as caught:
        read(disk)
    assert caught.value.why.endswith("is no name that a file can have")


def source_id(disk: Path) -> bytes:
    """What each inode repeats of the superblock."""
    with disk.open("rb") as file:
        file.seek(32)
        return file.read(16)


def test_a_disk_that_ends_early_is_refused(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.truncate(file.read().index(b"texttext") + 4096)
    with pytest.raises(Corrupt, match="damaged"):
        read(disk)


@pytest.mark.parametrize(
    ("stamp", "big", "expected"),
    [
        (0, False, 0),
        (5 << 32 | 999, False, 5),
        (0xFFFFFFFB << 32, False, -5),
        ((2**31 + 7) * 10**9 + 5, True, 7),
        (0, True, -(2**31)),
    ],
)
def test_times(stamp: int, big: bool, expected: int) -> None:
    assert seconds(stamp, big) == expected


def test_device_numbers() -> None:
    assert device_number(struct.pack(">I", 254 << 18 | 65_535)) == (254, 65_535)


def test_an_acl_of_xfs() -> None:
    entries = ((1, 0, 7), (2, 1000, 6), (4, 0, 5), (8, 8, 5), (16, 0, 7), (32, 0, 0))
    stored = struct.pack(">I", len(entries)) + b"".join(
        struct.pack(">IIHH", tag, identity, permissions, 0)
        for tag, identity, permissions in entries
    )
    nobody = 0xFFFFFFFF
    assert acl_value(stored) == struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, permissions, identity if tag in (2, 8) else nobody)
        for tag, identity, permissions in entries
    )


def fill(folder: bytes) -> None:
    """Everything that only a running kernel can make."""

    def at(name: bytes) -> bytes:
        return os.path.join(folder, name)

    with open(at(b"holes"), "wb") as file:
        for number in range(1500):
            file.seek(number * 8192 + 4096)
            file.write(struct.pack("<I", number) * 1024)
        file.truncate(1500 * 8192 + 123_456)
    with open(at(b"sparse"), "wb") as file:
        file.seek(5 << 30)
        file.write(b"end")
    allocate = ctypes.CDLL(None).fallocate
    allocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    with open(at(b"set-aside"), "wb") as file:
        file.write(b"x" * 5000)
        file.flush()
        assert allocate(file.fileno(), 0, 0, 1_000_000) == 0
        assert allocate(file.fileno(), 1, 0, 9_000_000) == 0  # and more beyond its end
    os.mkdir(at(b"emptied"))
    for number in range(4000):
        open(at(b"emptied/%05d" % number + b"y" * 100), "wb").close()
    for number in range(100, 3900):
        os.unlink(at(b"emptied/%05d" % number + b"y" * 100))
    os.mkdir(at(b"links"))
    open(at(b"links/0"), "wb").close()
    for number in range(1, 10_000):
        os.link(at(b"links/0"), at(b"links/%d" % number))
    for name in (b"caf\xe9", b"new\nline", b"\xff\xfe", b"x" * 255, b" ", b"-"):
        open(at(name), "wb").close()
    os.utime(at(b"-"), (0, -5))
    os.utime(at(b" "), (0, 4_000_000_000))
    deep = folder
    for number in range(60):
        deep = os.path.join(deep, b"folder%03d" % number)
        os.mkdir(deep)
    acl = bytes.fromhex(
        "0200000001000700ffffffff04000500ffffffff080005000800000010000500ffffffff20000500ffffffff"
    )
    for length in (1, 336, 337, 1000, 1023):
        os.symlink(b"t" * length, at(b"link-%d" % length))
    open(at(b"acl"), "wb").close()
    os.setxattr(at(b"acl"), b"system.posix_acl_access", acl)
    os.setxattr(at(b"links"), b"system.posix_acl_default", acl)
    os.setxattr(at(b"acl"), b"security.capability", bytes.fromhex("0100000200200000" + "00" * 12))
    os.setxattr(at(b"acl"), b"user.empty", b"")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(at(b"socket"))


def of_the_kernel(folder: bytes) -> dict[bytes, tuple[object, ...]]:
    found: dict[bytes, tuple[object, ...]] = {}
    for top, folders, files in os.walk(folder):
        for path in [os.path.join(top, name) for name in [*folders, *files]]:
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                continue
            names = [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)]
            found[os.path.relpath(path, folder)] = (
                stat.S_IMODE(status.st_mode),
                (status.st_uid, status.st_gid),
                status.st_mtime_ns // 10**9,
                status.st_ino,
                status.st_size if stat.S_ISREG(status.st_mode) else 0,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
                {
                    name: os.getxattr(path, name, follow_symlinks=False)
                    for name in names
                    if not name.startswith(b"trusted.SGI_ACL_")  # the ACL by its other name
                },
            )
    return found


def test_the_kernel_reads_the_same(tmp_path: Path) -> None:
    """Where the tests may mount, as root on a machine that knows XFS."""
    disk = make(tmp_path)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    disks.mount_xfs(disk, mounted)
    try:
        fill(os.fsencode(mounted))
    finally:
        disks.run("umount", str(mounted))
    disks.mount_xfs(disk, mounted, "loop,ro")
    try:
        wanted = of_the_kernel(os.fsencode(mounted))
        with open_xfs(disk) as source:
            entries = {entry.path: entry for entry in source.entries() if entry.path}
            found: dict[bytes, tuple[object, ...]] = {
                path: (
                    entry.mode,
                    (entry.uid, entry.gid),
                    entry.mtime,
                    entry.inode,
                    entry.size,
                    entry.target,
                    dict(entry.xattrs),
                )
                for path, entry in entries.items()
            }
            assert found == wanted
            for name in (b"holes", b"set-aside"):
                content = b"".join(source.content(entries[name]))
                assert content == (mounted / os.fsdecode(name)).read_bytes()
            length, end = 0, b""
            for chunk in source.content(entries[b"sparse"]):
                length += len(chunk)
                end = chunk
            assert (length, end[-3:]) == ((5 << 30) + 3, b"end")
    finally:
        disks.run("umount", str(mounted))
