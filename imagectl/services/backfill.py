"""Put what channels point to, and what they go back to, wherever that has to be now (P6).

A location that is new, or was switched to another place, holds nothing yet that one could roll back
to. Promises: what is in a channel or in its rollback window is put in every location that is
required now; one version that fails keeps no other from being put there; nothing is ever removed.
What the artifact store has lost is fetched from a location that still has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from imagectl.errors import ImagectlError, NotFound, Refused
from imagectl.model.channel import ReleasePolicy
from imagectl.model.names import ImageName, LocationName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.policy.promotion import find_image
from imagectl.policy.readiness import NO_WAY_BACK, due, untested
from imagectl.policy.wording import listed
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.publish import Placed, place
from imagectl.services.release import Released, enter
from imagectl.services.releasing import Releasing


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What was put in its places, oldest version first, and which versions could not be, and why.

    Of those, other locations than the one that failed may have been filled.
    """

    placed: tuple[Placed, ...]
    failed: Mapping[VersionRef, ImagectlError]


def backfill(
    releasing: Releasing,
    store: ArtifactStore,
    policy: ReleasePolicy,
    images: Collection[ImageName] = (),
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> Backfilled:
    """Put what *images* (all where none are named) need to roll back in its places.

    Required is also what the newest version requires that passed its tests: it cannot enter a
    channel before. What is there already is verified, and put there anew where it is gone.
    ``scratch`` is an existing folder for what has to be fetched; without it nothing is. A version
    that has to be in a location that the project does not have is among those that failed, as
    NotFound; its other locations are filled. Raises NotFound for an unknown image.
    """
    snapshot = releasing.catalog.snapshot(images or None)
    wanted: dict[VersionRef, tuple[LocationName, ...]] = {}
    for image in sorted(set(images)) or snapshot.images:
        find_image(snapshot, image)
        newest = [each for each in snapshot.of(image) if not untested(each)][-1:]
        wanted |= due(snapshot, policy, image, *newest)
    return _fill(releasing, store, snapshot, wanted, scratch, progress)


def enter_with_way_back(
    releasing: Releasing,
    store: ArtifactStore,
    policy: ReleasePolicy,
    ref: VersionRef,
    scratch: Callable[[], AbstractContextManager[Path]],
    progress: Progress | None = None,
    *,
    reason: str = "",
) -> Released:
    """Let a build enter its channel; where one could not roll back from it, because its locations
    are new or other ones now, backfill them first. Raises as ``enter`` does."""
    try:
        return enter(releasing, policy, ref, reason=reason)
    except Refused as refused:
        if not any(NO_WAY_BACK in each for each in refused.reasons):
            raise
    if progress is not None:
        progress.note("what one would roll back to is put where it has to be from now on")
    with scratch() as folder:
        done = backfill(releasing, store, policy, (ref.image,), folder, progress)
    if progress is not None:
        for failed, error in done.failed.items():
            progress.note(f"{failed} is not where it has to be from now on: {error.what}")
    return enter(releasing, policy, ref, reason=reason)


def _fill(
    releasing: Releasing,
    store: ArtifactStore,
    snapshot: Snapshot,
    wanted: Mapping[VersionRef, tuple[LocationName, ...]],
    scratch: Path | None,
    progress: Progress | None,
) -> Backfilled:
    placed: list[Placed] = []
    failed: dict[VersionRef, ImagectlError] = {}
    for ref, required in wanted.items():
        locations = [each for each in required if each in releasing.locations]
        unknown = [each for each in required if each not in releasing.locations]
        if unknown:
            failed[ref] = NotFound(
                f"{ref} has to be in {listed(unknown)}, not among the locations of imagectl.yaml",
                hint="add it there, or build a version that does not require it",
            )
        if not locations:
            continue
        if progress is not None:
            progress.stage(f"{ref} to {listed(locations)}")
        try:
            if scratch is not None:
                bring_back(releasing, store, snapshot, ref, scratch, progress)
            done = place(releasing, store, ref, locations, progress, only=True)
        except ImagectlError as error:
            failed[ref] = error
        else:
            if ref not in failed:
                placed.append(done)
    return Backfilled(tuple(placed), failed)


def bring_back(
    releasing: Releasing,
    store: ArtifactStore,
    snapshot: Snapshot,
    ref: VersionRef,
    scratch: Path,
    progress: Progress | None,
    gone: Collection[Placement] = (),
) -> None:
    """Have every artifact of the version in the store again, where a location still has it. *gone*:
    placements that are recorded no more, and may be there all the same."""
    placed = (*snapshot.placed(ref), *gone)
    for artifact in snapshot.versions[ref].artifacts:
        try:
            store.path(artifact.sha256)
        except NotFound:
            _fetch(releasing, store, placed, ref, artifact, scratch, progress)


def _fetch(
    releasing: Releasing,
    store: ArtifactStore,
    placed: Collection[Placement],
    ref: VersionRef,
    artifact: Artifact,
    scratch: Path,
    progress: Progress | None,
) -> None:
    copy = scratch / artifact.sha256
    if copy.exists() and store.adopt(copy) == artifact.sha256:  # fetched before a kill
        return
    said = []
    for placement in placed:
        location = releasing.locations.get(placement.location)
        if location is None or placement.sha256 != artifact.sha256:
            continue
        if progress is not None:
            progress.step(f"fetching {artifact.format.value} from {location.name}")
        try:
            location.fetch(placement, copy, lambda _: None)
        except ImagectlError as error:
            said.append(f"{location.name}: {error.what}")
            continue
        store.adopt(copy)
        return
    raise NotFound(
        f"the {artifact.format.value} of {ref} is not in the artifact store",
        why="; ".join(["and no location gives it back", *said]),
        hint=f"`imagectl rebuild {ref}` makes it again, to the byte",
    )
