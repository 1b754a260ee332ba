"""The manifest: every path of a tree on a line of its own, files with their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

from imagectl.adapters.disk.files import whole_file
from imagectl.adapters.disk.tree import Entry, Kind
from imagectl.adapters.inside.tree import Tree, readable
from imagectl.formats.contents_v1 import write_listed
from imagectl.model.contents import Listed
from imagectl.model.names import Sha256


def write_manifest(tree: Tree, out: Path) -> None:
    """The manifest of *tree*, a line at a time. Files with several names are read once."""
    digests: dict[int, Sha256] = {}
    with whole_file(out) as unfinished, unfinished.open("w", encoding="ascii") as file:
        for entry in tree.entries.values():
            if entry.kind is Kind.FILE and entry.inode not in digests:
                digests[entry.inode] = _digest(tree, entry)
            file.write(write_listed(_listed(entry, digests.get(entry.inode))))


def _digest(tree: Tree, entry: Entry) -> Sha256:
    digest = hashlib.sha256()
    for chunk in tree.content(entry):
        digest.update(chunk)
    return Sha256(digest.hexdigest())


def _listed(entry: Entry, sha256: Sha256 | None) -> Listed:
    is_file = entry.kind is Kind.FILE
    is_device = entry.kind in (Kind.CHARACTER, Kind.BLOCK)
    return Listed(
        path="/" + readable(entry.path),
        kind=entry.kind.value,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=entry.size,
        sha256=sha256 if is_file else None,
        target=readable(entry.target),
        device=entry.device if is_device else None,
        xattrs={readable(name): value.hex() for name, value in entry.xattrs} or None,
    )
