"""Published trees on directories, signed with keys that are made beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from imagectl.adapters.published.directory import DirectoryPlace, DirectoryTree
from imagectl.adapters.published.publisher import TreePublisher
from imagectl.adapters.published.signing import ROOT_FILE, Signing
from imagectl.adapters.signing_keys import SigningKeys
from imagectl.model.event import Event
from imagectl.model.names import LocationName
from support.examples import BETA, NOW, STABLE


def signing(beside: Path) -> Signing:
    """Keys, whose keys count, and what waits: all in folders beside a tree."""
    keys = SigningKeys((), beside / "keys", beside)
    return Signing(keys, beside / "trust", beside / "pending", lambda: (BETA, STABLE))


class DirectoryPublisher(TreePublisher):
    """A tree on a directory, as `catalog.publish` of a project names one."""

    def __init__(
        self,
        root: Path,
        signing: Signing,
        clock: Callable[[], datetime],
        public_urls: Mapping[LocationName, str] = MappingProxyType({}),
        events: Callable[[int], Iterable[Event]] | None = None,
    ) -> None:
        super().__init__(DirectoryPlace(root), signing, clock, public_urls, events)


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
