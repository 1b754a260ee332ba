"""Whether what was read is everything: the catalog, the locations, the published trees (P2, P3).

Promises: a plan rests on evidence that was proven complete, or there is no plan. Absence from a
view is never evidence; here it is a doubt. All doubts are told together, each with what is missing
and what to do about it, in one CannotTell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from imagectl.errors import CannotTell
from imagectl.model.cleanup import Because, CleanupPlan, Reason, Scope, Sight, Unknown
from imagectl.model.names import LocationName, Sha256
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import Stage
from imagectl.model.stock import Kept, Shelf, Shelved, Stock
from imagectl.model.version import VersionRef
from imagectl.model.view import NOT_THERE, Found, View
from imagectl.policy.lineage import Lineage
from imagectl.policy.wording import counted, moment, span

FRESH = timedelta(minutes=15)
"""How old a view may be, from when it began; where nothing has changed in the catalog since then,
from when it ended. A listing of the largest locations takes a minute or two, one of a slow registry
an hour."""

SKEW = timedelta(minutes=5)
"""By how much the clocks of machines may differ."""

SHOWN = 10
"""How many of many missing things a message names."""

CHECK_CATALOG = "`imagectl catalog verify` says what is wrong with it"
OLDER_COPY = (
    "bring back the newest copy of the catalog, or let `imagectl adopt` record again what no copy "
    "has"
)
ANOTHER_CATALOG = (
    "bring back a backup of the catalog, or mend `catalog.url` in imagectl.yaml. To begin anew, "
    "build: what is there stays another catalog's, and is never touched"
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that does not fit, and the way out."""

    what: str
    where: str
    why: str
    hint: str


def insist(doubts: Sequence[Doubt]) -> None:
    """Raise CannotTell where there is a doubt. The first one is its headline."""
    if not doubts:
        return
    first = doubts[0]
    others = [
        f"{each.where}: {each.what}: {each.why} ({each.hint})" if each.hint else each.what
        for each in doubts[1:]
    ]
    raise CannotTell(
        f"{first.what}; nothing was done",
        where=first.where,
        why="\n".join([first.why, *others]),
        hint=first.hint,
    )


def check_published(
    stock: Stock, published: Mapping[str, PublishedCatalog | None]
) -> Iterator[Doubt]:
    """What published trees, by where they are, say against the catalog: that it is another one, or
    an older copy, also one that has moved on since by changes of its own. Where a channel
    was ever moved, a tree that shows nothing (None) is not there, or not mounted."""
    for where, tree in published.items():
        if tree is None:
            if stock.counted.moves:
                yield Doubt(
                    "consumers are shown nothing, although channels point to versions",
                    where,
                    "what was published there is the only thing that tells an older copy of the "
                    "catalog from the newest",
                    "mount it; if nothing ever was published there, `imagectl catalog publish`",
                )
        elif tree.catalog_id != stock.catalog_id:
            yield Doubt(
                "this is not the catalog that was published",
                where,
                f"published is catalog {tree.catalog_id}, and this is {stock.catalog_id}",
                "see `catalog.url` in imagectl.yaml: it may name another database",
            )
        elif tree.generation > stock.generation:
            yield Doubt(
                "the catalog is older than what was published from it",
                where,
                f"published is generation {tree.generation}, and this is {stock.generation}: "
                "it may be a backup that was brought back",
                OLDER_COPY,
            )
        elif tree.event is not None and tree.event != (known := stock.event(tree.generation)):
            yield Doubt(
                "the catalog is not the one that was published: it went another way",
                where,
                f"published is generation {tree.generation} as event {tree.event[:12]}, and here "
                f"it is {known[:12] if known else 'not known'}: it may be a backup that was "
                "brought back, and has moved on",
                OLDER_COPY,
            )


def check_view(view: View, now: datetime, since: datetime | None = None) -> Iterator[Doubt]:
    """Why a view proves nothing: it has gaps, or is stale. *since*: from when on it may be stale,
    where that is not when it began."""
    where = f"{view.location}: {view.scope}"
    again = "run it again; `imagectl doctor` says more of the location"
    if view.gaps:
        yield Doubt(
            f"the view of {view.location} is not complete", where, "; ".join(view.gaps), again
        )
    if now - (since or view.began) > FRESH:
        age = span(now - (since or view.began))
        yield Doubt(f"the view of {view.location} is {age} old", where, "it is stale", again)
    if view.began - now > SKEW:
        yield Doubt(
            f"the view of {view.location} is of {moment(view.began)}, which is still to come",
            where,
            f"it is {moment(now)} here",
            "set this machine's clock right",
        )


