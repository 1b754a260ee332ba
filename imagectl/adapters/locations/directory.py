"""A directory as a location: on this machine, or one that consumers mount too.

The artifacts are below it as ``sha256/ab/abcd...``, read-only. Verifying hashes them again. Where
not even ``sha256`` is there, nothing is concluded from it: the file system may not be mounted (P2).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.content import CHUNK, READ_ONLY, ContentFolder, relative
from imagectl.adapters.durable import partial
from imagectl.errors import CannotTell, Corrupt, Denial, Denied, NotFound, Unsupported
from imagectl.model.names import ChannelName, Format, ImageName, LocationName
from imagectl.model.place import DirectoryLocation as Settings
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, View
from imagectl.services.ports import Booted, Credential, Mark, Moved, Progress, Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings


class DirectoryLocation:
    """``services.ports.Location`` on a folder."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._files = ContentFolder(around.project / settings.path, f"location {name}")

    @property
    def name(self) -> LocationName:
        return self._name

    @property
    def takes(self) -> frozenset[Format]:
        return Settings.takes

    @property
    def unproven(self) -> tuple[str, ...]:
        return ()

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return relative(artifact.sha256)

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        self._files.add(source, artifact.sha256)
        path = self._files.path(artifact.sha256)
        size = path.stat().st_size
        moved(size)
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

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        self.verify(placement, placement.verified)
        with partial(to.parent) as copy, self._files.path(placement.sha256).open("rb") as held:
            digest, size = hashlib.sha256(), 0
            while data := held.read(CHUNK):
                digest.update(data)
                os.write(copy.fd, data)
                size += len(data)
                moved(size)
            if digest.hexdigest() != placement.sha256:
                raise Corrupt(
                    f"{placement.provider_id} changed while it was read from {self._name}",
                    where=str(self._files.path(placement.sha256)),
                )
            copy.keep(to, READ_ONLY)

    def view(self, now: Callable[[], datetime]) -> View:
        began = now()
        folder = self._files.root / "sha256"
        try:
            found = tuple(
                Found(f"sha256/{each.parent.name}/{each.name}", each.name, None, size=size)
                for each in sorted(folder.glob("*/*"))
                for size in (each.lstat().st_size,)
            )
        except OSError as problem:
            raise CannotTell(
                f"location {self._name} cannot be read",
                where=str(folder),
                why=problem.strerror or str(problem),
            ) from problem
        return View(self._name, f"folder {self._files.root}", found, (), 1, began, now())

    def probe(self) -> Credential:
        nearest = self._files.root
        while not nearest.exists():
            nearest = nearest.parent
        if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            raise Denied(
                f"location {self._name} may not be written to",
                denial=Denial.TOO_NARROW,
                where=str(nearest),
            )
        return Credential(f"user {os.geteuid()}")

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        raise Unsupported(f"a directory runs no machines, so nothing boots in {self._name}")

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        pass

    def mark(self, placement: Placement, mark: Mark) -> None:
        pass

    def delete(self, placement: Placement) -> None:
        with contextlib.suppress(NotFound):
            self.verify(placement, placement.verified)
            self._files.path(placement.sha256).unlink(missing_ok=True)
