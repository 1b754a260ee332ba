"""Promote, roll back, and let a build arrive in the entry channel.

Promises: what a channel is moved to was just verified, byte for byte, in every location that it
requires, and so was what one would roll back to (P6); what was decided is what is done, or it is a
conflict; all that one command moves is one change of the catalog, so a kill or a race leaves it
before or after (P7). Consumers are shown the change right after: the published trees first, which
decide whether that went well, then the locations' own pointers. Where that step is lost to a kill,
the next ``show`` makes it good, whoever does it, and for which image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imagectl.errors import CannotTell, Conflict, Failed, ImagectlError
from imagectl.model.catalog import Change, MoveChannel, Operation, RecordPlacement, Snapshot
from imagectl.model.channel import Channel, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.place import Takes
from imagectl.model.release import (
    Decision,
    Delivery,
    PromotionRequest,
    ReleasePlan,
    RollbackRequest,
)
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.promotion import insist, plan_entry, plan_promotion
from imagectl.policy.readiness import NO_WAY_BACK, required_now
from imagectl.policy.rollback import plan_check, plan_rollback
from imagectl.policy.wording import listed
from imagectl.services.current import against, check_newest
from imagectl.services.live import PATIENCE, Waiting, look, takes_of
from imagectl.services.ports.catalog import Catalog, Committed
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.locations import Location
from imagectl.services.ports.published import Publisher

ENTRY_ATTEMPTS = 5
"""How often an arrival is decided anew because another build was recorded meanwhile."""

POINT_ATTEMPTS = 3
"""How often pointers are changed anew because the catalog was changed meanwhile. Whoever changed it
last looks at all of them too."""

PUBLISH = "put that right, then `imagectl catalog publish`"
"""What makes good that consumers are not shown what the catalog has."""


@dataclass(frozen=True, slots=True)
class Releasing:
    """What a release needs of the outside world.

    ``actor`` is who is asking. ``new_key`` gives a new idempotency key for each change. ``waiting``
    is told now and then which locations have not answered yet.
    """

    catalog: Catalog
    locations: Mapping[LocationName, Location]
    publishers: Sequence[Publisher]
    clock: Clock
    actor: str
    new_key: Callable[[], str]
    waiting: Waiting = lambda _: None


@dataclass(frozen=True, slots=True)
class Behind:
    """A location whose own pointers may still show what the image's channels have left, and why.

    ``required``: one of these channels requires that location.
    """

    location: LocationName
    image: ImageName
    error: ImagectlError
    required: bool


@dataclass(frozen=True, slots=True)
class Released:
    """What a command did, or with ``dry_run`` would do.

    ``generation`` is the one that it made; None where nothing was changed. ``delivered`` says for
    each image that moved what consumers of the channel now get. ``behind``: where they do not get
    it yet by the location's own pointers, although the published trees show it.
    """

    plan: ReleasePlan
    reason: str
    dry_run: bool
    generation: int | None
    delivered: Mapping[ImageName, tuple[Delivery, ...]]
    behind: tuple[Behind, ...] = ()


def promote(
    releasing: Releasing,
    policy: ReleasePolicy,
    request: PromotionRequest,
    *,
    reason: str = "",
    dry_run: bool = False,
) -> Released:
    """Promote as ``policy.promotion`` decides.

    Raises what that raises; Refused where a placement turns out missing or corrupt; CannotTell
    where a location cannot be read, or a published tree knows a later catalog; Conflict where the
    catalog changed so that the decision is another. Nothing is done in all these cases. Failed,
    after the fact, says that the channel has moved, and who does not see it yet. ``dry_run`` reads
    and verifies all the same, and writes nothing.
    """
    return _release(
        releasing,
        lambda snapshot, now: plan_promotion(
            snapshot, policy, takes_of(releasing.locations), request, now
        ),
        all_or_nothing=bool(request.targets),
        reason=reason,
        dry_run=dry_run,
    )


def rollback(
    releasing: Releasing,
    policy: ReleasePolicy,
    request: RollbackRequest,
    *,
    reason: str = "",
    dry_run: bool = False,
) -> Released:
    """Roll back as ``policy.rollback`` decides. Raises as ``promote`` does.

    ``dry_run`` is the answer to "would it work?": it verifies all that a rollback needs.
    """
    return _release(
        releasing,
        lambda snapshot, now: plan_rollback(
            snapshot, policy, takes_of(releasing.locations), request, now
        ),
        all_or_nothing=True,
        reason=reason,
        dry_run=dry_run,
    )


def check_rollback(
    releasing: Releasing, policy: ReleasePolicy, request: RollbackRequest
) -> Released:
    """Whether a rollback would work now, and also further back, as far as the channel's rollback
    window goes. Verifies all of it, and changes nothing. Raises as ``promote`` does."""
    return _release(
        releasing,
        lambda snapshot, now: plan_check(
            snapshot, policy, takes_of(releasing.locations), request, now
        ),
        all_or_nothing=True,
        reason="",
        dry_run=True,
    )


def enter(
    releasing: Releasing, policy: ReleasePolicy, ref: VersionRef, *, reason: str = ""
) -> Released:
    """Point the entry channel to a build that is recorded and placed (P6), and show consumers.

    Idempotent. Raises as ``promote`` does, but builds may end at the same time: a conflict with
    another one is decided anew.
    """
    for attempt in range(ENTRY_ATTEMPTS):
        try:
            return _release(
                releasing,
                lambda snapshot, _: plan_entry(
                    snapshot, policy, takes_of(releasing.locations), ref
                ),
                images=(ref.image,),
                all_or_nothing=True,
                reason=reason,
            )
        except Conflict:
            if attempt + 1 == ENTRY_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def catch_up(catalog: Catalog, publishers: Sequence[Publisher]) -> int:
    """Show consumers what the catalog has and a killed process did not publish any more.

    How many trees were behind. Cheap where none is. Every tree is tried before an error is raised:
    CannotTell where one shows a later generation than the catalog has, or another catalog; it is
    left as it is.
    """
    behind = 0
    first_error: ImagectlError | None = None
    for publisher in publishers:
        try:
            # In this order: a tree read first cannot be ahead of a catalog read later.
            shown = publisher.shown()
            if shown is not None and (trouble := against(catalog, publisher, shown)) is not None:
                raise trouble
            if shown is None or shown.generation != catalog.snapshot(()).generation:
                publisher.publish(catalog.snapshot())
                behind += 1
        except ImagectlError as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    return behind


def show(releasing: Releasing, first: Collection[ImageName] = ()) -> tuple[Behind, ...]:
    """Show consumers what the catalog has: published trees, and the locations' own pointers.

    All of it, *first* what concerns these images: what a killed process did not do is made good.
    Pointers are tried also where a tree cannot be written. Raises as ``catch_up`` does.
    """
    try:
        catch_up(releasing.catalog, releasing.publishers)
    except ImagectlError:
        with contextlib.suppress(CannotTell):  # nothing is pointed where a tree knows better
            point(releasing, first)
        raise
    return point(releasing, first)


def point(releasing: Releasing, first: Collection[ImageName] = ()) -> tuple[Behind, ...]:
    """Make the locations' own pointers (families) show the channels' heads, those of *first* first.

    Where a head is not in a location that has had other versions, it is told so: its pointers must
    not go on showing what the channel has left. Cheap where locations have none. Where that did not
    work is in the answer; a location that does not answer is asked no further. Nothing remembers
    which pointers a killed process left behind, maybe on another machine: all are looked at.

    Raises CannotTell, and points nothing, where a published tree knows a later catalog.
    """
    check_newest(releasing.catalog, releasing.publishers)
    behind: tuple[Behind, ...] = ()
    for _ in range(POINT_ATTEMPTS):
        snapshot = releasing.catalog.snapshot()
        images = sorted(snapshot.images, key=lambda image: image not in first)
        behind = tuple(
            each
            for location in releasing.locations.values()
            for each in _point_in(location, images, snapshot)
        )
        # Another process may have shown a later move meanwhile, and this one an earlier one after.
        if releasing.catalog.snapshot(()).generation == snapshot.generation:
            break
    return behind


def _point_in(
    location: Location, images: Sequence[ImageName], snapshot: Snapshot
) -> Iterator[Behind]:
    name, unanswered = location.name, 0
    last: ImagectlError | None = None
    for image in images:
        if not _ever_in(name, image, snapshot):
            continue
        channels = [known for (owner, _), known in snapshot.channels.items() if owner == image]
        required = any(name in required_now(snapshot, channel) for channel in channels)
        if last is not None and unanswered == PATIENCE:
            yield Behind(name, image, last, required)
            continue
        try:
            location.point(image, _heads_in(location, channels, snapshot))
            unanswered = 0
        except ImagectlError as error:
            last, unanswered = error, unanswered + isinstance(error, CannotTell)
            yield Behind(name, image, error, required)


def _heads_in(
    location: Location, channels: Sequence[Channel], snapshot: Snapshot
) -> Mapping[ChannelName, Placement]:
    """What channels point to, where it is in that location. What was revoked is shown to nobody."""
    heads = {}
    for channel in channels:
        ref = VersionRef(channel.image, channel.head.version)
        if ref in snapshot.revoked:
            continue
        there = required_placements(
            snapshot, ref, (location.name,), takes_of({location.name: location})
        )
        if there:
            heads[channel.name] = there[0]
    return heads


def _ever_in(location: LocationName, image: ImageName, snapshot: Snapshot) -> bool:
    return any(
        each.location == location
        for ref, placed in snapshot.placements.items()
        if ref.image == image
        for each in placed
    )


def commit(catalog: Catalog, change: Change) -> Committed:
    """Commit, once more where the answer was lost: the key makes that safe."""
    try:
        return catalog.commit(change)
    except CannotTell:
        return catalog.commit(change)


def _release(
    releasing: Releasing,
    decide: Callable[[Snapshot, datetime], ReleasePlan],
    *,
    all_or_nothing: bool,
    reason: str,
    dry_run: bool = False,
    images: Collection[ImageName] | None = None,
) -> Released:
    """Decide, verify live, decide again, and do it. *images*: those that the decision is about."""
    check_newest(releasing.catalog, releasing.publishers)
    now = releasing.clock.now()
    first = releasing.catalog.snapshot(images)
    decided = decide(first, now)
    verified, failures = _verify_live(releasing, decided.moves, first)
    plan = insist(decided.holding_back(failures), all_or_nothing=all_or_nothing)
    if dry_run:
        renewed = [each for those in verified.values() for each in those]
        return Released(plan, reason, True, None, _delivered(plan, first, renewed))

    # Verifying takes as long as reading the artifacts does. Decide again on what is there now.
    fresh = releasing.catalog.snapshot(images)
    if fresh.generation != first.generation:
        again = decide(fresh, now)
        relied = [each for those in verified.values() for each in those]
        if again.steps != decided.steps or not all(still_recorded(each, fresh) for each in relied):
            raise Conflict(
                "the catalog was changed meanwhile, and the decision is another now",
                why=f"it was decided on generation {first.generation}; "
                f"now it is {fresh.generation}",
                hint="nothing was done; type the command again",
            )
    renewed = [each for move in plan.moves for each in verified[move.image]]
    return _carry_out(releasing, plan, fresh, renewed, reason)


def _verify_live(
    releasing: Releasing, moves: Sequence[Decision], snapshot: Snapshot
) -> tuple[Mapping[ImageName, tuple[Placement, ...]], dict[ImageName, tuple[str, ...]]]:
    """For each image that moves, the placements that it relies on, verified again: of the version
    itself, and of those that one could roll back to. And what is wrong, by image (P6).

    Raises CannotTell where a location does not answer: then nothing is decided (P3).
    """
    takes = takes_of(releasing.locations)
    relied: dict[ImageName, list[tuple[str, Placement]]] = {}
    for move in moves:
        versions = [(move.target.version, ""), *((each, NO_WAY_BACK) for each in move.way_back)]
        relied[move.image] = [
            (prefix, placement)
            for each, prefix in versions
            for placement in required_placements(
                snapshot, VersionRef(move.image, each), move.required, takes
            )
        ]
    looked = look(
        releasing.locations,
        [placement for those in relied.values() for _, placement in those],
        releasing.clock,
        releasing.waiting,
    )
    for answer in looked.values():
        if answer.trouble is not None and not answer.wrong:
            # On a bad night the first question is whether anything has moved.
            answer.trouble.what = f"{moves[0].channel} stays as it is: {answer.trouble.what}"
            raise answer.trouble
    verified: dict[ImageName, tuple[Placement, ...]] = {}
    failures: dict[ImageName, tuple[str, ...]] = {}
    for image, those in relied.items():
        answers = [(prefix, looked[placement.key]) for prefix, placement in those]
        wrong = [
            f"{prefix}: {answer.words}" if prefix else answer.words
            for prefix, answer in answers
            if answer.wrong
        ]
        if wrong:
            failures[image] = tuple(wrong)
        verified[image] = tuple(each.renewed for _, each in answers if each.renewed is not None)
    return verified, failures


def required_placements(
    snapshot: Snapshot, ref: VersionRef, locations: Collection[LocationName], takes: Takes
) -> tuple[Placement, ...]:
    """The placements without which the version is not in *locations*, as far as there are any."""
    return tuple(
        each
        for each in snapshot.placed(ref)
        if each.location in locations and each.format in takes.get(each.location, ())
    )


def still_recorded(placement: Placement, snapshot: Snapshot) -> bool:
    """Whether the catalog still has what was verified, but for when and how it is reached."""
    return any(
        replace(known, verified=placement.verified, reference=placement.reference) == placement
        for known in snapshot.placed(placement.version)
    )


def _carry_out(
    releasing: Releasing,
    plan: ReleasePlan,
    snapshot: Snapshot,
    renewed: Sequence[Placement],
    reason: str,
) -> Released:
    delivered = _delivered(plan, snapshot, renewed)
    if not plan.moves:  # a killed process may have moved, and not shown it
        return Released(plan, reason, False, None, delivered, show(releasing))
    operations: tuple[Operation, ...] = (
        *(RecordPlacement(each) for each in renewed),
        *(
            MoveChannel(each.image, each.channel, each.target.version, plan.kind)
            for each in plan.moves
        ),
    )
    committed = commit(
        releasing.catalog,
        Change(
            releasing.new_key(),
            snapshot.generation,
            releasing.actor,
            plan.kind.value,
            reason,
            releasing.clock.now(),
            operations,
        ),
    )
    images = [each.image for each in plan.moves]
    has_moved = (
        f"{plan.channel} HAS moved ({listed(f'{each.image} to {each.to}' for each in plan.moves)})"
    )
    try:
        behind = show(releasing, images)
    except ImagectlError as error:
        raise Failed(
            f"{has_moved}, but consumers do not see it yet",
            where=error.where,
            why=_said(error),
            hint=PUBLISH,
        ) from error
    failed = [each for each in behind if each.required and each.image in images]
    if failed:
        raise Failed(
            f"{has_moved}, and published trees show it, but families in "
            f"{listed(dict.fromkeys(each.location for each in failed))} may not",
            why="\n".join(f"{each.location}: {_said(each.error)}" for each in failed),
            hint=PUBLISH,
        )
    return Released(plan, reason, False, committed.generation, delivered, behind)


def _said(error: ImagectlError) -> str:
    return f"{error.what}{f': {error.why}' if error.why else ''}"


def _delivered(
    plan: ReleasePlan, snapshot: Snapshot, renewed: Sequence[Placement]
) -> dict[ImageName, tuple[Delivery, ...]]:
    newer = {each.key: each for each in renewed}
    return {
        move.image: tuple(
            Delivery(
                each.location,
                each.format,
                each.architecture,
                newer.get(each.key, each).reference,
                each.sha256,
            )
            for each in snapshot.placed(move.target)
        )
        for move in plan.moves
    }
