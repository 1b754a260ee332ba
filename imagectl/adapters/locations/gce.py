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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.durable import write
from imagectl.adapters.locations.calls import Calls, pause_before
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
)
from imagectl.adapters.locations.gce_disk import features
from imagectl.adapters.locations.gce_janitor import Janitor
from imagectl.adapters.locations.gce_labels import (
    MARK,
    claiming,
    from_labels,
    image_name,
    to_labels,
)
from imagectl.adapters.locations.gce_native import adopt, describe, description
from imagectl.adapters.locations.gce_project import Project, moment, warned
from imagectl.adapters.locations.gce_upload import OURS, Uploaded, Uploads
from imagectl.adapters.locations.gce_zones import Zones
from imagectl.adapters.locations.google_account import log_in
from imagectl.adapters.locations.owners import owner_of, placed_by
from imagectl.errors import (
    CannotTell,
    Corrupt,
    Denial,
    Denied,
    Failed,
    Unsupported,
)
from imagectl.model.names import Architecture, ChannelName, Format, ImageName, LocationName
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import FoundResource, ResourceKind, ResourceView
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved, at_once
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

    from imagectl.adapters.locations import Surroundings

PER_SECOND = 20.0
"""Calls. Google allows a project 1,500 reads a minute (cloud.google.com/compute/api-quota)."""
READY_SECONDS = 3600.0
"""How long an image that somebody else is making may take."""

IN_PROJECT = frozenset(
    f"compute.{each}"
    for each in (
        "globalOperations.get",
        "addresses.list",
        "disks.list",
        "images.create",
        "images.delete",
        "images.deprecate",
        "images.get",
        "images.list",
        "images.setLabels",
        "images.update",
        "instances.list",
    )
)
TO_SHARE = frozenset({"compute.images.getIamPolicy", "compute.images.setIamPolicy"})
TO_BOOT = frozenset(
    f"compute.{each}"
    for each in (
        "addresses.delete",
        "disks.create",
        "disks.delete",
        "disks.get",
        "disks.setLabels",
        "images.useReadOnly",
        "instances.create",
        "instances.delete",
        "instances.get",
        "instances.getSerialPortOutput",
        "instances.setLabels",
        "instances.setMetadata",
        "regionOperations.get",
        "subnetworks.use",
        "subnetworks.useExternalIp",
        "zoneOperations.get",
    )
)
ON_BUCKET = frozenset(
    f"storage.objects.{each}" for each in ("create", "delete", "get", "list", "update")
)
"""What ``probe`` asks for, and docs/how-to/gce.md explains."""
_ARCHITECTURES = {Architecture.AMD64: "X86_64", Architecture.ARM64: "ARM64"}
_READ = {word: architecture for architecture, word in _ARCHITECTURES.items()}
_NAMESPACE = uuid.UUID("6f1f7a0c-6a3b-5e0e-9d5b-2f5a3c1d8e47")
"""Of the ids of our requests."""


