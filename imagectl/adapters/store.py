"""The project's artifact store: content-addressed files below one folder (P7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagectl.adapters.content import ContentFolder
from imagectl.model.names import Sha256


class FileStore:
    """``services.ports.ArtifactStore`` on a folder, made when first needed."""

    def __init__(self, root: Path) -> None:
        self._files = ContentFolder(root, "the artifact store")

    def add(self, source: Path) -> Sha256:
        return self._files.add(source)

    def adopt(self, source: Path) -> Sha256:
        return self._files.adopt(source)

    def path(self, sha256: Sha256) -> Path:
        return self._files.find(sha256)

    def verify(self, sha256: Sha256) -> Path:
        return self._files.check(sha256)

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        yield from self._files.digests()

    def remove(self, sha256: Sha256) -> None:
        self._files.remove(sha256)
