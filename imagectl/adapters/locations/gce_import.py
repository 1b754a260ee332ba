"""An image of Compute Engine, imported from a disk that is brought into the bucket first.

Whatever was begun before is gone on with: a request that is made again has the same id, so what was
done is not done again when its answer was lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations.calls import pause_before
from imagectl.adapters.locations.gce_checks import check_owner, check_usable
from imagectl.adapters.locations.gce_disk import features
from imagectl.adapters.locations.gce_labels import claiming, image_name, to_labels
from imagectl.adapters.locations.gce_project import Project
from imagectl.adapters.locations.gce_upload import Uploaded, Uploads, upload_name
from imagectl.errors import CannotTell, Failed
from imagectl.model.names import Architecture
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import ResourceKind
from imagectl.model.version import Artifact
from imagectl.model.view import Ownership
from imagectl.services.ports.janitor import Leasing
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

READY_SECONDS = 3600.0
"""How long an image that somebody else is making may take."""
ARCHITECTURES: Mapping[Architecture, str] = {
    Architecture.AMD64: "X86_64",
    Architecture.ARM64: "ARM64",
}
"""What Compute Engine calls ours."""
_NAMESPACE = uuid.UUID("6f1f7a0c-6a3b-5e0e-9d5b-2f5a3c1d8e47")
"""Of the ids of our requests."""


class Importer:
    """Imports into one location, which is *place* in the ledger. *patience*, in seconds: how long
    what was just made may take to be seen."""

    def __init__(
        self,
        settings: Settings,
        project: Project,
        uploads: Uploads,
        leasing: Callable[[], Leasing],
        place: str,
        patience: float,
    ) -> None:
        self._settings = settings
        self._project = project
        self._uploads = uploads
        self._leasing = leasing
        self._place = place
        self._patience = patience
        self._clock = SystemClock()

    def image(self, owner: Ownership, artifact: Artifact, source: Path, moved: Moved) -> Image:
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
        self._uploads.remove(upload_name(owner.catalog, name))
        return image

    def _make(
        self, owner: Ownership, name: str, artifact: Artifact, source: Path, moved: Moved
    ) -> Image:
        """The same where it is not there. The upload is in the ledger for as long as it may be in
        the bucket (P7)."""
        guest, upload, marks = features(source), upload_name(owner.catalog, name), to_labels(owner)
        with self._leasing().lease(
            ResourceKind.UPLOAD,
            self._place,
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
            "architecture": ARCHITECTURES[owner.architecture],
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
            if waited > (self._patience if image is None else READY_SECONDS):
                raise CannotTell(
                    f"image {name} does not get ready",
                    where=f"location {self._project.location}: {self._settings.project}",
                    why="it is not to be seen" if image is None else f"it is {image.status}",
                    hint="type the command again later: it goes on where it stopped",
                )
            sleep(min(5.0, pause_before(tries := tries + 1, None)))
