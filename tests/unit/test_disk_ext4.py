"""A disk's file system, read without mounting it: everything is there, or it is an error."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from support import disks
from support.trees import contents

from imagectl.adapters.disk.ext4 import Ext4Source, acl_value, device_number, seconds
from imagectl.adapters.disk.partitions import ROOT_START
from imagectl.adapters.disk.root import find_root
from imagectl.adapters.disk.tree import Entry, Kind, NotUnderstood
from imagectl.errors import Corrupt, Failed

ACL_OF_GROUP_8 = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, identity)
    for tag, permissions, identity in (
        (0x01, 7, 0xFFFFFFFF),
        (0x04, 5, 0xFFFFFFFF),
        (0x08, 5, 8),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)


def open_ext4(disk: Path) -> Ext4Source:
    return Ext4Source(disk, find_root(disk).partition)


def read(disk: Path) -> dict[bytes, tuple[Entry, bytes]]:
    with open_ext4(disk) as source:
        found = contents(source)
    found.pop(b"lost+found", None)
    return found


def make(folder: Path, **files: bytes) -> Path:
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    for name, content in files.items():
        (tree / name).write_bytes(content)
    return tree


def test_files_of_all_sizes(tmp_path: Path) -> None:
    sizes = [0, 1, 4095, 4096, 4097, 1_000_000, 5_000_001]
    tree = make(tmp_path, **{f"f{size}": disks.content(size) for size in sizes})
    found = read(disks.make_disk(tmp_path / "disk", tree))
    assert set(found) == {b"", *(b"f%d" % size for size in sizes)}
    for size in sizes:
        assert found[b"f%d" % size][1] == disks.content(size)


def test_a_file_in_many_pieces(tmp_path: Path) -> None:
    """More extents than fit into an inode, holes between them, a hole at the end."""
    tree = make(tmp_path)
    pieces = 600
    with (tree / "holes").open("wb") as file:
        for number in range(pieces):
            file.seek(number * 8192 + 4096)
            file.write(struct.pack("<I", number) * 1024)
        file.truncate(pieces * 8192 + 123_456)
    found = read(disks.make_disk(tmp_path / "disk", tree))
    assert found[b"holes"][1] == (tree / "holes").read_bytes()


def test_a_folder_with_more_names_than_a_block_holds(tmp_path: Path) -> None:
    tree = make(tmp_path)
    names = {b"%04d" % number + b"x" * (number % 200) for number in range(1500)}
    for name in names:
        (tree / os.fsdecode(name)).touch()
    disk = disks.make_disk(tmp_path / "disk", tree, options=["-N", "2000"])
    assert set(read(disk)) == {b"", *names}
    indexed = tmp_path / "indexed"
    indexed.write_bytes(disk.read_bytes())
    disks.run("e2fsck", "-fyD", f"{indexed}?offset={ROOT_START}")
    assert read(indexed) == read(disk)


@pytest.mark.parametrize("last", [b"a", b"abcd", b"abcde"])
def test_the_last_name_of_a_folder_is_read_without_checksums_too(
    tmp_path: Path, last: bytes
) -> None:
    """There a short name may be in the very last 12 bytes of the folder's block."""
    tree = make(tmp_path)
    for number in range(4):
        (tree / f"{number}{'x' * 247}").touch()
    for name in ("y" * 240, "z" * 252):
        (tree / name).touch()
    (tree / os.fsdecode(last)).touch()
    options = ["-O", "^metadata_csum,^dir_index"]
    found = read(disks.make_disk(tmp_path / "disk", tree, options=options))
    assert set(found) == {b"", *(os.fsencode(name) for name in os.listdir(tree))}


def test_links_of_both_kinds(tmp_path: Path) -> None:
    tree = make(tmp_path, a=b"text")
    os.link(tree / "a", tree / "b")
    for length in (1, 58, 59, 60, 61, 1000):
        (tree / f"l{length}").symlink_to("t" * length)
    disk = disks.make_disk(tmp_path / "disk", tree)
    found = read(disk)
    for length in (1, 58, 59, 60, 61, 1000):
        assert found[b"l%d" % length][0].target == b"t" * length
    with open_ext4(disk) as source:
        inodes = {entry.path: entry.inode for entry in source.entries()}
    assert inodes[b"a"] == inodes[b"b"]
    assert len(set(inodes.values())) == len(inodes) - 1


