"""Published trees on directories, signed with keys that are made beside them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from imagectl.adapters.published.directory import DirectoryPublisher, DirectoryTree
from imagectl.adapters.published.signing import ROOT_FILE, Signing
from imagectl.adapters.signing_keys import SigningKeys
from support.examples import BETA, NOW, STABLE


def signing(beside: Path) -> Signing:
    """Keys, whose keys count, and what waits: all in folders beside a tree."""
    keys = SigningKeys((), beside / "keys", beside)
    return Signing(keys, beside / "trust", beside / "pending", lambda: (BETA, STABLE))


def directory_publisher(
    root: Path, clock: Callable[[], datetime] = lambda: NOW
) -> DirectoryPublisher:
    """A publisher on *root*, whose keys are in a folder beside it."""
    return DirectoryPublisher(root, signing(_beside(root)), clock)


def directory_tree(root: Path, now: datetime | None = None) -> DirectoryTree:
    """What that publisher has written, for reading."""
    return DirectoryTree(root, trusted(root), now)


def trusted(root: Path) -> Path:
    """The file that says whose signatures count in the tree on *root*."""
    return _beside(root) / "trust" / ROOT_FILE


def _beside(root: Path) -> Path:
    return root.with_name(f"{root.name}.signing")
