"""Put a version where consumers pull it from, and show consumers the catalog.

Promises: what is recorded as placed was verified by the location itself; publishing again only
renews when that was, and goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagectl.errors import Conflict, NotFound
from imagectl.model.catalog import Change, RecordPlacement, Snapshot
from imagectl.model.names import LocationName
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.wording import listed, nearest
from imagectl.services.ports import ArtifactStore, Catalog, Location, Progress, Publisher
from imagectl.services.release import Releasing, commit

RECORD_ATTEMPTS = 5
"""How often recording is tried where something else changes the catalog each time. A placement is
true whatever else happens, so unlike a move it may be recorded on top of another change."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A version's placements after publishing; ``new`` are those that were not recorded before."""

    version: VersionRef
    placements: tuple[Placement, ...]
    new: tuple[Placement, ...]


def place(
    releasing: Releasing,
    store: ArtifactStore,
    ref: VersionRef,
    to: Sequence[LocationName] = (),
    progress: Progress | None = None,
) -> Placed:
    """Put every artifact of *ref* in the locations that it requires and in those named.

    What is there already is verified again and put there anew where it is gone. Each location is
    recorded once all artifacts are in it. Consumers are not shown it here: see ``enter`` and
    ``catch_up``. Raises NotFound for an unknown version or location, and what a location raises.
    """
    snapshot = releasing.catalog.snapshot((ref.image,))
    version = find_version(snapshot, ref)
    placements: list[Placement] = []
    new: list[Placement] = []
    for name in dict.fromkeys((*version.required_locations, *to)):
        location = _find(releasing, name, ref)
        there: list[Placement] = []
        for artifact in version.artifacts:
            if progress is not None:
                progress.step(f"{name}: {artifact.format.value}, {artifact.size / 1e6:,.0f} MB")
            known = _known(snapshot, ref, artifact, name)
            placed = _placed(releasing, store, location, ref, artifact, known)
            there.append(placed)
            if known is None:
                new.append(placed)
        _record(releasing, ref, there)
        placements.extend(there)
    return Placed(ref, tuple(placements), tuple(new))


def publish_catalog(catalog: Catalog, publishers: Sequence[Publisher]) -> int:
    """Write every published tree anew, repairing what is missing or changed. The generation."""
    snapshot = catalog.snapshot()
    for publisher in publishers:
        publisher.publish(snapshot)
    return snapshot.generation


def _find(releasing: Releasing, name: LocationName, ref: VersionRef) -> Location:
    location = releasing.locations.get(name)
    if location is None:
        raise NotFound(
            f"there is no location {name}",
            where=str(ref),
            why=f"imagectl.yaml names {listed(releasing.locations)}",
            hint=nearest(name, releasing.locations),
        )
    return location


def _known(
    snapshot: Snapshot, ref: VersionRef, artifact: Artifact, name: LocationName
) -> Placement | None:
    key = (ref, artifact.format, artifact.architecture, name)
    return next((each for each in snapshot.placed(ref) if each.key == key), None)


def _placed(
    releasing: Releasing,
    store: ArtifactStore,
    location: Location,
    ref: VersionRef,
    artifact: Artifact,
    known: Placement | None,
) -> Placement:
    if known is not None:
        try:
            return location.verify(known, releasing.clock.now())
        except NotFound:
            pass  # it was there once: put it there again
    source = store.path(artifact.sha256)
    return location.put(ref, artifact, source, releasing.clock.now(), lambda _: None)


def _record(releasing: Releasing, ref: VersionRef, placements: Sequence[Placement]) -> None:
    key = releasing.new_key()
    for attempt in range(RECORD_ATTEMPTS):
        change = Change(
            key,
            releasing.catalog.snapshot(()).generation,
            releasing.actor,
            "publish",
            f"{ref} to {listed(sorted({each.location for each in placements}))}",
            releasing.clock.now(),
            tuple(RecordPlacement(each) for each in placements),
        )
        try:
            commit(releasing.catalog, change)
        except Conflict:
            if attempt + 1 == RECORD_ATTEMPTS:
                raise
        else:
            return
