"""Apply a cleanup plan: what was decided, as far as it still holds (P1 to P5).

Promises: everything is read anew, and only what the plan and today's decision have in common is
done; each step is committed on the very generation at which the version was just judged again, so
no protection can slip in between. The first surprise ends it. What earlier runs have begun to
delete comes last; what does not end in one location holds up no other. What was done is recorded
and told. Interrupted or applied again, it goes on where it stopped; what somebody brought back
meanwhile, it does not take down again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import CannotTell, Conflict, Failed, ImagectlError, ImpossibleChange, summed_up
from imagectl.model.change import Change, StepVersion
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import Entry
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.signature import SignedPlan
from imagectl.policy.evidence import FRESH, check_same_sights
from imagectl.policy.wording import listed, span
from imagectl.services.check_cleanup_plan import check_expiry, check_plan
from imagectl.services.cleanup import Cleaning, planned
from imagectl.services.clear_store import Cleared, clear_store
from imagectl.services.compare_cleanup_plans import FallenOut, agreed_deletions, compare_plans
from imagectl.services.deletion import Deleted, delete_buried
from imagectl.services.judging import Judge
from imagectl.services.ledger import commit
from imagectl.services.look_before_deletion import look_before_deletion
from imagectl.services.marking import Unmarked, remark
from imagectl.services.ports.progress import Progress
from imagectl.services.show import PUBLISH, catch_up, show_consumers

ATTEMPTS = 20
"""How often a version is judged again because the catalog changed while it was judged."""

GOES_ON = "put that right, and apply the plan again: it goes on where it stopped"


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a plan did, or with ``dry_run`` would do.

    ``done`` are the steps taken now, ``before`` those that an earlier run of the plan has taken.
    ``deleted`` is what went from locations, also of deletions that were unfinished; a dry run says
    in ``would_finish`` what it would go on with. ``surprise`` is what ended it: ``stopped_at`` is
    the step that was not taken for it, and everything after that is ``left``.
    """

    plan: SignedPlan
    dry_run: bool
    done: tuple[Entry, ...]
    before: tuple[Entry, ...]
    fallen_out: tuple[FallenOut, ...]
    stopped_at: Entry | None
    left: tuple[Entry, ...]
    would_finish: tuple[Tombstone, ...]
    deleted: tuple[Deleted, ...]
    cleared: Cleared
    unmarked: tuple[Unmarked, ...]
    surprise: ImagectlError | None


