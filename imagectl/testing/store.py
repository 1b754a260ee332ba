"""An artifact store without the cost of being durable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imagectl.errors import Corrupt, NotFound
from imagectl.model.names import Sha256


class MemoryStore:
    """Implements ``services.ports.ArtifactStore``.

    Its users need paths, so the bytes are files of *folder*, which is the test's to remove.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, source: Path) -> Sha256:
        return self.add_bytes(source.read_bytes())

    def add_bytes(self, data: bytes) -> Sha256:
        """Keep *data*, where there is no file of it yet."""
        sha256 = Sha256(hashlib.sha256(data).hexdigest())
        path = self._folder / sha256
        if path.exists():
            self.verify(sha256)
            return sha256
        path.write_bytes(data)
        return sha256

    def adopt(self, source: Path) -> Sha256:
        sha256 = self.add(source)
        if source != self._folder / sha256:
            source.unlink()
        return sha256

    def path(self, sha256: Sha256) -> Path:
        path = self._folder / sha256
        if not path.exists():
            raise NotFound(f"{sha256} is not in the store")
        return path

    def verify(self, sha256: Sha256) -> Path:
        path = self.path(sha256)
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise Corrupt(f"{sha256} has other bytes", where=str(path))
        return path

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        for path in sorted(self._folder.iterdir()):
            yield Sha256(path.name), path.stat().st_size

    def remove(self, sha256: Sha256) -> None:
        (self._folder / sha256).unlink(missing_ok=True)
