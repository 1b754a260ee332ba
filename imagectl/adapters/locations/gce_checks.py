"""Whether an image of Compute Engine is the one that was placed, ours, and of use to consumers.

A placement names an image by its numeric id, which Google never gives twice: what has the same name
now, and another id, is another image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from imagectl.adapters.locations.gce_labels import MARK, from_labels
from imagectl.adapters.locations.gce_project import Project
from imagectl.errors import CannotTell, Conflict, Corrupt, ImagectlError, NotFound
from imagectl.model.version import Placement
from imagectl.model.view import Ownership
from imagectl.services.ports.locations import Mark

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

STATES: Mapping[Mark, str] = {
    Mark.ACTIVE: "ACTIVE",
    Mark.DEPRECATED: "DEPRECATED",
    Mark.OBSOLETE: "OBSOLETE",
    Mark.QUARANTINED: "DELETED",
}
"""What Compute Engine calls our marks. Its DELETED is one as well: nothing can be made of the image
any more, and yet it is there, and can be ACTIVE again
(cloud.google.com/compute/docs/images/deprecate-custom)."""
_STRENGTH = {state: at for at, state in enumerate(STATES.values())}
_UNUSABLE = ("OBSOLETE", "DELETED")

_ID = re.compile(r"projects/([^/]+)/global/images/([a-z][-a-z0-9]*)#([0-9]+)\Z")


class Named(NamedTuple):
    """A provider id, taken apart."""

    project: str
    image: str
    id: str

    @property
    def reference(self) -> str:
        """What consumers are given."""
        return f"projects/{self.project}/global/images/{self.image}"


def parse_id(text: str) -> Named | None:
    """What that provider id names; None where it is none."""
    found = _ID.match(text)
    return None if found is None else Named(*found.groups())


def named_by(placement: Placement, project: Project) -> Named:
    """What the placement names. Raises CannotTell, and NotFound where it was placed when the
    location meant another project."""
    named = parse_id(placement.provider_id)
    hint = f"`imagectl publish {placement.version} --to {project.location}`"
    if named is None:
        raise CannotTell(
            f"{placement.provider_id!r} does not name an image",
            where=f"{placement.version} in {project.location}",
            hint=hint,
        )
    if named.project != project.id:
        raise NotFound(
            f"{placement.version} is not in location {project.location} any more",
            where=placement.provider_id,
            why=f"it was placed in the project {named.project}, and the location now means "
            f"{project.id}",
            hint=hint,
        )
    return named


def read(named: Named, project: Project) -> Image | None:
    """The image; None where it is certainly gone: the project that says so is there (P2)."""
    image = project.image(named.id)
    if image is None:
        project.exists()
    return image


def found(placement: Placement, project: Project) -> Image:
    """The image of a placement. Raises NotFound."""
    image = read(named_by(placement, project), project)
    if image is None:
        raise NotFound(
            f"{placement.version} is not in location {project.location}",
            where=placement.provider_id,
            why="the project has no image with that id",
            hint=f"`imagectl publish {placement.version} --to {project.location}`",
        )
    return image


def check_owner(image: Image, owner: Ownership, project: Project) -> None:
    """Raises Conflict where it is not this catalog's (P2), Corrupt where it is another artifact."""
    said = from_labels(image.labels)
    if said is None or said.catalog != owner.catalog:
        raise Conflict(
            f"an image called {image.name} is there, and is not ours",
            where=project.where(image),
            why="it carries no marks of imagectl"
            if said is None
            else f"it belongs to the catalog {said.catalog}",
            hint="nothing was changed; rename yours, or use another project",
        )
    if said != owner:
        raise Corrupt(
            f"image {image.name} is another artifact than was recorded",
            where=project.where(image),
            why=f"its labels say {_words(said)}; recorded is {_words(owner)}",
            hint="`gcloud compute images describe` shows it; who changed it is in the project's "
            "audit log",
        )


def _words(owner: Ownership) -> str:
    return (
        f"{owner.version} {owner.format.value} {owner.architecture.value} with the sha256 "
        f"{owner.sha256}"
    )


def check_usable(image: Image, owner: Ownership, project: Project) -> None:
    """Whether consumers can use the image that we made, and it is what was recorded. Raises
    Corrupt, NotFound, CannotTell."""
    where = project.where(image)
    try:
        check_owner(image, owner, project)
    except Conflict as error:
        # Its id says that it is the one we made: so somebody has changed its labels.
        raise Corrupt(
            f"image {image.name} does not say any more that it is ours",
            where=where,
            why=error.why,
            hint="who changed its labels is in the project's audit log",
        ) from None
    check_state(image, project)


def check_state(image: Image, project: Project) -> None:
    """Whether a machine can be made of the image. Raises Corrupt, NotFound, CannotTell."""
    error = unusable(image, project)
    if error is not None:
        raise error


def unusable(image: Image, project: Project) -> ImagectlError | None:
    """Why no machine can be made of the image; None where one can."""
    status = image.status
    if status == "DELETING":
        return NotFound(f"image {image.name} is being deleted", where=project.where(image))
    if status == "FAILED":
        return Corrupt(f"image {image.name} could not be made", where=project.where(image))
    if status != "READY":
        return CannotTell(
            f"image {image.name} is not ready", where=project.where(image), why=status
        )
    state = image.deprecated.state or "ACTIVE"
    if state in _UNUSABLE and _STRENGTH[state] > _STRENGTH[STATES[marked(image)]]:
        return Corrupt(
            f"image {image.name} cannot be used: somebody has marked it {state}",
            where=project.where(image),
            why="that was not imagectl",
            hint=f"gcloud compute images deprecate {image.name} --state ACTIVE "
            f"--project {project.id}",
        )
    return None


def marked(image: Image) -> Mark:
    """Which warning imagectl itself has put on the image, as its label says."""
    try:
        return Mark(image.labels.get(MARK, Mark.ACTIVE.value))
    except ValueError:
        return Mark.ACTIVE
