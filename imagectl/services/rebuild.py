"""The same bytes again: a version, made anew from its own sources and lock (P9).

Neither the project as it is now nor anything upstream is asked, where the input store has what the
lock lists. Nothing is put back unless every digest is the one that was recorded, so killed at any
point the store holds what it held, or more of what it should hold (P7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagectl.errors import Corrupt, Failed, NotFound
from imagectl.model.lock import Access, Expected
from imagectl.model.names import Sha256
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Origin, Version, VersionRef
from imagectl.policy.reproduction import Deviation
from imagectl.services.keep import keep_artifacts
from imagectl.services.pipeline import (
    Product,
    digest_of_file,
    equipped,
    locked_epoch,
    produce,
)
from imagectl.services.ports.building import Conditions, Equipment
from imagectl.services.ports.definitions import Sources
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.reproduce import Comparison, compare, stored_tree
from imagectl.services.workbench import Workbench, stages_of


@dataclass(frozen=True, slots=True)
class RebuildRequest:
    """``verify``: compare, and change nothing; ``offline``: only from the input store."""

    tool: str
    verify: bool = False
    offline: bool = False
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A version that was made again. ``restored`` names what the store had lost and has again."""

    version: Version
    comparison: Comparison
    restored: tuple[str, ...]
    log: Path


def rebuild(
    bench: Workbench, ref: VersionRef, request: RebuildRequest, progress: Progress
) -> tuple[Rebuilt, ...]:
    """Make *ref* again, and before it each ancestor whose tree is needed and gone, oldest first.

    It ends with the first one whose bytes are others: nothing of that one is put back. Raises
    NotFound for an unknown version, Failed for one that cannot be made again, and what building
    raises.
    """
    chain = _chain(bench, ref)
    if len(chain) > 1 and request.verify:
        missing = chain[-2].ref
        raise NotFound(
            f"the file tree of {missing}, which {ref} is built on, is not in the artifact store",
            where=str(ref),
            why="--verify changes nothing, and so does not put it back",
            hint=f"imagectl rebuild {missing}",
        )
    done: list[Rebuilt] = []
    for depth, version in enumerate(chain, 1):
        if len(chain) > 1:
            why = "" if version.ref == ref else ": its tree is needed, and gone"
            progress.note(f"{depth} of {len(chain)}: {version.ref}{why}")
        rebuilt = _rebuild(bench, version, request, progress)
        done.append(rebuilt)
        if not rebuilt.comparison.same:
            break
    return tuple(done)


def _chain(bench: Workbench, ref: VersionRef) -> tuple[Version, ...]:
    """*ref*, after the ancestors that must be made again before it, oldest first."""
    version = _find(bench.catalog.snapshot([ref.image]), ref)
    chain = [version]
    while version.parent is not None:
        version = _find(bench.catalog.snapshot([version.parent.image]), version.parent)
        if version.tree is None or _has(bench.store, version.tree.stored):
            break
        chain.append(version)
    return tuple(reversed(chain))


def _find(snapshot: Snapshot, ref: VersionRef) -> Version:
    version = snapshot.versions.get(ref)
    if version is None:
        raise NotFound(
            f"there is no version {ref}", where="the catalog", hint=f"imagectl list {ref.image}"
        )
    return version


def _has(store: ArtifactStore, sha256: Sha256) -> bool:
    try:
        store.path(sha256)
    except NotFound:
        return False
    return True


