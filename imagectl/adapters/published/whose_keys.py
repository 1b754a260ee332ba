"""Whose keys count, and who may sign what, when a tree is written: the newest of what the project
keeps and of what the tree has. What that makes is kept in the project."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.published.signing import ROOT_FILE, TARGETS_FILE
from imagectl.errors import Conflict, Corrupt
from imagectl.formats.tuf_roles import TARGETS

if TYPE_CHECKING:
    from tuf.api.metadata import Root, Targets

    from imagectl.adapters.published.place import Place
    from imagectl.adapters.published.signing import Signing
    from imagectl.adapters.published.verified import Signed, VerifiedTree
    from imagectl.model.names import ChannelName


def trusted_here(trust: Path) -> Signed[Root] | None:
    """The root that the project trusts; None where there is none yet."""
    from imagectl.adapters.published.trust import back_from_git, read
    from imagectl.adapters.published.verified import trusted_root

    path = trust / ROOT_FILE
    data = read(path)
    return None if data is None else trusted_root(data, str(path), back_from_git(path))


def whose_keys(
    signing: Signing,
    place: Place,
    tree: VerifiedTree | None,
    channels: Collection[ChannelName],
    now: datetime,
    *,
    repairing: bool,
) -> tuple[Signed[Root], Signed[Targets], bytes | None]:
    """Whose keys count, who may sign what, and what of that waits for its signers. *tree* is what
    is in *place*.

    Raises Conflict where keys were replaced elsewhere, and this project lacks what came of it.
    """
    from imagectl.adapters.published.authority import (
        first_root,
        first_targets,
        next_targets,
        renewed_root,
    )
    from imagectl.adapters.published.recovering import later_roots
    from imagectl.adapters.published.trust import keep_root, put, read

    keys = signing.keys
    root = trusted_here(signing.trust)
    if root is not None and tree is not None and tree.root.signed.version > root.signed.version:
        for each in later_roots(place, root):
            keep_root(signing.trust, each)  # each of them: consumers of other trees need them all
        root = tree.root
    root = first_root(keys, now) if root is None else renewed_root(root, keys, now)
    keep_root(signing.trust, root)
    known = _known_targets(signing, root, tree, repairing=repairing)
    targets = known if known is not None else first_targets(root.signed, keys, channels, now)
    targets, waiting = next_targets(
        root.signed,
        targets,
        keys,
        channels,
        now,
        pending=read(signing.pending / TARGETS_FILE),
    )
    path = signing.trust / TARGETS_FILE
    if read(path) != targets.data:
        put(path, targets.data)
    return root, targets, waiting


def _known_targets(
    signing: Signing, root: Signed[Root], tree: VerifiedTree | None, *, repairing: bool
) -> Signed[Targets] | None:
    """The newest list of who may sign what, of the tree's and of the project's."""
    from tuf.api.metadata import Targets

    from imagectl.adapters.published.authority import is_signed
    from imagectl.adapters.published.trust import back_from_git, earlier_roots, read
    from imagectl.adapters.published.verified import check_signed, parse_metadata

    found: list[Signed[Targets]] = []
    if tree is not None:
        try:
            if is_signed(TARGETS, tree.targets.metadata, root.signed):
                found.append(tree.targets)
        except Corrupt:
            if not repairing:
                raise
    path = signing.trust / TARGETS_FILE
    data = read(path)
    if data is not None:
        hint = back_from_git(path)
        kept = parse_metadata(Targets, data, str(path), hint)
        former = (each.signed for each in earlier_roots(signing.trust))
        if is_signed(TARGETS, kept.metadata, root.signed):
            found.append(kept)
        elif not any(is_signed(TARGETS, kept.metadata, each) for each in former):
            check_signed(root.signed, TARGETS, kept, str(path), hint)
        elif not found:
            raise Conflict(
                "keys were replaced, and who may sign what since then is not known here",
                where=str(path),
                why="it is signed by former keys, and no tree has the one after it",
                hint="`imagectl sign targets` where that waits for signatures; else bring catalog/ "
                "of whoever replaced keys from git",
            )
    return max(found, key=lambda each: each.signed.version, default=None)
