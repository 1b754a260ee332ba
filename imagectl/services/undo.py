"""Bring back what cleanups have taken down (P5).

Promises: whatever is not deleted is back with one command, all of it in one change of the catalog;
what is deleted comes back byte for byte, from where it still is, from the artifact store, or made
again from its own sources, and is in its locations again, verified there, before consumers can have
it. Interrupted, the same command goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from imagectl.errors import (
    Conflict,
    Corrupt,
    Failed,
    ImagectlError,
    NotFound,
    Refused,
)
from imagectl.model.catalog import Change, Operation, RecordPlacement, Snapshot, StepVersion
from imagectl.model.names import ImageName, LocationName
from imagectl.model.retention import DELETING, Stage, Staged, Tombstone
from imagectl.model.signature import plan_name
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.wording import listed, moment
from imagectl.services.backfill import bring_back
from imagectl.services.ledger import ATTEMPTS, write_down
from imagectl.services.ports import ArtifactStore, Mark, Progress
from imagectl.services.publish import place
from imagectl.services.release import PUBLISH, Releasing, catch_up, commit

MARKS = {
    Stage.ACTIVE: Mark.ACTIVE,
    Stage.DEPRECATED: Mark.DEPRECATED,
    Stage.OBSOLETE: Mark.OBSOLETE,
    Stage.QUARANTINED: Mark.QUARANTINED,
}
"""How locations mark what is at each stage. What is deleted has no placements to mark."""

Remake = Callable[[VersionRef], None]
"""Makes the artifacts of a version again, into the artifact store, or raises."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A placement whose mark could not be changed, and why. Only its look is behind."""

    placement: Placement
    error: ImagectlError


@dataclass(frozen=True, slots=True)
class Undone:
    """What was brought back, with the stage that each came from; ``already`` were active."""

    versions: tuple[tuple[VersionRef, Staged], ...]
    already: tuple[VersionRef, ...]
    unmarked: tuple[Unmarked, ...]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Undeleted:
    """A version that was deleted, and is back.

    ``found`` was still where it had been, ``put`` is there again; ``remade``: its artifacts had to
    be made again. ``elsewhere`` are locations that it was in and that the project has no more.
    """

    version: VersionRef
    found: tuple[Placement, ...]
    put: tuple[Placement, ...]
    remade: bool
    elsewhere: tuple[LocationName, ...]
    unmarked: tuple[Unmarked, ...]


def taken_down(snapshot: Snapshot) -> tuple[VersionRef, ...]:
    """What can be brought back with ``undo``: neither active nor deleted."""
    return tuple(
        ref
        for ref in sorted(snapshot.stages)
        if snapshot.stage(ref) not in (Stage.ACTIVE, Stage.DELETED)
    )


def taken_by(snapshot: Snapshot, plan: str) -> tuple[VersionRef, ...]:
    """What the plan of that digest, or of that short name, has taken down last."""
    name = plan_name(plan)
    return tuple(
        ref
        for ref in sorted(snapshot.stages)
        if snapshot.stages[ref].reason == name and snapshot.stage(ref) is not Stage.ACTIVE
    )


