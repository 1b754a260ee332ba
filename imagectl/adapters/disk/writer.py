"""The canonical tree -> a raw disk that boots by BIOS and by UEFI, the same bytes always (P9).

No root, no loop device, no mount. The tools are those of the toolchain, the boot loaders those of
the tree itself. The disk is sparse: what nothing was written to takes no space on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from imagectl.adapters.disk import boot
from imagectl.adapters.disk.boot import Identity
from imagectl.adapters.disk.ext4 import Ext4Source
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.members import Member, find_members, read_content
from imagectl.adapters.disk.partitions import (
    BIOS_START,
    ESP_START,
    MIB,
    ROOT_START,
    SECTOR,
    TAIL,
    bios_boot_code,
    encode_table,
    layout,
)
from imagectl.adapters.disk.root import find_root
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind, display
from imagectl.adapters.namespaces import Bind
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, ToolFailed
from imagectl.services.ports.progress import Progress

_GRUB_PC = b"usr/lib/grub/i386-pc/"
_GRUB_MODULES = (
    "biosdisk",
    "ext2",
    "fat",
    "linux",
    "minicmd",
    "normal",
    "part_gpt",
    "reboot",
    "search",
    "search_fs_uuid",
    "serial",
    "terminal",
    "test",
)
_ESP_FILES = {
    "EFI/BOOT/BOOTX64.EFI": b"usr/lib/shim/shimx64.efi.signed",
    "EFI/BOOT/grubx64.efi": b"usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
    "EFI/BOOT/mmx64.efi": b"usr/lib/shim/mmx64.efi.signed",
}
_ESP_CONFIG = "EFI/debian/grub.cfg"
_UNSYNCED = ("env", "LD_PRELOAD=libeatmydata.so")
"""Runs a program that does not wait until storage has what it wrote: who keeps a disk sees to that,
and a build VM's disk never needs it."""
_INODE_RATIO = 16384
"""Bytes of a file system for each file that it can have, as in ``mke2fs.conf``."""
_EXT4_FULL = re.compile(
    r"Could not allocate|No space left|ext2 filesystem too small|too small", re.I
)


def write_raw(
    tree: CanonicalTree,
    disk_size: int,
    epoch: int,
    toolchain: Toolchain,
    work: Path,
    out: Path,
    progress: Progress | None = None,
) -> None:
    """Write the disk of *tree* to *out*. ``disk_size`` in bytes; ``epoch`` as for the tree.

    It is not hashed: see ``blocks.describe_raw``. ``work``: an existing folder. Raises BuildFailed
    where the disk is too small (saying how much is needed) or the tree lacks a boot loader,
    ToolFailed, NoSpace.
    """
    if disk_size % MIB:
        raise BuildFailed(
            f"a disk of {disk_size} bytes cannot be",
            stage="disk",
            why="it is not a whole number of MiB",
            hint="correct `disk_size` in image.yaml",
        )
    if disk_size < ROOT_START + TAIL + 64 * MIB:
        raise too_small(tree, disk_size)
    ids = boot.identity(tree.sha256)
    parts = work / "disk-parts"
    parts.mkdir()
    try:
        shipped = resources.files(__package__) / "mke2fs.conf"
        (parts / "mke2fs.conf").write_bytes(shipped.read_bytes())
        with whole_file(out, need=needed_size(tree)) as raw, ThreadPoolExecutor(1) as beside:
            with raw.open("wb") as file:
                file.truncate(disk_size)
            if progress is not None:
                progress.step("writing the file system and the boot loaders")
            _write_table(disk_size, ids, raw)
            # Each writes to partitions of its own; mke2fs takes the longest.
            booting = beside.submit(_make_bootable, tree, epoch, ids, toolchain, parts, raw)
            try:
                _make_ext4(tree, disk_size, epoch, ids, toolchain, parts, raw)
            except (BuildFailed, ToolFailed):
                booting.result()  # what the tree lacks is the better answer
                raise
            _set_xattrs(booting.result(), epoch, toolchain, parts, raw)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def too_small(tree: CanonicalTree, disk_size: int) -> BuildFailed:
    """The error for a disk that the tree does not fit on."""
    needed = needed_size(tree)
    return BuildFailed(
        f"the disk of {disk_size // MIB} MiB is too small for the image's files",
        stage="disk",
        why=f"{tree.entries} files of together {tree.size // MIB} MiB need about "
        f"{needed // MIB} MiB with the boot partitions and the file system's own data",
        hint=f"set `disk_size: {-(-needed // (1 << 30))}GiB` or more in image.yaml",
    )


