"""Apply a cleanup plan: what was decided, as far as it still holds (P1 to P5).

Promises: everything is read anew, and only what the plan and today's decision have in common is
done; each step is committed on the very generation at which the version was just judged again, so
no protection can slip in between; the first surprise ends it, and what was done until then is
recorded and told. Interrupted or applied again, it goes on where it stopped; what somebody brought
back meanwhile, it does not take down again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import (
    CannotTell,
    Conflict,
    Failed,
    ImagectlError,
    ImpossibleChange,
    NotFound,
    Refused,
    summed_up,
)
from imagectl.model.catalog import Change, Snapshot, StepVersion
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import CleanupPlan, Entry
from imagectl.model.names import Format
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.signature import SignedPlan
from imagectl.model.version import VersionRef
from imagectl.policy.evidence import FRESH, SKEW, check_same_sights
from imagectl.policy.retention import check_signed
from imagectl.policy.wording import listed, moment, span
from imagectl.services.cleanup import Cleaning, planned
from imagectl.services.clear_store import Cleared, can_be_remade, clear_store
from imagectl.services.deletion import Deleted, delete_buried
from imagectl.services.judging import Judge
from imagectl.services.ledger import commit
from imagectl.services.marking import Unmarked, remark
from imagectl.services.ports.progress import Progress
from imagectl.services.show import PUBLISH, catch_up, show_consumers

ATTEMPTS = 20
"""How often a version is judged again because the catalog changed while it was judged."""

AGAIN = "`imagectl cleanup plan --out FILE` makes a new one"
GOES_ON = "put that right, and apply the plan again: it goes on where it stopped"


@dataclass(frozen=True, slots=True)
class FallenOut:
    """A step of the plan that is not taken, and why."""

    entry: Entry
    why: str


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
    """Do what the plan says and what still holds, oldest first, until something is not as expected.

    The signatures in *signed* have been verified. Raises Refused where the plan has expired, is
    signed by too few people, or takes down more than policy allows now; CannotTell where it is of
    another catalog, or what was read is not everything (P3). Nothing is done then. After something
    was done nothing is raised: see ``surprise``.
    """
    _check(cleaning, policy, signed)
    plan = signed.plan
    only = frozenset(each.version for each in signed.steps)
    with planned(cleaning, policy, plan.scope, only=only, progress=progress) as fresh:
        check_same_sights(plan, fresh)
        agreed, before, fallen = _compare(cleaning, signed, fresh)
        unfinished = _agreed_deletions(signed, fresh)
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
    looked = min((each.at for each in fresh.sights), default=fresh.made)
    applying = _Applying(cleaning, policy, signed, looked, progress)
    return applying.run(agreed, before, fallen, unfinished)


def _check(cleaning: Cleaning, policy: ReleasePolicy, signed: SignedPlan) -> None:
    """See that the plan may be applied here and now. Raises Refused and CannotTell."""
    releasing, plan = cleaning.releasing, signed.plan
    now = releasing.clock.now()
    author = signed.author
    if author is None:
        raise Refused("the plan is not signed", reasons=["its author has not signed it"])
    check_signed(policy.retention, author.key, [each.key for each in signed.approvals])
    _check_expiry(policy, plan, now)
    if plan.made - now > SKEW:
        raise CannotTell(
            "the plan was made at a time that is still to come; nothing was done",
            why=f"it says {moment(plan.made)}, and it is {moment(now)}",
            hint="set this machine's clock right",
        )
    if len(signed.steps) > policy.retention.max_count:
        raise Refused(
            "the plan takes down more than catalog/channels.yaml allows now",
            reasons=[
                f"{len(signed.steps)} versions, and retention.max_count is "
                f"{policy.retention.max_count}"
            ],
            hint=AGAIN,
        )
    catalog = releasing.catalog.snapshot(())
    if catalog.catalog_id != plan.catalog_id:
        raise CannotTell(
            "the plan is of another catalog; nothing was done",
            why=f"it is of catalog {plan.catalog_id}, and this is {catalog.catalog_id}",
            hint="see `catalog.url` in imagectl.yaml",
        )
    if catalog.generation < plan.generation:
        raise CannotTell(
            "the catalog is older than the plan; nothing was done",
            why=f"the plan was made at generation {plan.generation}, and the catalog is at "
            f"{catalog.generation}: it may be a backup that was brought back",
            hint="bring back the newest copy of the catalog",
        )
    if wrong := releasing.catalog.verify():
        raise CannotTell(
            "the catalog is not sound; nothing was done",
            why="\n".join(wrong[:10]),
            hint="`imagectl catalog verify` lists everything; change nothing until it is known how "
            "that came about",
        )


def _check_expiry(policy: ReleasePolicy, plan: CleanupPlan, now: datetime) -> None:
    """See that the plan may still be applied. Raises Refused."""
    ends = min(plan.expires, plan.made + policy.retention.expires)
    if now >= ends:
        raise Refused(
            "the plan has expired",
            reasons=[f"it could be applied until {moment(ends)}"],
            hint=AGAIN,
        )


def _compare(
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


def _agreed_deletions(signed: SignedPlan, fresh: CleanupPlan) -> list[Tombstone]:
    """Begun deletions that are still open: those in the plan, and those that it began itself."""
    planned_ones = {(each.placement, each.at) for each in signed.plan.unfinished}
    return [
        each
        for each in fresh.unfinished
        if each.reason == signed.name or (each.placement, each.at) in planned_ones
    ]


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
        """*looked*: when the first of the locations was listed."""
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
        try:
            if surprise is None:
                cleared = self._clear()
        except ImagectlError as error:
            surprise = error
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
            self._look_at(step.version)
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
        _check_expiry(self._policy, self._signed.plan, now)
        if (ago := abs(now - self._looked)) > FRESH:
            raise CannotTell(
                f"the locations were listed {span(ago)} ago, which is too long",
                where=listed(self._signed.plan.scope.locations),
                why=f"a listing counts for {span(FRESH)}, and deleting has taken longer",
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

    def _look_at(self, ref: VersionRef) -> None:
        """Look live at all that a deletion needs, before the catalog says that it is decided: what
        is not as expected leaves the version quarantined."""
        snapshot = self._cleaning.releasing.catalog.snapshot((ref.image,))
        self._check_sources(snapshot, ref)
        self._check_places(snapshot, ref)

    def _check_places(self, snapshot: Snapshot, ref: VersionRef) -> None:
        """Each location says that it is that very thing, and ours, or that it is gone (P2)."""
        releasing = self._cleaning.releasing
        for placement in snapshot.placed(ref):
            location = releasing.locations.get(placement.location)
            if location is None:
                continue  # placed there just now: judging the step again finds it
            try:
                location.verify(placement, releasing.clock.now())
            except NotFound:
                continue
            except ImagectlError as error:
                error.hint = error.hint or (
                    f"put that right in {placement.location}, or hold the version, so that others "
                    f"can go: `imagectl hold {ref} --reason TEXT`"
                )
                raise

    def _check_sources(self, snapshot: Snapshot, ref: VersionRef) -> None:
        """What it takes to make the version again has to be here before it is deleted; where that
        is not proven to bring it back, its disks have to be (P5). A disk that only its location
        ever had is gone then: the page that people sign says so."""
        version = snapshot.versions[ref]
        if can_be_remade(version) and version.origin is not None:
            needed = [("lock", version.origin.lock), ("sources", version.origin.source)]
            without = "without them it could not be made again"
        else:
            needed = [
                (f"{each.format.value} disk", each.sha256)
                for each in version.artifacts
                if each.format is not Format.NATIVE
            ]
            without = "it is not proven that it could be made again"
        for what, sha256 in needed:
            try:
                self._cleaning.store.verify(sha256)
            except ImagectlError as problem:
                raise Failed(
                    f"{ref} is not deleted: its {what} cannot be read from the artifact store",
                    where=str(ref),
                    why=f"{problem.what}; {without}",
                    hint="bring the store back from a backup, or hold the version: "
                    f"`imagectl hold {ref} --reason TEXT`",
                ) from problem

    def _clear(self) -> Cleared:
        """Also of what earlier cleanups have deleted, and had to leave in the store."""
        if self._progress is not None:
            self._progress.step("clearing the artifact store")
        return clear_store(self._cleaning, self._signed.plan.scope.images)