def check_scope(scope: Scope, views: Iterable[LocationName]) -> Iterator[Doubt]:
    """Locations of the scope that were not read are unknown, never empty; and what nobody asked for
    is not looked at (INCIDENTS D)."""
    read = list(views)
    for name in sorted(set(scope.locations).difference(read)):
        yield Doubt(f"{name} was not read", name, "what is there is not known", "")
    for name in sorted(set(read).difference(scope.locations)):
        yield Doubt(f"{name} was read, which the plan is not about", name, "", "")
    for name in sorted({each for each in read if read.count(each) > 1}):
        yield Doubt(f"{name} was read more than once", name, "which view holds is not known", "")


def check_same_sights(plan: CleanupPlan, fresh: CleanupPlan) -> None:
    """Raise CannotTell where a location means another place than when the plan was made: what was
    judged there was something else.
    So it is where it is not known any more what consumers use."""
    before = {each.location: each.scope for each in plan.sights}
    insist(
        [
            *_check_receipts(plan, fresh),
            *(
                Doubt(
                    f"{each.location} is another place than when the plan was made",
                    each.location,
                    f"then it was {before.get(each.location, 'not read')}, now it is {each.scope}",
                    "make a new plan: `imagectl cleanup plan`",
                )
                for each in fresh.sights
                if before.get(each.location) != each.scope
            ),
        ]
    )


def _check_receipts(plan: CleanupPlan, fresh: CleanupPlan) -> Iterator[Doubt]:
    """Receipts are replaced, and never go away by themselves (P8)."""
    if fresh.resolved < plan.resolved:
        yield Doubt(
            "there are fewer receipts of consumers than when the plan was made",
            fresh.receipts,
            f"then {plan.receipts} had those of {counted(plan.resolved, 'version')}, now there are "
            f"those of {fresh.resolved}",
            "see `receipts` in imagectl.yaml: it may name another folder; or make a new plan: "
            "`imagectl cleanup plan`",
        )


class Evidence:
    """Compares the catalog, shelf by shelf, with the views of a plan's locations.

    Each shelf is read once (``read``, then ``place`` for each of its versions); afterwards
    ``check`` tells whether that was everything. Nothing is kept of what both know: there may be
    millions.
    """

    def __init__(
        self,
        stock: Stock,
        scope: Scope,
        views: Iterable[View],
        now: datetime,
        *,
        unmoved: bool = False,
    ) -> None:
        """Takes the views apart as they come. *unmoved*: the catalog is as it was before the first
        of them began. Raises CannotTell for those that are not complete, not fresh, or not of the
        scope."""
        self.lineage = Lineage()
        self._stock = stock
        self._seen: dict[LocationName, _Seen] = {}
        self._loose: list[str] = []
        self._making: list[Unknown] = []
        self._versions = self._placements = self._moves = 0
        looked: list[View] = []
        for view in views:
            looked.append(replace(view, found=()))
            self._seen[view.location] = _Seen(view, stock.catalog_id)
        # What is placed or deleted is begun in the catalog first. Where nothing at all has changed
        # there since before the listings began, they cannot have missed it however long they took,
        # and so are as old as the last of them is; nobody's clock makes them younger than now.
        ends = max((each.ended for each in looked), default=now) if unmoved else None
        insist(
            [
                *check_scope(scope, [each.location for each in looked]),
                *(doubt for each in looked for doubt in check_view(each, now, ends)),
            ]
        )

    @property
    def sights(self) -> tuple[Sight, ...]:
        """What the plan relies on, sorted by location."""
        return tuple(self._seen[name].sight for name in sorted(self._seen))

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """What the catalog does not know, and what is just being made."""
        foreign = (each for name in sorted(self._seen) for each in self._seen[name].unknown())
        return (*foreign, *self._making)

    def read(self, shelf: Shelf) -> None:
        """Count what a shelf has, and see whether it fits together."""
        self._versions += len(shelf.versions)
        self._loose.extend(self.lineage.add(shelf))
        for name, channel in shelf.channels.items():
            self._moves += len(channel.moves)
            for version in sorted(self.lineage.missing(shelf.image, channel)):
                self._loose.append(f"{shelf.image}@{version}, which {name} has had")
        for stone in shelf.buried:
            seen = self._seen.get(stone.placement.location)
            if seen is not None:
                seen.take(stone.placement.version, stone.placement.provider_id)

    def place(
        self, ref: VersionRef, version: Shelved, reasons: Sequence[Reason]
    ) -> tuple[Kept, ...]:
        """Find a version's placements in the views; those that should be there and are not."""
        self._placements += len(version.placed)
        if version.stage is Stage.DELETED:
            for every in self._seen.values():
                every.buried(ref)
        missing: tuple[Kept, ...] = ()
        for kept in version.placed:
            seen = self._seen.get(kept.location)
            if seen is not None and not seen.expects(ref, kept, reasons):
                missing = (*missing, kept)
        if version.begun:
            for seen in self._seen.values():
                self._making.extend(seen.making(ref))
        return missing

    def check(self, sheltered: Mapping[VersionRef, VersionRef]) -> None:
        """Raise CannotTell unless the shelves were the whole catalog, the views show each placement
        of each protected version, and nothing in them says that the catalog knew more once.

        *sheltered*: parents of protected versions, each with one of its children.
        """
        insist(
            [
                *self._counts(),
                *self._torn(),
                *(doubt for seen in self._seen.values() for doubt in seen.missing(sheltered)),
                *(doubt for seen in self._seen.values() for doubt in self._unrecorded(seen)),
                *self._empty(),
            ]
        )

    def _unrecorded(self, seen: _Seen) -> Iterator[Doubt]:
        """One place under two names has all things twice, and they are recorded once."""
        same = [name for name, each in self._seen.items() if each.digest == seen.digest]
        return seen.unrecorded(same)

    def _counts(self) -> Iterator[Doubt]:
        """The catalog has counted in another way what was read."""
        there = self._stock.counted
        for what, read, all_of_them in (
            ("versions", self._versions, there.versions),
            ("placements", self._placements, there.placements),
            ("moves", self._moves, there.moves),
            ("events", self._stock.generation, there.events),
        ):
            if read != all_of_them:
                yield Doubt(
                    f"saw {read} of {all_of_them} {what} of the catalog",
                    "the catalog",
                    "what was read is not all of it",
                    CHECK_CATALOG,
                )

    def _torn(self) -> Iterator[Doubt]:
        """What is spoken of has to be there."""
        orphans = [
            f"{parent}, which {child} was built on" for parent, child in self.lineage.orphans()
        ]
        if self._loose or orphans:
            yield Doubt(
                "the catalog speaks of versions that it does not show",
                "the catalog",
                _some([*self._loose, *sorted(orphans)]),
                CHECK_CATALOG,
            )

    def _empty(self) -> Iterator[Doubt]:
        if not self._versions:
            for name, seen in self._seen.items():
                if count := seen.owned:
                    yield Doubt(
                        f"the catalog is empty, and {name} has "
                        f"{counted(count, 'thing')} that a catalog knows",
                        seen.sight.scope,
                        "it may be the wrong catalog, or a new one in place of a lost one",
                        ANOTHER_CATALOG,
                    )


