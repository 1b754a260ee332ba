"""Look live at all that a deletion needs, before the catalog says that it is decided.

Promises: what is not as expected, in a location or in the artifact store, leaves the version
quarantined (P2); and nothing goes that could not be brought back as its plan says (P5).
"""

from __future__ import annotations

from imagectl.errors import Failed, ImagectlError, NotFound
from imagectl.model.names import Format
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.services.cleanup import Cleaning
from imagectl.services.clear_store import can_be_remade


def look_before_deletion(cleaning: Cleaning, ref: VersionRef) -> None:
    """See that *ref* may go: in its locations, and in the store. Raises what is not as expected."""
    snapshot = cleaning.releasing.catalog.snapshot((ref.image,))
    _check_sources(cleaning, snapshot, ref)
    _check_places(cleaning, snapshot, ref)


def _check_places(cleaning: Cleaning, snapshot: Snapshot, ref: VersionRef) -> None:
    """Each location says that it is that very thing, and ours, or that it is gone (P2)."""
    releasing = cleaning.releasing
    for placement in snapshot.placed(ref):
        location = releasing.locations.get(placement.location)
        if location is None:
            continue  # placed there just now: judging the step again finds it
        try:
            location.verify(placement, releasing.clock.now())
        except NotFound:
            continue
        except ImagectlError as error:
            error.hint = error.hint or (
                f"put that right in {placement.location}, or hold the version, so that others "
                f"can go: `imagectl hold {ref} --reason TEXT`"
            )
            raise


def _check_sources(cleaning: Cleaning, snapshot: Snapshot, ref: VersionRef) -> None:
    """What it takes to make the version again has to be here before it is deleted; where that
    is not proven to bring it back, its disks have to be (P5). A disk that only its location
    ever had is gone then: the page that people sign says so."""
    version = snapshot.versions[ref]
    if can_be_remade(version) and version.origin is not None:
        needed = [("lock", version.origin.lock), ("sources", version.origin.source)]
        without = "without them it could not be made again"
    else:
        needed = [
            (f"{each.format.value} disk", each.sha256)
            for each in version.artifacts
            if each.format is not Format.NATIVE
        ]
        without = "it is not proven that it could be made again"
    for what, sha256 in needed:
        try:
            cleaning.store.verify(sha256)
        except ImagectlError as problem:
            raise Failed(
                f"{ref} is not deleted: its {what} cannot be read from the artifact store",
                where=str(ref),
                why=f"{problem.what}; {without}",
                hint="bring the store back from a backup, or hold the version: "
                f"`imagectl hold {ref} --reason TEXT`",
            ) from problem
