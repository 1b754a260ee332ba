"""Keep no more in the artifact store what only deleted versions needed.

Promises: nothing goes that any version needs that is not deleted, be it as an artifact or as the
tree of a version or of its parent; nor what a deleted version could not be made again from: its
lock, its sources, its documents and reports stay for ever, and of a version that cannot be made
again, everything does (P5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from imagectl.errors import Conflict, NotFound
from imagectl.model.catalog import Snapshot
from imagectl.model.cleanup import Entry
from imagectl.model.names import Format, ImageName, Sha256
from imagectl.model.retention import Stage
from imagectl.model.version import Version, VersionRef
from imagectl.services.cleanup import Cleaning
from imagectl.services.ports import Catalog

ATTEMPTS = 5
"""How often the catalog is read anew because it changed while it was read."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What the store keeps no more, and of which images it keeps all for now, and why."""

    removed: tuple[Sha256, ...] = ()
    spared: Mapping[ImageName, str] | None = None


def clear_store(cleaning: Cleaning, images: Collection[ImageName]) -> Cleared:
    """Remove from the store what nothing but deleted versions of these *images* needed.

    Where a build is running, or the catalog does not come to rest, it stays until the next time.
    """
    removed: list[Sha256] = []
    spared: dict[ImageName, str] = {}
    for image in sorted(set(images)):
        try:
            with cleaning.undisturbed(image):
                removed += _clear(cleaning, image)
        except Conflict as busy:
            spared[image] = busy.what
    return Cleared(tuple(removed), spared)


def _clear(cleaning: Cleaning, image: ImageName) -> Iterator[Sha256]:
    for sha256 in sorted(_unneeded(cleaning, image)):
        try:
            cleaning.store.path(sha256)
        except NotFound:
            continue
        cleaning.store.remove(sha256)
        yield sha256


def _unneeded(cleaning: Cleaning, image: ImageName) -> set[Sha256]:
    """The digests that only deleted versions of *image* needed, at one generation of the catalog.

    One image after the other is looked at: there may be a million versions.
    """
    catalog = cleaning.releasing.catalog
    for _ in range(ATTEMPTS):
        with catalog.stock() as stock:
            generation, images = stock.generation, [each.image for each in stock.shelves()]
        free: set[Sha256] = set()
        needed: set[Sha256] = set()
        parents: set[VersionRef] = set()
        trees: dict[VersionRef, Sha256] = {}
        for each in images:
            snapshot = catalog.snapshot((each,))
            for version in snapshot.versions.values():
                needed.update(_evidence(version))
                if not may_go(version, snapshot):
                    needed.update(_bulk(version))
                elif each == image:
                    free.update(_bulk(version))
                    if version.tree is not None:
                        trees[version.ref] = version.tree.stored
                if version.parent is not None and snapshot.stage(version.ref) is not Stage.DELETED:
                    parents.add(version.parent)
        needed.update(tree for ref, tree in trees.items() if ref in parents)
        if catalog.snapshot(()).generation == generation:
            return free - needed
    raise Conflict("the catalog kept changing while it was read")


def may_go(version: Version, snapshot: Snapshot) -> bool:
    """Whether what is big of a version may go: it is deleted, and nowhere any more, and can be made
    again from what stays."""
    return (
        snapshot.stage(version.ref) is Stage.DELETED
        and not any(each.open for each in snapshot.buried(version.ref))
        and can_be_remade(version)
    )


def can_be_remade(version: Version) -> bool:
    """Whether its bytes can be made again from what is kept of it (P9)."""
    return version.tree is not None and version.origin is not None


def final_ones(catalog: Catalog, steps: Collection[Entry]) -> Mapping[VersionRef, str]:
    """Those of the *steps* that delete what could not be made again, and why not. Of those, the
    artifact store keeps what it has."""
    refs = [each.version for each in steps if each.to is Stage.DELETED]
    snapshot = catalog.snapshot(sorted({ref.image for ref in refs}))
    found = {}
    for ref in refs:
        version = snapshot.versions.get(ref)
        if version is not None and not can_be_remade(version):
            cause = version.origin.cause if version.origin else "it is from before locks existed"
            stays = "the artifact store keeps its disks"
            if any(each.format is Format.NATIVE for each in version.artifacts):
                stays = "and only its location has its disk"
            found[ref] = f"{cause or 'it has no file tree'}; {stays}"
    return found


def _bulk(version: Version) -> Iterator[Sha256]:
    """What is big, and can be made again."""
    for artifact in version.artifacts:
        yield artifact.sha256
    if version.tree is not None:
        yield version.tree.stored


def _evidence(version: Version) -> Iterator[Sha256]:
    """What is small, and stays for ever."""
    yield from (version.tests.report, version.tests.console, version.build_log)
    if version.origin is not None:
        yield from (version.origin.lock, version.origin.source)
    if version.inside is not None:
        inside = version.inside
        yield from (inside.contents, inside.manifest, inside.spdx, inside.cyclonedx)
        yield inside.provenance
