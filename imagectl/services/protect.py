"""What people do to protect versions from cleanups, and consumers from versions (P1).

Promises: each of these is one change of the catalog, with who did it, when and why; none of them
takes a protection away that somebody else has given, but by name. A version that a channel points
to is not revoked by accident: its consumers would get an error. What is decided here is decided
anew where another change came in between, on what is there then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagectl.errors import BadUsage, CannotTell, Failed, ImagectlError, NotFound, Refused
from imagectl.model.change import (
    EndLease,
    HoldVersion,
    LeaseVersion,
    Operation,
    RestoreVersion,
    RevokeVersion,
    UnholdVersion,
)
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.retention import Hold, Lease, Revocation, Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.readiness import brings_back, can_be_had, taken_away
from imagectl.policy.wording import listed, moment, span
from imagectl.services.ledger import Author, write_down
from imagectl.services.ports.catalog import Catalog
from imagectl.services.releasing import Releasing
from imagectl.services.show import PUBLISH, Behind, catch_up, not_seen, show

LONGEST_LEASE = timedelta(days=90)
"""A consumer that needs a version for longer needs a person to hold it: nobody remembers what a
lease of years was for."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was revoked. ``generation`` is the one that it made; None where it was revoked already.

    ``pointing`` are the channels that point to it, whose consumers get an error until they are
    moved; ``children`` the versions that were built on it, directly or not, and are not revoked;
    None where they cannot be told, which ``untold`` says why.
    """

    revocation: Revocation
    generation: int | None
    pointing: tuple[ChannelName, ...]
    children: tuple[VersionRef, ...] | None
    behind: tuple[Behind, ...]
    untold: CannotTell | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored. ``generation`` is None where it was not revoked.

    ``still`` says why nobody gets it all the same, with what takes that back; empty where
    consumers do.
    """

    version: VersionRef
    generation: int | None
    behind: tuple[Behind, ...]
    still: str = ""


def hold(releasing: Releasing, ref: VersionRef, reason: str) -> tuple[Hold, int]:
    """Protect *ref* from every cleanup until the actor takes that back; the catalog's generation
    then. Again: the reason and time are renewed.

    Published trees show that generation afterwards, so that a catalog which is brought back from an
    older copy, without the hold, is found out (P2). Raises NotFound; Refused for what is deleted,
    since there is nothing left to protect; and Failed where it is held, but a tree cannot be
    written.
    """
    _check_reason(reason)

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        if snapshot.stage(ref) is Stage.DELETED:
            raise Refused(f"{ref} cannot be held", reasons=taken_away(ref, snapshot))
        return [HoldVersion(ref)]

    committed = write_down(releasing, ref.image, "hold", reason, operations)
    assert committed is not None
    try:
        catch_up(releasing.catalog, releasing.publishers)
    except ImagectlError as error:
        raise Failed(
            f"{ref} IS held, but its generation is not published yet",
            where=error.where,
            why=error.said,
            hint=PUBLISH,
        ) from error
    held = releasing.catalog.snapshot((ref.image,)).holds.get(ref, ())
    mine = next((each for each in held if each.by == releasing.actor), None)
    if mine is None:  # another process of the same person was faster than this answer
        raise NotFound(f"{ref} was held, and {releasing.actor} has taken that back meanwhile")
    return mine, committed.generation


def unhold(releasing: Releasing, ref: VersionRef, reason: str, by: str | None = None) -> int:
    """Take back the hold that *by*, else the actor, has on *ref*; the catalog's generation then.

    Raises NotFound for an unknown version, and where that person does not hold it.
    """
    _check_reason(reason)
    whose = by if by is not None else releasing.actor

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        holders = [each.by for each in snapshot.holds.get(ref, ())]
        if whose not in holders:
            raise NotFound(
                f"{ref} is not held by {whose}",
                why=f"it is held by {listed(holders)}" if holders else "nobody holds it",
                hint=f"`imagectl unhold {ref} --by {holders[0]} --reason TEXT`" if holders else "",
            )
        return [UnholdVersion(ref, whose)]

    committed = write_down(releasing, ref.image, "unhold", reason, operations)
    assert committed is not None
    return committed.generation


def revoke(
    releasing: Releasing, ref: VersionRef, reason: str, *, even_if_released: bool = False
) -> Revoked:
    """Say that *ref* is unsafe: nobody resolves it any more, and consumers are told why.

    Idempotent. Raises NotFound; Refused where a channel points to it, unless *even_if_released*;
    Failed where it is revoked and consumers cannot be shown that.
    """
    _check_reason(reason)
    pointing: tuple[ChannelName, ...] = ()

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        nonlocal pointing
        find_version(snapshot, ref)
        pointing = _pointing(snapshot, ref)
        if ref in snapshot.revoked:
            return ()
        if pointing and not even_if_released:
            raise Refused(
                f"{ref} was not revoked: consumers of {listed(pointing)} would get an error",
                reasons=[
                    f"{each} points to it: `imagectl rollback {each} {ref.image}`"
                    for each in pointing
                ],
                where=str(ref),
                hint="move the channel away first; or --even-if-released, where an error is better "
                "than this version",
            )
        return [RevokeVersion(ref)]

    committed = write_down(releasing, ref.image, "revoke", reason, operations)
    behind = _shown(releasing, ref, "IS revoked")
    revocation = releasing.catalog.snapshot((ref.image,)).revoked.get(ref)
    if revocation is None:
        raise NotFound(f"{ref} was revoked, and somebody has restored it meanwhile")
    generation = committed.generation if committed else None
    try:
        children = _descendants(releasing.catalog, ref)
    except CannotTell as untold:  # it is revoked, which that does not undo
        return Revoked(revocation, generation, pointing, None, behind, untold)
    return Revoked(revocation, generation, pointing, children, behind)


