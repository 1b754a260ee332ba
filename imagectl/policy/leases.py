"""Who still needs what was made to be thrown away: decided by claims and leases alone.

Promises: a thing is due for collection where it says itself that it is of this catalog, and where
its lease is over, by its own word and by the ledger's, ``SLACK`` ago or longer. Nothing else
counts: no state, no name, no age. So what was never powered on, is suspended or orphaned is due as
well, and what somebody else made never is. All that was seen is in exactly one of the lists.

An entry of the ledger ends only where a complete view shows nothing of it (P2, P3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView

SLACK = timedelta(minutes=5)
"""How long after its end a lease is taken to be over: clocks of several machines differ."""

STUCK = 3
"""How often collecting a thing fails before people must look at it."""


@dataclass(frozen=True, slots=True)
class Due:
    """A thing of ours that nobody needs any more. ``entry`` is None where the ledger does not know
    it; ``until`` is when its lease was over."""

    found: FoundResource
    claim: Claim
    entry: Resource | None
    until: datetime

    @property
    def tries(self) -> int:
        """How often collecting it has failed."""
        return self.entry.tries if self.entry is not None else 0


@dataclass(frozen=True, slots=True)
class Sorted:
    """What one view of a place means. The first five hold each thing that was found once."""

    due: tuple[Due, ...]
    """In the order in which they are to be collected."""
    needed: tuple[FoundResource, ...]
    """Ours, and the lease is not over. The claim of each says until when, by its own word or by the
    ledger's, whichever is later: not everything can be told of each renewal."""
    copies: tuple[FoundResource, ...]
    """Carry the claim of another thing: somebody has copied ours. Never touched."""
    of_others: tuple[FoundResource, ...]
    """Another catalog's."""
    foreign: int
    """How many are not imagectl's."""
    gone: tuple[Resource, ...] = ()
    """Entries whose lease is over, and of which there is nothing: they may end."""
    silent: tuple[Resource, ...] = ()
    """Entries whose lease is over, and whose thing is there but does not carry the claim any more:
    nobody can tell whose it is now. Never touched."""
    unclear: tuple[Resource, ...] = ()
    """Entries whose lease is over, and whose thing was not seen, in a view with gaps."""


def is_over(claim: Claim, entry: Resource | None, now: datetime) -> bool:
    """Whether the lease is: by the claim's word and, where it is known there, by the ledger's."""
    return lease_end(claim, entry) + SLACK < now


def lease_end(claim: Claim, entry: Resource | None) -> datetime:
    """The later of the two: either may not have heard of the last renewal."""
    return claim.until if entry is None else max(claim.until, entry.until)


def may_collect(found: FoundResource, catalog: str, now: datetime) -> str:
    """Why a thing that was just read live may not be collected; empty where it may (P2). For what
    is asked again, thing by thing, right before it goes."""
    if found.claim is None:
        return "it does not say that it is ours"
    if found.claim.catalog != catalog:
        return f"it is of another catalog, {found.claim.catalog}"
    if not is_over(found.claim, None, now):
        return f"its lease lasts until {found.claim.until:%Y-%m-%d %H:%M:%S} UTC"
    return ""


def sort_resources(
    view: ResourceView, ledger: Sequence[Resource], catalog: str, now: datetime
) -> Sorted:
    """What *view* means, given all entries of the *ledger*, as it was read after the view."""
    entries = {each.id: each for each in ledger if each.place == view.place}
    due: list[Due] = []
    needed: list[FoundResource] = []
    copies: list[FoundResource] = []
    others: list[FoundResource] = []
    foreign = 0
    genuine = _genuine(view.found, entries, catalog)
    for number, found in enumerate(view.found):
        claim = found.claim
        if claim is None and found.copied is not None and found.copied.catalog == catalog:
            copies.append(found)
        elif claim is None:
            foreign += 1
        elif claim.catalog != catalog:
            others.append(found)
        elif number not in genuine:
            copies.append(found)
        elif is_over(claim, entry := entries.get(claim.resource), now):
            due.append(Due(found, claim, entry, lease_end(claim, entry)))
        else:
            needed.append(replace(found, claim=replace(claim, until=lease_end(claim, entry))))
    due.sort(key=_order)
    ids = {each.claim.resource for each in view.found if each.claim is not None}
    names = {(each.kind, each.name) for each in view.found if each.claim is None}
    gone: list[Resource] = []
    silent: list[Resource] = []
    unclear: list[Resource] = []
    for entry in entries.values():
        if entry.id in ids or entry.until + SLACK >= now:
            continue
        if (entry.kind, entry.name) in names:
            silent.append(entry)
        elif not view.complete:
            unclear.append(entry)
        else:
            gone.append(entry)
    return Sorted(
        tuple(due),
        tuple(needed),
        tuple(copies),
        tuple(others),
        foreign,
        tuple(gone),
        tuple(silent),
        tuple(unclear),
    )


def _order(due: Due) -> tuple[bool, datetime, str]:
    """Oldest first; what has failed often comes last, so that it holds up nothing."""
    return due.tries >= STUCK, due.found.created or due.until, due.found.provider_id


def _genuine(
    found: Sequence[FoundResource], entries: dict[str, Resource], catalog: str
) -> frozenset[int]:
    """Which things of this catalog, by their place in *found*, are what their claim was made for.

    Whoever clones a machine of ours copies its claim too, and must not lose the clone: where
    several of a kind carry one claim, it is the one that has the name in the ledger, or none.
    """
    same: defaultdict[tuple[str, ResourceKind], list[int]] = defaultdict(list)
    for number, each in enumerate(found):
        if each.claim is not None and each.claim.catalog == catalog:
            same[each.claim.resource, each.kind].append(number)
    genuine: set[int] = set()
    for (resource, _), numbers in same.items():
        if len(numbers) > 1:
            entry = entries.get(resource)
            numbers = [
                each for each in numbers if entry is not None and found[each].name == entry.name
            ]
        if len(numbers) == 1:
            genuine.update(numbers)
    return frozenset(genuine)


@dataclass(frozen=True, slots=True)
class Occupied:
    """How many machines there are in a place: those that were seen, whosever they are and whether
    they are needed or not, as long as imagectl made them, and those that are just being made."""

    seen: int
    coming: int

    @property
    def all(self) -> int:
        return self.seen + self.coming


def count_machines(
    view: ResourceView, ledger: Iterable[Resource], but: Resource, now: datetime
) -> Occupied:
    """The machines in the view's place, without the one that *but* is to be."""
    seen = [
        each
        for each in view.found
        if each.kind is ResourceKind.MACHINE
        and each.claim is not None
        and each.claim.resource != but.id
    ]
    ids = {each.claim.resource for each in seen if each.claim is not None}
    names = {each.name for each in seen}  # one that is just being made may not say its id yet
    coming = [
        each
        for each in ledger
        if each.kind is ResourceKind.MACHINE
        and each.place == view.place
        and each.id != but.id
        and each.id not in ids
        and each.name not in names
        and each.until >= now
    ]
    return Occupied(len(seen), len(coming))
