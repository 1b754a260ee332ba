"""What a cleanup takes down by a stage, and what it keeps and why (P1 to P4).

Promises: every version in the plan's scope is in it once, kept with each reason that holds, or
stepping down; what is protected never steps; one plan takes a version down by one stage, the oldest
first, and no more versions than its caps allow; and where the evidence is not complete there is no
plan, but CannotTell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nsmallest

from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import (
    Because,
    CleanupPlan,
    CleanupRequest,
    Entry,
    Reason,
    Scope,
)
from imagectl.model.names import ImageName
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import Stage, Tombstone
from imagectl.model.stock import Kept, Shelf, Shelved, Stock
from imagectl.model.version import VersionRef
from imagectl.model.view import View
from imagectl.policy.evidence import Evidence, check_published, insist
from imagectl.policy.retention import cap, judge
from imagectl.policy.wording import listed


def plan_cleanup(
    stock: Stock,
    policy: ReleasePolicy,
    views: Iterable[View],
    published: Mapping[str, PublishedCatalog],
    resolved: Mapping[VersionRef, datetime],
    request: CleanupRequest,
    now: datetime,
) -> CleanupPlan:
    """The plan at *now*. Its ``entries`` can be had for as long as *stock* is open.

    *stock* is all of the catalog, whatever the scope: children in other images protect. *views* are
    one for each location of the scope; where they are large, give an iterator, since none is held
    on to. *published*: the trees that the catalog has published, by where they are, but for those
    in which nothing is published yet. *resolved*: when consumers have resolved versions last.

    Raises CannotTell, naming all that is missing or does not fit (P2, P3).
    """
    insist(tuple(check_published(stock, published)))
    evidence = Evidence(stock, request.scope, views, now)
    read = _Read()
    for shelf in stock.shelves():
        evidence.read(shelf)
        read.unfinished.extend(_unfinished(shelf, request.scope))
        for version, reasons in judge(shelf, policy, resolved, now):
            ref = VersionRef(shelf.image, version.id)
            if missing := evidence.place(ref, version, reasons):
                read.missing[ref] = missing
            read.add(ref, version, reasons, request.scope)
    sheltered = read.sheltered()
    evidence.check(sheltered)
    going = _going(read, sheltered, policy, request)
    entries = _Entries(stock, policy, resolved, request.scope, now, read, sheltered, going)
    return CleanupPlan(
        stock.catalog_id,
        stock.generation,
        now,
        now + policy.retention.expires,
        request.author,
        request.scope,
        evidence.sights,
        entries,
        evidence.unknown,
        tuple(read.unfinished),
    )


@dataclass(slots=True)
class _Read:
    """What has to be known of all versions before any of them can be judged.

    ``parents``: of each version that has one. ``sheltering``: those of them that are protected.
    ``needed``: what undeleted versions were built on, each with one of them. ``due``: what is in
    the scope and kept by no reason of its own, with its age and stage. ``alive``: how many are in
    the scope and not deleted.
    """

    parents: dict[VersionRef, VersionRef] = field(default_factory=dict)
    sheltering: list[VersionRef] = field(default_factory=list)
    needed: dict[VersionRef, VersionRef] = field(default_factory=dict)
    due: list[tuple[datetime, VersionRef, Stage]] = field(default_factory=list)
    missing: dict[VersionRef, tuple[Kept, ...]] = field(default_factory=dict)
    unfinished: list[Tombstone] = field(default_factory=list)
    alive: int = 0

    def add(
        self, ref: VersionRef, version: Shelved, reasons: Sequence[Reason], scope: Scope
    ) -> None:
        deleted = version.stage is Stage.DELETED
        if version.parent is not None:
            self.parents[ref] = version.parent
            if not deleted:
                self.needed[version.parent] = ref
            if any(each.because.protects for each in reasons):
                self.sheltering.append(ref)
        if not deleted and covers(scope, ref.image, version):
            self.alive += 1
            if not reasons and not _elsewhere(version, scope):
                self.due.append((version.created, ref, version.stage))

    def sheltered(self) -> Mapping[VersionRef, VersionRef]:
        """The ancestors of protected versions, each with the child that protects it (P1)."""
        found: dict[VersionRef, VersionRef] = {}
        for child in self.sheltering:
            parent = self.parents.get(child)
            while parent is not None and parent not in found:
                found[parent] = child
                child, parent = parent, self.parents.get(parent)
        return found


def covers(scope: Scope, image: ImageName, version: Shelved) -> bool:
    """Whether the version is in the scope. Where locations were named, it has to be in one of them:
    what is nowhere, or only elsewhere, is none of this plan's business (INCIDENTS D)."""
    if scope.images and image not in scope.images:
        return False
    return not scope.narrowed or any(each.location in scope.locations for each in version.placed)


