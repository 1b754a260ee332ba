"""Make the marks that versions have in their locations those of their stages.

Promises: whoever marks last marks what the catalog says, also where several do so at the same time.
What could not be marked is told, and ends nothing: only its look is behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from imagectl.errors import Conflict, ImagectlError, NotFound
from imagectl.model.names import LocationName
from imagectl.model.retention import Stage
from imagectl.model.version import Placement, VersionRef
from imagectl.services.ledger import ATTEMPTS
from imagectl.services.ports.locations import Location, Mark
from imagectl.services.ports.progress import Progress
from imagectl.services.releasing import Releasing

MARKS = {
    Stage.ACTIVE: Mark.ACTIVE,
    Stage.DEPRECATED: Mark.DEPRECATED,
    Stage.OBSOLETE: Mark.OBSOLETE,
    Stage.QUARANTINED: Mark.QUARANTINED,
}
"""How locations mark what is at each stage. What is deleted has no placements to mark."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A placement whose mark could not be changed, and why. Only its look is behind."""

    placement: Placement
    error: ImagectlError


def remark(
    releasing: Releasing,
    refs: Collection[VersionRef],
    locations: Collection[LocationName] | None = None,
    progress: Progress | None = None,
) -> Iterator[Unmarked]:
    """Make the marks of *refs* in their locations (or only in those given) those of their stages;
    gives what failed.

    A location that is not configured, or lost the thing, has nothing to mark.
    """
    snapshot = releasing.catalog.snapshot(sorted({ref.image for ref in refs}))
    for ref in sorted(set(refs)):
        for placement in snapshot.placed(ref):
            location = releasing.locations.get(placement.location)
            if location is None or (locations is not None and location.name not in locations):
                continue
            try:
                _mark(releasing, location, placement, progress)
            except NotFound:
                continue
            except ImagectlError as error:
                yield Unmarked(placement, error)


def _mark(
    releasing: Releasing, location: Location, placement: Placement, progress: Progress | None
) -> None:
    """Somebody else may change the stage, and mark, at the same time: whoever marks last reads the
    catalog after it, and so the last mark is the right one."""
    ref = placement.version

    def read() -> Stage:
        return releasing.catalog.snapshot((ref.image,)).stage(ref)

    stage = read()
    for _ in range(ATTEMPTS):
        mark = MARKS.get(stage)
        if mark is None:
            return
        if progress is not None:
            progress.step(f"marking {ref} {mark.value} in {location.name}")
        location.mark(placement, mark)
        before, stage = stage, read()
        if stage is before:
            return
    raise Conflict(f"the stage of {ref} kept changing while it was marked", where=location.name)
