"""Under which conditions an image is built: which lock holds, which inputs may be taken, on which
parent, and whether there is anything to build at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagectl.errors import BadInput, Corrupt, NotFound, Problem, Refused
from imagectl.model.image import Image, ParentBase
from imagectl.model.lock import Access, DefinitionDigests, Lock, LockedParentBase
from imagectl.model.names import ImageName, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Version, VersionRef
from imagectl.policy.locking import changed_since, fingerprint, misfit
from imagectl.policy.readiness import can_be_had, taken_away
from imagectl.policy.wording import listed
from imagectl.services.ports.building import Conditions
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Plan:
    """What one build works from. ``changed``: what of the project is not what the lock was made
    with. ``notes`` are for the user."""

    image: Image
    digests: DefinitionDigests
    conditions: Conditions
    parent: Version | None
    snapshot: Snapshot
    changed: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def lock(self) -> Lock | None:
        return self.conditions.lock

    def made_before(self, tool: str) -> Version | None:
        """The newest version, where it was made from the same as this build would be."""
        versions = self.snapshot.of(self.image.name)
        if self.lock is None or not versions:
            return None
        same = fingerprint(self.digests, self.lock, tool)
        return versions[-1] if versions[-1].fingerprint == same else None


def plan(
    bench: Workbench,
    image: Image,
    lock: Lock | None,
    access: Access,
    digests: DefinitionDigests,
    *,
    fresh: bool = False,
) -> Plan:
    """The conditions of a build of *image* under *lock*; with RECORD there is none.

    Raises NotFound for a missing lock or parent, Refused for a parent that has no tree or that
    nobody is to get any more, and BadInput for a lock of something else.
    """
    if access is Access.RECORD:
        lock = None
    elif lock is None:
        raise NotFound(
            f"{image.name} has no lock",
            where=_lock_file(image.name),
            why="what is built offline must have been locked, and its inputs kept",
            hint=f"imagectl lock {image.name}",
        )
    elif (wrong := misfit(lock, image)) and access is not Access.EXTEND:
        raise _does_not_fit(image, wrong)
    snapshot = bench.catalog.snapshot([image.name, *_parent_names(image)])
    notes: list[str] = []
    changed = changed_since(lock, digests) if lock is not None else ()
    if lock is not None and access is not Access.EXTEND and changed:
        notes.append(
            f"{listed(changed)} of {image.name} changed since its lock was made; inputs are taken "
            f"as they were locked (new ones: imagectl lock {image.name})"
        )
    head = _Parents(image, snapshot)
    if lock is None or (access is Access.EXTEND and misfit(lock, image)):
        parent = head.newest()
    else:
        parent = head.locked(lock)
        if moved := head.moved_on(parent):
            notes.append(moved)
    if parent is not None:
        check_tree(bench.store, parent)
    conditions = Conditions(bench.definitions.project, access, lock, fresh)
    return Plan(image, digests, conditions, parent, snapshot, changed, tuple(notes))


def check_tree(store: ArtifactStore, parent: Version) -> None:
    """See that a parent's tree is there before anything long is begun. Raises NotFound."""
    assert parent.tree is not None
    try:
        store.path(parent.tree.stored)
    except NotFound as missing:
        raise NotFound(
            f"the file tree of {parent.ref} is not in the artifact store",
            where=missing.where,
            why="the image is built on it",
            hint=f"imagectl rebuild {parent.ref}",
        ) from missing


def _parent_names(image: Image) -> tuple[ImageName, ...]:
    return (image.base.ref.image,) if isinstance(image.base, ParentBase) else ()


def _lock_file(name: ImageName) -> str:
    return f"images/{name}/image.lock"


def _does_not_fit(image: Image, wrong: str) -> BadInput:
    fix = f"imagectl lock {image.name} --update"
    return BadInput(
        [Problem(_lock_file(image.name), 0, 0, wrong, fix)],
        what=f"the lock of {image.name} does not fit its definition",
    )


class _Parents:
    """Which version of its parent an image is built on. Each answer is None for other bases."""

    def __init__(self, image: Image, snapshot: Snapshot) -> None:
        self._image = image
        self._snapshot = snapshot

    def newest(self) -> Version | None:
        """The version that the definition means now. Raises NotFound."""
        if not isinstance(self._image.base, ParentBase):
            return None
        ref = self._image.base.ref
        if ref.channel is None:
            assert ref.version is not None  # a bare parent is refused when a definition is read
            return self._with_tree(VersionRef(ref.image, ref.version))
        head = self._head()
        if head is None:
            raise NotFound(
                f"{ref} does not exist yet",
                where=f"images/{self._image.name}/image.yaml",
                why=f"{self._image.name} is built on it",
                hint=f"imagectl build {ref.image} && imagectl promote {ref.channel} {ref.image}",
            )
        return self._with_tree(VersionRef(ref.image, head))

    def locked(self, lock: Lock) -> Version | None:
        """The version that the lock names. Raises NotFound, Corrupt."""
        if not isinstance(lock.base, LockedParentBase):
            return None
        parent = self._with_tree(lock.base.ref)
        if parent.tree is None or parent.tree.sha256 != lock.base.tree:
            raise Corrupt(
                f"{parent.ref} is not the parent that {self._image.name} was locked with",
                where=_lock_file(self._image.name),
                why="the catalog has another tree under that name: is it another catalog?",
                hint=f"imagectl lock {self._image.name} --update",
            )
        return parent

    def moved_on(self, parent: Version | None) -> str:
        """What to tell a user whose lock holds *parent*, where its channel has a newer one."""
        head = self._head()
        if parent is None or head is None or head == parent.id:
            return ""
        assert isinstance(self._image.base, ParentBase)
        return (
            f"{self._image.base.ref} is {head} by now, and the lock has {parent.id}: "
            f"`imagectl lock {self._image.name} --update` takes it"
        )

    def _head(self) -> VersionId | None:
        if not isinstance(self._image.base, ParentBase) or self._image.base.ref.channel is None:
            return None
        return self._snapshot.head(self._image.base.ref.image, self._image.base.ref.channel)

    def _with_tree(self, ref: VersionRef) -> Version:
        parent = self._snapshot.versions.get(ref)
        where = f"images/{self._image.name}/image.yaml"
        if parent is None:
            raise NotFound(
                f"{ref} does not exist",
                where=where,
                why=f"{self._image.name} is built on it, and the catalog has no such version",
                hint=f"imagectl list {ref.image}",
            )
        if not can_be_had(ref, self._snapshot):
            raise Refused(
                f"{self._image.name} cannot be built on {ref}",
                reasons=taken_away(ref, self._snapshot),
                where=where,
                hint=f"`imagectl lock {self._image.name} --update` takes what the definition means "
                "now",
            )
        if parent.tree is None:
            because = f": {parent.origin.cause}" if parent.origin else ""
            raise Refused(
                f"{self._image.name} cannot be built on {ref}",
                reasons=[f"{ref} has no file tree{because}"],
                where=where,
                hint="base it on an image whose disk has an ext4 or xfs file system",
            )
        return parent