def _elsewhere(version: Shelved, scope: Scope) -> tuple[Reason, ...]:
    """What would be deleted has to be seen, all of it."""
    if version.stage is not Stage.QUARANTINED:
        return ()
    others = {each.location for each in version.placed}.difference(scope.locations)
    return (Reason(Because.ELSEWHERE, f"in {listed(sorted(others))}"),) if others else ()


def _unfinished(shelf: Shelf, scope: Scope) -> Iterator[Tombstone]:
    """Begun deletions within the scope that have not been seen to end."""
    if not scope.images or shelf.image in scope.images:
        for stone in shelf.buried:
            if stone.placement.location in scope.locations:
                yield stone


def _going(
    read: _Read,
    sheltered: Mapping[VersionRef, VersionRef],
    policy: ReleasePolicy,
    request: CleanupRequest,
) -> frozenset[VersionRef]:
    """The versions that step down: the oldest of those that nothing keeps, as many as the caps
    allow."""
    free = (
        (created, ref)
        for created, ref, stage in read.due
        if ref not in sheltered
        and not (stage is Stage.QUARANTINED and ref in read.needed)
        and (request.only is None or ref in request.only)
    )
    return frozenset(ref for _, ref in nsmallest(cap(policy.retention, read.alive), free))


@dataclass(frozen=True, slots=True)
class _Entries:
    """The entries of a plan, made anew each time from what the catalog has: there may be more of
    them than fit into memory beside the rest."""

    stock: Stock
    policy: ReleasePolicy
    resolved: Mapping[VersionRef, datetime]
    scope: Scope
    now: datetime
    read: _Read
    sheltered: Mapping[VersionRef, VersionRef]
    going: frozenset[VersionRef]

    def __iter__(self) -> Iterator[Entry]:
        for shelf in self.stock.shelves():
            if not self.scope.images or shelf.image in self.scope.images:
                for version, reasons in judge(shelf, self.policy, self.resolved, self.now):
                    if covers(self.scope, shelf.image, version):
                        yield self._entry(VersionRef(shelf.image, version.id), version, reasons)

    def _entry(self, ref: VersionRef, version: Shelved, reasons: tuple[Reason, ...]) -> Entry:
        goes = ref in self.going
        if not goes and version.stage is not Stage.DELETED:
            reasons = (*reasons, *self._further(ref, version)) or (Reason(Because.CAPPED),)
        return Entry(
            ref,
            version.stage,
            version.stage.below if goes else None,
            reasons,
            version.placed,
            self.read.missing.get(ref, ()),
        )

    def _further(self, ref: VersionRef, version: Shelved) -> Iterator[Reason]:
        """What keeps it beside what its own image knows."""
        if ref in self.sheltered:
            yield Reason(Because.PARENT, f"of {self.sheltered[ref]}")
        if version.stage is Stage.QUARANTINED:
            if ref in self.read.needed:
                yield Reason(Because.NEEDED, f"for {self.read.needed[ref]}")
            yield from _elsewhere(version, self.scope)
