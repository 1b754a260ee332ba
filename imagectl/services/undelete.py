"""Bring back what cleanups have deleted (P5).

Promises: it comes back byte for byte, from where it still is, from the artifact store, or made
again from its own sources, and is in its locations again, verified there, before consumers can have
it. Interrupted, the same command goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from imagectl.errors import Conflict, Corrupt, Failed, ImagectlError, NotFound, Refused
from imagectl.model.change import Operation, RecordPlacement, StepVersion
from imagectl.model.names import ImageName, LocationName
from imagectl.model.retention import DELETING, Stage, Tombstone
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.readiness import required_now
from imagectl.policy.wording import listed, moment
from imagectl.services.backfill import bring_back
from imagectl.services.ledger import write_down
from imagectl.services.marking import Unmarked
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.publish import place
from imagectl.services.releasing import Releasing
from imagectl.services.undo import make_active

Remake = Callable[[VersionRef], None]
"""Makes the artifacts of a version again, into the artifact store, or raises."""


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


def undelete(
    releasing: Releasing,
    store: ArtifactStore,
    ref: VersionRef,
    reason: str,
    scratch: Path,
    remake: Remake,
    undisturbed: Callable[[ImageName], AbstractContextManager[object]],
    progress: Progress | None = None,
) -> Undeleted:
    """Bring back a deleted version: to QUARANTINED, into its locations, and to ACTIVE.

    What still is in a location is verified and recorded again. What is gone is put there from the
    store, which gets it from any location that has its bytes into *scratch*, or from *remake*.
    *undisturbed*: see ``Cleaning``; only while it is held the version ceases to be deleted, so that
    nobody is just clearing the store of it. Raises NotFound; Refused where it is not deleted, or
    none of its locations is in the project any more; and what failed: then it stays quarantined,
    with what is back recorded, and the same command goes on.
    """
    with _while_nothing_is_cleared(undisturbed, ref):
        _unbury(releasing, ref, reason)
    snapshot = releasing.catalog.snapshot((ref.image,))
    wanted = _where_it_was(snapshot, ref)
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
        _check_required(releasing.catalog.snapshot((ref.image,)), ref, elsewhere)
    except ImagectlError as error:
        error.hint = _to_go_on(ref, error)
        raise
    done = make_active(releasing, (ref,), reason, progress)
    return Undeleted(ref, found, put, remade, tuple(sorted(elsewhere)), done.unmarked)


def _to_go_on(ref: VersionRef, error: ImagectlError) -> str:
    """The error's hint, with the command that goes on. Where several locations failed, it is that
    of publishing, which leaves it quarantined."""
    command = f"imagectl cleanup undelete {ref}"
    if command in error.hint:
        return error.hint
    before = f"{error.hint}; then " if error.hint and not error.causes else ""
    return f"{before}`{command}` goes on where it stopped"


@contextmanager
def _while_nothing_is_cleared(
    undisturbed: Callable[[ImageName], AbstractContextManager[object]], ref: VersionRef
) -> Iterator[None]:
    """The block runs while *undisturbed* is held. Raises Conflict where that cannot be."""
    with ExitStack() as held:
        try:
            held.enter_context(undisturbed(ref.image))
        except Conflict as busy:
            raise Conflict(
                f"{ref} cannot be brought back just now; nothing was done",
                where=busy.where,
                why=f"a build of {ref.image} is running, or a cleanup clears the artifact store",
                hint=f"`imagectl cleanup undelete {ref}` as soon as that is over",
            ) from busy
        yield


def _unbury(releasing: Releasing, ref: VersionRef, reason: str) -> None:
    """Whoever is still deleting it reads this before the next deletion, and stops. Raises Conflict
    while one may be under way."""

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        _check_has_a_place(releasing, snapshot, ref)
        stage = snapshot.stage(ref)
        if stage is Stage.DELETED:
            _check_not_being_deleted(snapshot, ref, releasing.clock.now())
            return [StepVersion(ref, Stage.QUARANTINED)]
        buried = snapshot.buried(ref)
        if any(each.open for each in buried) or (stage is Stage.QUARANTINED and buried):
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


def _check_has_a_place(releasing: Releasing, snapshot: Snapshot, ref: VersionRef) -> None:
    """Raise Refused where all the locations that it was in are gone from the project."""
    names = {each.placement.location for each in _where_it_was(snapshot, ref)}
    if names and not names & set(releasing.locations):
        raise Refused(
            f"{ref} cannot be brought back to where it was; nothing was done",
            reasons=[f"imagectl.yaml has no location {name} any more" for name in sorted(names)],
            hint="add one of them to imagectl.yaml again",
        )


def _check_required(
    snapshot: Snapshot, ref: VersionRef, elsewhere: Collection[LocationName]
) -> None:
    """Raise Refused where it is not back in a location that a channel of its image requires."""
    channels = [each for (image, _), each in snapshot.channels.items() if image == ref.image]
    required = {name for each in channels for name in required_now(snapshot, each)}
    if lacking := sorted(required & set(elsewhere)):
        raise Refused(
            f"{ref} is back where it can be, and stays quarantined",
            reasons=[
                f"what is in a channel has to be in {name}, where it was, and which imagectl.yaml "
                "has no more"
                for name in lacking
            ],
            hint=f"add {listed(lacking)} to imagectl.yaml again; `imagectl cleanup undelete {ref}` "
            "goes on then",
        )


def _where_it_was(snapshot: Snapshot, ref: VersionRef) -> list[Tombstone]:
    """The last tombstone of each of its placements: also of what was not put there again the last
    time that it was brought back."""
    return list({each.placement.key: each for each in snapshot.buried(ref)}.values())


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
        # Somebody may have put it there again themselves, out of a backup of the location.
        bring_back(releasing, store, snapshot, ref, scratch, progress, gone=lost)
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
