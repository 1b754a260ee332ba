"""Bring back what cleanups have taken down, and not deleted (P5).

Promises: whatever is not deleted is back with one command, all of it in one change of the catalog;
what was quarantined is looked at live before consumers can have it. Interrupted, the same command
goes on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from imagectl.errors import Conflict, NotFound, Refused
from imagectl.model.change import Change, StepVersion
from imagectl.model.names import ImageName, LocationName
from imagectl.model.retention import Stage, Staged
from imagectl.model.signature import SignedPlan, named_plan, plan_name
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.promotion import find_version
from imagectl.policy.readiness import not_back
from imagectl.policy.wording import counted, listed, moment
from imagectl.services.current import check_newest
from imagectl.services.ledger import ATTEMPTS, commit
from imagectl.services.marking import Unmarked, remark
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.progress import Progress
from imagectl.services.releasing import Releasing
from imagectl.services.show import show_consumers

NAMED = 8
"""How many versions or plans a hint names: it must still be possible to read it."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What was brought back, with the stage that each came from; ``already`` were active."""

    versions: tuple[tuple[VersionRef, Staged], ...]
    already: tuple[VersionRef, ...]
    unmarked: tuple[Unmarked, ...]
    dry_run: bool


def taken_down(snapshot: Snapshot) -> tuple[VersionRef, ...]:
    """What can be brought back with ``undo``: neither active nor deleted."""
    return tuple(
        ref
        for ref in sorted(snapshot.stages)
        if snapshot.stage(ref) not in (Stage.ACTIVE, Stage.DELETED)
    )


@dataclass(frozen=True, slots=True)
class TakenDown:
    """What became of what a plan has taken down.

    ``still`` is where the plan brought it, or active again: an undo takes back the marks of that
    too. ``deleted``, by whom ever, needs an undelete. ``further``: somebody else has changed its
    stage since, as each value says.
    """

    still: tuple[VersionRef, ...]
    deleted: tuple[VersionRef, ...]
    further: tuple[tuple[VersionRef, Staged], ...]


def taken_by(catalog: Catalog, plan: str, *, since: int = 0) -> TakenDown:
    """What the plan of that digest, or of that short name, has taken down. It was made at the
    generation *since*, or later."""
    name = plan_name(plan)
    refs = {
        operation.version
        for event in catalog.events(since)
        if event.change.reason == name
        for operation in event.change.operations
        if isinstance(operation, StepVersion)
    }
    snapshot = catalog.snapshot(sorted({ref.image for ref in refs}))
    still: list[VersionRef] = []
    deleted: list[VersionRef] = []
    further: list[tuple[VersionRef, Staged]] = []
    for ref in sorted(refs):
        stage = snapshot.stage(ref)
        if stage is Stage.DELETED:
            deleted.append(ref)
        elif stage is Stage.ACTIVE or snapshot.stages[ref].reason == name:
            still.append(ref)
        else:
            further.append((ref, snapshot.stages[ref]))
    return TakenDown(tuple(still), tuple(deleted), tuple(further))


def still_down(catalog: Catalog, signed: SignedPlan) -> tuple[VersionRef, ...]:
    """What is at its stage because of that plan, and can be brought back with ``undo``."""
    snapshot = catalog.snapshot(sorted({each.version.image for each in signed.steps}))
    down = taken_down(snapshot)
    return tuple(ref for ref in down if snapshot.stages[ref].reason == signed.name)


def check_took_down(releasing: Releasing, name: str, where: str) -> None:
    """See that nothing is on its way down at all, where the plan of that name has taken nothing
    down. Else raises NotFound, which names the plans that have. Raises CannotTell where the catalog
    may be one from before the plan was applied."""
    check_newest(releasing.catalog, releasing.publishers)
    snapshot = releasing.catalog.snapshot()
    if taken_down(snapshot):
        raise NotFound(
            f"{name} has taken nothing down; nothing was done",
            where=where,
            why="it was not applied, or nothing of it held any more when it was",
            hint=plans_to_undo(snapshot),
        )


