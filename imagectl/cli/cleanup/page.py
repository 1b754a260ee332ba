"""A cleanup plan as a page that a tired person can judge, and as a document.

First the totals, then what goes and when it would be gone, then what is protected and why, what the
catalog does not know, and how all of it is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.cli.cleanup.plan_document import (
    KeptDocument,
    PlacedDocument,
    PlanDocument,
    SightDocument,
    StepDocument,
    unfinished_document,
    unknown_document,
)
from imagectl.cli.cleanup.tally import Tally
from imagectl.cli.invocation import Invocation
from imagectl.cli.text import stamp, table
from imagectl.model.cleanup import UNMARKED, Because
from imagectl.model.retention import Stage
from imagectl.policy.wording import counted, listed, moment

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.cleanup import CleanupPlan, Entry
    from imagectl.model.names import LocationName
    from imagectl.model.retention import RetentionPolicy
    from imagectl.model.signature import SignedPlan
    from imagectl.model.version import VersionRef

SHOWN = 20
"""How many lines a list of what nobody has to decide on has, without ``-v``."""

MEANINGS: Mapping[Because, str] = {
    Because.CHANNEL: "a channel points to it",
    Because.WINDOW: "a channel may be rolled back to it",
    Because.KEPT_LAST: "it is among the last of a channel",
    Because.SHOWN: "consumers of a channel still get it: what it points to by now waits for "
    "signatures, which `imagectl sign` shows",
    Because.ANNOUNCED: "consumers were told that a channel will point to it",
    Because.HELD: "somebody holds it",
    Because.LEASED: "a consumer works with it",
    Because.PARENT: "a protected version was built on it",
    Because.RESOLVED: "a consumer resolved it lately",
    Because.YOUNG: "it is young",
    Because.PLACING: "it is just being put somewhere",
    Because.WAITING: "it has not been at its stage for long enough",
    Because.NEEDED: "a version that is not deleted was built on it",
    Because.ELSEWHERE: "it is also in locations that this plan does not look at; of one that is "
    "closed for good, see `imagectl catalog forget-location`",
    Because.CAPPED: "it would go, but so many at once are enough (retention.max_count, max_share)",
}
"""What the lists of the page say. What is deleted already is in none of them, but in the totals."""

STAGES: Mapping[Stage, str] = {
    Stage.DEPRECATED: "consumers still get it, and are told to move on",
    Stage.OBSOLETE: "as before, and locations that can refuse new uses of it do",
    Stage.QUARANTINED: "nobody gets it any more; all of it is still there",
    Stage.DELETED: "it is taken out of its locations; what it takes to make it again stays",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to say of a plan.

    ``file`` is where it is, None where it was only shown. ``final`` says of versions why they could
    not be made again; ``never`` why nobody's approval makes this plan count, if so. ``makers``: the
    locations where others may have made what `adopt` could take.
    """

    plan: CleanupPlan
    steps: tuple[Entry, ...]
    tally: Tally
    policy: RetentionPolicy
    file: str | None
    digest: str | None
    approved_by: tuple[str, ...]
    final: Mapping[VersionRef, str]
    never: str = ""
    makers: frozenset[LocationName] = frozenset()

    @property
    def lacking(self) -> int:
        """How many approvals are still asked for, of a plan that is in a file."""
        return max(0, self.policy.approvals - len(self.approved_by)) if self.file else 0

    def document(self) -> PlanDocument:
        plan, tally = self.plan, self.tally
        return PlanDocument(
            file=self.file,
            digest=self.digest,
            catalog=plan.catalog_id,
            generation=plan.generation,
            made=stamp(plan.made),
            expires=stamp(plan.expires),
            author=plan.author,
            approved_by=list(self.approved_by),
            approvals=self.policy.approvals,
            images=list(plan.scope.images),
            locations=list(plan.scope.locations),
            versions=tally.versions,
            placements=tally.placements,
            protected=tally.protected,
            deleted=tally.deleted,
            sights=[
                SightDocument(
                    location=each.location,
                    scope=each.scope,
                    at=stamp(each.at),
                    expected=each.expected,
                    seen=each.seen,
                    found=each.found,
                    requests=each.requests,
                    digest=each.digest,
                )
                for each in plan.sights
            ],
            steps=[self.step(each) for each in self.steps],
            kept=[
                KeptDocument(
                    because=because.value,
                    protects=because.protects,
                    versions=tally.reasons[because],
                )
                for because in Because
                if tally.reasons[because]
            ],
            unknown=[unknown_document(each) for each in plan.unknown],
            resolved=plan.resolved,
            receipts=plan.receipts,
            unfinished=[unfinished_document(each) for each in plan.unfinished],
        )

    def step(self, entry: Entry) -> StepDocument:
        """The document of one step."""
        assert entry.to is not None
        return StepDocument(
            version=str(entry.version),
            stage=entry.stage.value,
            to=entry.to.value,
            placed=[
                PlacedDocument(
                    location=each.location, provider_id=each.provider_id, sha256=each.sha256
                )
                for each in entry.placed
            ],
            missing=[
                PlacedDocument(
                    location=each.location, provider_id=each.provider_id, sha256=each.sha256
                )
                for each in entry.missing
            ],
            deleted_earliest=stamp(gone) if (gone := self._gone(entry)) else None,
            final=self.final.get(entry.version, ""),
        )

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """The page."""
        yield from self._head()
        yield from self._totals()
        yield from self._going()
        yield from self._protected()
        yield from self._unknown(verbose)
        yield from self._undoing()

    def _head(self) -> Iterator[str]:
        plan = self.plan
        name = f"cleanup plan {self.digest[:12]}" if self.digest else "cleanup plan, not written"
        yield f"{name}, made {moment(plan.made)} by {plan.author}"
        catalog = f"catalog {plan.catalog_id}, generation {plan.generation}"
        yield f"good until {moment(plan.expires)}; {catalog}"

    def _totals(self) -> Iterator[str]:
        plan, tally = self.plan, self.tally
        deleted = sum(each.to is Stage.DELETED for each in self.steps)
        about = f" of {listed(plan.scope.images)}" if plan.scope.images else ""
        yield ""
        there = tally.versions - tally.deleted
        yield f"  {there:>7}  versions{about}, in {listed(plan.scope.locations)}"
        what = f"go down by one stage; {deleted or 'none'} of them {_are(deleted)} DELETED"
        yield f"  {len(self.steps):>7}  {what if self.steps else 'go: there is nothing to do'}"
        yield f"  {tally.protected:>7}  are protected: nothing may delete them now"
        rest = tally.kept - tally.protected
        yield f"  {rest:>7}  are kept for now: it is not their turn"
        if tally.deleted:
            yield f"  {tally.deleted:>7}  more are deleted already: their history stays"
        yield f"  {len(plan.unknown):>7}  things are not known to the catalog: never touched"
        yield f"  {plan.resolved:>7}  were resolved by consumers, say receipts in {plan.receipts}"
        if plan.unfinished:
            yield f"  {len(plan.unfinished):>7}  earlier deletions are not finished"
        yield ""
        yield "SEEN, everything of it"
        yield from _indented(
            table(
                ("LOCATION", "PLACEMENTS", "OTHER THINGS", "WHAT WAS LISTED"),
                [
                    (
                        each.location,
                        f"{each.seen} of {each.expected}",
                        str(max(0, each.found - each.seen)),
                        each.scope,
                    )
                    for each in plan.sights
                ],
            )
        )
        if tally.missing:
            yield (
                f"  {counted(len(tally.missing), 'placement')} not there, all of versions that "
                "nothing protects:"
            )
            for ref, location in tally.missing[:SHOWN]:
                yield f"    {ref} in {location}"
            yield from _more(len(tally.missing))

    def _going(self) -> Iterator[str]:
        plan = self.plan
        if self.steps:
            yield ""
            yield "WHAT GOES, oldest first"
            yield from _indented(
                table(
                    ("VERSION", "FROM", "TO", "DELETED AT THE EARLIEST", "IN"),
                    [
                        (
                            str(each.version),
                            each.stage.value,
                            each.to.value.upper() if each.to is Stage.DELETED else each.to.value,
                            self._when_gone(each),
                            ", ".join(sorted({kept.location for kept in each.placed})) or "nothing",
                        )
                        for each in self.steps
                        if each.to is not None
                    ],
                )
            )
            for stage in Stage:
                if any(each.to is stage for each in self.steps):
                    yield f"  {stage.value}: {STAGES[stage]}"
            for ref, why in self.final.items():
                yield f"  {ref} is NOT proven to come out the same when it is made again: {why}"
        for each in plan.unfinished[:SHOWN]:
            at = each.placement
            yield (
                f"  unfinished: {at.version} in {at.location}, begun {moment(each.at)} by {each.by}"
            )
        yield from _more(len(plan.unfinished))

    def _protected(self) -> Iterator[str]:
        for title, protects in (("PROTECTED, and why", True), ("KEPT FOR NOW, and why", False)):
            those = [
                each for each in MEANINGS if each.protects is protects and self.tally.reasons[each]
            ]
            if those:
                yield ""
                yield title
            for because in those:
                count, examples = self.tally.reasons[because], self.tally.examples[because]
                more = ", ..." if count > len(examples) else ""
                yield f"  {because.value:<10} {count:>7}  {MEANINGS[because]}"
                yield f"  {'':<18}  {', '.join(examples)}{more}"

    def _unknown(self, verbose: bool) -> Iterator[str]:
        unknown = self.plan.unknown
        if not unknown:
            return
        yield ""
        yield "NOT KNOWN to the catalog, and never touched"
        shown = len(unknown) if verbose else SHOWN
        for each in unknown[:shown]:
            yield f"  {each.location}  {each.name}: {each.why}"
        if len(unknown) > shown:
            yield f"  ... and {len(unknown) - shown} more (-v shows all)"
        where = self.makers.intersection(each.location for each in unknown if each.why == UNMARKED)
        for name in sorted(where):
            says = f"`imagectl adopt {name} --dry-run` says"
            yield f"  {says} which could be made known, held from the start"

    def _undoing(self) -> Iterator[str]:
        if not self.steps:
            return
        file = self.file or "PLAN"
        yield ""
        yield "HOW TO TAKE IT BACK, once it is applied"
        yield f"  what is not deleted:  imagectl cleanup undo {file}"
        yield "  what is deleted:      imagectl cleanup undelete IMAGE@VERSION"
        yield "  to keep one for good: imagectl hold IMAGE@VERSION --reason TEXT"
        if self.never:
            yield ""
            yield f"CAN NEVER BE APPLIED: {self.never}"
        elif self.lacking:
            yield (
                f"{counted(self.lacking, 'approval')} by others still asked for: "
                f"imagectl cleanup approve {file}"
            )

    def _when_gone(self, entry: Entry) -> str:
        if entry.to is Stage.DELETED:
            return "now"
        gone = self._gone(entry)
        return moment(gone) if gone else f"never so: also in {listed(self._elsewhere(entry))}"

    def _elsewhere(self, entry: Entry) -> list[LocationName]:
        """Where it is beside what the plan looks at: no plan of that scope can delete it."""
        scope = self.plan.scope.locations
        return sorted({each.location for each in entry.placed}.difference(scope))

    def _gone(self, entry: Entry) -> datetime | None:
        """When it could be deleted at the earliest, a plan at a time; None where it never can."""
        assert entry.to is not None
        if self._elsewhere(entry):
            return None
        stages = tuple(Stage)
        further = stages.index(Stage.DELETED) - stages.index(entry.to)
        grace: timedelta = self.policy.rule(entry.version.image).grace
        return self.plan.made + further * grace


