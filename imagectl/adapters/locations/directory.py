"""A directory as a location: on this machine, or one that consumers mount too.

The artifacts are below it as ``sha256/ab/abcd...``, read-only, and beside them the records of who
needs them (``owners.py``). Verifying hashes them again. Where there is nothing at all, nothing is
concluded from it, and nothing is put there where anything was: the file system may not be mounted
(P2). Only what was placed in another folder, before the settings named this one, is certainly not
in this one yet; nor is it gone. And a folder of the project itself that is not there is a new one
where the catalog has nothing to do with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.content import CHUNK, ContentFolder, relative
from imagectl.adapters.durable import (
    PARTIAL,
    make_folder,
    naming_failures,
    sync_folder,
    write,
)
from imagectl.adapters.locations.fetching import fetch
from imagectl.adapters.locations.owners import (
    OWNERS,
    Entry,
    Record,
    folder_of,
    found_in,
    owner_of,
    parse_record,
    parse_record_name,
    placed_by,
    record_of,
)
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    NotFound,
    Unsupported,
)
from imagectl.model.names import ChannelName, Format, ImageName, LocationName, Sha256
from imagectl.model.place import DirectoryLocation as Settings
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

_LOCK = f"{OWNERS}/.lock"


class DirectoryLocation:
    """``services.ports.Location`` on a folder."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._files = ContentFolder(around.project / settings.path, f"location {name}")
        self._project = around.project
        self._path = settings.path
        self._catalog = around.catalog
        self._placed = around.placed
        self._used = around.used

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
        path = self._files.path(artifact.sha256)
        with self._naming_denial():
            self._check_mounted()
            self._keep_record(owner_of(self._catalog(), version, artifact))
            self._files.add(source, artifact.sha256)
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
            self._require_here(placement)
            raise
        # A project may have moved since: what consumers are given has moved with it.
        return replace(placement, reference=str(path), verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        self.verify(placement, placement.verified)
        fetch(to, moved, lambda keep: self._read(placement, keep))

    def _read(self, placement: Placement, take: Callable[[bytes], None]) -> None:
        digest = hashlib.sha256()
        with self._files.path(placement.sha256).open("rb") as held:
            while data := held.read(CHUNK):
                digest.update(data)
                take(data)
        if digest.hexdigest() != placement.sha256:
            raise Corrupt(
                f"{placement.provider_id} changed while it was read from {self._name}",
                where=str(self._files.path(placement.sha256)),
            )

    def view(self, now: Callable[[], datetime]) -> View:
        began = now()
        root = self._files.root
        entries: list[Entry] = []
        gaps: list[str] = []
        try:
            names = os.listdir(root)
        except FileNotFoundError as problem:
            if self._is_to_be_made():
                return View(self._name, f"folder {root}", (), (), 1, began, now())
            raise CannotTell(
                f"location {self._name} cannot be read",
                where=str(root),
                why=problem.strerror or str(problem),
                hint=f"check that it is mounted; where it is to be a new folder, `mkdir -p "
                f"{root / 'sha256'}` says so",
            ) from problem
        except OSError as problem:
            raise CannotTell(
                f"location {self._name} cannot be read",
                where=str(root),
                why=problem.strerror or str(problem),
                hint="check that it is mounted, and who may read it",
            ) from problem
        if not {"sha256", OWNERS} & set(names):
            gaps.append(f"{root} holds nothing of imagectl's: it may not be mounted")
        for folder, below, files in os.walk(
            root, onerror=lambda problem: gaps.append(f"{problem.filename}: {problem.strerror}")
        ):
            with contextlib.suppress(ValueError):
                below.remove(PARTIAL)
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(root).as_posix()
                if name == _LOCK:
                    continue
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue  # removed since it was listed
                except OSError as problem:
                    gaps.append(f"{path}: {problem.strerror}")
                    continue
                created = datetime.fromtimestamp(status.st_mtime, UTC)
                entries.append(Entry(name, status.st_size, created))
        found = found_in(entries, lambda name: name)
        return View(self._name, f"folder {root}", found, tuple(gaps), 1, began, now())

    def probe(self) -> Credential:
        nearest = self._files.root
        try:
            while not nearest.exists():
                nearest = nearest.parent
            allowed = os.access(nearest, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        except PermissionError:
            allowed = False
        if not allowed:
            raise Denied(
                f"location {self._name} may not be written to",
                denial=Denial.TOO_NARROW,
                where=str(nearest),
                hint=f"let user {os.geteuid()} read and write there",
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

    def delete(self, placement: Placement, begin: Begin) -> None:
        owner = placed_by(self._catalog(), placement)
        path = self._files.path(placement.sha256)
        record = self._files.root / record_of(owner)
        self._require_mounted()
        with self._naming_denial(), naming_failures(f"deleting {path}", path), self._records():
            try:
                ours = parse_record(owner, record.read_bytes())
            except FileNotFoundError:
                if self._is_there(placement.sha256):
                    raise Conflict(
                        f"{placement.provider_id} in location {self._name} is not ours to delete",
                        where=str(path),
                        why=f"this catalog has no record of {placement.version} there",
                    ) from None
                # What is where nobody has looked is not gone.
                self._require_here(placement)
                return
            if self._is_there(placement.sha256):
                self.verify(placement, placement.verified)
                whole = not ours.found and len(self._owners(placement.sha256)) == 1
            else:
                whole = False
            begin()
            if whole:
                path.unlink()
                # Were the record gone for good and the file not, it would be nobody's.
                sync_folder(path.parent)
            record.unlink()
            sync_folder(record.parent)
            with contextlib.suppress(OSError):  # others have records too
                record.parent.rmdir()

    def _require_here(self, placement: Placement) -> None:
        """Raises NotFound where what is not here was placed in another folder, and CannotTell where
        it was placed in this one, which may not be mounted."""
        before = self._other_root(placement)
        if before is None or not self._files.root.is_dir():
            self._require_mounted()
            return
        raise NotFound(
            f"{placement.version} is not in what location {self._name} means now",
            where=f"{placement.version} in {self._name}",
            why=f"it was placed in {before}, and the location is now {self._files.root}, which "
            "does not have it",
            hint=f"`imagectl publish {placement.version} --to {self._name}` puts it there; "
            "if the folder should be a mounted one, mount it first; to delete it, let the location "
            "be that folder again for as long as it takes",
        )

    def _other_root(self, placement: Placement) -> Path | None:
        """The folder that the placement was made in; None where that may be this one."""
        below = f"/{placement.provider_id}"
        before = Path(placement.reference.removesuffix(below))
        if not placement.reference.endswith(below) or before == self._files.root:
            return None
        if not self._path.is_absolute() and not before.is_relative_to(self._project):
            steps = self._path.parts
            if before.parts[-len(steps) :] == steps:
                return None  # the whole project has moved
        with contextlib.suppress(OSError):
            if before.samefile(self._files.root):
                return None
        return before

    def _is_to_be_made(self) -> bool:
        """Whether the folder, which is not there, is one that the first ``put`` makes. What is not
        in the project itself may be on a disk that is not mounted (P3). Raises CannotTell where the
        catalog cannot be read."""
        root = self._files.root
        if os.path.lexists(root):
            return False  # a link to nowhere
        nearest = next(each for each in root.parents if os.path.lexists(each))
        if not nearest.resolve().is_relative_to(self._project.resolve()) or not nearest.is_dir():
            return False
        return not self._used(self._name)

    def _check_mounted(self) -> None:
        """Raises CannotTell where there is nothing at all, and something was placed here: put into
        a folder that is not mounted, it would be gone as soon as that is."""
        if not self._holds_anything() and any(
            self._other_root(each) is None for each in self._placed(self._name)
        ):
            raise self._not_mounted()

    def _require_mounted(self) -> None:
        if not self._holds_anything():
            raise self._not_mounted()

    def _holds_anything(self) -> bool:
        try:
            return any((self._files.root / each).is_dir() for each in ("sha256", OWNERS))
        except OSError as problem:
            raise CannotTell(
                f"location {self._name} cannot be read",
                where=str(self._files.root),
                why=problem.strerror or str(problem),
                hint="check that it is mounted, and who may read it",
            ) from problem

    def _not_mounted(self) -> CannotTell:
        return CannotTell(
            f"location {self._name} is not there, or not mounted",
            where=str(self._files.root),
            why="it holds nothing at all, although artifacts were placed in it",
            hint=f"mount it; where it is to be a new folder, or all that it had is lost, `mkdir -p "
            f"{self._files.root / 'sha256'}` says so, and `imagectl publish --backfill` fills it",
        )

    def _keep_record(self, owner: Ownership) -> None:
        """Have the owner's record there before its file. What is there already says whether it was
        there before anybody's record."""
        path = self._files.root / record_of(owner)
        with naming_failures(f"writing to location {self._name}", path), self._records():
            if path.exists():
                return
            others = self._owners(owner.sha256)
            found = self._is_there(owner.sha256) and (
                not others or any(other.found for other in others)
            )
            write(self._files.root, path, Record(owner, found).text())

    def _owners(self, sha256: Sha256) -> tuple[Record, ...]:
        folder = self._files.root / folder_of(sha256)
        if not folder.is_dir():
            return ()
        found = ((parse_record_name(f"{folder_of(sha256)}/{p.name}"), p) for p in folder.iterdir())
        return tuple(
            parse_record(owner, path.read_bytes()) for owner, path in found if owner is not None
        )

    def _is_there(self, sha256: Sha256) -> bool:
        try:
            self._files.find(sha256)
        except NotFound:
            return False
        return True

    @contextlib.contextmanager
    def _records(self) -> Iterator[None]:
        """Nobody else changes records meanwhile: who deletes the last one, and with it the file,
        must not miss one that is just being written."""
        path = self._files.root / _LOCK
        make_folder(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _naming_denial(self) -> Iterator[None]:
        try:
            yield
        except Failed as error:
            cause = error.__cause__
            if isinstance(cause, PermissionError) and _is_below(cause.filename, self._files.root):
                raise Denied(
                    f"location {self._name} may not be written to",
                    denial=Denial.TOO_NARROW,
                    where=error.where,
                    why=error.why,
                ) from error
            raise


def _is_below(name: object, root: Path) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(root)
