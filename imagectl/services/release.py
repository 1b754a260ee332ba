"""Promote, roll back, and let a build arrive in the entry channel.

Promises: what a channel is moved to was just verified, byte for byte, in every location that it
requires, and so was what one would roll back to (P6); what was decided is what is done, or it is a
conflict; all that one command moves is one change of the catalog, so a kill or a race leaves it
before or after (P7). Consumers are shown the change right after: the published trees first, which
decide whether that went well, then the locations' own pointers. Where that step is lost to a kill,
the next ``show`` makes it good, whoever does it, and for which image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import BadUsage, Conflict, Failed, ImagectlError
from imagectl.model.change import Change, MoveChannel, Operation, RecordPlacement
from imagectl.model.channel import ReleasePolicy
from imagectl.model.names import ImageName
from imagectl.model.release import (
    Decision,
    Delivery,
    PromotionRequest,
    ReleasePlan,
    RollbackRequest,
)
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.promotion import insist, plan_entry, plan_promotion
from imagectl.policy.readiness import NO_WAY_BACK, required_placements
from imagectl.policy.rollback import plan_check, plan_rollback
from imagectl.policy.wording import listed
from imagectl.services.current import check_newest
from imagectl.services.ledger import commit
from imagectl.services.live import look, still_recorded, takes_of
from imagectl.services.releasing import Releasing
from imagectl.services.show import PUBLISH, Behind, not_seen, show

ENTRY_ATTEMPTS = 5
"""How often an arrival is decided anew because another build was recorded meanwhile."""


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

    Raises what that raises; BadUsage where what was announced is to move early, and nobody says
    why; Refused where a placement turns out missing or corrupt; CannotTell where a location cannot
    be read, or a published tree knows a later catalog; Conflict where the catalog changed so that
    the decision is another. Nothing is done in all these cases. Failed, after the fact, says that
    the channel has moved, and who does not see it yet. ``dry_run`` reads and verifies all the same,
    and writes nothing.
    """
    if request.early and not reason.strip():
        raise BadUsage(
            "why earlier than consumers were told?",
            why="it is kept in the history, and consumers are told",
            hint='--now --reason "..."',
        )
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
        raise not_seen(has_moved, error) from error
    failed = [each for each in behind if each.required and each.image in images]
    if failed:
        raise Failed(
            f"{has_moved}, and published trees show it, but families in "
            f"{listed(dict.fromkeys(each.location for each in failed))} may not",
            why="\n".join(f"{each.location}: {each.error.said}" for each in failed),
            hint=PUBLISH,
        )
    return Released(plan, reason, False, committed.generation, delivered, behind)


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