def undo(
    releasing: Releasing,
    refs: Collection[VersionRef],
    reason: str,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Undone:
    """Bring *refs* back to ACTIVE, all in one change, and take back the marks in locations.

    Marks are taken back of those too that are active already: a killed process may not have got so
    far. Raises NotFound, and Refused where one of them is deleted; nothing is done then.
    """
    images = sorted({ref.image for ref in refs})
    snapshot = releasing.catalog.snapshot(images)
    down = _down(snapshot, refs)
    if not dry_run and down:
        down = _bring_up(releasing, refs, images, reason)
    already = tuple(sorted(set(refs) - {ref for ref, _ in down}))
    if dry_run:
        return Undone(down, already, (), dry_run=True)
    unmarked = tuple(remark(releasing, refs, progress=progress))
    show_consumers(releasing, f"{listed(sorted(set(refs)))} can be had again")
    return Undone(down, already, unmarked, dry_run=False)


def show_consumers(releasing: Releasing, done: str) -> None:
    """Write what consumers read. Raises Failed, after *done*, where that does not work. The
    locations' own pointers are left alone: channels have not moved."""
    try:
        catch_up(releasing.catalog, releasing.publishers)
    except ImagectlError as error:
        raise Failed(
            f"{done}, but consumers are not shown it yet: {error.what}",
            where=error.where,
            why=error.why,
            hint=PUBLISH,
        ) from error


Down = tuple[tuple[VersionRef, Staged], ...]


def _bring_up(
    releasing: Releasing, refs: Collection[VersionRef], images: Collection[ImageName], reason: str
) -> Down:
    key = releasing.new_key()
    for attempt in range(ATTEMPTS):
        snapshot = releasing.catalog.snapshot(images)
        down = _down(snapshot, refs)
        change = Change(
            key,
            snapshot.generation,
            releasing.actor,
            "cleanup undo",
            reason,
            releasing.clock.now(),
            tuple(StepVersion(ref, Stage.ACTIVE) for ref, _ in down),
        )
        try:
            if down:
                commit(releasing.catalog, change)
            return down
        except Conflict:
            if attempt + 1 == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _down(snapshot: Snapshot, refs: Collection[VersionRef]) -> Down:
    gone = []
    down = []
    for ref in sorted(set(refs)):
        find_version(snapshot, ref)
        stage = snapshot.stage(ref)
        if stage is Stage.DELETED:
            gone.append(ref)
        elif stage is not Stage.ACTIVE:
            down.append((ref, snapshot.stages[ref]))
    if gone:
        raise Refused(
            f"{listed(gone)} cannot be brought back by an undo; nothing was done",
            reasons=[f"{ref} is deleted" for ref in gone],
            hint=f"`imagectl cleanup undelete {gone[0]}` makes it again where it has to",
        )
    return tuple(down)


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
        mark = MARKS.get(snapshot.stage(ref))
        for placement in snapshot.placed(ref) if mark is not None else ():
            location = releasing.locations.get(placement.location)
            if location is None or mark is None:
                continue
            if locations is not None and placement.location not in locations:
                continue
            if progress is not None:
                progress.step(f"marking {ref} {mark.value} in {placement.location}")
            try:
                location.mark(placement, mark)
            except NotFound:
                continue
            except ImagectlError as error:
                yield Unmarked(placement, error)


def undelete(
    releasing: Releasing,
    store: ArtifactStore,
    ref: VersionRef,
    reason: str,
    scratch: Path,
    remake: Remake,
    progress: Progress | None = None,
) -> Undeleted:
    """Bring back a deleted version: to QUARANTINED, into its locations, and to ACTIVE.

    What still is in a location is verified and recorded again. What is gone is put there from the
    store, which gets it from another location into *scratch*, or from *remake*. Raises NotFound;
    Refused where it is not deleted; and what failed: then it stays quarantined, with what is back
    recorded, and the same command goes on.
    """
    _unbury(releasing, ref, reason)
    snapshot = releasing.catalog.snapshot((ref.image,))
    wanted = _last_burial(snapshot, ref)
    here = [each for each in wanted if each.placement.location in releasing.locations]
    elsewhere = {each.placement.location for each in wanted} - set(releasing.locations)
    try:
        found = tuple(_still_there(releasing, snapshot, here, progress))
        _record(releasing, ref, found, reason)
        back = {each.key for each in found}
        lost = [each.placement for each in here if each.placement.key not in back]
        remade = _have_in_store(releasing, store, ref, lost, scratch, remake, progress)
        where = tuple(dict.fromkeys(each.location for each in lost))
        put = place(releasing, store, ref, where, progress, only=True).placements if where else ()
        _look_again(releasing, found)
    except ImagectlError as error:
        error.hint = error.hint or f"`imagectl cleanup undelete {ref}` goes on where it stopped"
        raise
    done = undo(releasing, (ref,), reason, progress=progress)
    return Undeleted(ref, found, put, remade, tuple(sorted(elsewhere)), done.unmarked)


def _unbury(releasing: Releasing, ref: VersionRef, reason: str) -> None:
    """Whoever is still deleting it reads this before the next deletion, and stops. Raises Conflict
    while one may be under way."""

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        stage = snapshot.stage(ref)
        if stage is Stage.DELETED:
            _check_not_being_deleted(snapshot, ref, releasing.clock.now())
            return [StepVersion(ref, Stage.QUARANTINED)]
        if stage is Stage.QUARANTINED and snapshot.buried(ref):
            return []  # begun before
        raise Refused(
            f"{ref} is not deleted",
            reasons=[f"it is {stage.value}"],
            hint=f"imagectl cleanup undo {ref}" if stage is not Stage.ACTIVE else "",
        )

    write_down(releasing, ref.image, "cleanup undelete", reason, operations)


def _check_not_being_deleted(snapshot: Snapshot, ref: VersionRef, now: datetime) -> None:
    """Raise Conflict, saying when to try again."""
    going = [each for each in snapshot.buried(ref) if each.is_being_deleted(now)]
    if not going:
        return
    last = max(each.begun for each in going if each.begun is not None)
    until = moment(last + DELETING + timedelta(minutes=1))
    raise Conflict(
        f"{ref} is just being deleted; nothing was done",
        where=listed(
            [f"{each.placement.provider_id} in {each.placement.location}" for each in going]
        ),
        why=f"a cleanup began at {moment(last)}, and has not said that it is over: it is at it, or "
        f"was killed, which nobody can tell apart before {until}",
        hint=f"`imagectl cleanup undelete {ref}` as soon as that is over, or from {until} on",
    )


def _last_burial(snapshot: Snapshot, ref: VersionRef) -> list[Tombstone]:
    """The tombstones of the time that it was deleted last: where it was then."""
    buried = snapshot.buried(ref)
    last = max((each.at for each in buried), default=None)
    return [each for each in buried if each.at == last]


def _still_there(
    releasing: Releasing,
    snapshot: Snapshot,
    tombstones: Sequence[Tombstone],
    progress: Progress | None,
) -> Iterator[Placement]:
    """Of what was not seen to go, or was put there again already, what is there."""
    for each in tombstones:
        placement = each.placement
        back = {known.key for known in snapshot.placed(placement.version)}
        if not each.open and placement.key not in back:
            continue
        if progress is not None:
            progress.step(f"looking for {placement.version} in {placement.location}")
        try:
            yield releasing.locations[placement.location].verify(placement, releasing.clock.now())
        except (NotFound, Corrupt):
            continue  # putting it there again says what is in its way


def _look_again(releasing: Releasing, found: Sequence[Placement]) -> None:
    """Where clocks differ too much, or a process was stopped in the middle, a cleanup may have
    deleted one of them all the same. What it took is put there by the same command."""
    for each in found:
        try:
            releasing.locations[each.location].verify(each, releasing.clock.now())
        except NotFound as gone:
            raise Conflict(
                f"{each.version} has just been deleted from {each.location}",
                where=each.provider_id,
                why="a cleanup was still under way",
                hint=f"`imagectl cleanup undelete {each.version}` again: it goes on",
            ) from gone


def _record(releasing: Releasing, ref: VersionRef, found: Sequence[Placement], reason: str) -> None:
    if found:
        write_down(
            releasing,
            ref.image,
            "cleanup undelete",
            reason,
            lambda _: [RecordPlacement(each) for each in found],
        )


def _have_in_store(
    releasing: Releasing,
    store: ArtifactStore,
    ref: VersionRef,
    lost: Collection[Placement],
    scratch: Path,
    remake: Remake,
    progress: Progress | None,
) -> bool:
    """Have all that is *lost* in the store; whether it had to be made again."""
    snapshot = releasing.catalog.snapshot((ref.image,))
    needed = {each.sha256 for each in lost}
    artifacts = [each for each in snapshot.versions[ref].artifacts if each.sha256 in needed]
    if _all_stored(store, artifacts):
        return False
    try:
        bring_back(releasing, store, snapshot, ref, scratch, progress)
    except NotFound:
        if progress is not None:
            progress.note(f"{ref} is nowhere any more: it is made again")
        remake(ref)
    else:
        return False
    if not _all_stored(store, artifacts):
        raise Failed(
            f"{ref} was made again, and the store still has not all of it",
            where=str(ref),
            hint=f"imagectl rebuild {ref}",
        )
    return True


def _all_stored(store: ArtifactStore, artifacts: Collection[Artifact]) -> bool:
    for each in artifacts:
        try:
            store.path(each.sha256)
        except NotFound:
            return False
    return True
