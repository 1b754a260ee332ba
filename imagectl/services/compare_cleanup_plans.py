"""What a signed plan and the plan of now have in common: only that is done (P1).

Promises: each step of the signed plan is still to be taken, or was taken by this very plan, or has
fallen out, with the reason. What somebody brought back meanwhile is not taken down again (P5).
"""

from __future__ import annotations

from dataclasses import dataclass

from imagectl.model.cleanup import CleanupPlan, Entry
from imagectl.model.retention import Tombstone
from imagectl.model.signature import SignedPlan
from imagectl.model.snapshot import Snapshot
from imagectl.policy.wording import listed
from imagectl.services.cleanup import Cleaning


@dataclass(frozen=True, slots=True)
class FallenOut:
    """A step of the plan that is not taken, and why."""

    entry: Entry
    why: str


def compare_plans(
    cleaning: Cleaning, signed: SignedPlan, fresh: CleanupPlan
) -> tuple[list[Entry], tuple[Entry, ...], tuple[FallenOut, ...]]:
    """The plan's steps: those that are still to be taken, as they are now; those that this plan has
    taken before; and those that are not taken any more."""
    wanted = {each.version for each in signed.steps}
    now = {each.version: each for each in fresh.entries if each.version in wanted}
    agreed, other, placed = [], [], []
    for step in signed.steps:
        found = now.get(step.version)
        if found is None or (found.stage, found.to) != (step.stage, step.to):
            other.append(step)
        elif new := set(found.placed).difference(step.placed):
            where = listed(sorted({each.location for each in new}))
            placed.append(FallenOut(step, f"it was placed in {where} since the plan was signed"))
        else:
            agreed.append(found)
    snapshot = cleaning.releasing.catalog.snapshot(sorted({each.version.image for each in other}))
    before, fallen = [], placed
    for step in other:
        if _taken(step, signed, snapshot):
            before.append(step)
        else:
            fallen.append(FallenOut(step, _why_not(step, now.get(step.version), snapshot)))
    return agreed, tuple(before), tuple(fallen)


def _taken(step: Entry, signed: SignedPlan, snapshot: Snapshot) -> bool:
    """Whether this very plan has taken the step, and nobody anything after it."""
    staged = snapshot.stages.get(step.version)
    return staged is not None and staged.stage is step.to and staged.reason == signed.name


def _why_not(step: Entry, now: Entry | None, snapshot: Snapshot) -> str:
    stage = snapshot.stage(step.version)
    if stage is not step.stage:
        return f"it was {step.stage.value}, and is {stage.value} now"
    if now is None:
        return "it is not in the plan's scope any more"
    return "; ".join(map(str, now.reasons)) or "it goes down to another stage now"


def agreed_deletions(signed: SignedPlan, fresh: CleanupPlan) -> list[Tombstone]:
    """Begun deletions that are still open: those in the plan, and those that it began itself."""
    planned_ones = {(each.placement, each.at) for each in signed.plan.unfinished}
    return [
        each
        for each in fresh.unfinished
        if each.reason == signed.name or (each.placement, each.at) in planned_ones
    ]
