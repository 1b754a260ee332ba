"""Delete what tombstones name: the only place where something that consumers could have pulled is
taken away for good.

Promises (P2): nothing is deleted but what the catalog itself recorded as placed, and has buried;
just before each deletion the location says live that it is that very thing, and ours, and the
catalog is told that it begins: only while the tombstone is open, and until it is over, or
``model.retention.DELETING`` has passed, nobody brings the version back. What cannot be told, or is
something else, ends the work: nothing after it is touched. Only what the location then says is not
there any more is recorded as gone. Killed at any point, it can be begun again with what is still
open (P7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imagectl.errors import CannotTell, Conflict, Failed, NotFound
from imagectl.model.change import BeginDeletion, ConfirmGone, Operation
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement
from imagectl.model.view import Ownership
from imagectl.services.ledger import write_down
from imagectl.services.ports.locations import Location
from imagectl.services.ports.progress import Progress
from imagectl.services.releasing import Releasing


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one tombstone: ``was_there`` is False where the thing was gone already."""

    tombstone: Tombstone
    was_there: bool


def delete_buried(
    releasing: Releasing, tombstones: Iterable[Tombstone], progress: Progress | None = None
) -> Iterator[Deleted]:
    """Delete what *tombstones* name, one after the other, and record what is gone.

    Raises, at the first surprise, Conflict where it was brought back or is not ours, Corrupt where
    it is something else, CannotTell where that cannot be told, Failed where it is still there
    afterwards. What was given until then is done and recorded.
    """
    for tombstone in tombstones:
        placement = tombstone.placement
        if progress is not None:
            progress.step(f"deleting {placement.version} from {placement.location}")
        location = _find(releasing, placement)
        was_there = _is_there(releasing, location, placement)
        if not _delete(releasing, location, tombstone):
            continue
        if _is_there(releasing, location, placement):
            _check_left_to_others(releasing, location, tombstone)
        _confirm(releasing, tombstone)
        yield Deleted(tombstone, was_there)


def _find(releasing: Releasing, placement: Placement) -> Location:
    location = releasing.locations.get(placement.location)
    if location is None:
        raise CannotTell(
            f"whether {placement.version} is still in {placement.location} cannot be told",
            where=f"{placement.provider_id} in {placement.location}",
            why=f"imagectl.yaml has no location {placement.location} any more",
            hint="add it again until this is done",
        )
    return location


def _is_there(releasing: Releasing, location: Location, placement: Placement) -> bool:
    """Read live. Raises Corrupt, Conflict, and CannotTell, which are surprises."""
    try:
        location.verify(placement, releasing.clock.now())
    except NotFound:
        return False
    return True


def _delete(releasing: Releasing, location: Location, tombstone: Tombstone) -> bool:
    """Delete it, unless another process has. Each time the catalog is asked again just before:
    whoever has brought the version back meanwhile does not lose it (P2)."""
    placement = tombstone.placement
    now = releasing.catalog.snapshot((placement.version.image,))
    if _open(now, tombstone, _brought_back(tombstone)) is None:
        return False
    try:
        location.delete(placement, lambda: _begin(releasing, tombstone))
    except _SeenTo:
        return False
    except NotFound as elsewhere:  # it is not gone: the location means another place now
        raise CannotTell(
            elsewhere.what, where=elsewhere.where, why=elsewhere.why, hint=elsewhere.hint
        ) from elsewhere
    return True


class _SeenTo(Exception):
    """Another process has deleted it meanwhile."""


def _begin(releasing: Releasing, tombstone: Tombstone) -> None:
    """Say that it is deleted now. Raises Conflict where it was brought back."""
    placement = tombstone.placement

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        known = _open(snapshot, tombstone, _brought_back(tombstone))
        if known is None:
            raise _SeenTo
        return [BeginDeletion(known)]

    write_down(
        releasing,
        placement.version.image,
        "begin to delete",
        f"{placement.version} from {placement.location} ({tombstone.reason})",
        operations,
    )


def _brought_back(tombstone: Tombstone) -> str:
    return f"{tombstone.placement.version} was brought back meanwhile"


def _open(snapshot: Snapshot, tombstone: Tombstone, brought_back: str) -> Tombstone | None:
    """The tombstone as it is now; None where another process has seen to it meanwhile.

    Raises Conflict, saying *brought_back*, where the version was undeleted.
    """
    ref = tombstone.placement.version
    known = [
        each
        for each in snapshot.buried(ref)
        if (each.placement, each.at) == (tombstone.placement, tombstone.at)
    ]
    if snapshot.stage(ref) is not Stage.DELETED or any(each.returned for each in known):
        raise Conflict(
            brought_back,
            where=f"{tombstone.placement.provider_id} in {tombstone.placement.location}",
            hint=f"`imagectl cleanup undelete {ref}` goes on bringing it back",
        )
    return next((each for each in known if each.open), None)


def _check_left_to_others(releasing: Releasing, location: Location, tombstone: Tombstone) -> None:
    """The same bytes may be another version's too, in a place that names things by their digest.
    Then they stay, and only our mark of this version has gone.

    Raises Failed where that is not so.
    """
    placement = tombstone.placement
    ours = Ownership(
        releasing.catalog.snapshot(()).catalog_id,
        placement.version,
        placement.format,
        placement.architecture,
        placement.sha256,
    )
    owners = _owners(releasing, location, placement)
    if ours in owners:  # looking may have mended our mark: then this is the last look
        if not _delete(releasing, location, tombstone):
            return  # another process has seen that it is gone
        owners = _owners(releasing, location, placement)
    if ours in owners:
        why = "the location took the deletion, and still has it as ours"
    elif None in owners or not owners:
        why = "nobody says there whose it is: it may have been there before, or was not deleted"
    else:
        return
    raise Failed(
        f"{placement.version} is still in {location.name} after it was deleted",
        where=placement.provider_id,
        why=why,
        hint="apply the plan again: it goes on where it stopped, and looks again; what stays has "
        "to be removed there by hand",
    )


def _owners(
    releasing: Releasing, location: Location, placement: Placement
) -> set[Ownership | None]:
    """Whose that thing is, as a whole view shows it."""
    view = location.view(releasing.clock.now)
    if not view.complete:
        raise CannotTell(
            f"whether {placement.version} was deleted from {location.name} cannot be told",
            where=view.scope,
            why="; ".join(view.gaps),
            hint="apply the plan again: it goes on where it stopped",
        )
    return {each.owner for each in view.found if each.provider_id == placement.provider_id}


def _confirm(releasing: Releasing, tombstone: Tombstone) -> None:
    placement = tombstone.placement
    ref = placement.version

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        lost = (
            f"{ref} was brought back while it was being deleted from {placement.location}, where "
            "it is NOT any more"
        )
        known = _open(snapshot, tombstone, lost)
        return [] if known is None else [ConfirmGone(known)]

    write_down(
        releasing,
        ref.image,
        "confirm gone",
        f"{ref} from {placement.location} ({tombstone.reason})",
        operations,
    )
