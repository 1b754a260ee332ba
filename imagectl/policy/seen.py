"""One location's view, and what the catalog knows of it.

Promises: of what says that it is of this catalog nothing is left over unsaid: it is known, just
being made, or a doubt (P2); what does not say so is no business of ours, and listed. Absence from a
view is never evidence; here it is a doubt (P3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from imagectl.model.cleanup import UNMARKED, Because, Reason, Sight, Unknown
from imagectl.model.names import LocationName, Sha256
from imagectl.model.stock import Kept
from imagectl.model.version import VersionRef
from imagectl.model.view import NOT_THERE, Found, View
from imagectl.policy.doubts import Doubt, some_of
from imagectl.policy.wording import listed

OLDER_COPY = (
    "bring back the newest copy of the catalog, or let `imagectl adopt` record again what no copy "
    "has"
)


class Seen:
    """One location's view, of which is taken away what the catalog knows. What says that it is of
    this catalog is kept by the version that it says it is of, as what the location calls it; only
    of the rest are all the facts kept."""

    def __init__(self, view: View, catalog_id: str) -> None:
        self._view = (view.location, view.scope, view.requests, view.began)
        self.digest = digest(view.found)
        self._count = 0
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
                continue  # a note of ours is no artifact, and nothing that is there
            self._count += 1
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
        self._lost.append((ref, _gravest(reasons)))
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
                f"missing {some_of(lost)}",
                "if the listing is wrong, run it again; `imagectl publish "
                f"{first} --to {sight.location}` looks for {first} itself and, where it is gone, "
                f"puts it there again, after `imagectl rebuild {first}` where the store does not "
                "have it",
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
                + some_of(
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
        named = some_of(str(ref) for ref in sorted(self._buried))
        return (
            f"; of versions that are deleted ({named}), `imagectl cleanup undelete IMAGE@VERSION` "
            "brings one back; or remove what is there by hand"
        )

    def unknown(self) -> Iterator[Unknown]:
        """What is no business of this catalog's, sorted."""
        for provider_id in sorted(self._others):
            for each in self._others[provider_id]:
                owner = each.owner
                why = f"of catalog {owner.catalog}" if owner else UNMARKED
                yield Unknown(
                    self._view[0], each.provider_id, each.name, why, each.size, each.created
                )


def _gravest(reasons: Sequence[Reason]) -> Reason | None:
    """What to say of a protected version in a few words: that channels point to it, and which; else
    the first thing that protects it. None where nothing does."""
    heads = [each for each in reasons if each.because is Because.CHANNEL]
    if len(heads) > 1:
        return Reason(Because.CHANNEL, listed(each.detail for each in heads))
    return next((each for each in (*heads, *reasons) if each.because.protects), None)


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