def test_names_of_any_bytes(tmp_path: Path) -> None:
    tree = make(tmp_path)
    names = [b"caf\xe9", b"new\nline", b"\xff\xfe", b"x" * 255, "köln".encode(), b" ", b"-"]
    for name in names:
        (tree / os.fsdecode(name)).touch()
    (tree / "empty").mkdir()
    found = read(disks.make_disk(tmp_path / "disk", tree))
    assert set(found) == {b"", b"empty", *names}
    assert found[b"empty"][0].kind is Kind.DIRECTORY


def test_owners_modes_times_and_devices(tmp_path: Path) -> None:
    tree = make(tmp_path, a=b"", b=b"")
    (tree / "a").chmod(0o4751)
    os.utime(tree / "b", ns=(0, 1_234_567_890_999_999_999))
    os.mkfifo(tree / "fifo")
    commands = [
        "sif /a uid 100000",
        "sif /a gid 4000000",
        "sif /a mtime @-5",
        "sif /a mtime_extra 0",
        "mknod c1 c 1 3",
        "mknod c2 c 5 300",
        "mknod b1 b 254 65535",
    ]
    found = read(disks.make_disk(tmp_path / "disk", tree, commands=commands))
    a = found[b"a"][0]
    assert (a.mode, a.uid, a.gid, a.mtime) == (0o4751, 100_000, 4_000_000, -5)
    assert found[b"b"][0].mtime == 1_234_567_890
    assert found[b"fifo"][0].kind is Kind.FIFO
    assert (found[b"c1"][0].kind, found[b"c1"][0].device) == (Kind.CHARACTER, (1, 3))
    assert found[b"c2"][0].device == (5, 300)
    assert (found[b"b1"][0].kind, found[b"b1"][0].device) == (Kind.BLOCK, (254, 65_535))


def test_sockets_are_left_out(tmp_path: Path) -> None:
    tree = make(tmp_path, a=b"")
    disk = disks.make_disk(tmp_path / "disk", tree, commands=["sif /a mode 0140644"])
    assert set(read(disk)) == {b""}


def test_attributes_in_the_inode_and_in_a_block(tmp_path: Path) -> None:
    tree = make(tmp_path, a=b"", b=b"")
    (tmp_path / "capability").write_bytes(bytes.fromhex("0100000200200000" + "00" * 12))
    (tmp_path / "long").write_bytes(disks.content(3000))
    (tmp_path / "acl").write_bytes(ACL_OF_GROUP_8)
    commands = [
        f"ea_set -f {tmp_path}/capability /a security.capability",
        "ea_set /a user.short text",
        f"ea_set -f {tmp_path}/long /b user.long",
        f"ea_set -f {tmp_path}/acl /b system.posix_acl_access",
    ]
    found = read(disks.make_disk(tmp_path / "disk", tree, commands=commands))
    assert found[b"a"][0].xattrs == (
        (b"security.capability", (tmp_path / "capability").read_bytes()),
        (b"user.short", b"text"),
    )
    assert found[b"b"][0].xattrs == (
        (b"system.posix_acl_access", ACL_OF_GROUP_8),
        (b"user.long", disks.content(3000)),
    )


def test_one_entry_by_its_path(tmp_path: Path) -> None:
    tree = make(tmp_path)
    (tree / "d").mkdir()
    (tree / "d/f").write_bytes(b"text")
    with open_ext4(disks.make_disk(tmp_path / "disk", tree)) as source:
        by_path = {entry.path: entry for entry in source.entries()}
        for path in (b"", b"d", b"d/f"):
            assert replace(source.entry(path), path=path) == by_path[path]
        with pytest.raises(Corrupt) as caught:
            source.entry(b"d/gone")
    assert caught.value.why == "there is no /d/gone"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return disks.make_disk(tmp_path / "disk", make(tmp_path, a=b"text", b=b"more"))


def test_a_file_system_that_was_not_unmounted_is_refused(disk: Path) -> None:
    features = disks.peek(disk, disks.FEATURE_INCOMPAT, "<I")
    disks.poke(disk, disks.FEATURE_INCOMPAT, "<I", features | 0x4)
    with pytest.raises(Failed, match="not unmounted") as caught:
        read(disk)
    assert "poweroff" in caught.value.hint


def test_a_file_system_without_its_clean_mark_is_refused(disk: Path) -> None:
    disks.poke(disk, disks.STATE, "<H", 0)
    with pytest.raises(Failed, match="not unmounted"):
        read(disk)


def test_a_file_system_with_errors_is_refused(disk: Path) -> None:
    disks.poke(disk, disks.STATE, "<H", 3)
    with pytest.raises(Corrupt, match="damaged"):
        read(disk)


