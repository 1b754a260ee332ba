"""How a tree is booted: its kernel, its initrd, their arguments, and GRUB's configuration.

A disk finds its root file system by an id that follows from the tree's digest, so a machine with
two of our disks never mixes them up. What the tree says itself is ``/etc/kernel/cmdline``, the
arguments of the kernel without ``root=``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.tree import CanonicalTree, Entry, Kind
from imagectl.errors import BuildFailed
from imagectl.model.names import Sha256

KERNEL = b"vmlinuz"
INITRD = b"initrd.img"
CMDLINE = b"etc/kernel/cmdline"
DEFAULT_CMDLINE = "console=tty0 console=ttyS0,115200n8"
"""For trees that say nothing: without a serial console nobody sees why a machine does not boot."""


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
    with TarSource(tree.path) as source:
        entries = {entry.path: entry for entry in source.entries()}
        arguments = kernel_arguments(source, entries)
        paths = []
        for name in (KERNEL, INITRD):
            entry = resolve(entries, name)
            out = out_dir / name.decode()
            with whole_file(out) as unfinished, unfinished.open("wb") as file:
                for chunk in source.content(entry):
                    file.write(chunk)
            paths.append(out)
    return BootFiles(paths[0], paths[1], root_argument(identity(tree.sha256)), arguments)


def root_argument(ids: Identity) -> str:
    """How the kernel finds the root file system."""
    return f"root=PARTUUID={ids.root}"


def kernel_arguments(source: TarSource, entries: dict[bytes, Entry]) -> str:
    """The tree's own kernel arguments, on one line."""
    entry = entries.get(CMDLINE)
    text = DEFAULT_CMDLINE
    if entry is not None and entry.kind is Kind.FILE:
        text = b"".join(source.content(entry)).decode("utf-8", "replace")
    return " ".join(["ro", *_words(text.splitlines())])


def _words(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.lstrip().startswith("#"):
            yield from line.split()


def resolve(entries: dict[bytes, Entry], name: bytes) -> Entry:
    """The file that */vmlinuz* or */initrd.img* points to. Raises BuildFailed."""
    path = name
    for _ in range(8):
        entry = entries.get(path)
        if entry is None:
            break
        if entry.kind is Kind.FILE:
            return entry
        if entry.kind is not Kind.SYMLINK:
            break
        path = entry.target.lstrip(b"/")
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
