"""A registry of OCI artifacts as a location: each image is a repository below the location's URL.

One artifact is one manifest (`artifactType` :data:`DISK`) with the disk as its only layer, tagged
``VERSION-FORMAT-ARCHITECTURE``, with annotations that say whose it is. The tag ``VERSION`` is an
index over those of a version, whatever their architecture. Digests are checked here, when putting
and when getting: everything is read back whole.

A registry has no compare-and-swap. Tags are for people; consumers are given digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.locations.fetching import fetch
from imagectl.adapters.locations.oci_registry import INDEX, MANIFEST, Manifest, Registry
from imagectl.adapters.locations.oci_session import Session
from imagectl.adapters.locations.oci_upload import Uploads
from imagectl.adapters.locations.owners import owner_of, placed_by
from imagectl.adapters.locations.source import check_source
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Failed,
    NotFound,
    Unsupported,
)
from imagectl.model.names import (
    Architecture,
    BadName,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    parse_image_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.place import OciLocation as Settings
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

DISK = "application/vnd.imagectl.disk.v1"
EMPTY = "application/vnd.oci.empty.v1+json"
"""https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidance-for-an-empty-descriptor"""
_NOTHING = b"{}"
_NOTHING_DIGEST = f"sha256:{hashlib.sha256(_NOTHING).hexdigest()}"

_VERSION_TAG = re.compile(r"[0-9]{8}\.[0-9]+")


class OciLocation:
    """``services.ports.Location`` on a registry."""

    takes: frozenset[Format] = Settings.takes
    unproven: tuple[str, ...] = ()

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._url = settings.url
        self._prefix = settings.url.split("/", 1)[1]
        self._expires = settings.credential_expires
        self._session = Session(name, settings, around)
        self._registry = Registry(self._session)
        self._uploads = Uploads(self._session, around.state)
        self._catalog = around.catalog

    @property
    def name(self) -> LocationName:
        return self._name

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return f"{self._url}/{version.image}:{_tag(version, artifact)}"

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        repository = f"{self._prefix}/{version.image}"
        owner = owner_of(self._catalog(), version, artifact)
        tag = _tag(version, artifact)
        found = self._find(repository, tag)
        if found is None:
            check_source(source, artifact)
            self._require_free(repository, str(version.version), owner)
            self._uploads.put_blob(repository, _NOTHING_DIGEST, _NOTHING)
            self._uploads.upload(repository, artifact.sha256, source, moved)
            found = self._registry.put_manifest(repository, tag, _manifest(owner, artifact))
        else:
            said = _owner(found.document)
            if said is None or replace(said, sha256=owner.sha256) != owner:
                raise self._foreign(self.named(version, artifact), said)
            if said != owner:
                raise Corrupt(
                    f"{self.named(version, artifact)} is another disk",
                    where=f"location {self._name}",
                    why=f"its sha256 is {said.sha256}, and {owner.sha256} is recorded",
                )
        moved(artifact.size)
        reference = f"{self._url}/{version.image}@{found.digest}"
        placement = Placement(
            version,
            artifact.format,
            artifact.architecture,
            self._name,
            reference,
            reference,
            artifact.sha256,
            artifact.size,
            now,
        )
        try:
            self._read(placement, lambda _: None)
        except NotFound as error:
            raise CannotTell(
                f"{version} was put in {self._name}, and is not to be seen there",
                where=reference,
                why=error.why or error.what,
                hint="type the command again",
            ) from error
        self._index(repository, version)
        return placement

    def verify(self, placement: Placement, now: datetime) -> Placement:
        self._read(placement, lambda _: None)
        return replace(placement, verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        fetch(to, moved, lambda keep: self._read(placement, keep))

    def view(self, now: Callable[[], datetime]) -> View:
        began, before = now(), self._session.requests_made
        found: list[Found] = []
        gaps: list[str] = []
        below = f"{self._prefix}/"
        repositories = self._registry.repositories()
        names: list[str] = []
        try:
            for each in repositories:
                names.append(each)
        except CannotTell as error:
            if not names:
                raise
            gaps.append(f"not all repositories could be listed: {error.why or error.what}")
        for repository in (each for each in names if each.startswith(below)):
            try:
                for tag in self._registry.tags(repository):
                    found += self._shown(repository, tag)
            except (CannotTell, Failed) as error:
                gaps.append(f"{repository} could not be read: {error.why or error.what}")
        requests = self._session.requests_made - before
        scope = f"repositories below {self._url}"
        return View(self._name, scope, tuple(found), tuple(gaps), requests, began, now())

    def probe(self) -> Credential:
        self._uploads.probe(f"{self._prefix}/probe")
        return Credential(self._session.identity, self._expires)

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        raise Unsupported(f"a registry runs no machines, so nothing boots in {self._name}")

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        """Nothing: without compare-and-swap, a tag for a channel could go back in time."""

    def mark(self, placement: Placement, mark: Mark) -> None:
        """Nothing: a manifest cannot be changed."""

    def delete(self, placement: Placement, begin: Begin) -> None:
        repository, digest = self._place(placement)
        found = self._find(repository, digest)
        if found is not None:
            said = _owner(found.document)
            if said != placed_by(self._catalog(), placement):
                raise self._foreign(placement.provider_id, said)
            self._read(placement, lambda _: None)
            begin()
            self._registry.delete_manifest(repository, digest)
        self._index(repository, placement.version)

    def _place(self, placement: Placement) -> tuple[str, str]:
        """The repository and the digest. Raises NotFound where the URL means another place now."""
        here, at, digest = placement.provider_id.rpartition("@")
        if not at or here != f"{self._url}/{placement.version.image}":
            raise NotFound(
                f"{placement.version} is not in what location {self._name} means now",
                where=f"{placement.version} in {self._name}",
                why=f"it was placed as {placement.provider_id}, and would now be below {self._url}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return f"{self._prefix}/{placement.version.image}", digest

    def _find(self, repository: str, reference: str) -> Manifest | None:
        try:
            return self._registry.manifest(repository, reference)
        except NotFound:
            return None

    def _read(self, placement: Placement, keep: Callable[[bytes], None]) -> None:
        """All of it, checked. Raises NotFound, Corrupt."""
        repository, reference = self._place(placement)
        document = self._registry.manifest(repository, reference).document
        layer = f"sha256:{placement.sha256}"
        if [each.get("digest") for each in _list(document, "layers")] != [layer]:
            raise self._corrupt(placement, "its manifest names another disk")
        digest, size = hashlib.sha256(), 0
        for data in self._registry.blob(repository, layer, placement.size):
            digest.update(data)
            size += len(data)
            keep(data)
        if digest.hexdigest() != placement.sha256 or size != placement.size:
            said = f"the sha256 of its {size:,} bytes is {digest.hexdigest()}"
            raise self._corrupt(placement, said)

    def _corrupt(self, placement: Placement, why: str) -> Corrupt:
        return Corrupt(
            f"{placement.provider_id} is not what was recorded",
            where=f"{placement.version} in {self._name}",
            why=why,
            hint="delete the manifest and its blob for a look elsewhere; `imagectl publish` then "
            "puts it there again",
        )

    def _foreign(self, what: str, owner: Ownership | None) -> Conflict:
        whose = f"it is catalog {owner.catalog}'s {owner.version}" if owner else "it has no marks"
        return Conflict(
            f"{what} is not ours", where=f"location {self._name}", why=f"{whose} of imagectl"
        )

    def _require_free(self, repository: str, tag: str, owner: Ownership) -> None:
        """The tag of the version's index is ours, or nobody's."""
        found = self._find(repository, tag)
        if found is not None and not _is_index_of(found.document, owner):
            raise self._foreign(f"{self._url}/{owner.version.image}:{tag}", None)

    def _index(self, repository: str, version: VersionRef) -> None:
        """Have the version's tag name what is there of it: until it is so when it is looked at
        again, since somebody else may be writing it too."""
        tag = str(version.version)
        for _ in range(5):
            wanted = self._wanted_index(repository, version)
            found = self._find(repository, tag)
            if found is not None and not _is_index(found.document, self._catalog(), version):
                raise self._foreign(f"{self._url}/{version.image}:{tag}", None)
            if wanted is None:
                if found is not None:
                    self._registry.delete_manifest(repository, found.digest)
                return
            if found is not None and found.document == wanted:
                return
            self._registry.put_manifest(repository, tag, wanted)
        raise Conflict(
            f"{self._url}/{version.image}:{tag} is being changed by somebody else all the time",
            where=f"location {self._name}",
            hint="type the command again when the other has ended",
        )

    def _wanted_index(self, repository: str, version: VersionRef) -> dict[str, Any] | None:
        manifests = []
        catalog = self._catalog()
        for tag in sorted(self._registry.tags(repository)):
            if not tag.startswith(f"{version.version}-"):
                continue
            found = self._find(repository, tag)
            owner = _owner(found.document) if found is not None else None
            if found is None or owner is None:
                continue
            if (owner.catalog, owner.version) == (catalog, version):
                manifests.append(
                    {
                        "mediaType": MANIFEST,
                        "artifactType": DISK,
                        "digest": found.digest,
                        "size": len(found.data),
                        "platform": {"architecture": owner.architecture.value, "os": "linux"},
                        "annotations": {"imagectl-format": owner.format.value},
                    }
                )
        if not manifests:
            return None
        return {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": manifests,
            "annotations": _index_marks(catalog, version),
        }

    def _shown(self, repository: str, tag: str) -> list[Found]:
        """What the tag shows: nothing where it is one of our indexes, or just gone."""
        found = self._find(repository, tag)
        if found is None:
            return []
        image = repository.removeprefix(f"{self._prefix}/")
        if _VERSION_TAG.fullmatch(tag) and "imagectl-catalog" in _marks(found.document):
            return []
        owner = _owner(found.document)
        reference = f"{self._url}/{image}@{found.digest}"
        sizes = [each.get("size") for each in _list(found.document, "layers")]
        size = sum(each for each in sizes if isinstance(each, int)) if sizes else None
        return [Found(reference, f"{image}:{tag}", owner, size)]


def _tag(version: VersionRef, artifact: Artifact) -> str:
    return f"{version.version}-{artifact.format.value}-{artifact.architecture.value}"


def _manifest(owner: Ownership, artifact: Artifact) -> dict[str, Any]:
    title = f"{owner.version.image}-{_tag(owner.version, artifact)}"
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": DISK,
        "config": {"mediaType": EMPTY, "digest": _NOTHING_DIGEST, "size": len(_NOTHING)},
        "layers": [
            {
                "mediaType": f"{DISK}.{artifact.format.value}",
                "digest": f"sha256:{artifact.sha256}",
                "size": artifact.size,
                "annotations": {"org.opencontainers.image.title": title},
            }
        ],
        "annotations": {
            **_index_marks(owner.catalog, owner.version),
            "imagectl-format": owner.format.value,
            "imagectl-architecture": owner.architecture.value,
            "imagectl-sha256": owner.sha256,
        },
    }


def _index_marks(catalog: str, version: VersionRef) -> dict[str, str]:
    return {
        "imagectl-catalog": catalog,
        "imagectl-image": version.image,
        "imagectl-version": str(version.version),
        "org.opencontainers.image.title": str(version.image),
        "org.opencontainers.image.version": str(version.version),
    }


def _is_index(document: dict[str, Any], catalog: str, version: VersionRef) -> bool:
    return _marks(document) == _index_marks(catalog, version)


def _is_index_of(document: dict[str, Any], owner: Ownership) -> bool:
    return _is_index(document, owner.catalog, owner.version)


def _marks(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("annotations")
    return found if isinstance(found, dict) else {}


def _owner(document: dict[str, Any]) -> Ownership | None:
    """Whose it is; None where it is not imagectl's, or does not say so whole."""
    marks = _marks(document)
    with contextlib.suppress(KeyError, ValueError, TypeError, BadName):
        image = parse_image_name(marks["imagectl-image"])
        return Ownership(
            str(marks["imagectl-catalog"]),
            VersionRef(image, parse_version_id(marks["imagectl-version"])),
            Format(marks["imagectl-format"]),
            Architecture(marks["imagectl-architecture"]),
            parse_sha256(marks["imagectl-sha256"]),
        )
    return None


def _list(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