def _rebuild(
    bench: Workbench, version: Version, request: RebuildRequest, progress: Progress
) -> Rebuilt:
    origin = _origin(version)
    with bench.workspaces.open(version.image, wait=request.wait) as work:
        stages = stages_of(bench, version.image, progress)
        with stages("inputs"):
            sources = _unpack(bench, version, origin, work)
            parent = _parent(bench, version)
            if version.tool != request.tool:
                progress.note(
                    f"{version.ref} was built by imagectl {version.tool}, and this is "
                    f"{request.tool}: if the bytes are others, try with that one"
                )
        work = locked_epoch(work, sources.lock)
        conditions = Conditions(
            sources.project,
            Access.OFFLINE if request.offline else Access.LOCKED,
            sources.lock,
            fresh=True,
        )
        with equipped(bench, conditions, work, stages, progress) as equipment:
            product = produce(equipment, sources.image, parent, work, stages, progress)
            restoring = _Restoring(bench, version, origin, equipment, product, work, progress)
            with stages("compare"):
                comparison = restoring.compare()
            restored: Sequence[str] = ()
            if comparison.same and not request.verify:
                with stages("keep"):
                    restored = restoring.put_back(sources)
        return Rebuilt(version, comparison, tuple(restored), work.log)


def _origin(version: Version) -> Origin:
    """How it was made. Raises Failed where it cannot be made that way again."""
    if version.origin is None:
        raise Failed(
            f"{version.ref} cannot be made again",
            why="it was recorded before imagectl kept what versions are made from",
            hint=f"build a new one: imagectl build {version.image} --force",
        )
    if version.tree is None:
        raise Failed(
            f"{version.ref} cannot be made again",
            why=version.origin.cause,
            hint="a copy of the disk in a location is all there is of it",
        )
    return version.origin


def _unpack(bench: Workbench, version: Version, origin: Origin, work: Workspace) -> Sources:
    try:
        archive = bench.store.verify(origin.source)
    except NotFound as missing:
        raise NotFound(
            f"the sources of {version.ref} are not in the artifact store",
            where=missing.where,
            why="without them nothing says what it was made from",
            hint="bring the store back from a backup",
        ) from missing
    sources = bench.definitions.unpack(archive, version.image, work)
    if sources.lock.image != version.image:
        raise Corrupt(
            f"the sources of {version.ref} are of another image",
            where=str(archive),
            why=f"their lock is of {sources.lock.image}",
        )
    return sources


def _parent(bench: Workbench, version: Version) -> Version | None:
    if version.parent is None:
        return None
    return _find(bench.catalog.snapshot([version.parent.image]), version.parent)


class _Restoring:
    """Compares a product with what was recorded of its version, and puts it back."""

    def __init__(
        self,
        bench: Workbench,
        version: Version,
        origin: Origin,
        equipment: Equipment,
        product: Product,
        work: Workspace,
        progress: Progress,
    ) -> None:
        self._bench = bench
        self._version = version
        self._origin = origin
        self._equipment = equipment
        self._product = product
        self._work = work
        self._progress = progress
        self._compressed: Path | None = None

    def compare(self) -> Comparison:
        version = self._version
        recorded = Expected(
            tree=version.tree.sha256 if version.tree else None,
            raw=self._origin.raw,
            formats={each.format: each.sha256 for each in version.artifacts},
        )
        if self._product.expected == recorded:
            return self._compare_compressed()
        tree = stored_tree(self._bench, self._equipment, version, self._work, self._progress)
        return compare(self._bench, recorded, tree, self._product, self._work, self._progress)

    def _compare_compressed(self) -> Comparison:
        """The tree as the store keeps it, which is a file of its own digest."""
        assert self._version.tree is not None
        assert self._product.tree is not None
        self._compressed = self._equipment.disks.compress(
            self._product.tree, self._work, self._progress
        )
        stored, found = self._version.tree.stored, digest_of_file(self._compressed)
        if found == stored:
            return Comparison(())
        return Comparison((Deviation("compressed tree", stored, found),), ())

    def put_back(self, sources: Sources) -> tuple[str, ...]:
        """Move everything into the store. What of it was not there."""
        assert self._version.tree is not None
        assert self._compressed is not None
        digests = {each.format.value: each.sha256 for each in self._version.artifacts}
        digests["tree"] = self._version.tree.stored
        missing = [name for name, sha256 in digests.items() if not _has(self._bench.store, sha256)]
        keep_artifacts(self._bench.store, sources.image, self._product)
        self._bench.store.adopt(self._compressed)
        return tuple(missing)
