"""How a tree is booted: its kernel, its initrd, their arguments, and GRUB's configuration.

A disk finds its root file system by an id that follows from the tree's digest, so a machine with
two of our disks never mixes them up. What the tree says itself is ``/etc/kernel/cmdline``, the
arguments of the kernel without ``root=``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.members import Member, find_members, read_content
from imagectl.adapters.disk.tree import CanonicalTree, Kind
from imagectl.errors import BuildFailed
from imagectl.model.names import Sha256

KERNEL = b"vmlinuz"
INITRD = b"initrd.img"
CMDLINE = b"etc/kernel/cmdline"
DEFAULT_CMDLINE = "console=tty0 console=ttyS0,115200n8"
"""For trees that say nothing: without a serial console nobody sees why a machine does not boot."""
_BOOTS = re.compile(rb"[^/]*|boot/.*|etc/kernel/cmdline|usr/lib/modules/[^/]*/vmlinuz", re.DOTALL)
"""Where kernels, initrds and the links to them are."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of a disk and what is on it, all from one digest."""

    disk: UUID
    root: UUID
    bios: UUID
    esp: UUID
    filesystem: UUID
    hash_seed: UUID
    esp_volume: str
    """Eight hexadecimal digits, as ``mkfs.fat -i`` takes them."""


def identity(tree: Sha256) -> Identity:
    """The ids of the disk of a tree. Equal trees have equal ids."""

    def derived(purpose: str) -> UUID:
        digest = hashlib.sha256(f"imagectl {purpose} {tree}".encode()).digest()
        return UUID(bytes=digest[:16], version=4)

    return Identity(
        disk=derived("disk"),
        root=derived("root"),
        bios=derived("bios"),
        esp=derived("esp"),
        filesystem=derived("filesystem"),
        hash_seed=derived("hash seed"),
        esp_volume=derived("esp volume").hex[:8],
    )


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What boots a disk of the tree without a boot loader."""

    kernel: Path
    initrd: Path
    root_argument: str
    """``root=PARTUUID=...``, which names the disk that ``write_raw`` makes of the same tree."""
    kernel_arguments: str
    """All others, as the tree wants them."""


def boot_files(tree: CanonicalTree, out_dir: Path) -> BootFiles:
    """Copy the kernel and the initrd that GRUB would boot to the folder *out_dir*.

    Raises BuildFailed where the tree has none.
    """
    with tree.path.open("rb") as tar:
        members = find_members(tar, tree.path, boots)
        arguments = kernel_arguments(tar, members)
        paths = []
        for name in (KERNEL, INITRD):
            member = resolve(members, name)
            out = out_dir / name.decode()
            need = member.entry.size
            with whole_file(out, need=need) as unfinished, unfinished.open("wb") as file:
                file.writelines(read_content(tar, member))
            paths.append(out)
    return BootFiles(paths[0], paths[1], root_argument(identity(tree.sha256)), arguments)


def why_not_bootable(tree: CanonicalTree) -> str:
    """Why no disk of this tree would boot, for people; empty where one would.

    Distributions that keep their kernels in another way than Debian boot by their own disk only.
    """
    with tree.path.open("rb") as tar:
        members = find_members(tar, tree.path, boots)
    try:
        for name in (KERNEL, INITRD):
            resolve(members, name)
    except BuildFailed as problem:
        return f"it boots in another way than Debian: {problem.what}"
    return ""


def root_argument(ids: Identity) -> str:
    """How the kernel finds the root file system."""
    return f"root=PARTUUID={ids.root}"


def boots(member: Member) -> bool:
    """Whether a member may have to do with booting: a kernel, an initrd, or a link to one."""
    return _BOOTS.fullmatch(member.entry.path) is not None


def kernel_arguments(tar: BinaryIO, members: Mapping[bytes, Member]) -> str:
    """The tree's own kernel arguments, on one line."""
    member = members.get(CMDLINE)
    text = DEFAULT_CMDLINE
    if member is not None and member.entry.kind is Kind.FILE:
        text = b"".join(read_content(tar, member)).decode("utf-8", "replace")
    return " ".join(["ro", *_words(text.splitlines())])


def _words(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.lstrip().startswith("#"):
            yield from line.split()


def resolve(members: Mapping[bytes, Member], name: bytes) -> Member:
    """The file that */vmlinuz* or */initrd.img* points to. Raises BuildFailed."""
    path = name
    for _ in range(8):
        member = members.get(path)
        if member is None:
            break
        if member.entry.kind is Kind.FILE:
            return member
        if member.entry.kind is not Kind.SYMLINK:
            break
        path = member.entry.target.lstrip(b"/")
    raise BuildFailed(
        f"the image has no /{name.decode()}",
        stage="disk",
        why="it must be a link to the kernel, or its initrd, that shall be booted",
        hint="a kernel package makes it: is linux-image-cloud-amd64 still installed?",
    )


def grub_config(ids: Identity, arguments: str) -> str:
    """GRUB's menu, the same for BIOS and UEFI. It is on the EFI system partition.

    Kernel and initrd are named by the links that Debian's kernel packages keep, so a machine that
    installs a newer kernel boots it, and ``grub-mkconfig`` is not needed.
    """
    return f"""\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
set default=0
search --no-floppy --fs-uuid --set=root {ids.filesystem}
menuentry 'Linux' {{
	linux /vmlinuz {root_argument(ids)} {arguments}
	initrd /initrd.img
}}
menuentry 'Linux, the kernel before' {{
	linux /vmlinuz.old {root_argument(ids)} {arguments}
	initrd /initrd.img.old
}}
"""


def core_config(ids: Identity) -> str:
    """What GRUB's BIOS core does first: find the menu. UEFI's signed GRUB looks there by itself."""
    volume = f"{ids.esp_volume[:4]}-{ids.esp_volume[4:]}".upper()
    return f"""\
search.fs_uuid {volume} esp
set prefix=($esp)/EFI/debian
normal $prefix/grub.cfg
"""
