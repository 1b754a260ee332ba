"""What builds begin with: the tree of Debian packages, of a disk made elsewhere or of a parent; or
the disk that a Packer template makes, which is kept as it is."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from imagectl.adapters import debootstrap, opaque
from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.disk import boot, convert
from imagectl.adapters.disk.capture import read_back
from imagectl.adapters.disk.tree import NotUnderstood
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.session import Session
from imagectl.errors import BuildFailed, Corrupt, NotFound, Refused
from imagectl.model.image import DebianBase, DiskBase, Image, PackerTemplate, ParentBase
from imagectl.model.lock import Access, Index, LockedDiskBase
from imagectl.model.names import Sha256
from imagectl.model.version import Version
from imagectl.services.ports.building import Base, CanonicalTree, OpaqueDisk
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Workspace

FETCH_SECONDS = 60
"""How long a server may stay silent."""


class LocalBases:
    """Implements ``services.ports.Bases``."""

    def __init__(
        self,
        session: Session,
        store: ArtifactStore,
        cache: BaseCache,
        templates: PackerTemplates,
    ) -> None:
        self._session = session
        self._store = store
        self._cache = cache
        self._templates = templates
        self.disk: LockedDiskBase | None = None
        """The disk made elsewhere that was the base, once it was needed."""

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> Base:
        out = work.folder / "base.tar"
        match image.base:
            case DebianBase():
                return self._from_packages(image, image.base, work, progress, out)
            case ParentBase():
                assert parent is not None
                assert parent.tree is not None  # refused before
                progress.step(f"unpacking the tree of {parent.ref}")
                stored = self._store.verify(parent.tree.stored)
                return convert.expand_tree(stored, parent.tree.sha256, self._session.toolchain, out)
            case DiskBase():
                disk = self._fetched(image, image.base, work, progress)
                source, sha256 = image.base.source, image.base.sha256
                self.disk = LockedDiskBase(source, sha256, disk.stat().st_size)
                return self._from_disk(disk, work, progress, out)
            case PackerTemplate(template=template):
                return self._from_template(image, str(template), work, progress)

    def _from_template(
        self, image: Image, template: str, work: Workspace, progress: Progress
    ) -> OpaqueDisk:
        conditions = self._session.conditions
        if conditions.access is Access.OFFLINE:
            raise Refused(
                f"{image.name} cannot be built offline",
                reasons=[f"{template} downloads what it wants, and nothing of it is kept"],
                where=f"images/{image.name}/image.yaml",
            )
        disk = self._templates.make_disk(image, conditions.project, work, progress)
        raw = work.folder / "given.raw"
        progress.step("reading the disk")
        convert.to_raw(disk, self._session.toolchain, raw)
        opaque.check_boot_code(raw, f"the disk that {template} makes")
        cause = f"the Packer template {template} makes it, and nothing holds that to its inputs"
        return _kept(OpaqueDisk(raw, cause), progress)

    def _from_packages(
        self, image: Image, base: DebianBase, work: Workspace, progress: Progress, out: Path
    ) -> CanonicalTree:
        session = self._session
        conditions = session.conditions

        def key(indexes: tuple[Index, ...]) -> Sha256 | None:
            return debootstrap.inputs_digest(
                base, image.architecture, Mirror.of(session.mirrors), work.epoch, indexes
            )

        # Elsewhere than under a lock the base must be asked for, to learn what it is made from.
        if session.only_locked and conditions.lock is not None and not conditions.fresh:
            locked = key(conditions.lock.inputs.indexes)
            kept = self._cache.get(locked, session.toolchain, out) if locked else None
            if kept is not None:
                progress.note("the base is that of an earlier build from the same packages")
                return kept
        with session.downloading("the base"):
            made = debootstrap.make_base(
                base,
                image.architecture,
                Mirror.of(session.mirrors),
                work.epoch,
                work.sub("debootstrap"),
                out,
                progress,
                route=session.route,
            )
        taken = key(session.supply.taken().indexes)
        if taken is not None:
            self._cache.put(taken, made, session.toolchain)
        return made

    def _from_disk(self, disk: Path, work: Workspace, progress: Progress, out: Path) -> Base:
        raw = work.folder / "given.raw"
        convert.to_raw(disk, self._session.toolchain, raw)
        progress.step("reading its file system")
        try:
            tree = read_back(
                raw,
                work.epoch,
                work.folder,
                out,
                initrds=False,
                above=debootstrap.first_boot_files(work.epoch),
                progress=progress,
            )
        except NotUnderstood as problem:
            return _kept(OpaqueDisk(raw, problem.why), progress)
        why = boot.why_not_bootable(tree)
        if why:
            out.unlink()
            return _kept(OpaqueDisk(raw, why), progress)
        raw.unlink()
        return tree

    def _fetched(self, image: Image, base: DiskBase, work: Workspace, progress: Progress) -> Path:
        """The disk, in the input store, where it stays for the next build and for rebuilds."""
        found = stored_disk(self._session.inputs, base.sha256)
        if found is not None:
            return found
        if self._session.conditions.access is Access.OFFLINE:
            raise NotFound(
                f"the base disk of {image.name} is not in the input store",
                where=base.source,
                why=f"its sha256 is {base.sha256}, and offline nothing else is asked",
                hint=f"imagectl build {image.name} without --offline fetches it",
            )
        progress.step(f"fetching {base.source}")
        disk = work.folder / "given.disk"
        sha256 = self._fetch(base.source, disk, image)
        if sha256 != base.sha256:
            raise BuildFailed(
                f"the base disk of {image.name} is not the one that was meant",
                stage="base",
                where=base.source,
                why=f"its sha256 is {sha256}; image.yaml says {base.sha256}",
                hint="if the new disk is the right one, put its sha256 into image.yaml",
            )
        return self._session.inputs.find(self._session.inputs.adopt(disk))

    def _fetch(self, source: str, to: Path, image: Image) -> Sha256:
        """Copy the disk, hashing it on the way. Raises NotFound or BuildFailed."""
        try:
            if "://" in source:
                with urllib.request.urlopen(source, timeout=FETCH_SECONDS) as answer:
                    return _copy(answer, to)
            with (self._session.conditions.project / source).open("rb") as file:
                return _copy(file, to)
        except FileNotFoundError:
            raise NotFound(
                f"the base disk of {image.name} is not there",
                where=source,
                hint="`base: disk: source:` in image.yaml is a URL, or a path from the project",
            ) from None
        except (urllib.error.URLError, OSError) as problem:
            raise BuildFailed(
                f"the base disk of {image.name} cannot be fetched",
                stage="base",
                where=source,
                why=str(getattr(problem, "reason", problem)),
            ) from problem


def _kept(disk: OpaqueDisk, progress: Progress) -> OpaqueDisk:
    progress.note(f"the base disk is kept as it is, and not reproducible: {disk.cause}")
    return disk


def stored_disk(inputs: InputStore, sha256: Sha256) -> Path | None:
    """The disk in the input store, hashed again; None where it is not there, or damaged and so
    moved out of the way. Raises CannotTell."""
    try:
        return inputs.verify(sha256)
    except Corrupt:
        inputs.set_aside(sha256)
        return None
    except NotFound:
        return None


def _copy(source: BinaryIO, to: Path) -> Sha256:
    digest = hashlib.sha256()

    class Hashing:
        def write(self, chunk: bytes) -> int:
            digest.update(chunk)
            return file.write(chunk)

    with to.open("wb") as file:
        shutil.copyfileobj(source, Hashing(), 1 << 20)
    return Sha256(digest.hexdigest())
