"""Finds what a tree still says where the files that lead to it are damaged: for whoever writes it.

Promises: nothing is taken that is not signed by those whose keys count, and no other catalog's tree
is taken for a damaged one of ours. Consumers are given nothing of this: they wait until the tree is
written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

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
        meta = meta_file(version, snapshot.data)
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


def intact(
    tree: VerifiedTree,
    role: str,
    wanted: Mapping[str, TargetFile],
    number: int,
    signers: Targets,
    copies: Iterable[bytes],
) -> Signed[Targets] | None:
    """The list of a role that a damaged tree is to have, where there is one: those who have signed
    it need not do so again. *number* is that of the newest there is a file of; *copies* are from
    elsewhere."""
    named: MetaFile | None = None
    there: list[bytes] = []
    with contextlib.suppress(Corrupt):
        named = tree.snapshot.signed.meta.get(f"{role}.json")
    with contextlib.suppress(Corrupt):  # it is whole where only what leads to it is damaged
        there.append(tree.fetch(metadata_path(role, number if named is None else named.version)))
    for data in itertools.chain(there, copies):
        copy = parse_copy(data, role)
        if copy is None:
            continue
        if named is None:
            # Nothing tells which list counts. An older one is not taken for it: somebody may have
            # removed the newest.
            good = copy.signed.version >= number and copy.signed.targets == wanted
            good = good and is_signed(role, copy.metadata, signers)
        else:
            good = meta_file(copy.signed.version, copy.data) == named
        if good:
            return copy
    return None


def parse_copy(data: bytes, role: str) -> Signed[Targets] | None:
    """What was signed of a role, as it is published: without what was shown to those who signed.
    None where it is damaged."""
    try:
        found = parse_metadata(Targets, data, role)
    except Corrupt:
        return None
    found.metadata.unrecognized_fields.clear()
    return Signed(found.metadata, found.metadata.to_bytes())


def meta_file(version: int, data: bytes) -> MetaFile:
    """How a snapshot or a timestamp names a list."""
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def later_roots(place: Place, root: Signed[Root]) -> Sequence[Signed[Root]]:
    """The roots after that one, each of which was handed over to by the one before."""
    found: list[Signed[Root]] = []
    while True:
        last = found[-1] if found else root
        data = place.read(metadata_path(ROOT, last.signed.version + 1))
        after = None if data is None else _root(data)
        if after is None or not hands_over(last.signed, after):
            return found
        found.append(after)


def insist_on_those_between(place: Place, before: int, after: int) -> None:
    """Raise Conflict where neither the project nor the tree has the roots between these two:
    consumers follow them one by one, and would stop at the first that is missing."""
    for version in range(before + 1, after):
        if place.read(metadata_path(ROOT, version)) is None:
            raise Conflict(
                f"root {version} is missing here, and consumers of {place.where} need it",
                where=f"{place.where}/{metadata_path(ROOT, version)}",
                why=f"they follow each root to the next, up to root {after}, which counts now",
                hint=f"bring catalog/roots/{version}.root.json of whoever replaced keys from git",
            )


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
