"""Google Compute Engine as a location: images of a project, imported from disks in a bucket.

An image is called ``IMAGE-YYYYMMDD-N-ARCH`` and carries its ownership in its labels from the moment
that it is made (``gce_labels.py``). It is known by its numeric id, which no other image ever has:
all reads and changes of a placement go by it, so nothing can slip under its name in between (P2).

What an image holds cannot be read back (``unproven``). What is compared instead: before it is made,
the MD5 and size of the object that it is imported from; afterwards its id, labels and status.

NATIVE artifacts are images that a cloud builder made here: putting one labels it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.durable import write
from imagectl.adapters.locations.calls import calls_of
from imagectl.adapters.locations.gce_boot import Login, booted
from imagectl.adapters.locations.gce_changes import (
    again_where_changed,
    relabel,
    share,
    show_in_family,
)
from imagectl.adapters.locations.gce_checks import (
    STATES,
    check_owner,
    check_usable,
    found,
    marked,
    named_by,
    read,
    unusable,
)
from imagectl.adapters.locations.gce_import import ARCHITECTURES, Importer
from imagectl.adapters.locations.gce_janitor import Janitor
from imagectl.adapters.locations.gce_labels import MARK, from_labels, image_name
from imagectl.adapters.locations.gce_native import adopt, describe, description
from imagectl.adapters.locations.gce_permissions import require_permissions
from imagectl.adapters.locations.gce_project import Project, moment, warned
from imagectl.adapters.locations.gce_upload import Uploads, upload_name
from imagectl.adapters.locations.gce_zones import Zones
from imagectl.adapters.locations.google_account import log_in
from imagectl.adapters.locations.owners import owner_of, placed_by
from imagectl.errors import CannotTell, Corrupt, Failed, Unsupported
from imagectl.model.names import ChannelName, Format, ImageName, LocationName
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import FoundResource, ResourceView
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

    from imagectl.adapters.locations import Surroundings

PER_SECOND = 20.0
"""Calls. Google allows a project 1,500 reads a minute (cloud.google.com/compute/api-quota)."""
_READ = {word: architecture for architecture, word in ARCHITECTURES.items()}


class GceLocation:
    """``services.ports.Location`` and ``Workshop`` on a project."""

    login = Login()
    """How to get into throw-away instances."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._calls = calls_of(name, around, PER_SECOND)

    @cached_property
    def _project(self) -> Project:
        private = self._settings.endpoint is not None
        account = log_in(self._name, self._settings.credentials, self._around, private=private)
        return Project(self._name, self._settings, account, self._calls)

    @cached_property
    def _uploads(self) -> Uploads:
        return Uploads(
            self._name,
            self._settings,
            self._project.account,
            self._calls,
            self._around.state,
            self._around.patience,
        )

    @cached_property
    def _importer(self) -> Importer:
        return Importer(
            self._settings,
            self._project,
            self._uploads,
            self._around.leasing,
            self.place,
            self._around.patience,
        )

    @cached_property
    def _zones(self) -> Zones:
        return Zones(self._project)

    @cached_property
    def _janitor(self) -> Janitor:
        return Janitor(
            self._settings, self._project, self._zones, self._uploads, self._around.catalog
        )

    @property
    def name(self) -> LocationName:
        return self._name

    @property
    def place(self) -> str:
        return self._name

    @property
    def takes(self) -> frozenset[Format]:
        return Settings.takes

    @property
    def unproven(self) -> tuple[str, ...]:
        bytes_ = (
            "that the bytes of an image are still those that were imported: Compute Engine does "
            "not give them back"
        )
        if not self._settings.share:
            return (bytes_,)
        return (bytes_, "that those whom the images are shared with may still use them")

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return image_name(version, artifact.architecture)

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        owner = owner_of(self._around.catalog(), version, artifact)
        if artifact.format is Format.NATIVE:
            image = adopt(self._project, owner, artifact, source, self._around.patience)
            moved(artifact.size)
        else:
            image = again_where_changed(
                self._project,
                f"placing {version}",
                lambda: self._importer.image(owner, artifact, source, moved),
            )
        share(self._project, image, self._settings.share)
        return self._placement(owner, artifact, image, now)

    def _placement(
        self, owner: Ownership, artifact: Artifact, image: Image, now: datetime
    ) -> Placement:
        return Placement(
            owner.version,
            artifact.format,
            artifact.architecture,
            self._name,
            self._project.provider_id(image),
            self._project.reference(image),
            artifact.sha256,
            artifact.size,
            now,
        )

    def verify(self, placement: Placement, now: datetime) -> Placement:
        image = found(placement, self._project)
        check_usable(image, self._owner(placement), self._project)
        if placement.format is Format.NATIVE:
            _check_description(description(self._project, image), placement)
        return replace(placement, reference=self._project.reference(image), verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported(
            f"location {self._name} does not give back what was put there",
            where=placement.provider_id,
            why="Compute Engine takes images and runs them; it does not hand out their bytes",
            hint="the artifact store of the project has them",
        )

    def view(self, now: Callable[[], datetime]) -> View:
        began, before = now(), self._calls.requests
        shown: list[Found] = []
        gaps: list[str] = []
        pages = 0
        try:
            for page in self._project.pages():
                pages += 1
                shown += map(self._shown, page.items)
                if said := warned(page):
                    gaps.append(said)
        except (CannotTell, Failed) as error:
            if not pages:
                raise
            gaps.append(f"after {len(shown)} images: {error}: {error.why}")
        return View(
            self._name,
            f"project {self._settings.project}",
            tuple(shown),
            tuple(gaps),
            self._calls.requests - before,
            began,
            now(),
        )

    def _shown(self, image: Image) -> Found:
        owner = from_labels(image.labels)
        # Where the import of one did not end, ``put`` waits for it, or makes it anew.
        ending = owner is None or owner.format is Format.NATIVE or image.status == "READY"
        return Found(
            self._project.provider_id(image),
            image.name,
            owner,
            size=image.archive_size_bytes or None,
            created=moment(image.creation_timestamp),
            state=image.deprecated.state or image.status,
            architecture=_READ.get(image.architecture),
            unusable=unusable(image, self._project) if ending else None,
        )

    def probe(self) -> Credential:
        self._project.exists()
        require_permissions(self._settings, self._project, self._uploads)
        return Credential(self._project.account.identity, self._settings.credential_expires)

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        if self._settings.zone is None:
            raise Unsupported(
                f"location {self._name} boots nothing",
                why="it has no `zone`, so it is not known where",
                hint=f"set `zone` of {self._name} in imagectl.yaml",
            )
        self.verify(placement, placement.verified)
        return booted(
            self._zones,
            self._settings,
            self._around.leasing(),
            self.place,
            named_by(placement, self._project).reference,
            work,
            progress,
            self.login,
        )

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        channel = self._settings.family_channel
        if channel is None:
            return
        family = "-".join(filter(None, (self._settings.family_prefix, image, channel)))
        head, inside = heads.get(channel), None
        if head is not None:
            inside = found(head, self._project)
            check_usable(inside, self._owner(head), self._project)
        show_in_family(self._project, family, inside, self._around.catalog())

    def mark(self, placement: Placement, mark: Mark) -> None:
        """The label says at any time as much as the state, or more: an image that we have marked is
        never taken for one that somebody else has."""
        image = found(placement, self._project)
        check_owner(image, self._owner(placement), self._project)
        before = marked(image)
        self._say(image, max(before, mark, key=tuple(Mark).index))
        if (image.deprecated.state or "ACTIVE") != STATES[mark]:
            self._project.deprecate(image, STATES[mark], str(uuid.uuid4()))
        if tuple(Mark).index(mark) < tuple(Mark).index(before):
            self._say(image, mark)

    def _say(self, image: Image, mark: Mark) -> None:
        """Let its label say that mark."""

        def changed(labels: Mapping[str, str]) -> Mapping[str, str]:
            others = {key: each for key, each in labels.items() if key != MARK}
            return others if mark is Mark.ACTIVE else {**others, MARK: mark.value}

        relabel(self._project, str(image.id), changed)

    def delete(self, placement: Placement, begin: Begin) -> None:
        named = named_by(placement, self._project)
        image = read(named, self._project)
        if image is not None and image.status != "DELETING":
            check_owner(image, self._owner(placement), self._project)
            begin()
            self._project.delete(named.id, str(uuid.uuid4()))
        if placement.format is not Format.NATIVE:
            begin()
            self._uploads.remove(upload_name(self._around.catalog(), named.image))

    def describe(self, built: str, to: Path) -> None:
        write(to.parent, to, describe(self._project, built))

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        return self._janitor.resources(now, lambda: self._calls.requests)

    def collect(self, found: FoundResource, now: datetime) -> None:
        self._janitor.collect(found, now)

    def _owner(self, placement: Placement) -> Ownership:
        return placed_by(self._around.catalog(), placement)


def _check_description(data: bytes, placement: Placement) -> None:
    if hashlib.sha256(data).hexdigest() != placement.sha256:
        raise Corrupt(
            f"{placement.version} is another image in {placement.location} than was recorded",
            where=placement.provider_id,
            why="its description has another digest",
        )
