"""A disk in any format -> raw; a tree <-> its compressed form in the store.

Each is the same bytes for the same input and the same toolchain (P9).
"""

from __future__ import annotations

from pathlib import Path

from imagectl.adapters.disk.canonical import describe_tree
from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.tree import CanonicalTree
from imagectl.adapters.namespaces import Bind
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import Corrupt, ToolFailed
from imagectl.model.names import Sha256


def to_raw(disk: Path, toolchain: Toolchain, out: Path) -> None:
    """Write a disk in any format that QEMU knows to *out*, raw.

    The format is found out from the disk itself. That a disk may name a backing file is no danger:
    the toolchain sees none of this machine's files. Raises ToolFailed, NoSpace.
    """
    with whole_file(out) as unfinished:
        toolchain.run(
            ["qemu-img", "convert", "-O", "raw", "/mnt/given", f"/mnt/out/{unfinished.name}"],
            binds=[Bind(disk, "given"), Bind(out.parent, "out")],
            what="converting the base disk to raw",
        )


def compress_tree(tree: CanonicalTree, toolchain: Toolchain, out: Path) -> None:
    """Write the tree to *out*, compressed. The number of processors does not change the bytes."""
    with whole_file(out) as unfinished:
        toolchain.run(
            ["zstd", "-q", "-3", "-T0", "/mnt/tree.tar", "-o", f"/mnt/out/{unfinished.name}"],
            binds=[Bind(tree.path, "tree.tar"), Bind(out.parent, "out")],
            what="compressing the tree",
        )


def expand_tree(file: Path, sha256: Sha256, toolchain: Toolchain, out: Path) -> CanonicalTree:
    """The tree again, from its compressed form. Raises Corrupt where it is not *sha256*."""
    with whole_file(out) as unfinished:
        try:
            toolchain.run(
                ["zstd", "-q", "-d", "/mnt/tree.tar.zst", "-o", f"/mnt/out/{unfinished.name}"],
                binds=[Bind(file, "tree.tar.zst"), Bind(out.parent, "out")],
                what="expanding the tree",
            )
        except ToolFailed as failure:
            raise Corrupt(
                "a stored tree cannot be expanded", where=str(file), why=failure.tail.strip()
            ) from failure
        tree = describe_tree(unfinished)
        if tree.sha256 != sha256:
            raise Corrupt(
                "a stored tree is not what was recorded",
                where=str(file),
                why=f"its sha256 is {tree.sha256}, recorded is {sha256}",
            )
        return CanonicalTree(out, tree.sha256, tree.size, tree.entries)
