"""Tell consumers what is coming, and take that back.

Promises: an announcement is one change of the catalog, with who made it, when and why; nothing is
moved, taken away or asked of a location by it; and it is in the published trees right after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from imagectl.errors import BadUsage, NotFound
from imagectl.model.announcement import Announcement
from imagectl.model.change import (
    AnnounceDeprecation,
    AnnounceMove,
    Change,
    Operation,
    WithdrawAnnouncement,
)
from imagectl.model.channel import ReleasePolicy
from imagectl.model.names import ImageRef
from imagectl.model.release import PromotionRequest, ReleasePlan
from imagectl.model.snapshot import Snapshot
from imagectl.policy.announcing import Deprecation, check_deprecation, standing_announcements
from imagectl.policy.promotion import plan_promotion
from imagectl.policy.wording import listed
from imagectl.services.current import check_newest
from imagectl.services.ledger import commit, write_down
from imagectl.services.live import takes_of
from imagectl.services.releasing import Releasing
from imagectl.services.show import show_consumers


@dataclass(frozen=True, slots=True)
class Announced:
    """What was announced, or with ``dry_run`` would be. ``generation`` is the one that it made;
    None where nothing was changed."""

    plan: ReleasePlan
    due: datetime
    reason: str
    dry_run: bool
    generation: int | None


def announce_moves(
    releasing: Releasing,
    policy: ReleasePolicy,
    request: PromotionRequest,
    due: datetime,
    *,
    reason: str = "",
    dry_run: bool = False,
) -> Announced:
    """Announce for *due* what a promotion would move then, and move nothing.

    Judged by the catalog alone, soaks as of *due*; locations are asked when it moves. Raises as
    ``policy.promotion`` does; CannotTell where a published tree knows a later catalog; Conflict
    where the catalog changed meanwhile; and Failed where it is announced, but a tree cannot be
    written.
    """
    check_newest(releasing.catalog, releasing.publishers)
    now = releasing.clock.now()
    if due <= now:
        raise BadUsage("what is announced is still to come", hint="--announce-in 7d")
    request = replace(request, due=due)
    snapshot = releasing.catalog.snapshot()
    takes = takes_of(releasing.locations)
    plan = plan_promotion(snapshot, policy, takes, request, now)
    if dry_run or not plan.moves:
        return Announced(plan, due, reason, dry_run, None)
    operations = tuple(
        AnnounceMove(each.image, each.channel, each.target.version, due) for each in plan.moves
    )
    key, actor = releasing.new_key(), releasing.actor
    change = Change(key, snapshot.generation, actor, "announce", reason, now, operations)
    committed = commit(releasing.catalog, change)
    show_consumers(
        releasing,
        f"it is announced that {plan.channel} of {listed(each.image for each in plan.moves)} moves",
    )
    return Announced(plan, due, reason, False, committed.generation)


def announce_deprecation(releasing: Releasing, wanted: Deprecation, reason: str) -> int:
    """Announce an end of support; the generation that it made.

    Raises as ``policy.announcing`` does; BadUsage without a reason; CannotTell where a published
    tree knows a later catalog; Failed where it is announced, but a tree cannot be written.
    """
    _check_reason(reason)

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        if wanted.successor is not None and wanted.successor.image != wanted.of.image:
            snapshot = releasing.catalog.snapshot((wanted.of.image, wanted.successor.image))
        check_deprecation(snapshot, wanted, releasing.clock.now())
        return (AnnounceDeprecation(wanted.of, wanted.due, wanted.successor, wanted.brownouts),)

    committed = write_down(releasing, wanted.of.image, "announce", reason, operations)
    assert committed is not None
    show_consumers(releasing, f"it is announced that {wanted.of} is deprecated")
    return committed.generation


def withdraw(releasing: Releasing, of: ImageRef, reason: str) -> tuple[Announcement, ...]:
    """Take back everything that is announced of exactly *of*; what that was.

    Raises NotFound where nothing is; BadUsage without a reason; CannotTell where a published tree
    knows a later catalog; Failed where it is withdrawn, but a tree cannot be written.
    """
    _check_reason(reason)
    taken_back: tuple[Announcement, ...] = ()

    def operations(snapshot: Snapshot) -> Sequence[Operation]:
        nonlocal taken_back
        known = snapshot.announced.get(of.image, ())
        taken_back = tuple(each for each in known if each.of == of)
        if not taken_back:
            raise NotFound(
                f"nothing is announced of {of}",
                why=f"of {of.image} it is: {listed(sorted({str(each.of) for each in known}))}",
                hint="`imagectl announce list` shows everything that is",
            )
        return [WithdrawAnnouncement(each.of, each.kind) for each in taken_back]

    write_down(releasing, of.image, "withdraw", reason, operations)
    show_consumers(releasing, f"what was announced of {of} is withdrawn")
    return taken_back


def announcements(releasing: Releasing) -> tuple[Announcement, ...]:
    """Everything that is announced, the next first."""
    return standing_announcements(releasing.catalog.snapshot())


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise BadUsage("say why: consumers are told", hint='--reason "..."')
