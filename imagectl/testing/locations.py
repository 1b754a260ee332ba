"""A location in memory, which tests can damage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from imagectl.errors import CannotTell, Conflict, Corrupt, NotFound, Unsupported
from imagectl.model.names import ChannelName, Format, ImageName, LocationName, Sha256
from imagectl.model.place import DirectoryLocation
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


class MemoryLocation:
    """Implements ``services.ports.Location``."""

    def __init__(
        self,
        name: LocationName,
        takes: frozenset[Format] = DirectoryLocation.takes,
        catalog: str = "memory",
    ) -> None:
        self._name = name
        self._takes = takes
        self._catalog = catalog
        self._held: dict[str, bytes] = {}
        self._owners: dict[str, tuple[Ownership, ...]] = {}
        self._readable = True
        self.pointers: dict[ImageName, dict[ChannelName, Placement]] = {}
        self.marks: dict[str, Mark] = {}

    @property
    def name(self) -> LocationName:
        return self._name

    @property
    def takes(self) -> frozenset[Format]:
        return self._takes

    @property
    def unproven(self) -> tuple[str, ...]:
        return ()

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return f"memory-{artifact.sha256}"

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        provider_id = self.named(version, artifact)
        owner = Ownership(
            self._catalog, version, artifact.format, artifact.architecture, artifact.sha256
        )
        if provider_id not in self._held:
            data = source.read_bytes()
            if _sha256(data) != artifact.sha256:
                raise Corrupt(f"{source} is not what was recorded", where=str(source))
            self.keep(provider_id, data, owner)
            moved(len(data))
        elif provider_id in self._owners and owner not in self._owners[provider_id]:
            self._owners[provider_id] += (owner,)
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

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        self.verify(placement, placement.verified)
        to.write_bytes(self._held[placement.provider_id])
        moved(to.stat().st_size)

    def view(self, now: Callable[[], datetime]) -> View:
        if not self._readable:
            raise CannotTell(f"location {self._name} cannot be read")
        found = tuple(
            Found(each, each, owner, len(self._held[each]))
            for each in sorted(self._held)
            for owner in self._owners.get(each, (None,))
        )
        return View(self._name, "all", found, (), 1, now(), now())

    def probe(self) -> Credential:
        return Credential("memory")

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        raise Unsupported("memory runs no machines")

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        self.pointers[image] = dict(heads)

    def mark(self, placement: Placement, mark: Mark) -> None:
        self.verify(placement, placement.verified)
        self.marks[placement.provider_id] = mark

    def delete(self, placement: Placement, begin: Begin) -> None:
        if not self._readable:
            raise CannotTell(f"location {self._name} cannot be read")
        found = placement.provider_id
        ours = Ownership(
            self._catalog,
            placement.version,
            placement.format,
            placement.architecture,
            placement.sha256,
        )
        if found not in self._held:
            self._owners.pop(found, None)
            return
        if ours not in self._owners.get(found, ()):
            raise Conflict(f"{found} in location {self._name} is not ours")
        self.verify(placement, placement.verified)
        begin()  # meanwhile, another process may have deleted it
        others = tuple(each for each in self._owners.get(found, ()) if each != ours)
        if others:
            self._owners[found] = others
        else:
            self._held.pop(found, None)
            self._owners.pop(found, None)

    def keep(self, provider_id: str, data: bytes, owner: Ownership | None) -> None:
        """Have that there, without a version or anybody's leave."""
        self._held[provider_id] = data
        if owner is not None:
            self._owners[provider_id] = (owner,)

    def held(self, provider_id: str) -> bytes | None:
        """What is there; None where nothing is."""
        return self._held.get(provider_id)

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