def plans_to_undo(snapshot: Snapshot) -> str:
    """A hint: the plans that have taken down what is on its way down, the last one first."""
    by_plan: dict[str, list[Staged]] = {}
    for ref in taken_down(snapshot):
        staged = snapshot.stages[ref]
        if (plan := named_plan(staged.reason)) is not None:
            by_plan.setdefault(plan, []).append(staged)
    last = {plan: max(each.at for each in those) for plan, those in by_plan.items()}
    plans = sorted(by_plan, key=lambda plan: (last[plan], plan), reverse=True)
    if not plans:
        return "`imagectl list IMAGE` shows what is on its way down"
    said = [
        f"`imagectl cleanup undo {plan}` ({counted(len(by_plan[plan]), 'version')}, "
        f"{moment(last[plan])})"
        for plan in plans[:NAMED]
    ]
    more = f"; and {counted(len(plans) - NAMED, 'earlier plan')}" if plans[NAMED:] else ""
    return f"what is on its way down comes back with {' or '.join(said)}{more}"


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
    far. What was quarantined is looked at live before consumers get it again. Raises NotFound, and
    Refused where one of them is deleted, is not there, or was only begun to be brought back from
    its deletion; what a location raises that cannot be read; nothing is done then.
    """
    check_newest(releasing.catalog, releasing.publishers)
    snapshot = releasing.catalog.snapshot(sorted({ref.image for ref in refs}))
    down = _down(snapshot, refs, releasing.locations)
    _check_there(releasing, snapshot, down, progress)
    if dry_run:
        already = tuple(sorted(set(refs) - {ref for ref, _ in down}))
        return Undone(down, already, (), dry_run=True)
    return make_active(releasing, refs, reason, progress)


def make_active(
    releasing: Releasing, refs: Collection[VersionRef], reason: str, progress: Progress | None
) -> Undone:
    """Bring *refs* back without looking whether they are there, take back the marks, and show
    consumers. Raises Refused as ``undo`` does, and Failed where consumers are not shown it."""
    down = _bring_up(releasing, refs, sorted({ref.image for ref in refs}), reason)
    already = tuple(sorted(set(refs) - {ref for ref, _ in down}))
    unmarked = tuple(remark(releasing, refs, progress=progress))
    show_consumers(releasing, f"{listed(sorted(set(refs)))} can be had again")
    return Undone(down, already, unmarked, dry_run=False)


Down = tuple[tuple[VersionRef, Staged], ...]


def _bring_up(
    releasing: Releasing, refs: Collection[VersionRef], images: Collection[ImageName], reason: str
) -> Down:
    key = releasing.new_key()
    for attempt in range(ATTEMPTS):
        snapshot = releasing.catalog.snapshot(images)
        down = _down(snapshot, refs, releasing.locations)
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


def _down(
    snapshot: Snapshot, refs: Collection[VersionRef], locations: Collection[LocationName]
) -> Down:
    gone = {}
    down = []
    for ref in sorted(set(refs)):
        find_version(snapshot, ref)
        stage = snapshot.stage(ref)
        if stage is Stage.DELETED:
            gone[ref] = f"{ref} is deleted"
        elif stage is Stage.QUARANTINED and (away := not_back(snapshot, ref, locations)):
            gone[ref] = (
                f"{ref} was deleted, and is not back in {listed(away)}: that was interrupted"
            )
        elif stage is not Stage.ACTIVE:
            down.append((ref, snapshot.stages[ref]))
    if gone:
        raise Refused(
            f"{listed(gone)} cannot be brought back by an undo; nothing was done",
            reasons=list(gone.values()),
            hint=f"`imagectl cleanup undelete {next(iter(gone))}` makes it again where it has to"
            + _the_others(refs, gone),
        )
    return tuple(down)


def _the_others(refs: Collection[VersionRef], without: Collection[VersionRef]) -> str:
    """What to type for those of *refs* that nothing speaks against, after another hint."""
    others = sorted(set(refs).difference(without))
    if not others:
        return ""
    command = " ".join(["imagectl cleanup undo", *map(str, others[:NAMED])])
    count = f"the first {NAMED} of the {len(others)} others" if others[NAMED:] else "the others"
    return f"; `{command}` brings back {count if others[1:] else 'the other one'}"


def _check_there(
    releasing: Releasing, snapshot: Snapshot, down: Down, progress: Progress | None
) -> None:
    """See that what nobody could have for a while is still there (P6). Raises Refused, and what a
    location raises that cannot tell."""
    missing = []
    without = set()
    hint = ""
    for ref, staged in down:
        placed = snapshot.placed(ref) if staged.stage is Stage.QUARANTINED else ()
        here = [each for each in placed if each.location in releasing.locations]
        if placed and not here:
            where = listed(sorted({each.location for each in placed}))
            missing.append(f"{ref} is in {where} only, which imagectl.yaml has no more")
            without.add(ref)
            hint = hint or f"add {where} to imagectl.yaml again"
        for each in here:
            if progress is not None:
                progress.step(f"looking for {ref} in {each.location}")
            try:
                releasing.locations[each.location].verify(each, releasing.clock.now())
            except NotFound:
                missing.append(f"{each.provider_id} is not in {each.location} any more")
                without.add(ref)
                hint = hint or f"`imagectl publish {ref} --to {each.location}` puts it there again"
    if missing:
        raise Refused(
            "consumers would be given what is not there; nothing was done",
            reasons=missing,
            hint=hint + _the_others([ref for ref, _ in down], without),
        )