class _Seen:
    """One location's view, of which is taken away what the catalog knows. What says that it is of
    this catalog is kept by the version that it says it is of, as what the location calls it; only
    of the rest are all the facts kept."""

    def __init__(self, view: View, catalog_id: str) -> None:
        self._view = (view.location, view.scope, view.requests, view.began)
        self.digest = digest(view.found)
        self._count = len(view.found)
        self._ours: dict[VersionRef, str | tuple[str, ...]] = {}
        self._others: dict[str, list[Found]] = {}
        self._expected = 0
        self._missing = 0
        self._lost: list[tuple[VersionRef, Reason | None]] = []
        self._buried: set[VersionRef] = set()
        self.owned = 0
        """How many things say of which catalog they are."""
        for each in view.found:
            owner = each.owner
            self.owned += owner is not None
            if each.state == NOT_THERE:
                continue  # a note of ours is no artifact
            if owner is None or owner.catalog != catalog_id:
                self._others.setdefault(each.provider_id, []).append(each)
            else:
                known = self._ours.get(owner.version)
                self._ours[owner.version] = (
                    each.provider_id if known is None else (*_several(known), each.provider_id)
                )

    @property
    def sight(self) -> Sight:
        location, scope, requests, began = self._view
        return Sight(
            location,
            scope,
            self.digest,
            self._expected,
            self._expected - self._missing,
            self._count,
            requests,
            began,
        )

    def take(self, ref: VersionRef, provider_id: str) -> bool:
        """Whether that is there as what the catalog says it is, or without saying what it is."""
        ours = self._ours.pop(ref, ())
        if ours == provider_id:
            return True
        left = list(_several(ours))
        there = provider_id in left
        if there:
            left.remove(provider_id)
        if left:
            self._ours[ref] = tuple(left)
        return there or self._take_bare(provider_id)

    def _take_bare(self, provider_id: str) -> bool:
        """Somebody has taken our marks away. It is there; whoever is to touch it reads it again."""
        there = self._others.get(provider_id, [])
        foreign = [each for each in there if each.owner is not None]
        if foreign:
            self._others[provider_id] = foreign
        elif there:
            del self._others[provider_id]
        return len(foreign) < len(there)

    def expects(self, ref: VersionRef, kept: Kept, reasons: Sequence[Reason]) -> bool:
        """Whether that placement is there. One that is not is remembered."""
        self._expected += 1
        if self.take(ref, kept.provider_id):
            return True
        self._missing += 1
        self._lost.append((ref, next((each for each in reasons if each.because.protects), None)))
        return False

    def buried(self, ref: VersionRef) -> None:
        """That version is deleted: nothing more of it ought to be there."""
        if ref in self._ours:
            self._buried.add(ref)

    def making(self, ref: VersionRef) -> Iterator[Unknown]:
        """What says that it is of a version of which something is just being placed: it has marks
        before it is recorded."""
        for provider_id in _several(self._ours.pop(ref, ())):
            why = f"of {ref}, which is just being placed"
            yield Unknown(self._view[0], provider_id, provider_id, why)

    def missing(self, sheltered: Mapping[VersionRef, VersionRef]) -> Iterator[Doubt]:
        """Every placement of a protected version has to be in the view (P3)."""
        lost, first = [], None
        for ref, reason in self._lost:
            because = reason
            if because is None and ref in sheltered:
                because = Reason(Because.PARENT, f"of {sheltered[ref]}")
            if because is not None:
                first = first or ref
                channel = because.because is Because.CHANNEL
                lost.append(f"{ref} ({because.detail if channel else because})")
        if lost:
            sight = self.sight
            yield Doubt(
                f"saw {sight.seen} of {sight.expected} in {sight.location}",
                f"{sight.location}: {sight.scope}",
                f"missing {_some(lost)}",
                "if the listing is wrong, run it again; if they are gone, `imagectl verify` says "
                f"so, and `imagectl publish {first} --to {sight.location}` puts {first} there "
                f"again, after `imagectl rebuild {first}` where the store does not have it",
            )

    def unrecorded(self, same: Sequence[LocationName]) -> Iterator[Doubt]:
        """What this catalog has made, and does not know: it may be an older copy (P2). *same*: the
        locations that show the very same things, this one too."""
        if self._ours:
            location, scope, _, _ = self._view
            twice = f"{' and '.join(sorted(same))} show the same things: " if len(same) > 1 else ""
            yield Doubt(
                f"{location} has things of this catalog that it does not know",
                f"{location}: {scope}",
                twice
                + _some(
                    f"{ref} as {provider_id}"
                    for ref in sorted(self._ours)
                    for provider_id in _several(self._ours[ref])
                )
                + "; the catalog may be an older copy of itself",
                ("imagectl.yaml may name one place twice: take one name away; or " if twice else "")
                + OLDER_COPY
                + self._way_out(),
            )

    def _way_out(self) -> str:
        """For what is of versions that are deleted: adopting leaves those alone."""
        if not self._buried:
            return ""
        named = _some(str(ref) for ref in sorted(self._buried))
        return (
            f"; of versions that are deleted ({named}), `imagectl cleanup undelete IMAGE@VERSION` "
            "brings one back; or remove what is there by hand"
        )

    def unknown(self) -> Iterator[Unknown]:
        """What is no business of this catalog's, sorted."""
        for provider_id in sorted(self._others):
            for each in self._others[provider_id]:
                owner = each.owner
                why = f"of catalog {owner.catalog}" if owner else "it has no marks of imagectl's"
                yield Unknown(
                    self._view[0], each.provider_id, each.name, why, each.size, each.created
                )


def _several(one_or_more: str | tuple[str, ...]) -> tuple[str, ...]:
    return (one_or_more,) if isinstance(one_or_more, str) else one_or_more


def digest(found: Iterable[Found]) -> Sha256:
    """One digest of all that a view has found, in whatever order."""
    summed = hashlib.sha256()
    for _, same in groupby(sorted(found, key=_provider_id), key=_provider_id):
        for line in sorted(map(_line, same)):
            summed.update(line.encode())
    return Sha256(summed.hexdigest())


_provider_id = attrgetter("provider_id")


def _line(found: Found) -> str:
    owner = found.owner
    whose = (
        f"{owner.catalog}\x1f{owner.version.image}\x1f{owner.version.version.day}\x1f"
        f"{owner.version.version.serial}\x1f{owner.format.value}\x1f"
        f"{owner.architecture.value}\x1f{owner.sha256}"
        if owner
        else ""
    )
    return (
        f"{found.provider_id}\x1f{found.name}\x1f{whose}\x1f{found.size}\x1f{found.created}"
        f"\x1f{found.state}\n"
    )


def _some(what: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    texts = list(what)
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more} more" if more > 0 else "")
