"""Finds what a tree still says where the files that lead to it are damaged: for whoever writes it.

Promises: nothing is taken that is not signed by those whose keys count, and no other catalog's tree
is taken for a damaged one of ours. Consumers are given nothing of this: they wait until the tree is
written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp

from imagectl.adapters.published.authority import is_signed
from imagectl.adapters.published.thinning import snapshot_number
from imagectl.adapters.published.trust import hands_over
from imagectl.adapters.published.verified import Fetch, Signed, VerifiedTree, parse_metadata
from imagectl.errors import Conflict, Corrupt, Refused
from imagectl.formats.published_v1.reading import parse_catalog
from imagectl.formats.tuf_roles import (
    CATALOG_TARGET,
    METADATA,
    ROOT,
    SNAPSHOT,
    SPEC_VERSION,
    metadata_path,
)

if TYPE_CHECKING:
    from datetime import datetime

    from imagectl.adapters.published.place import Place
    from imagectl.model.published import PublishedCatalog


class RecoveredTree(VerifiedTree):
    """A tree by its newest whole snapshot: nobody who counts has signed its timestamp, which is
    these *bytes*. ``said`` is what its catalog's own document says that it shows."""

    def __init__(
        self, where: str, fetch: Fetch, root: Signed[Root], snapshot: Signed[Snapshot], data: bytes
    ) -> None:
        self.where = where
        self._fetch = fetch
        self._now: datetime | None = None
        self._delegated = {}
        self.root = root
        version = snapshot.signed.version
        digest = {"sha256": hashlib.sha256(snapshot.data).hexdigest()}
        meta = MetaFile(version, len(snapshot.data), digest)
        # Unsigned, and so never published: only what comes after it is.
        timestamp = Timestamp(version, SPEC_VERSION, snapshot.signed.expires, meta)
        self.timestamp = Signed(Metadata(timestamp), data)
        self.said: PublishedCatalog | None = None
        for role in self.roles():  # reads and verifies all lists, the snapshot first
            self.role(role)
        if (found := self.find(CATALOG_TARGET)) is not None:
            self.said = parse_catalog(*found)


def recover(place: Place, roots: Sequence[Signed[Root]], timestamp: bytes) -> RecoveredTree | None:
    """The newest state that is whole and signed, by the first of those roots that has any; None
    where there is none."""
    numbers = sorted(filter(None, map(snapshot_number, place.names(METADATA))), reverse=True)
    for root in roots:
        for number in numbers:
            path = metadata_path(SNAPSHOT, number)
            try:
                snapshot = parse_metadata(Snapshot, place.read(path) or b"", path)
                if snapshot.signed.version == number:
                    return RecoveredTree(place.where, place.read, root, snapshot, timestamp)
            except Corrupt:
                continue
    return None


def last_root(place: Place, root: Signed[Root]) -> Signed[Root]:
    """The last of the roots that each was handed over to by the one before."""
    while True:
        data = place.read(metadata_path(ROOT, root.signed.version + 1))
        after = None if data is None else _root(data)
        if after is None or not hands_over(root.signed, after):
            return root
        root = after


def insist_is_no_root(place: Place, data: bytes, before: Root | None, ours: Root) -> None:
    """Raise where the tree has another root than *ours*, which comes after *before*: Conflict where
    consumers believe that one, Refused where it is of another tree. Whatever else is in its place
    is nobody's: it was cut off, or somebody who does not count has written it."""
    found = _root(data)
    if found is None or found.signed == ours:
        return
    version = ours.version
    where = f"{place.where}/{metadata_path(ROOT, version)}"
    if is_signed(ROOT, found.metadata, ours) if before is None else hands_over(before, found):
        raise Conflict(
            f"{place.where} has another root {version} than this project",
            where=where,
            why="somebody else has replaced keys, too; consumers believe the first one",
            hint="bring catalog/ of whoever published it from git",
        )
    if is_signed(ROOT, found.metadata, found.signed) and found.signed.version == version:
        raise Refused(
            f"{place.where} is signed by others, and is left as it is",
            reasons=("it has a root of its own, whose keys this project knows nothing of",),
            where=where,
            hint="name another place in `catalog.publish`, or remove this one's content; where it "
            "is this project's own, bring back catalog/ from git",
        )


def remove_what_is_no_root(place: Place, newest: Root) -> str | None:
    """Remove what is in the place of the root after the *newest*: consumers could not get past it.
    Its path, where there was something. Raises Conflict where it is a root that they believe."""
    path = metadata_path(ROOT, newest.version + 1)
    data = place.read(path)
    if data is None:
        return None
    found = _root(data)
    if found is not None and hands_over(newest, found):
        raise Conflict(
            f"{place.where} has a later root than this project",
            where=f"{place.where}/{path}",
            why="somebody else has replaced keys",
            hint="bring catalog/ of whoever did from git",
        )
    place.remove(path)
    return path


def _root(data: bytes) -> Signed[Root] | None:
    try:
        return parse_metadata(Root, data, ROOT)
    except Corrupt:
        return None