def restore(releasing: Releasing, ref: VersionRef, reason: str) -> Restored:
    """Say that *ref* is safe after all. Idempotent.

    Raises NotFound, and Failed where it is restored and consumers cannot be shown that.
    """
    _check_reason(reason)

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        return [RestoreVersion(ref)] if ref in snapshot.revoked else ()

    committed = write_down(releasing, ref.image, "restore", reason, operations)
    behind = _shown(releasing, ref, "IS restored")
    snapshot = releasing.catalog.snapshot((ref.image,))
    still = "" if can_be_had(ref, snapshot) else _taken_down(snapshot, ref, releasing.locations)
    return Restored(ref, committed.generation if committed else None, behind, still)


def _taken_down(snapshot: Snapshot, ref: VersionRef, locations: Collection[LocationName]) -> str:
    if ref in snapshot.revoked:
        return "it was revoked again meanwhile"
    staged = snapshot.stages[ref]
    because = f": {staged.reason}" if staged.reason else ""
    return (
        f"it is {staged.stage.value} since {moment(staged.at)}, by {staged.by}{because}; "
        f"`{brings_back(snapshot, ref, locations)}` brings it back"
    )


def take_lease(
    author: Author, ref: VersionRef, consumer: str, length: timedelta, reason: str = ""
) -> Lease:
    """Have *ref* kept for *consumer* for that long from now; again: renewed, never shortened.

    Leases of the version that are over end with it. Raises NotFound, BadUsage for a length that
    makes no sense, and Refused where nobody is to get the version any more.
    """
    if not timedelta(0) < length <= LONGEST_LEASE:
        raise BadUsage(
            f"a lease is for more than nothing, and for {span(LONGEST_LEASE)} at most",
            hint=f"`imagectl hold {ref} --reason TEXT` has no end",
        )
    if not consumer.strip():
        raise BadUsage("a lease names its consumer", hint="--consumer ID")

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        if not can_be_had(ref, snapshot):
            reasons = taken_away(ref, snapshot)
            raise Refused(f"{ref} cannot be leased", reasons=reasons, where=str(ref))
        now = author.clock.now()
        known = snapshot.leases.get(ref, ())
        before = next((each for each in known if each.consumer == consumer), None)
        until = max(now + length, before.until) if before else now + length
        over = [
            EndLease(ref, each.consumer)
            for each in known
            if each.consumer != consumer and each.until <= now
        ]
        return [*over, LeaseVersion(ref, consumer, until)]

    write_down(author, ref.image, "lease", reason or f"leased to {consumer}", operations)
    leases = author.catalog.snapshot((ref.image,)).leases.get(ref, ())
    mine = next((each for each in leases if each.consumer == consumer), None)
    if mine is None:  # somebody speaks for the same consumer
        raise NotFound(f"{ref} was leased by {consumer}, and that was ended meanwhile")
    return mine


def end_lease(author: Author, ref: VersionRef, consumer: str, reason: str = "") -> bool:
    """*consumer* is done with *ref*. Idempotent: whether it had a lease. Raises NotFound for an
    unknown version."""

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        find_version(snapshot, ref)
        known = {each.consumer for each in snapshot.leases.get(ref, ())}
        return [EndLease(ref, consumer)] if consumer in known else ()

    ended = write_down(author, ref.image, "end lease", reason or f"{consumer} is done", operations)
    return ended is not None


@contextmanager
def leased(author: Author, ref: VersionRef, consumer: str, length: timedelta) -> Iterator[Lease]:
    """*ref* is kept for *consumer* while the block runs, and for *length* at most where it is
    killed. Raises as ``take_lease`` does."""
    lease = take_lease(author, ref, consumer, length)
    try:
        yield lease
    finally:
        # Where that cannot be written now, the lease ends by itself.
        with suppress(ImagectlError):
            end_lease(author, ref, consumer)


def leases_of(snapshot: Snapshot, now: datetime) -> tuple[Lease, ...]:
    """The leases that hold at *now*, those that end first first."""
    return tuple(
        sorted(
            (each for those in snapshot.leases.values() for each in those if each.until > now),
            key=lambda each: (each.until, each.version, each.consumer),
        )
    )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise BadUsage("why? say it with --reason TEXT", why="it is kept for whoever comes after")


def _pointing(snapshot: Snapshot, ref: VersionRef) -> tuple[ChannelName, ...]:
    return tuple(
        sorted(
            name
            for (image, name), channel in snapshot.channels.items()
            if image == ref.image and channel.head.version == ref.version
        )
    )


def _descendants(catalog: Catalog, ref: VersionRef) -> tuple[VersionRef, ...]:
    """What was built on *ref*, and on that, and so on, without what is revoked or deleted."""
    born: dict[VersionRef, list[VersionRef]] = {}
    gone: set[VersionRef] = set()
    with catalog.stock() as stock:
        for shelf in stock.shelves():
            for each in shelf.versions:
                if each.parent is None:
                    continue
                child = VersionRef(shelf.image, each.id)
                born.setdefault(each.parent, []).append(child)
                if each.revoked or each.stage is Stage.DELETED:
                    gone.add(child)
    found: set[VersionRef] = set()
    waiting = [ref]
    while waiting:
        for child in born.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return tuple(sorted(found - gone))


def _shown(releasing: Releasing, ref: VersionRef, done: str) -> tuple[Behind, ...]:
    """Show consumers, also where nothing was written: a killed process may not have done it."""
    images: tuple[ImageName, ...] = (ref.image,)
    try:
        return show(releasing, images)
    except ImagectlError as error:
        raise not_seen(f"{ref} {done}", error) from error
