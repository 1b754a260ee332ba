"""Rebuilds the initrds of a tree on this machine, instead of in the build VM.

In an emulated guest one ``update-initramfs`` takes minutes (173 of 281 s of dpkg's time, measured),
here some seconds; so guests are told not to, and every image gets its initrds here at the end,
changed or not: whether they would change cannot be told without making them.

``mkinitramfs`` is the tree's own, in a root of its own with the tree's files but without their
owners, which no initrd has. With the epoch set it gives the same bytes for the same files.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from imagectl.adapters.disk.canonical import Settled, content_of, settle
from imagectl.adapters.disk.packed import SortedEntries
from imagectl.adapters.disk.rules import Rule
from imagectl.adapters.disk.tree import Entry, Kind, MemorySource, Source
from imagectl.adapters.durable import write_all
from imagectl.adapters.namespaces import Bind, remove_tree, run_inside
from imagectl.services.ports.progress import Progress

_KERNEL = re.compile(rb"boot/vmlinuz-([A-Za-z0-9+.~_-]+)\Z")
_INITRD = b"boot/initrd.img-"
_MKINITRAMFS = b"usr/sbin/mkinitramfs"
_NOT_NEEDED = re.compile(
    rb"(?:boot/initrd\.img-|usr/share/(?:doc|info|locale|man)/|usr/src/|var/"
    rb"|(?:home|media|mnt|opt|root|srv|tmp)/)"
)
"""What no initramfs hook copies from, and would take time to write down."""


def rebuild_initrds(
    source: Source,
    rules: Sequence[Rule],
    epoch: int,
    work: Path,
    progress: Progress | None = None,
) -> MemorySource:
    """A new initrd for each kernel in ``/boot``, as entries that replace those of *source*.

    Nothing where the tree has no ``mkinitramfs``. ``work``: an existing folder. Raises ToolFailed
    with mkinitramfs' own words.
    """
    root, out = work / "initramfs-root", work / "initramfs-out"
    before: dict[bytes, Entry] = {}
    has_program = False
    versions: list[str] = []
    root.mkdir()
    out.mkdir()
    try:
        if progress is not None:
            progress.step("unpacking the tree for its initrds")
        for settled in settle(SortedEntries(source), source, rules, epoch):
            entry = settled.entry
            if entry.path.startswith(_INITRD):
                before[entry.path] = entry
            has_program |= entry.path == _MKINITRAMFS
            if match := _KERNEL.match(entry.path):
                versions.append(match[1].decode())
            if not _NOT_NEEDED.match(entry.path):
                _write(source, settled, os.fsencode(root))
        if not has_program:
            if progress is not None and versions:
                progress.note("The image has no initramfs-tools: its initrds stay as they are.")
            versions.clear()
        for folder in (b"dev", b"mnt", b"proc", b"tmp", b"var/tmp"):
            os.makedirs(os.path.join(os.fsencode(root), folder), exist_ok=True)
        files = []
        for version in versions:
            if progress is not None:
                progress.step(f"making the initrd of {version}")
            run_inside(
                root,
                ["mkinitramfs", "-o", f"/mnt/out/{version}", version],
                binds=[Bind(out, "out")],
                env={"SOURCE_DATE_EPOCH": str(epoch)},
                what=f"making the initrd of {version}",
            )
            path = _INITRD + version.encode()
            old = before.get(path, Entry(path, Kind.FILE, 0o644))
            fresh = Entry(path, Kind.FILE, old.mode, old.uid, old.gid, epoch)
            files.append((fresh, (out / version).read_bytes()))
        return MemorySource(files)
    finally:
        remove_tree(root)
        remove_tree(out)


def _write(source: Source, settled: Settled, root: bytes) -> None:
    """One entry below *root*, without its owner. Its folder is a real one: ``settle`` has seen to
    that, so no link leads out of the root."""
    entry = settled.entry
    path = os.path.join(root, entry.path)
    if entry.kind is Kind.DIRECTORY:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)
    elif entry.kind is Kind.SYMLINK:
        os.symlink(entry.target, path)
        os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)
    elif entry.kind is Kind.FILE:
        if settled.link_to is not None:
            with contextlib.suppress(FileNotFoundError):  # where the first path was not needed
                os.link(os.path.join(root, settled.link_to), path)
                return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        try:
            for chunk in content_of(source, settled):
                write_all(descriptor, chunk)
            os.fchmod(descriptor, entry.mode & 0o777)
            os.utime(descriptor, (entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)
