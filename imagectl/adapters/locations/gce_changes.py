"""Changes to images of Compute Engine that others may change too: labels, rights, families.

Each reads what it is about to change; where that was changed in between, it reads it again. What is
not ours stays as it is: other labels, other people's rights, other people's images.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from time import sleep
from typing import TYPE_CHECKING, TypeVar

from imagectl.adapters.locations.calls import pause_before
from imagectl.adapters.locations.gce_labels import from_labels
from imagectl.adapters.locations.gce_project import Project, Told, warned
from imagectl.errors import CannotTell, Conflict, NotFound

if TYPE_CHECKING:
    from google.cloud.compute_v1 import Image

T = TypeVar("T")

TRIES = 4
USER_ROLE = "roles/compute.imageUser"


def again_where_changed(project: Project, what: str, attempt: Callable[[], T]) -> T:
    """What *attempt* returns. It raises Told where what it read was changed in between (409, 412),
    and is made again; for the last time it is Conflict."""
    for tries in range(2, TRIES + 1):
        try:
            return attempt()
        except Told:
            sleep(pause_before(tries, None))
    try:
        return attempt()
    except Told as told:
        raise project.wrong(told, what) from None


def relabel(
    project: Project, image_id: str, change: Callable[[Mapping[str, str]], Mapping[str, str]]
) -> None:
    """Give the image of that numeric id the labels that *change* makes of those it has."""

    def once() -> None:
        image = project.image(image_id)
        if image is None:
            raise NotFound(f"image {image_id} is gone", where=f"location {project.location}")
        labels = dict(image.labels)
        wanted = dict(change(labels))
        if wanted != labels:
            project.label(image, wanted)

    again_where_changed(project, "labelling an image", once)


def share(project: Project, image: Image, members: Collection[str]) -> None:
    """Let those IAM members use the image. Nobody else's rights are changed."""
    from google.cloud.compute_v1 import Binding

    wanted = set(members)

    def once() -> None:
        policy = project.policy(image)
        held = {
            member
            for each in policy.bindings
            if each.role == USER_ROLE and not each.condition.expression
            for member in each.members
        }
        if not wanted <= held:
            policy.bindings.append(Binding(role=USER_ROLE, members=sorted(wanted - held)))
            project.set_policy(image, policy)

    if wanted:
        again_where_changed(project, f"sharing image {image.name}", once)


def show_in_family(project: Project, family: str, head: Image | None, catalog: str) -> None:
    """Make *head* the family's only image; None: empty it. Raises, before anything is changed,
    Conflict where an image is in it that is not *catalog*'s, and CannotTell where Google could not
    list all that is in it (P3).

    First the head comes in, then all others go, so that the family is never empty meanwhile: of
    several, Google gives out the newest.
    """
    inside: list[Image] = []
    for page in project.pages(f'family = "{family}"'):
        if said := warned(page):
            raise CannotTell(
                f"it cannot be told which images are in the family {family}",
                where=f"location {project.location}: project {project.id}",
                why=f"Google listed only a part of them: {said}",
                hint="nothing was changed; type the command again later",
            )
        inside += (each for each in page.items if each.family == family)
    for each in inside:
        owner = from_labels(each.labels)
        if owner is None or owner.catalog != catalog:
            raise Conflict(
                f"the family {family} has an image that is not ours",
                where=project.where(each),
                why="consumers of the family may be given it in place of the channel's head",
                hint="nothing was changed; take it out, or set another `family_prefix`",
            )
    # The ids of these requests are not derived from them: the same is asked again after a rollback.
    if head is not None and head.family != family:
        project.set_family(head, family, str(uuid.uuid4()))
    for each in inside:
        if head is None or each.id != head.id:
            project.set_family(each, "", str(uuid.uuid4()))
