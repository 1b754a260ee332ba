"""A directory as a location: on this machine, or one that consumers mount too.

The artifacts are below it as ``sha256/ab/abcd...``, read-only. Verifying hashes them again. Where
not even ``sha256`` is there, nothing is concluded from it: the file system may not be mounted (P2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from imagectl.adapters.content import ContentFolder, relative
from imagectl.errors import BadUsage, CannotTell, Corrupt, NotFound
from imagectl.model.names import LocationName
from imagectl.model.version import Artifact, Placement, VersionRef


class DirectoryLocation:
    """``services.ports.Location`` on a folder; ``path`` of the settings is absolute."""

    def __init__(self, name: LocationName, settings: Mapping[str, object]) -> None:
        path = settings.get("path")
        if not isinstance(path, str | Path) or not Path(path).is_absolute():
            raise BadUsage(f"location {name} needs an absolute path", why=f"it has {path!r}")
        self._name = name
        self._files = ContentFolder(Path(path), f"location {name}")

    @property
    def name(self) -> LocationName:
        return self._name

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime
    ) -> Placement:
        self._files.add(source, artifact.sha256)
        path = self._files.path(artifact.sha256)
        size = path.stat().st_size
        if size != artifact.size:
            raise Corrupt(
                f"{version} is recorded with the wrong size",
                where=str(path),
                why=f"{artifact.sha256} has {size:,} bytes, and {artifact.size:,} are recorded",
                hint="`imagectl catalog verify` checks the catalog",
            )
        return Placement(
            version,
            artifact.format,
            artifact.architecture,
            self._name,
            relative(artifact.sha256),
            str(path),
            artifact.sha256,
            size,
            now,
        )

    def verify(self, placement: Placement, now: datetime) -> Placement:
        if placement.provider_id != relative(placement.sha256):
            raise CannotTell(
                f"{placement.provider_id!r} does not name a file in location {self._name}",
                where=f"{placement.version} in {self._name}",
                why="a directory names its files by their sha256",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        try:
            path = self._files.check(placement.sha256)
        except NotFound:
            if not (self._files.root / "sha256").is_dir():
                raise CannotTell(
                    f"location {self._name} is not there, or not mounted",
                    where=str(self._files.root),
                    why="it holds nothing at all, although artifacts were placed in it",
                ) from None
            raise
        # A project may have moved since: what consumers are given has moved with it.
        return replace(placement, reference=str(path), verified=now)
