"""The file trees that builds begin with: Debian packages, a disk made elsewhere, or a parent."""

from __future__ import annotations

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from imagectl.adapters import debootstrap
from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.disk import convert
from imagectl.adapters.disk.capture import read_back
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, NotFound
from imagectl.model.image import DebianBase, DiskBase, Image, ParentBase
from imagectl.model.names import Sha256
from imagectl.model.version import Version
from imagectl.services.ports import ArtifactStore, CanonicalTree, Progress, Workspace

FETCH_SECONDS = 60
"""How long a server may stay silent."""


class LocalBases:
    """Implements ``services.ports.Bases``. ``toolchain`` makes it where it is not there yet."""

    def __init__(
        self,
        project: Path,
        mirror: Callable[[], Mirror],
        store: ArtifactStore,
        toolchain: Callable[[Progress], Toolchain],
        cache: BaseCache,
    ) -> None:
        self._cache = cache
        self._project = project
        self._mirror = mirror
        self._store = store
        self._toolchain = toolchain

    def inputs(self, image: Image) -> Sha256:
        match image.base:
            case DebianBase():
                return debootstrap.inputs_digest(image.base, self._mirror())
            case DiskBase(sha256=sha256):
                return sha256
            case ParentBase():
                raise AssertionError("a parent's digest is its version's, not the base's")

    def make(
        self, image: Image, parent: Version | None, work: Workspace, progress: Progress
    ) -> CanonicalTree:
        out = work.folder / "base.tar"
        match image.base:
            case DebianBase():
                return self._from_packages(image, image.base, work, progress, out)
            case ParentBase():
                assert parent is not None
                progress.step(f"unpacking the tree of {parent.ref}")
                stored = self._store.verify(parent.tree.stored)
                toolchain = self._toolchain(progress)
                return convert.expand_tree(stored, parent.tree.sha256, toolchain, out)
            case DiskBase():
                return self._from_disk(image, image.base, work, progress, out)

    def _from_packages(
        self, image: Image, base: DebianBase, work: Workspace, progress: Progress, out: Path
    ) -> CanonicalTree:
        toolchain = self._toolchain(progress)
        inputs = self.inputs(image)
        kept = self._cache.get(inputs, toolchain, out)
        if kept is not None:
            progress.note("the mirror's packages are those of an earlier build: its base is reused")
            return kept
        made = debootstrap.make_base(
            base,
            image.architecture,
            self._mirror(),
            work.epoch,
            work.sub("debootstrap"),
            out,
            progress,
        )
        self._cache.put(inputs, made, toolchain)
        return made

    def _from_disk(
        self, image: Image, base: DiskBase, work: Workspace, progress: Progress, out: Path
    ) -> CanonicalTree:
        disk = work.folder / "given.disk"
        progress.step(f"fetching {base.source}")
        found = self._fetch(base.source, disk, image)
        if found != base.sha256:
            raise BuildFailed(
                f"the base disk of {image.name} is not the one that was meant",
                stage="base",
                where=base.source,
                why=f"its sha256 is {found}; image.yaml says {base.sha256}",
                hint="if the new disk is the right one, put its sha256 into image.yaml",
            )
        raw = work.folder / "given.raw"
        convert.to_raw(disk, self._toolchain(progress), raw)
        disk.unlink()
        progress.step("reading its file system")
        tree = read_back(
            raw,
            work.epoch,
            work.folder,
            out,
            initrds=False,
            above=debootstrap.first_boot_files(work.epoch),
            progress=progress,
        )
        raw.unlink()
        return tree

    def _fetch(self, source: str, to: Path, image: Image) -> Sha256:
        """Copy the disk, hashing it on the way. Raises NotFound or BuildFailed."""
        try:
            if "://" in source:
                with urllib.request.urlopen(source, timeout=FETCH_SECONDS) as answer:
                    return _copy(answer, to)
            with (self._project / source).open("rb") as file:
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


def _copy(source: BinaryIO, to: Path) -> Sha256:
    digest = hashlib.sha256()

    class Hashing:
        def write(self, chunk: bytes) -> int:
            digest.update(chunk)
            return file.write(chunk)

    with to.open("wb") as file:
        shutil.copyfileobj(source, Hashing(), 1 << 20)
    return Sha256(digest.hexdigest())