def page_of(
    project: Project,
    plan: CleanupPlan,
    steps: tuple[Entry, ...],
    tally: Tally,
    file: Path | None,
    signed: SignedPlan | None,
) -> Page:
    """The page of *plan*, with what the project says of its steps and its author."""
    from imagectl.policy.retention import stranger
    from imagectl.services.clear_store import final_ones

    author = signed.author if signed else None
    return Page(
        plan,
        steps,
        tally,
        project.policy.retention,
        str(file) if file is not None else None,
        signed.digest if signed else None,
        tuple(each.by for each in signed.approvals) if signed else (),
        final_ones(project.catalog, steps),
        stranger(project.policy.retention, author.key) if author else "",
        _makers(project, plan),
    )


def _makers(project: Project, plan: CleanupPlan) -> frozenset[LocationName]:
    """The locations with things of nobody, in which others may make what `adopt` takes."""
    names = {each.location for each in plan.unknown if each.why == UNMARKED}
    if not names:  # to open locations takes a while
        return frozenset()
    from imagectl.services.adopt import takes_from_others

    opened = project.locations
    return frozenset(name for name in names if name in opened and takes_from_others(opened[name]))


def say_next(invocation: Invocation, page: Page, file: Path) -> None:
    """What to do with the plan, which may not be the author's to do."""
    if page.never:
        from imagectl.policy.retention import ANEW

        invocation.out.warn(f"this plan can never be applied: {page.never}")
        invocation.out.say(f"next: {ANEW}")
    elif page.lacking:
        invocation.out.say(f"next: imagectl cleanup approve {file}, by another approver")
    else:
        invocation.out.say(f"next: imagectl cleanup apply {file}")


def _are(count: int) -> str:
    return "is" if count <= 1 else "are"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _more(count: int) -> Iterator[str]:
    if count > SHOWN:
        yield f"    ... and {count - SHOWN} more; the plan's file has all"
