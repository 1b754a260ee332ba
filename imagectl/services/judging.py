"""Judge again, just before each step of a plan, whether anything protects the version (P1).

Promises: what is said of a version holds at the generation that comes with it, so a step which is
committed on that generation passes no protection by. All of the catalog is read for it: a child in
any image protects its parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from imagectl.errors import NotFound
from imagectl.model.change import (
    BeginDeletion,
    Change,
    ConfirmGone,
    EndIntent,
    EndLease,
    HoldVersion,
    LeaseVersion,
    Operation,
    RecordPlacement,
    StepVersion,
    UnholdVersion,
    mentioned,
)
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import Because, CleanupRequest, Entry, Scope
from imagectl.model.stock import Stock
from imagectl.model.version import VersionRef
from imagectl.policy.cleanup import plan_cleanup
from imagectl.policy.wording import listed
from imagectl.services.cleanup import Cleaning
from imagectl.services.still_shown import still_shown

JUDGED_FOR = timedelta(minutes=1)
"""For how long a judgement holds although the catalog has not changed: what consumers resolve is
not in the catalog."""

_SETTLED_BY_THE_PLAN = (Because.ELSEWHERE, Because.CAPPED)
"""What only the whole plan can tell, with its views and its scope; it has."""


class Judge:
    """Judges all steps of a plan together: reading a large catalog takes a while. That holds until
    the catalog is changed in a way that might protect something."""

    def __init__(self, cleaning: Cleaning, policy: ReleasePolicy, name: str) -> None:
        """*name* is what the plan's own changes have as their reason."""
        self._cleaning = cleaning
        self._policy = policy
        self._name = name
        self._steps: Mapping[VersionRef, Entry] = {}
        self._against: dict[VersionRef, tuple[str, ...]] = {}
        self._generation = 0
        self._kin: frozenset[VersionRef] | None = None
        self._at: datetime | None = None

    def begin(self, steps: Sequence[Entry]) -> None:
        """These, as today's plan has them, are to be judged."""
        self._steps = {each.version: each for each in steps}
        self._at = None

    def again(self, step: Entry) -> tuple[int, tuple[str, ...]]:
        """The catalog's generation, and all that speaks against the step there, for people."""
        now = self._cleaning.releasing.clock.now()
        if self._at is None or not timedelta() <= now - self._at <= JUDGED_FOR or self._stirred():
            self._judge(now)
        return self._generation, self._against[step.version]

    def _stirred(self) -> bool:
        """Whether anything has changed that might protect a version. What has changed otherwise,
        such as by this very plan, is caught up with."""
        for event in self._cleaning.releasing.catalog.events(self._generation):
            ours = event.change.reason == self._name
            harmless = all(self._is_harmless(each, ours) for each in event.change.operations)
            if not harmless and not self._is_elsewhere(event.change):
                return True
            self._generation = event.generation
        return False

    def _is_elsewhere(self, change: Change) -> bool:
        """Whether it is about images only that have nothing to do with the plan's versions: busy
        ones would keep a cleanup judging for ever. A channel protects versions of its own image,
        and what these were built on."""
        refs, channels = mentioned(change)
        images = {each.image for each in refs} | {image for image, _ in channels}
        return images.isdisjoint(each.image for each in self._read_kin())

    def _read_kin(self) -> frozenset[VersionRef]:
        """The versions whose protection would protect one that may be taken down now."""
        if self._kin is None:
            # What something speaks against is not taken down by this judgement anyway.
            takeable = [ref for ref, against in self._against.items() if not against]
            with self._cleaning.releasing.catalog.stock() as stock:
                self._kin = _kin(takeable, stock)
        return self._kin

    def _is_harmless(self, operation: Operation, ours: bool) -> bool:
        """Whether it certainly protects none of the plan's versions. What the plan itself takes
        down was in no channel's window, nor among the last that a channel keeps."""
        match operation:
            case BeginDeletion() | ConfirmGone() | EndIntent() | EndLease() | UnholdVersion():
                return True
            case LeaseVersion(version=ref) | HoldVersion(version=ref):
                return ref not in self._read_kin()
            case RecordPlacement(placement):
                return placement.version not in self._steps
            case StepVersion():
                return ours
            case _:
                return False

    def _judge(self, now: datetime) -> None:
        catalog = self._cleaning.releasing.catalog
        images = tuple(sorted({ref.image for ref in self._steps}))
        for tree in self._cleaning.trees.values():
            with contextlib.suppress(NotFound):
                tree.catalog()  # which reads it anew
        request = CleanupRequest(
            Scope(images, ()),
            self._cleaning.releasing.actor,
            frozenset(self._steps),
            shown=still_shown(self._cleaning.trees.values()),
        )
        with catalog.stock() as stock:
            resolved = self._cleaning.receipts.latest()
            plan = plan_cleanup(stock, self._policy, (), {}, resolved, request, now)
            found = {each.version: each for each in plan.entries if each.version in self._steps}
            self._generation = stock.generation
        self._against = {
            ref: tuple(_speaking_against(step, found.get(ref))) for ref, step in self._steps.items()
        }
        self._at = now
        # What was built on what is read again only where it is needed.
        self._kin = None


def _kin(refs: Collection[VersionRef], stock: Stock) -> frozenset[VersionRef]:
    """These versions, and all that were built on one of them, and so on."""
    children: dict[VersionRef, list[VersionRef]] = {}
    for shelf in stock.shelves():
        for version in shelf.versions:
            if version.parent is not None:
                child = VersionRef(shelf.image, version.id)
                children.setdefault(version.parent, []).append(child)
    found: set[VersionRef] = set()
    new = set(refs)
    while new:
        found |= new
        new = {child for each in new for child in children.get(each, ())} - found
    return frozenset(found)


def _speaking_against(step: Entry, found: Entry | None) -> Iterator[str]:
    if found is None:
        yield "the catalog does not have it any more"
        return
    if found.stage is not step.stage:
        yield f"it was {step.stage.value}, and is {found.stage.value} now"
    for reason in found.reasons:
        if reason.because not in _SETTLED_BY_THE_PLAN:
            yield str(reason)
    if new := {each.location for each in set(found.placed) - set(step.placed)}:
        yield f"it was placed in {listed(sorted(new))} after these were looked at"
