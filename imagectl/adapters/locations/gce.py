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
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.durable import write
from imagectl.adapters.locations.calls import Calls, pause_before
from imagectl.adapters.locations.gce_boot import Login, booted
from imagectl.adapters.locations.gce_disk import features
from imagectl.adapters.locations.gce_labels import (
    MARK,
    from_labels,
    image_name,
    to_labels,
)
from imagectl.adapters.locations.gce_project import Project, Told
from imagectl.adapters.locations.gce_upload import Uploaded, Uploads, check_source
from imagectl.adapters.locations.google_account import log_in
from imagectl.adapters.locations.owners import owner_of, placed_by
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
from imagectl.formats.native_v1 import parse_native, write_native
from imagectl.model.names import Architecture, ChannelName, Format, ImageName, LocationName
from imagectl.model.native import Native
from imagectl.model.place import GceLocation as Settings
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports import Booted, Credential, Mark, Moved, Progress, Workspace

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

PER_SECOND = 20.0
"""Calls. Google allows a project 1,500 reads a minute (cloud.google.com/compute/api-quota)."""
TRIES = 4
"""How often all is read again where somebody changes what we are about to."""
READY_SECONDS = 3600.0
"""How long an image that somebody else is making may take."""

_ID = re.compile(r"projects/([^/]+)/global/images/([a-z][-a-z0-9]*)#([0-9]+)\Z")
_USER_ROLE = "roles/compute.imageUser"
IN_PROJECT = frozenset(
    f"compute.{each}"
    for each in (
        "globalOperations.get",
        "images.create",
        "images.delete",
        "images.deprecate",
        "images.get",
        "images.list",
        "images.setLabels",
        "images.update",
    )
)
TO_SHARE = frozenset({"compute.images.getIamPolicy", "compute.images.setIamPolicy"})
TO_BOOT = frozenset(
    f"compute.{each}"
    for each in (
        "disks.create",
        "images.useReadOnly",
        "instances.create",
        "instances.delete",
        "instances.get",
        "instances.getSerialPortOutput",
        "instances.setLabels",
        "instances.setMetadata",
        "subnetworks.use",
        "subnetworks.useExternalIp",
        "zoneOperations.get",
    )
)
ON_BUCKET = frozenset(f"storage.objects.{each}" for each in ("create", "delete", "get", "update"))
"""What ``probe`` asks for, and docs/how-to/gce.md explains."""
_ARCHITECTURES = {Architecture.AMD64: "X86_64", Architecture.ARM64: "ARM64"}
_NAMESPACE = uuid.UUID("6f1f7a0c-6a3b-5e0e-9d5b-2f5a3c1d8e47")
"""Of the ids of our requests."""


