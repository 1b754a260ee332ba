"""Bases that were made before, so that a changed playbook does not pay for the packages again.

A base is kept under the digest of what it was made from, compressed, with its own digest in its
name. Only the latest few are kept; losing them costs a minute, never a result.
"""

from __future__ import annotations

import os
from pathlib import Path

from imagectl.adapters.disk import convert
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import Corrupt
from imagectl.model.names import Sha256, parse_sha256
from imagectl.services.ports.building import CanonicalTree

KEEP = 3
"""How many bases are kept; each takes some 150 MB."""

_SUFFIX = ".tar.zst"


class BaseCache:
    """A folder of compressed trees, named ``<digest of inputs>-<digest of the tree>.tar.zst``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, inputs: Sha256, toolchain: Toolchain, out: Path) -> CanonicalTree | None:
        """The base made from *inputs*, expanded to *out*; None where it is not kept, or damaged."""
        for kept in sorted(self._folder.glob(f"{inputs}-*{_SUFFIX}")):
            sha256 = parse_sha256(kept.name.removesuffix(_SUFFIX).partition("-")[2])
            try:
                tree = convert.expand_tree(kept, sha256, toolchain, out)
            except Corrupt:
                kept.unlink(missing_ok=True)  # it is only a cache: make the base again
                continue
            os.utime(kept)
            return tree
        return None

    def put(self, inputs: Sha256, tree: CanonicalTree, toolchain: Toolchain) -> None:
        """Keep *tree* as what *inputs* make, and let the oldest go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        convert.compress_tree(tree, toolchain, self._folder / f"{inputs}-{tree.sha256}{_SUFFIX}")
        kept = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-KEEP]:
            old.unlink(missing_ok=True)
