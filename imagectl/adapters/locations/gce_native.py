"""Images that a cloud builder made in a project of Compute Engine: described, and made ours.

They are never copied or made again. Only their labels change, and only where they have none of
imagectl's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.locations.calls import pause_before
from imagectl.adapters.locations.gce_changes import relabel
from imagectl.adapters.locations.gce_checks import (
    check_owner,
    check_state,
    check_usable,
    parse_id,
    read,
)
from imagectl.adapters.locations.gce_labels import from_labels, to_labels
from imagectl.adapters.locations.gce_project import Project, Told
from imagectl.adapters.locations.source import check_source
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound
from imagectl.formats.native_v1 import parse_native, write_native
from imagectl.model.native import Native
from imagectl.model.place import GceLocation as Settings
from imagectl.model.version import Artifact
from imagectl.model.view import Ownership

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image


def description(project: Project, image: Image) -> bytes:
    """What stands for the image: only what never changes of it."""
    native = Native(
        provider=Settings.type,
        id=project.provider_id(image),
        link=project.reference(image),
        created=image.creation_timestamp,
        size=image.disk_size_gb << 30,
    )
    return write_native(native)


def describe(project: Project, built: str) -> bytes:
    """The description of the image that a builder calls *built*: its name, or a link to it. Raises
    NotFound, and Corrupt or CannotTell where no machine can be made of it."""
    image = project.image(built.rpartition("/")[2])
    if image is None:
        project.exists()
        raise NotFound(
            f"there is no image {built!r}",
            where=f"location {project.location}: project {project.id}",
            hint="`gcloud compute images list --no-standard-images` lists them",
        )
    check_state(image, project)
    return description(project, image)


def adopt(
    project: Project, owner: Ownership, artifact: Artifact, source: Path, patience: float
) -> Image:
    """Label the image that the description *source* names as ours. Raises Corrupt, Conflict,
    Failed."""
    check_source(source, artifact)
    data = source.read_bytes()
    native = parse_native(data, str(source))
    named = parse_id(native.id)
    if native.provider != Settings.type or named is None:
        raise Corrupt(
            f"{source.name} does not describe an image of Compute Engine", where=str(source)
        )
    if named.project != project.id:
        raise Conflict(
            f"{owner.version} was built in another project than location {project.location} means",
            where=native.id,
            why=f"the location means {project.id}",
        )
    image = read(named, project)
    if image is None:
        raise Failed(
            f"the image that {owner.version} consists of is gone",
            where=native.id,
            why="somebody has deleted it since it was built",
            hint=f"build it again: `imagectl build {owner.version.image}`",
        )
    if description(project, image) != data:
        raise Corrupt(f"image {image.name} is another one than was built", where=native.id)
    if from_labels(image.labels) is None:

        def ours(labels: Mapping[str, str]) -> Mapping[str, str]:
            return labels if from_labels(labels) is not None else {**labels, **to_labels(owner)}

        try:
            project.label(image, ours(image.labels))
        except Told:  # it was labelled since it was read, perhaps by another catalog
            relabel(project, named.id, ours)
        image = _labelled(project, image, patience)
    check_owner(image, owner, project)
    check_usable(image, owner, project)
    return image


def _labelled(project: Project, image: Image, patience: float) -> Image:
    """The image as it is after it was labelled: a read just after it may be stale."""
    clock = SystemClock()
    began, tries = clock.monotonic(), 1
    while True:
        now = project.image(str(image.id))
        if now is not None and from_labels(now.labels) is not None:
            return now
        if clock.monotonic() - began > patience:
            raise CannotTell(
                f"image {image.name} does not show the labels that were set",
                where=project.where(image),
            )
        sleep(pause_before(tries := tries + 1, None))