class Named(NamedTuple):
    """A provider id, taken apart."""

    project: str
    image: str
    id: str


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

    @property
    def name(self) -> LocationName:
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
            image = self._adopt(owner, artifact, source)
            moved(artifact.size)
        else:
            image = self._again_where_changed(
                f"placing {version}", lambda: self._import(owner, artifact, source, moved)
            )
        self._share(image)
        return self._placement(owner, artifact, image, now)

    def _placement(
        self, owner: Ownership, artifact: Artifact, image: Image, now: datetime
    ) -> Placement:
        return Placement(
            owner.version,
            artifact.format,
            artifact.architecture,
            self._name,
            self._provider_id(image),
            self._reference(image),
            artifact.sha256,
            artifact.size,
            now,
        )

    def _reference(self, image: Image) -> str:
        return f"projects/{self._settings.project}/global/images/{image.name}"

    def _provider_id(self, image: Image) -> str:
        return f"{self._reference(image)}#{image.id}"

    def _import(self, owner: Ownership, artifact: Artifact, source: Path, moved: Moved) -> Image:
        """The image, made where it is not there. Raises Told (409, 412) where it was changed
        meanwhile."""
        name = image_name(owner.version, owner.architecture)
        upload = f"imagectl/{owner.catalog}/{name}.tar.gz"
        image = self._project.image(name)
        if image is not None and image.status == "FAILED":
            # Somebody's import that went wrong; ours is cleared away, any other is a conflict.
            self._check_owner(image, owner)
            self._project.delete(str(image.id), str(uuid.uuid4()))
            image = None
        if image is None:
            guest = features(source)
            there = self._uploads.bring(upload, to_labels(owner), artifact, source, moved)
            try:
                self._insert(owner, name, there, guest)
            except Failed:
                self._uploads.touch(upload)
                raise
        else:
            self._check_owner(image, owner)
            moved(artifact.size)
        image = self._ready(name)
        self._check(image, owner)
        self._uploads.remove(upload)
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

    def _check_owner(self, image: Image, owner: Ownership) -> None:
        """Raises Conflict where it is not this catalog's, Corrupt where it is not that artifact."""
        found = from_labels(image.labels)
        where = f"location {self._name}: {self._provider_id(image)}"
        if found is None or found.catalog != owner.catalog:
            raise Conflict(
                f"an image called {image.name} is there, and is not ours",
                where=where,
                why="it carries no marks of imagectl"
                if found is None
                else f"it belongs to the catalog {found.catalog}",
                hint="nothing was changed; rename yours, or use another project",
            )
        if found != owner:
            raise Corrupt(
                f"image {image.name} is another artifact than was recorded",
                where=where,
                why=f"its labels say {found.version} {found.format.value} "
                f"{found.architecture.value} with the sha256 {found.sha256}; recorded is "
                f"{owner.version} {owner.format.value} {owner.architecture.value} with "
                f"{owner.sha256}",
                hint="`gcloud compute images describe` shows it; who changed it is in the "
                "project's audit log",
            )

    def _check(self, image: Image, owner: Ownership) -> None:
        """Whether consumers can use the image, and it is what was recorded. Raises Corrupt,
        NotFound, CannotTell."""
        where = f"location {self._name}: {self._provider_id(image)}"
        try:
            self._check_owner(image, owner)
        except Conflict as error:
            # The id says that it is the one we made: so somebody has changed its labels.
            raise Corrupt(
                f"image {image.name} does not say any more that it is ours",
                where=where,
                why=error.why,
                hint="who changed its labels is in the project's audit log",
            ) from None
        if image.status == "DELETING":
            raise NotFound(f"image {image.name} is being deleted", where=where)
        if image.status == "FAILED":
            raise Corrupt(f"image {image.name} could not be made", where=where)
        if image.status != "READY":
            raise CannotTell(f"image {image.name} is not ready", where=where, why=image.status)
        state = image.deprecated.state
        if state in ("OBSOLETE", "DELETED") and image.labels.get(MARK) != state.lower():
            raise Corrupt(
                f"image {image.name} cannot be used: somebody has marked it {state}",
                where=where,
                why="that was not imagectl",
                hint=f"gcloud compute images deprecate {image.name} --state ACTIVE "
                f"--project {self._settings.project}",
            )

    def _named(self, placement: Placement) -> Named:
        """What a placement names here. Raises CannotTell, and NotFound where it was elsewhere."""
        found = _ID.match(placement.provider_id)
        if found is None:
            raise CannotTell(
                f"{placement.provider_id!r} does not name an image",
                where=f"{placement.version} in {self._name}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        named = Named(*found.groups())
        if named.project != self._settings.project:
            raise NotFound(
                f"{placement.version} is not in location {self._name} any more",
                where=placement.provider_id,
                why=f"it was placed in the project {named.project}, and the location now means "
                f"{self._settings.project}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return named

    def _read(self, named: Named) -> Image | None:
        """The image; None where it is certainly gone: the project that says so is there (P2)."""
        image = self._project.image(named.id)
        if image is None:
            self._project.exists()
        return image

    def _found(self, placement: Placement) -> Image:
        """The image of a placement. Raises NotFound."""
        image = self._read(self._named(placement))
        if image is None:
            raise NotFound(
                f"{placement.version} is not in location {self._name}",
                where=placement.provider_id,
                why="the project has no image with that id",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return image

    def verify(self, placement: Placement, now: datetime) -> Placement:
        image = self._found(placement)
        self._check(image, placed_by(self._around.catalog(), placement))
        if placement.format is Format.NATIVE:
            self._check_native(image, placement)
        return replace(placement, reference=self._reference(image), verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported(
            f"location {self._name} does not give back what was put there",
            where=placement.provider_id,
            why="Compute Engine takes images and runs them; it does not hand out their bytes",
            hint="the artifact store of the project has them",
        )

    def view(self, now: Callable[[], datetime]) -> View:
        began, before = now(), self._calls.requests
        found: list[Found] = []
        gaps: list[str] = []
        pages = 0
        try:
            for page in self._project.pages():
                pages += 1
                found += map(self._shown, page.items)
                if "warning" in page:
                    gaps.append(_warned(page.warning))
        except (CannotTell, Failed) as error:
            if not pages or isinstance(error, Denied):
                raise
            gaps.append(f"after {len(found)} images: {error}: {error.why}")
        return View(
            self._name,
            f"project {self._settings.project}",
            tuple(found),
            tuple(gaps),
            self._calls.requests - before,
            began,
            now(),
        )

    def _shown(self, image: Image) -> Found:
        return Found(
            self._provider_id(image),
            image.name,
            from_labels(image.labels),
            size=image.archive_size_bytes or None,
            created=_time(image.creation_timestamp),
            state=image.deprecated.state or image.status,
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
        return Credential(identity)

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
            self._project, self._settings, self._reference_of(placement), work, progress, self.login
        )

    def _reference_of(self, placement: Placement) -> str:
        named = self._named(placement)
        return f"projects/{named.project}/global/images/{named.image}"

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        """First the head comes into the family, then all others leave it, so that it is never
        empty: of several, Google gives out the newest."""
        channel = self._settings.family_channel
        if channel is None:
            return
        prefix = self._settings.family_prefix
        family = "-".join(filter(None, (prefix, image, channel)))
        head = heads.get(channel)
        wanted = None if head is None else self._found(head)
        if head is not None and wanted is not None:
            self._check(wanted, placed_by(self._around.catalog(), head))
        inside = [
            each
            for page in self._project.pages(f'family = "{family}"')
            for each in page.items
            if each.family == family
        ]
        for each in inside:
            found = from_labels(each.labels)
            if found is None or found.catalog != self._around.catalog():
                raise Conflict(
                    f"the family {family} has an image that is not ours",
                    where=f"location {self._name}: {self._provider_id(each)}",
                    why="consumers of the family may be given it in place of the channel's head",
                    hint="nothing was changed; take it out, or set another `family_prefix`",
                )
        if wanted is not None and wanted.family != family:
            self._set_family(wanted, family)
        for each in inside:
            if wanted is None or each.id != wanted.id:
                self._set_family(each, "")

    def _set_family(self, image: Image, family: str) -> None:
        # Not derived from what is asked for: the same is asked again after a rollback.
        self._project.set_family(image, family, str(uuid.uuid4()))

    def mark(self, placement: Placement, mark: Mark) -> None:
        """The label first: an image that we have marked is never taken for one that somebody else
        has. Taken back in the other order."""
        image = self._found(placement)
        self._check_owner(image, placed_by(self._around.catalog(), placement))
        state = mark.value.upper()
        if mark is not Mark.ACTIVE:
            self._label(str(image.id), lambda labels: {**labels, MARK: mark.value})
        if (image.deprecated.state or "ACTIVE") != state:
            self._project.deprecate(image, state, str(uuid.uuid4()))
        if mark is Mark.ACTIVE:
            self._label(
                str(image.id),
                lambda labels: {key: each for key, each in labels.items() if key != MARK},
            )

    def _label(
        self, image_id: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]
    ) -> None:
        def once() -> None:
            image = self._project.image(image_id)
            if image is None:
                raise NotFound(f"image {image_id} is gone", where=f"location {self._name}")
            labels = dict(image.labels)
            wanted = dict(change(labels))
            if wanted != labels:
                self._project.label(image, wanted)

        self._again_where_changed("labelling an image", once)

    def delete(self, placement: Placement) -> None:
        named = self._named(placement)
        image = self._read(named)
        if image is not None and image.status != "DELETING":
            self._check_owner(image, placed_by(self._around.catalog(), placement))
            self._project.delete(named.id, str(uuid.uuid4()))
        if placement.format is not Format.NATIVE:
            self._uploads.remove(f"imagectl/{self._around.catalog()}/{named.image}.tar.gz")

    def _share(self, image: Image) -> None:
        """Let those whom the settings name use the image; nobody else's rights are changed."""
        from google.cloud.compute_v1 import Binding

        wanted = set(self._settings.share)

        def once() -> None:
            policy = self._project.policy(image)
            held = {
                member
                for each in policy.bindings
                if each.role == _USER_ROLE and not each.condition.expression
                for member in each.members
            }
            if wanted <= held:
                return
            policy.bindings.append(Binding(role=_USER_ROLE, members=sorted(wanted - held)))
            self._project.set_policy(image, policy)

        if wanted:
            self._again_where_changed(f"sharing image {image.name}", once)

    def _again_where_changed(self, what: str, attempt: Callable[[], T]) -> T:
        """What *attempt* returns. It reads what it changes; where that was changed in between (409,
        412), it reads it again."""
        for tries in range(2, TRIES + 1):
            try:
                return attempt()
            except Told:
                sleep(pause_before(tries, None))
        try:
            return attempt()
        except Told as told:
            raise self._project.wrong(told, what) from None

    def describe(self, built: str, to: Path) -> None:
        image = self._project.image(built.rpartition("/")[2])
        if image is None:
            self._project.exists()
            raise NotFound(
                f"there is no image {built!r}",
                where=f"location {self._name}: project {self._settings.project}",
                hint="`gcloud compute images list --no-standard-images` lists them",
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        write(to.parent, to, write_native(self._native(image)))

    def _native(self, image: Image) -> Native:
        return Native(
            provider=Settings.type,
            id=self._provider_id(image),
            link=self._reference(image),
            created=image.creation_timestamp,
            size=image.disk_size_gb << 30,
        )

    def _adopt(self, owner: Ownership, artifact: Artifact, source: Path) -> Image:
        """Label the image that a description names as ours. Nothing else of it changes."""
        check_source(source, artifact)
        native = parse_native(source.read_bytes(), str(source))
        found = _ID.match(native.id)
        if native.provider != Settings.type or found is None:
            raise Corrupt(
                f"{source.name} does not describe an image of Compute Engine", where=str(source)
            )
        if found[1] != self._settings.project:
            raise Conflict(
                f"{owner.version} was built in another project than location {self._name} means",
                where=native.id,
                why=f"the location means {self._settings.project}",
            )
        image = self._read(Named(*found.groups()))
        if image is None:
            raise Failed(
                f"the image that {owner.version} consists of is gone",
                where=native.id,
                why="somebody has deleted it since it was built",
                hint=f"build it again: `imagectl build {owner.version.image}`",
            )
        if write_native(self._native(image)) != source.read_bytes():
            raise Corrupt(f"image {image.name} is another one than was built", where=native.id)
        if from_labels(image.labels) is None:
            self._label(str(image.id), lambda labels: {**labels, **to_labels(owner)})
            image = self._labelled(image)
        self._check_owner(image, owner)
        self._check(image, owner)
        return image

    def _labelled(self, image: Image) -> Image:
        """The image as it is after it was labelled: a read just after it may be stale."""
        began, tries = self._clock.monotonic(), 1
        while True:
            now = self._project.image(str(image.id))
            if now is not None and from_labels(now.labels) is not None:
                return now
            if self._clock.monotonic() - began > self._around.patience:
                raise CannotTell(
                    f"image {image.name} does not show the labels that were set",
                    where=f"location {self._name}: {self._provider_id(image)}",
                )
            sleep(pause_before(tries := tries + 1, None))

    def _check_native(self, image: Image, placement: Placement) -> None:
        if hashlib.sha256(write_native(self._native(image))).hexdigest() != placement.sha256:
            raise Corrupt(
                f"image {image.name} is another one than was recorded",
                where=placement.provider_id,
                why="its description has another digest",
            )


def _warned(warning: object) -> str:
    """Google's class of that name has other attributes than Python's, for which mypy takes it."""
    return f"{getattr(warning, 'code', '')}: {getattr(warning, 'message', '')}"


def _time(text: str) -> datetime | None:
    """A timestamp of Google's (RFC 3339), in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