def needed_size(tree: CanonicalTree) -> int:
    """An estimate, in bytes, of the smallest disk that the tree fits on with room to run: room for
    the content, and for as many files."""
    inodes = (tree.entries + tree.entries // 8) * _INODE_RATIO
    return ROOT_START + TAIL + max(tree.size * 5 // 4 + 192 * MIB, inodes)


def _make_bootable(
    tree: CanonicalTree, epoch: int, ids: Identity, toolchain: Toolchain, parts: Path, raw: Path
) -> list[Entry]:
    """Fill the boot partitions. Returns the entries with attributes that mke2fs does not write."""
    attributed = _collect(tree, parts, ids, epoch)
    _make_esp(epoch, ids, toolchain, parts, raw)
    _make_bios_boot(toolchain, parts, raw)
    return attributed


def _collect(tree: CanonicalTree, parts: Path, ids: Identity, epoch: int) -> list[Entry]:
    """Everything for the boot partitions, out of the tree, below *parts*: esp/ and grub/.

    Returns the entries whose extended attributes mke2fs does not write.
    """
    with tree.path.open("rb") as tar:
        members = find_members(tar, tree.path, _needed)
        for name in (boot.KERNEL, boot.INITRD):
            boot.resolve(members, name)
        for target, path in _ESP_FILES.items():
            _extract(
                tar,
                _required(members, path, "shim-signed, grub-efi-amd64-signed"),
                parts / "esp" / target,
            )
        _required(members, _GRUB_PC + b"boot.img", "grub-pc-bin")
        for path, member in members.items():
            if path.startswith(_GRUB_PC) and path.endswith((b".mod", b".img", b".lst")):
                _extract(tar, member, parts / "grub" / path.rpartition(b"/")[2].decode())
        arguments = boot.kernel_arguments(tar, members)
    config = parts / "esp" / _ESP_CONFIG
    config.parent.mkdir(parents=True)
    config.write_text(boot.grub_config(ids, arguments))
    (parts / "grub" / "core.cfg").write_text(boot.core_config(ids))
    for written in (parts / "esp").rglob("*"):
        os.utime(written, (epoch, epoch))
    return [each.entry for each in members.values() if _other_xattrs(each.entry)]


def _needed(member: Member) -> bool:
    path = member.entry.path
    return (
        path.startswith(_GRUB_PC)
        or path in _ESP_FILES.values()
        or boot.boots(member)
        or bool(_other_xattrs(member.entry))
    )


def _required(members: Mapping[bytes, Member], path: bytes, packages: str) -> Member:
    member = members.get(path)
    if member is None or member.entry.kind is not Kind.FILE:
        raise BuildFailed(
            f"the image has no /{path.decode()}, without which its disk cannot boot",
            stage="disk",
            why=f"it belongs to {packages}, which every image needs",
            hint=f"let the playbook keep {packages} installed",
        )
    return member


def _extract(tar: BinaryIO, member: Member, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("wb") as file:
        file.writelines(read_content(tar, member))


def _make_ext4(
    tree: CanonicalTree,
    disk_size: int,
    epoch: int,
    ids: Identity,
    toolchain: Toolchain,
    parts: Path,
    raw: Path,
) -> None:
    size = disk_size - ROOT_START - TAIL
    extended = ",".join(
        (
            f"hash_seed={ids.hash_seed}",
            "lazy_itable_init=0",
            "lazy_journal_init=0",
            "root_owner=0:0",
            "nodiscard",
            f"offset={ROOT_START}",
        )
    )
    try:
        toolchain.run(
            [
                *_UNSYNCED,
                *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1"),
                *("-O", "^metadata_csum_seed,^orphan_file", "-U", str(ids.filesystem)),
                *("-E", extended, "-d", "/mnt/tree.tar", "/mnt/disk.raw", f"{size // 1024}k"),
            ],
            binds=[
                Bind(tree.path, "tree.tar"),
                Bind(raw, "disk.raw"),
                Bind(parts / "mke2fs.conf", "mke2fs.conf"),
            ],
            env={"SOURCE_DATE_EPOCH": str(epoch), "MKE2FS_CONFIG": "/mnt/mke2fs.conf"},
            what="making the file system",
        )
    except ToolFailed as failure:
        if _EXT4_FULL.search(failure.tail):
            raise too_small(tree, disk_size) from failure
        raise


def _other_xattrs(entry: Entry) -> list[tuple[bytes, bytes]]:
    """mke2fs 1.47.2 takes ``security.capability`` from a tar and no other attribute."""
    return [(name, value) for name, value in entry.xattrs if name != b"security.capability"]


def _set_xattrs(
    entries: list[Entry], epoch: int, toolchain: Toolchain, parts: Path, raw: Path
) -> None:
    """Add what mke2fs left out: ACLs, ``user.*``. By inode number: debugfs cannot take any path."""
    if not entries:
        return
    values = parts / "xattrs"
    values.mkdir()
    commands: list[str] = []
    root = find_root(raw).partition
    with Ext4Source(raw, root) as disk:
        inodes = {disk.entry(entry.path).inode: entry for entry in entries}
    for inode, entry in inodes.items():
        for name, value in _other_xattrs(entry):
            file = values / str(len(commands))
            file.write_bytes(value)
            quoted = os.fsdecode(name).replace('"', '""')
            commands.append(f'ea_set -f /mnt/xattrs/{file.name} <{inode}> "{quoted}"\n')
    result = toolchain.run(
        [*_UNSYNCED, "debugfs", "-w", "-f", "-", f"/mnt/disk.raw?offset={ROOT_START}"],
        binds=[Bind(raw, "disk.raw"), Bind(values, "xattrs")],
        env={"SOURCE_DATE_EPOCH": str(epoch)},
        input="".join(commands).encode("utf-8", "surrogateescape"),
        what="writing the extended attributes",
    )
    with Ext4Source(raw, root) as disk:  # debugfs ends with status 0 whatever happened
        for entry in entries:
            if disk.entry(entry.path).xattrs != entry.xattrs:
                raise BuildFailed(
                    f"the extended attributes of {display(entry.path)} could not be written",
                    stage="disk",
                    why=", ".join(os.fsdecode(name) for name, _ in entry.xattrs),
                    tail=result.tail,
                )


def _make_esp(epoch: int, ids: Identity, toolchain: Toolchain, parts: Path, raw: Path) -> None:
    binds = [Bind(raw, "disk.raw"), Bind(parts / "esp", "esp")]
    env = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    toolchain.run(
        [
            *_UNSYNCED,
            *("mkfs.fat", "--invariant", "-i", ids.esp_volume, "-n", "ESP", "-F", "16"),
            *("--offset", str(ESP_START // SECTOR), "/mnt/disk.raw"),
            str((ROOT_START - ESP_START) // 1024),
        ],
        binds=binds,
        env=env,
        what="making the EFI system partition",
    )
    toolchain.run(
        ["mcopy", "-s", "-m", "-i", f"/mnt/disk.raw@@{ESP_START}", "/mnt/esp/EFI", "::"],
        binds=binds,
        env=env,
        what="filling the EFI system partition",
    )


def _make_bios_boot(toolchain: Toolchain, parts: Path, raw: Path) -> None:
    grub = parts / "grub"
    toolchain.run(
        [
            *("grub-mkimage", "-O", "i386-pc", "-d", "/mnt/grub", "-p", "(,gpt15)/EFI/debian"),
            *("-c", "/mnt/grub/core.cfg", "-o", "/mnt/grub/core.img", *_GRUB_MODULES),
        ],
        binds=[Bind(grub, "grub")],
        what="making GRUB's core",
    )
    code, core = bios_boot_code(
        (grub / "boot.img").read_bytes(), (grub / "core.img").read_bytes(), BIOS_START // SECTOR
    )
    with raw.open("r+b") as file:
        file.write(code)
        file.seek(BIOS_START)
        file.write(core)


def _write_table(disk_size: int, ids: Identity, raw: Path) -> None:
    table = encode_table(disk_size, ids.disk, layout(disk_size, ids.root, ids.bios, ids.esp))
    with raw.open("r+b") as file:
        file.write(table.head)
        file.seek(disk_size - len(table.tail))
        file.write(table.tail)
