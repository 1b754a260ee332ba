"""A disk -> the canonical tree of the files on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.initramfs import rebuild_initrds
from imagectl.adapters.disk.root import open_root
from imagectl.adapters.disk.rules import RULES, Rule
from imagectl.adapters.disk.tree import CanonicalTree, LayeredSource, Source
from imagectl.services.ports.progress import Progress


def read_back(
    raw: Path,
    epoch: int,
    work: Path,
    out: Path,
    *,
    rules: Sequence[Rule] = RULES,
    initrds: bool = True,
    above: Source | None = None,
    progress: Progress | None = None,
) -> CanonicalTree:
    """Write the canonical tree of a raw disk's root file system to *out*.

    The machine must have been shut down. ``initrds``: make them again (some seconds), as must be
    where the machine was told not to. ``above``: files that are put over the disk's. ``work``: an
    existing folder on a disk with room for the tree. Errors are those of ``open_root``,
    ``write_tree`` and ``rebuild_initrds``.
    """
    with open_root(raw) as disk:
        source: Source = disk if above is None else LayeredSource(disk, above)
        if initrds:
            source = LayeredSource(source, rebuild_initrds(source, rules, epoch, work, progress))
        if progress is not None:
            progress.step("reading the file tree")
        return write_tree(source, rules, epoch, out)
