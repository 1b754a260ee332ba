"""Whether what was read is everything: the catalog, the locations, the published trees (P2, P3).

Promises: a plan rests on evidence that was proven complete, or there is no plan. Absence from a
view is never evidence; here it is a doubt. Doubts are told all together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from imagectl.model.cleanup import CleanupPlan, Reason, Scope, Sight, Unknown
from imagectl.model.names import LocationName
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import Stage
from imagectl.model.stock import Kept, Shelf, Shelved, Stock
from imagectl.model.version import VersionRef
from imagectl.model.view import View
from imagectl.policy.doubts import Doubt, insist, some_of
from imagectl.policy.lineage import Lineage
from imagectl.policy.newest import BEGIN, NOT_MOUNTED, why_not_the_newest
from imagectl.policy.seen import Seen
from imagectl.policy.wording import counted, moment, span

FRESH = timedelta(minutes=15)
"""How old a view may be, from when it began; where nothing has changed in the catalog since then,
from when it ended. A listing of the largest locations takes a minute or two, one of a slow registry
an hour."""

SKEW = timedelta(minutes=5)
"""By how much the clocks of machines may differ."""

CHECK_CATALOG = "`imagectl catalog verify` says what is wrong with it"
ANOTHER_CATALOG = (
    "mend `catalog.url` in imagectl.yaml, or bring the catalog back: from a backup, or move this "
    "one aside and `imagectl catalog rebuild --from TREE`, a published tree with its history. To "
    "begin anew, build: what is there stays another catalog's, and is never touched"
)


def check_published(
    stock: Stock, published: Mapping[str, PublishedCatalog | None]
) -> Iterator[Doubt]:
    """What published trees, by where they are, say against the catalog. Where a channel was ever
    moved, a tree that shows nothing (None) is not there, or not mounted."""
    for where, tree in published.items():
        if tree is None:
            if stock.counted.moves:
                yield Doubt(
                    "consumers are shown nothing, although channels point to versions",
                    where,
                    NOT_MOUNTED,
                    BEGIN,
                )
            continue
        doubt = why_not_the_newest(tree, where, stock.catalog_id, stock.generation, stock.event)
        if doubt is not None:
            yield doubt


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


def check_entries(made: int, judged: int) -> Iterator[Doubt]:
    """A plan has each version that it is about once, and what was judged is what it is about."""
    if made != judged:
        yield Doubt(
            f"saw {made} of {judged} versions of the catalog",
            "the catalog",
            "it was read twice, and what was read was not the same",
            CHECK_CATALOG,
        )


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
        self._seen: dict[LocationName, Seen] = {}
        self._loose: list[str] = []
        self._making: list[Unknown] = []
        self._versions = self._placements = self._moves = 0
        looked: list[View] = []
        for view in views:
            looked.append(replace(view, found=()))
            self._seen[view.location] = Seen(view, stock.catalog_id)
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

    def _unrecorded(self, seen: Seen) -> Iterator[Doubt]:
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
                some_of([*self._loose, *sorted(orphans)]),
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