class GceLocation:
    """``services.ports.Location`` and ``Workshop`` on a project."""

    login = Login()
    """How to get into throw-away instances."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._calls = Calls(name, around.state, per_second=PER_SECOND, deadline=around.patience)
        self._clock = SystemClock()

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
                lambda: self._import(owner, artifact, source, moved),
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

    def _import(self, owner: Ownership, artifact: Artifact, source: Path, moved: Moved) -> Image:
        """The image, made where it is not there. Raises Told (409, 412) where it was changed
        meanwhile."""
        name = image_name(owner.version, owner.architecture)
        image = self._project.image(name)
        if image is not None and image.status == "FAILED":
            # Somebody's import that went wrong; ours is cleared away, any other is a conflict.
            check_owner(image, owner, self._project)
            self._project.delete(str(image.id), str(uuid.uuid4()))
            image = None
        if image is None:
            return self._make(owner, name, artifact, source, moved)
        check_owner(image, owner, self._project)
        moved(artifact.size)
        image = self._usable(name, owner)
        self._uploads.remove(_upload(owner.catalog, name))
        return image

    def _make(
        self, owner: Ownership, name: str, artifact: Artifact, source: Path, moved: Moved
    ) -> Image:
        """The same where it is not there. The upload is in the ledger for as long as it may be in
        the bucket (P7)."""
        guest, upload, marks = features(source), _upload(owner.catalog, name), to_labels(owner)
        with self._around.leasing().lease(
            ResourceKind.UPLOAD,
            self.place,
            upload,
            f"placing {owner.version}",
            lambda claim: self._uploads.renew(upload, claim),
        ) as leased:
            marks |= claiming(leased.claim, upload)
            there = self._uploads.bring(upload, marks, artifact, source, moved)
            try:
                self._insert(owner, name, there, guest)
            except Failed:
                self._uploads.touch(upload)
                raise
            image = self._usable(name, owner)
            self._uploads.remove(upload)
            leased.gone()
        return image

    def _usable(self, name: str, owner: Ownership) -> Image:
        image = self._ready(name)
        check_usable(image, owner, self._project)
        return image

    def _insert(self, owner: Ownership, name: str, there: Uploaded, guest: Sequence[str]) -> None:
        digest = f"sha256 {owner.sha256}"
        image: dict[str, object] = {
            "name": name,
            "description": f"{owner.version} for {owner.architecture.value}, {digest}",
            "labels": to_labels(owner),
            "architecture": _ARCHITECTURES[owner.architecture],
            "guest_os_features": [{"type_": each} for each in guest],
            "raw_disk": {"source": there.url, "container_type": "TAR"},
        }
        if self._settings.storage_location is not None:
            image["storage_locations"] = [self._settings.storage_location]
        self._project.insert(image, self._request("insert", f"{name} {there.state}"))

    def _request(self, verb: str, what: str) -> str:
        """The id of a request: the same for the same request, however often it is made, so that
        what was done is not done again when its answer was lost."""
        return str(uuid.uuid5(_NAMESPACE, f"{self._settings.project} {verb} {what}"))

    def _ready(self, name: str) -> Image:
        """The image of that name, when it can be used. What was just made may take a moment to be
        seen; what somebody else is making, until it is made."""
        began, tries = self._clock.monotonic(), 1
        while True:
            image = self._project.image(name)
            if image is not None and image.status not in ("PENDING", ""):
                return image
            waited = self._clock.monotonic() - began
            if waited > (self._around.patience if image is None else READY_SECONDS):
                raise CannotTell(
                    f"image {name} does not get ready",
                    where=f"location {self._name}: {self._settings.project}",
                    why="it is not to be seen" if image is None else f"it is {image.status}",
                    hint="type the command again later: it goes on where it stopped",
                )
            sleep(min(5.0, pause_before(tries := tries + 1, None)))

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
        return Found(
            self._project.provider_id(image),
            image.name,
            from_labels(image.labels),
            size=image.archive_size_bytes or None,
            created=moment(image.creation_timestamp),
            state=image.deprecated.state or image.status,
            architecture=_READ.get(image.architecture),
        )

    def probe(self) -> Credential:
        identity = self._project.account.identity
        self._project.exists()
        wanted = {*IN_PROJECT, *(TO_SHARE if self._settings.share else ())}
        if self._settings.zone is not None:
            wanted |= TO_BOOT
        lacking = wanted - self._project.permitted(sorted(wanted))
        lacking |= ON_BUCKET - self._uploads.permitted(sorted(ON_BUCKET))
        if lacking:
            raise Denied(
                f"{identity} may not do all that location {self._name} needs",
                denial=Denial.TOO_NARROW,
                where=f"project {self._settings.project}, bucket {self._settings.bucket}",
                why=f"it lacks {', '.join(sorted(lacking))}",
                hint="docs/how-to/gce.md lists the roles that it needs",
            )
        return Credential(identity, self._settings.credential_expires)

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

    def delete(self, placement: Placement, begin: Begin = at_once) -> None:
        named = named_by(placement, self._project)
        image = read(named, self._project)
        if image is not None and image.status != "DELETING":
            check_owner(image, self._owner(placement), self._project)
            begin()
            self._project.delete(named.id, str(uuid.uuid4()))
        if placement.format is not Format.NATIVE:
            begin()
            self._uploads.remove(_upload(self._around.catalog(), named.image))

    def describe(self, built: str, to: Path) -> None:
        write(to.parent, to, describe(self._project, built))

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        return self._janitor.resources(now, lambda: self._calls.requests)

    def collect(self, found: FoundResource, now: datetime) -> None:
        self._janitor.collect(found, now)

    def _owner(self, placement: Placement) -> Ownership:
        return placed_by(self._around.catalog(), placement)


def _upload(catalog: str, name: str) -> str:
    """The object that the image of that name is imported from."""
    return f"{OURS}{catalog}/{name}.tar.gz"


def _check_description(data: bytes, placement: Placement) -> None:
    if hashlib.sha256(data).hexdigest() != placement.sha256:
        raise Corrupt(
            f"{placement.version} is another image in {placement.location} than was recorded",
            where=placement.provider_id,
            why="its description has another digest",
        )