def apply(
    cleaning: Cleaning,
    policy: ReleasePolicy,
    signed: SignedPlan,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Applied:
    """Do what the plan says and what still holds, oldest first, until something is not as expected;
    what earlier runs have begun to delete comes last.

    The signatures in *signed* have been verified. Raises Refused where the plan has expired, is
    signed by too few people, or takes down more than policy allows now; CannotTell where it is of
    another catalog, or what was read is not everything (P3). Nothing is done then. After something
    was done nothing is raised: see ``surprise``.
    """
    check_plan(cleaning, policy, signed)
    plan = signed.plan
    only = frozenset(each.version for each in signed.steps)
    with planned(cleaning, policy, plan.scope, only=only, progress=progress) as fresh:
        check_same_sights(plan, fresh)
        agreed, before, fallen = compare_plans(cleaning, signed, fresh)
        unfinished = agreed_deletions(signed, fresh)
    if dry_run:
        return Applied(
            signed,
            dry_run=True,
            done=tuple(agreed),
            before=before,
            fallen_out=fallen,
            stopped_at=None,
            left=(),
            would_finish=tuple(unfinished),
            deleted=(),
            cleared=Cleared(),
            unmarked=(),
            surprise=None,
        )
    applying = _Applying(cleaning, policy, signed, fresh.made, progress)
    return applying.run(agreed, before, fallen, unfinished)


class _Applying:
    """One run over a plan's steps."""

    def __init__(
        self,
        cleaning: Cleaning,
        policy: ReleasePolicy,
        signed: SignedPlan,
        looked: datetime,
        progress: Progress | None,
    ) -> None:
        """*looked*: when what the locations showed was judged, and was not stale."""
        self._cleaning = cleaning
        self._policy = policy
        self._signed = signed
        self._looked = looked
        self._progress = progress
        self._done: list[Entry] = []
        self._fallen: list[FallenOut] = []
        self._deleted: list[Deleted] = []
        self._behind: ImagectlError | None = None
        self._judge = Judge(cleaning, policy, signed.name)

    def run(
        self,
        agreed: Sequence[Entry],
        before: Sequence[Entry],
        fallen: Sequence[FallenOut],
        unfinished: Sequence[Tombstone],
    ) -> Applied:
        releasing = self._cleaning.releasing
        self._fallen.extend(fallen)
        surprise: ImagectlError | None = None
        stopped_at: Entry | None = None
        left = list(agreed)
        self._catch_up()
        try:
            self._judge.begin(agreed)
            while left:
                stopped_at = left.pop(0)
                self._take(stopped_at)
            self._finish(unfinished)
        except ImagectlError as error:
            surprise = error
        stepped = [*before, *self._done]
        unmarked: tuple[Unmarked, ...] = ()
        try:
            refs = [each.version for each in stepped]
            # Outside of the plan's scope nothing is touched, not even a mark (INCIDENTS D).
            inside = self._signed.plan.scope.locations
            unmarked = tuple(remark(releasing, refs, inside, self._progress))
            show_consumers(releasing, "what is told is done")
        except ImagectlError as error:
            surprise = surprise or error
        cleared = Cleared()
        if surprise is None:
            cleared = self._clear()
            surprise = cleared.surprise
        if surprise is not None:
            surprise.hint = surprise.hint or GOES_ON
        return Applied(
            self._signed,
            dry_run=False,
            done=tuple(self._done),
            before=tuple(before),
            fallen_out=tuple(self._fallen),
            stopped_at=stopped_at if self._is_left(stopped_at) else None,
            left=tuple(left),
            would_finish=(),
            deleted=tuple(self._deleted),
            cleared=cleared,
            unmarked=unmarked,
            surprise=surprise,
        )

    def _is_left(self, step: Entry | None) -> bool:
        return step not in self._done and step not in [each.entry for each in self._fallen]

    def _take(self, step: Entry) -> None:
        """Take one step down, or say why it is not taken any more. Raises what is a surprise."""
        assert step.to is not None
        if self._progress is not None:
            self._progress.step(f"{step.version} to {step.to.value}")
        if step.to is Stage.DELETED:
            self._check_shown()
            look_before_deletion(self._cleaning, step.version)
        for attempt in range(ATTEMPTS):
            self._check_time()
            generation, reasons = self._judge.again(step)
            if reasons:
                self._fallen.append(FallenOut(step, "; ".join(reasons)))
                return
            try:
                replayed = commit(
                    self._cleaning.releasing.catalog, self._change(step, generation)
                ).replayed
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            except ImpossibleChange as refused:
                raise Conflict(
                    f"{step.version} stays as it is: {refused.what}",
                    why="the catalog itself refused a step that policy had allowed",
                    hint="nothing after it was done; make a new plan",
                ) from refused
            if replayed and not self._is_at(step):
                why = "this plan has taken it down before, and it was brought back since"
                self._fallen.append(FallenOut(step, why))
                return
            self._done.append(step)
            if step.to is Stage.DELETED:
                ref = step.version
                snapshot = self._cleaning.releasing.catalog.snapshot((ref.image,))
                self._delete([each for each in snapshot.buried(ref) if each.open])
            return

    def _change(self, step: Entry, generation: int) -> Change:
        assert step.to is not None
        named = f"{self._signed.digest} {step.version} {step.to.value}"
        return Change(
            f"cleanup {hashlib.sha256(named.encode()).hexdigest()}",
            generation,
            self._cleaning.releasing.actor,
            "cleanup apply",
            self._signed.name,
            self._cleaning.releasing.clock.now(),
            (StepVersion(step.version, step.to),),
        )

    def _is_at(self, step: Entry) -> bool:
        ref = step.version
        return self._cleaning.releasing.catalog.snapshot((ref.image,)).stage(ref) is step.to

    def _finish(self, unfinished: Sequence[Tombstone]) -> None:
        """Delete what was decided earlier. What is not as expected ends it in its own location
        only; what it was is raised when all others have been tried."""
        if not unfinished:
            return
        self._check_shown()
        failed: dict[str, ImagectlError] = {}
        for name in sorted({each.placement.location for each in unfinished}):
            try:
                self._delete([each for each in unfinished if each.placement.location == name])
            except ImagectlError as error:
                error.hint = error.hint or (
                    f"put that right in {name}, or remove it there by hand, then apply the plan "
                    "again: it goes on where it stopped"
                )
                failed[name] = error
        if len(failed) == 1:
            raise next(iter(failed.values()))
        if failed:
            what = f"deletions in {listed(failed)} are begun, and not finished"
            raise summed_up(what, failed, counting=list(failed))

    def _delete(self, tombstones: Sequence[Tombstone]) -> None:
        for each in delete_buried(self._cleaning.releasing, tombstones, self._progress):
            self._deleted.append(each)

    def _check_time(self) -> None:
        """Deleting may take long: what was true at the beginning has to be true still (P3, P4)."""
        now = self._cleaning.releasing.clock.now()
        check_expiry(self._policy, self._signed.plan, now)
        if (ago := abs(now - self._looked)) > FRESH:
            raise CannotTell(
                f"the locations were looked at {span(ago)} ago, which is too long",
                where=listed(self._signed.plan.scope.locations),
                why=f"what they showed counts for {span(FRESH)}, and applying has taken longer",
                hint="apply the plan again: it looks anew, and goes on where it stopped",
            )

    def _catch_up(self) -> None:
        """Show consumers what the catalog has before anything is done."""
        releasing = self._cleaning.releasing
        try:
            catch_up(releasing.catalog, releasing.publishers)
        except ImagectlError as error:
            self._behind = error

    def _check_shown(self) -> None:
        """Consumers were shown that it is quarantined, before it is deleted (P6). What this run
        quarantines itself, it does not delete."""
        if self._behind is not None:
            raise Failed(
                "nothing is deleted: consumers may still be given it, since a published tree is "
                f"behind the catalog: {self._behind.what}",
                where=self._behind.where,
                why=self._behind.why,
                hint=f"{PUBLISH}, and apply the plan again",
            ) from self._behind

    def _clear(self) -> Cleared:
        """Also of what earlier cleanups have deleted, and had to leave in the store."""
        if self._progress is not None:
            self._progress.step("clearing the artifact store")
        return clear_store(self._cleaning, self._signed.plan.scope.images)
