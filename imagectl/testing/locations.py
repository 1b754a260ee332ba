"""A location in memory, which tests can damage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from imagectl.errors import CannotTell, Corrupt, NotFound
from imagectl.model.names import LocationName, Sha256
from imagectl.model.version import Artifact, Placement, VersionRef


class MemoryLocation:
    """Implements ``services.ports.Location``."""

    def __init__(self, name: LocationName) -> None:
        self._name = name
        self._held: dict[str, bytes] = {}
        self._readable = True

    @property
    def name(self) -> LocationName:
        return self._name

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime
    ) -> Placement:
        provider_id = f"memory-{artifact.sha256}"
        if provider_id not in self._held:
            data = source.read_bytes()
            if _sha256(data) != artifact.sha256:
                raise Corrupt(f"{source} is not what was recorded", where=str(source))
            self._held[provider_id] = data
        placement = Placement(
            version,
            artifact.format,
            artifact.architecture,
            self._name,
            provider_id,
            f"memory://{self._name}/{artifact.sha256}",
            artifact.sha256,
            artifact.size,
            now,
        )
        return self.verify(placement, now)

    def verify(self, placement: Placement, now: datetime) -> Placement:
        if not self._readable:
            raise CannotTell(f"location {self._name} cannot be read")
        data = self._held.get(placement.provider_id)
        if data is None:
            raise NotFound(f"{placement.provider_id} is not in location {self._name}")
        if _sha256(data) != placement.sha256:
            raise Corrupt(f"{placement.provider_id} in location {self._name} has other bytes")
        return replace(placement, verified=now)

    def lose(self, placement: Placement) -> None:
        """Somebody removed the artifact."""
        del self._held[placement.provider_id]

    def damage(self, placement: Placement) -> None:
        """Somebody changed the artifact's bytes."""
        self._held[placement.provider_id] += b"?"

    @contextmanager
    def unreadable(self) -> Iterator[None]:
        """The location does not answer for a while."""
        self._readable = False
        try:
            yield
        finally:
            self._readable = True


def _sha256(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())
