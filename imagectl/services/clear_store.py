"""Keep no more in the artifact store what only deleted versions needed.

Promises: nothing goes that any version needs that is not deleted, be it as an artifact or as the
tree of a version or of its parent; nor what a deleted version could not be made again from: its
lock, its sources, its documents and reports stay for ever, and of a version that is not proven to
come out the same when it is made again, everything does (P5).

Left open: what is needed is what the catalog says. A build that is not recorded yet is waited for
where it is of the image that is cleared, and on this machine; of another image, or on another
machine with the same store, it may have made the very bytes that go. Then publishing its version
fails for want of them, and `imagectl rebuild` of the deleted version makes them again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from imagectl.errors import Conflict, ImagectlError, NotFound
from imagectl.model.cleanup import Entry
from imagectl.model.names import Format, ImageName, Sha256
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible, Version, VersionRef
from imagectl.services.cleanup import Cleaning
from imagectl.services.ports.catalog import Catalog

ATTEMPTS = 5
"""How often the catalog is read anew because it changed while it was read."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What the store keeps no more, of which images it keeps all for now, and why; ``surprise`` is
    what ended it before all was removed."""

    removed: tuple[Sha256, ...] = ()
    spared: Mapping[ImageName, str] | None = None
    surprise: ImagectlError | None = None


def clear_store(cleaning: Cleaning, images: Collection[ImageName] = ()) -> Cleared:
    """Remove from the store what nothing but deleted versions of *images* needed; of all images
    where none are named.

    Where a build is running, or the catalog does not come to rest, it stays until the next time:
    what an earlier cleanup had to leave goes too. Nothing is raised: see ``surprise``.
    """
    removed: list[Sha256] = []
    spared: dict[ImageName, str] = {}
    surprise: ImagectlError | None = None
    try:
        with ExitStack() as undisturbed:
            quiet = set()
            for image in _with_leftovers(cleaning, images):
                try:
                    undisturbed.enter_context(cleaning.undisturbed(image))
                except Conflict as busy:
                    spared[image] = busy.what
                else:
                    quiet.add(image)
            if quiet:
                try:
                    removed.extend(_clear(cleaning, quiet))
                except Conflict as busy:
                    spared |= dict.fromkeys(sorted(quiet), busy.what)
    except ImagectlError as error:
        surprise = error
    return Cleared(tuple(removed), spared, surprise)


def _with_leftovers(cleaning: Cleaning, images: Collection[ImageName]) -> list[ImageName]:
    """The images of which the store may have more than it needs."""
    catalog = cleaning.releasing.catalog
    with catalog.stock() as stock:
        candidates = [
            shelf.image
            for shelf in stock.shelves()
            if (not images or shelf.image in images)
            and any(each.stage is Stage.DELETED for each in shelf.versions)
        ]
    found = []
    for image in candidates:
        snapshot = catalog.snapshot((image,))
        free = {
            sha256
            for version in snapshot.versions.values()
            if may_go(version, snapshot)
            for sha256 in _bulk(version)
        }
        if any(_is_stored(cleaning, each) for each in free):
            found.append(image)
    return found


def _is_stored(cleaning: Cleaning, sha256: Sha256) -> bool:
    try:
        cleaning.store.path(sha256)
    except NotFound:
        return False
    return True


def _clear(cleaning: Cleaning, images: Collection[ImageName]) -> Iterator[Sha256]:
    """Raises Conflict where the catalog does not come to rest; what was given until then is
    removed."""
    for _ in range(ATTEMPTS):
        generation, unneeded = _unneeded(cleaning, images)
        for sha256 in sorted(unneeded):
            if not _is_stored(cleaning, sha256):
                continue
            if cleaning.releasing.catalog.snapshot(()).generation != generation:
                break  # somebody may need it by now
            cleaning.store.remove(sha256)
            yield sha256
        else:
            return
    raise Conflict("the catalog kept changing while it was read")


def _unneeded(cleaning: Cleaning, clearing: Collection[ImageName]) -> tuple[int, set[Sha256]]:
    """The digests that only deleted versions of the images *clearing* needed, and at which
    generation of the catalog.

    One image after the other is looked at: there may be a million versions.
    """
    catalog = cleaning.releasing.catalog
    with catalog.stock() as stock:
        generation, images = stock.generation, [each.image for each in stock.shelves()]
    free: set[Sha256] = set()
    needed: set[Sha256] = set()
    parents: set[VersionRef] = set()
    trees: dict[VersionRef, Sha256] = {}
    for image in images:
        snapshot = catalog.snapshot((image,))
        for version in snapshot.versions.values():
            needed.update(_evidence(version))
            if not may_go(version, snapshot):
                needed.update(_bulk(version))
            elif image in clearing:
                free.update(_bulk(version))
                if version.tree is not None:
                    trees[version.ref] = version.tree.stored
            if version.parent is not None and snapshot.stage(version.ref) is not Stage.DELETED:
                parents.add(version.parent)
    needed.update(tree for ref, tree in trees.items() if ref in parents)
    return generation, free - needed


def may_go(version: Version, snapshot: Snapshot) -> bool:
    """Whether what is big of a version may go: it is deleted, and nowhere any more, and is proven
    to come out the same when it is made again from what stays."""
    return (
        snapshot.stage(version.ref) is Stage.DELETED
        and not any(each.open for each in snapshot.buried(version.ref))
        and can_be_remade(version)
    )


def can_be_remade(version: Version) -> bool:
    """Whether its bytes are proven to be made again from what is kept of it (P9)."""
    return (
        version.tree is not None
        and version.origin is not None
        and version.origin.reproducible is Reproducible.YES
    )


def final_ones(catalog: Catalog, steps: Collection[Entry]) -> Mapping[VersionRef, str]:
    """Those of the *steps* that delete what is not proven to come out the same when it is made
    again, and why. Of those, the artifact store keeps what it has."""
    refs = [each.version for each in steps if each.to is Stage.DELETED]
    snapshot = catalog.snapshot(sorted({ref.image for ref in refs}))
    found = {}
    for ref in refs:
        version = snapshot.versions.get(ref)
        if version is not None and not can_be_remade(version):
            cause = _why_not(version)
            stays = "the artifact store keeps its disks"
            if any(each.format is Format.NATIVE for each in version.artifacts):
                stays = "only its location has its disk, so nothing can bring it back"
            found[ref] = f"{cause}; {stays}"
    return found


def _why_not(version: Version) -> str:
    """Why it is not proven that it can be made again."""
    origin = version.origin
    if origin is None:
        return "it is from before locks existed"
    if origin.cause:
        return origin.cause
    if version.tree is None:
        return "it has no file tree"
    if origin.reproducible is Reproducible.NO:
        return "built twice, other bytes came out"
    return "it was built once only, so nothing proves that the same bytes would come out"


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
