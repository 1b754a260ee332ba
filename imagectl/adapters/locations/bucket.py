"""A place in a bucket as a location, whatever the provider: ``s3.py`` and ``gcs.py`` are those.

As in a directory, the artifacts are ``sha256/ab/abcd...``, with records of who needs them beside
them (``owners.py``). A file is created once and never replaced. When it has been put, it is read
back whole and hashed; the record then keeps the store's own tag of exactly those bytes (an ETag, a
generation), and verifying asks the store for the tag. Where that differs, or was never recorded,
the bytes are read and hashed again.

A bucket has no locks. Who deletes the last record's file first says so in a key of its own and then
looks for new records; who writes a record then looks for such keys. So at least one of two that
meet sees the other, and gives way.

Who has no record is not seen: verifying writes one anew that is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imagectl.adapters.content import relative
from imagectl.adapters.locations.fetching import fetch
from imagectl.adapters.locations.owners import (
    DELETING,
    Entry,
    Record,
    deleting_of,
    folder_of,
    found_in,
    owner_of,
    parse_record,
    parse_record_name,
    placed_by,
    record_of,
)
from imagectl.errors import CannotTell, Conflict, Corrupt, Denied, NotFound, Unsupported
from imagectl.model.names import ChannelName, Format, ImageName, LocationName, Sha256
from imagectl.model.place import ALL_DISKS, Bucket
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

CALLS_PER_SECOND = 100.0
"""Far below what one prefix of S3 (3,500 writes) or a bucket of GCS (1,000) is good for."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. ``tag`` is another one whenever its bytes are others."""

    name: str
    size: int
    tag: str
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing. ``doubt`` says what the store itself makes doubtful about it."""

    objects: tuple[Stored, ...]
    doubt: str = ""


class Objects(Protocol):
    """The objects of one bucket below a prefix, named relative to it.

    Every method raises Denied, Throttled and CannotTell, where the bucket is not there, too; all
    but ``hashed``, ``upload`` and ``stream`` are one request, repeated where that may help.
    """

    def list(self, prefix: str) -> Iterator[Page]:
        """All that begins with *prefix*, in the order of names, page by page."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small object whole; None where it is not there."""
        ...

    def stream(self, name: str) -> Iterator[bytes]:
        """A large one, piece by piece. Raises NotFound."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """A small object, replacing what is there."""
        ...

    def hashed(self, source: Path, artifact: Artifact) -> str:
        """What ``upload`` wants to know of the file: it is read here, once. Asks nobody. Raises
        Corrupt where it is not the artifact."""
        ...

    def upload(
        self, name: str, source: Path, artifact: Artifact, hashed: str, moved: Moved
    ) -> None:
        """A large one, that appears whole; what has that name already stays. Goes on where the last
        one that broke off stopped. Raises NoSpace, Failed."""
        ...

    def delete(self, name: str) -> None:
        """Idempotent."""
        ...

    def probe(self) -> Credential:
        """Whether all of the above is allowed. Leaves nothing behind."""
        ...


class BucketLocation:
    """``services.ports.Location`` on objects."""

    takes: frozenset[Format] = ALL_DISKS

    def __init__(
        self,
        name: LocationName,
        bucket: Bucket,
        endpoint: str | None,
        objects: Objects,
        around: Surroundings,
    ) -> None:
        self._name = name
        self._bucket = bucket
        self._endpoint = endpoint
        self._objects = objects
        self._catalog = around.catalog

    @property
    def name(self) -> LocationName:
        return self._name

    @property
    def unproven(self) -> tuple[str, ...]:
        return (
            "bytes are read back when they are put, and whenever the store's tag for them (ETag, "
            "generation) is another one; else the store is believed that they are unchanged",
        )

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return self._url(relative(artifact.sha256))

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        name = relative(artifact.sha256)
        owner = owner_of(self._catalog(), version, artifact)
        there = self._stat(name)
        hashed = self._objects.hashed(source, artifact) if there is None else ""
        record = self._keep_record(owner, there is not None)
        if there is None:
            self._objects.upload(name, source, artifact, hashed, moved)
        moved(artifact.size)
        placement = Placement(
            version,
            artifact.format,
            artifact.architecture,
            self._name,
            self._url(name),
            self._url(name),
            artifact.sha256,
            artifact.size,
            now,
        )
        try:
            stored = self._check(placement, record.tag)
        except NotFound as error:
            raise CannotTell(
                f"{version} was put in {self._name}, and is not to be seen there",
                where=placement.provider_id,
                why="somebody removed it at once, or the store shows what was before",
                hint="type the command again",
            ) from error
        if stored.tag != record.tag:
            self._objects.write(record_of(owner), replace(record, tag=stored.tag).text())
        return placement

    def verify(self, placement: Placement, now: datetime) -> Placement:
        self._require_here(placement)
        owner = placed_by(self._catalog(), placement)
        text = self._objects.read(record_of(owner))
        stored = self._check(placement, None if text is None else parse_record(owner, text).tag)
        if text is None:
            self._mend_record(owner, stored)
            self._check(placement, stored.tag)
        return replace(placement, verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        self._require_here(placement)
        fetch(to, moved, lambda keep: self._read_back(placement, keep))

    def view(self, now: Callable[[], datetime]) -> View:
        began = now()
        entries: list[Entry] = []
        gaps: list[str] = []
        pages, last = 0, ""
        try:
            for page in self._objects.list(""):
                pages += 1
                if page.doubt:
                    gaps.append(page.doubt)
                for each in page.objects:
                    # Names come in order. One that does not was moved by a page that is missing.
                    if each.name.encode() <= last.encode() and last:
                        gaps.append(f"{each.name} came after {last}: pages do not fit together")
                    last = each.name
                    entries.append(Entry(each.name, each.size, each.created))
        except CannotTell as error:
            if not pages:
                raise
            gaps.append(f"page {pages + 1} could not be read: {error.why or error.what}")
        found = found_in(entries, self._url)
        # Another server may have a bucket of the same name.
        scope = f"bucket {self._bucket}" + (f" at {self._endpoint}" if self._endpoint else "")
        return View(self._name, scope, found, tuple(gaps), max(pages, 1), began, now())

    def probe(self) -> Credential:
        return self._objects.probe()

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        raise Unsupported(f"a bucket runs no machines, so nothing boots in {self._name}")

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        pass

    def mark(self, placement: Placement, mark: Mark) -> None:
        pass

    def delete(self, placement: Placement, begin: Begin) -> None:
        self._require_here(placement)
        name, owner = relative(placement.sha256), placed_by(self._catalog(), placement)
        deleting = deleting_of(owner)
        text = self._objects.read(record_of(owner))
        there = self._stat(name)
        if text is None:
            if there is not None:
                raise Conflict(
                    f"{placement.provider_id} in location {self._name} is not ours to delete",
                    where=placement.provider_id,
                    why=f"this catalog has no record of {placement.version} there",
                )
            return
        record = parse_record(owner, text)
        if there is not None:
            self._check(placement, record.tag)
            if not record.found:
                self._objects.write(deleting, f"by catalog {owner.catalog}\n".encode())
                if self._owners(placement.sha256) <= {owner}:
                    begin()
                    self._objects.delete(name)
        self._objects.delete(deleting)
        begin()
        self._objects.delete(record_of(owner))

    def _url(self, name: str) -> str:
        return f"{self._bucket}/{name}"

    def _require_here(self, placement: Placement) -> None:
        here = self._url(relative(placement.sha256))
        if placement.provider_id != here:
            raise NotFound(
                f"{placement.version} is not in what location {self._name} means now",
                where=f"{placement.version} in {self._name}",
                why=f"it was placed as {placement.provider_id}, and would now be {here}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )

    def _stat(self, name: str) -> Stored | None:
        """The object as a listing shows it: only a listing tells "it is not there" from "there is
        no such bucket", and says why something is refused."""
        for page in self._objects.list(name):
            for each in page.objects:
                return each if each.name == name else None
        return None

    def _check(self, placement: Placement, tag: str | None) -> Stored:
        """The object, which has the right bytes: the tag says so, or they are read. Raises
        NotFound, Corrupt."""
        stored = self._stat(relative(placement.sha256))
        if stored is None:
            raise NotFound(
                f"{placement.version} ({placement.format.value}) is gone from {self._name}",
                where=placement.provider_id,
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        if stored.size != placement.size:
            raise self._corrupt(
                placement, f"it has {stored.size:,} bytes, and {placement.size:,} are recorded"
            )
        if tag is None or stored.tag != tag:
            self._read_back(placement, lambda _: None)
        return stored

    def _read_back(self, placement: Placement, keep: Callable[[bytes], None]) -> None:
        digest, size = hashlib.sha256(), 0
        for data in self._objects.stream(relative(placement.sha256)):
            digest.update(data)
            size += len(data)
            keep(data)
        if digest.hexdigest() != placement.sha256:
            raise self._corrupt(
                placement, f"the sha256 of its {size:,} bytes is {digest.hexdigest()}"
            )

    def _corrupt(self, placement: Placement, why: str) -> Corrupt:
        return Corrupt(
            f"{placement.provider_id} is not what its name says",
            where=f"{placement.version} in {self._name}",
            why=why,
            hint="move it away for a look; `imagectl publish` then puts it there again",
        )

    def _mend_record(self, owner: Ownership, stored: Stored) -> None:
        """Without the record, whoever has another one may delete the file (P1). A credential that
        may only read leaves this to one that may write."""
        try:
            self._keep_record(owner, True, stored.tag)
        except Denied:
            pass
        except Conflict as error:
            raise CannotTell(
                error.what, where=error.where, why=error.why, hint=error.hint
            ) from error

    def _keep_record(self, owner: Ownership, there: bool, tag: str | None = None) -> Record:
        """Have the owner's record there, before its file, and nobody deleting the file."""
        text = self._objects.read(record_of(owner))
        if text is not None:
            record = parse_record(owner, text)
        else:
            others = self._owners(owner.sha256)
            found = there and (not others or any(self._found(other) for other in others))
            record = Record(owner, found, tag)
            self._objects.write(record_of(owner), record.text())
        for deleting in self._names(f"{folder_of(owner.sha256)}/{DELETING}/"):
            raise Conflict(
                f"{self._url(relative(owner.sha256))} is just being deleted",
                where=self._url(deleting),
                why="the name of that key says by whom: catalog, image and version",
                hint="type the command again when the other one has ended; if that one was killed, "
                "type it again first",
            )
        return record

    def _owners(self, sha256: Sha256) -> set[Ownership]:
        names = self._names(f"{folder_of(sha256)}/")
        return {owner for owner in map(parse_record_name, names) if owner is not None}

    def _names(self, prefix: str) -> Iterator[str]:
        return (each.name for page in self._objects.list(prefix) for each in page.objects)

    def _found(self, owner: Ownership) -> bool:
        text = self._objects.read(record_of(owner))
        return text is not None and parse_record(owner, text).found
