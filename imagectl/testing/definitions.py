"""Definitions and locks that are given, not read. Implements ``services.ports.Definitions``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from imagectl.errors import BuildFailed, Corrupt, NotFound
from imagectl.formats import lock_text
from imagectl.model.digest import digest_of
from imagectl.model.image import Image
from imagectl.model.lock import DefinitionDigests, Lock
from imagectl.model.names import ImageName
from imagectl.services.ports.definitions import Sources
from imagectl.services.ports.workspaces import Workspace


class MemoryDefinitions:
    """``playbooks`` stands for their content. Locks are files of *folder*, the test's to remove."""

    def __init__(self, folder: Path, *images: Image) -> None:
        self._folder = folder
        self._images = {image.name: image for image in images}
        self._archived: dict[bytes, tuple[Image, Lock | None]] = {}
        self.playbooks = "one"

    @property
    def project(self) -> Path:
        return self._folder

    def define(self, image: Image) -> None:
        """The definition of that name is *image* from now on."""
        self._images[image.name] = image

    def load(self, names: Collection[ImageName]) -> tuple[Image, ...]:
        for name in names:
            if name not in self._images:
                raise NotFound(f"there is no image {name}")
        return tuple(image for name, image in self._images.items() if not names or name in names)

    def digests(self, image: Image) -> DefinitionDigests:
        return DefinitionDigests(
            definition=digest_of(image),
            playbooks=digest_of(self.playbooks),
            suites=digest_of(image.suites),
            rules=digest_of("rules"),
        )

    def _lock_file(self, name: ImageName) -> Path:
        return self._folder / "images" / name / "image.lock"

    def lock(self, name: ImageName) -> Lock | None:
        file = self._lock_file(name)
        return lock_text.parse_lock(file.read_bytes(), str(file)) if file.exists() else None

    def lock_text(self, lock: Lock) -> str:
        return lock_text.write_lock(lock)

    def write_lock(self, lock: Lock) -> Path:
        file = self._lock_file(lock.image)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lock_text.write_lock(lock))
        return file

    def archive(
        self, image: Image, digests: DefinitionDigests, lock: Lock | None, work: Workspace
    ) -> Path:
        if self._images[image.name] != image or self.digests(image) != digests:
            raise BuildFailed("the definition changed while it was being built", stage="keep")
        content = f"{image}\n{lock_text.write_lock(lock) if lock else ''}".encode()
        self._archived[content] = image, lock
        out = work.folder / "source.tar"
        out.write_bytes(content)
        return out

    def unpack(self, archive: Path, name: ImageName, work: Workspace) -> Sources:
        found = self._archived.get(archive.read_bytes())
        if found is None:
            raise Corrupt("a source archive is not one that was written", where=str(archive))
        image, lock = found
        if lock is None:
            raise Corrupt("the sources are without their lock", where=str(archive))
        return Sources(image, lock, work.sub("sources"))