@pytest.mark.parametrize("feature", [0x8000, 0x10000, 0x20000, 0x1, 0x10])
def test_features_that_are_not_known_are_refused(disk: Path, feature: int) -> None:
    features = disks.peek(disk, disks.FEATURE_INCOMPAT, "<I")
    disks.poke(disk, disks.FEATURE_INCOMPAT, "<I", features | feature)
    with pytest.raises(Failed, match="cannot be read"):
        read(disk)


def test_other_inode_sizes_are_refused(disk: Path) -> None:
    disks.poke(disk, disks.INODE_SIZE, "<H", 128)
    with pytest.raises(Failed, match="cannot be read"):
        read(disk)


def test_clusters_of_several_blocks_are_not_called_damage(disk: Path) -> None:
    size = disks.peek(disk, disks.LOG_CLUSTER_SIZE, "<I")
    disks.poke(disk, disks.LOG_CLUSTER_SIZE, "<I", size + 4)
    with pytest.raises(NotUnderstood, match="of a kind that cannot be read") as caught:
        read(disk)
    assert "cluster" in caught.value.why


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_the_reader_did_not_see_is_an_error(disk: Path, change: int) -> None:
    """P3: without the count, a reader that overlooks a file would make an image without it."""
    free = disks.peek(disk, disks.FREE_INODES, "<I")
    disks.poke(disk, disks.FREE_INODES, "<I", free + change)
    with pytest.raises(Corrupt, match="damaged") as caught:
        read(disk)
    assert "inodes are in use" in caught.value.why


def test_a_folder_with_a_broken_entry_is_refused(disk: Path) -> None:
    content = bytearray(disk.read_bytes())
    at = content.index(b"lost+found", ROOT_START) - 8
    content[at + 4 : at + 6] = b"\0\0"
    disk.write_bytes(content)
    with pytest.raises(Corrupt, match="damaged"):
        read(disk)


def test_a_disk_that_ends_early_is_refused(disk: Path) -> None:
    whole = disk.read_bytes()
    disk.write_bytes(whole[: whole.index(b"text\0", ROOT_START)])
    with pytest.raises(Corrupt, match="damaged"):
        read(disk)


def test_noise_is_refused(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(ROOT_START)
        file.write(b"\xa5" * 8192)
    with pytest.raises((Corrupt, Failed)):
        read(disk)


@pytest.mark.parametrize(
    ("low", "extra", "expected"),
    [
        (0, 0, 0),
        (2**31 - 1, 0, 2**31 - 1),
        (2**32 - 1, 0, -1),
        (2**31, 0, -(2**31)),
        (2**31, 0b01, 2**31),
        (0, 0b01, 2**32),
        (5, 999 << 2, 5),
    ],
)
def test_times(low: int, extra: int, expected: int) -> None:
    """The table is that of the kernel's Documentation/filesystems/ext4/inodes.rst."""
    assert seconds(low, extra) == expected


def test_device_numbers() -> None:
    assert device_number(struct.pack("<II", 0x0103, 0)) == (1, 3)
    assert device_number(struct.pack("<II", 0, 0x0010_012C)) == (1, 300)


@pytest.mark.parametrize("stored", [b"", b"\1\0", struct.pack("<I", 2), b"\1\0\0\0\x08\0\5\0\1"])
def test_acls_that_cannot_be(stored: bytes) -> None:
    with pytest.raises(Corrupt):
        acl_value(stored)


@pytest.mark.timeout(60)
def test_a_folder_with_two_paths_is_damage(tmp_path: Path) -> None:
    """Below itself, it would never end."""
    tree = make(tmp_path)
    (tree / "a" / "b").mkdir(parents=True)
    disk = disks.make_disk(tmp_path / "disk", tree, commands=["link a a/b/c"])
    with open_ext4(disk) as source, pytest.raises(Corrupt) as caught:
        list(islice(source.entries(), 100))
    assert caught.value.why == "/a/b/c is a folder that has another path too"
    assert caught.value.where == str(disk)


@pytest.mark.parametrize("name", disks.NO_NAMES)
def test_a_name_that_no_file_can_have_is_damage(tmp_path: Path, name: bytes) -> None:
    """It could lead out of its folder."""
    disk = disks.make_disk(tmp_path / "disk", make(tmp_path, **{disks.NAME: b""}))
    disks.rename(disk, name)
    with pytest.raises(Corrupt, match="damaged") as caught:
        read(disk)
    assert caught.value.why.endswith("is no name that a file can have")
