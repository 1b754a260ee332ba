"""What the catalog forgets of a location that is no more, and what it does not (P1).

Promises: only placements of versions that consumers are not given any more, and that nothing
protects, are forgotten; nothing that somebody may just be placing or deleting there. What was never
confirmed to be deleted stays on record.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from imagectl.model.names import ImageName, LocationName
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Intent, Placement, VersionRef
from imagectl.policy.wording import listed, moment


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What is to be forgotten of one image in a location.

    ``given_up`` was begun there and never finished. ``nowhere`` are the versions that are in no
    location then. ``left`` are those that stay recorded there, each with what keeps it so.
    ``unconfirmed`` counts deletions there that have never been seen to end.
    """

    placements: tuple[Placement, ...]
    given_up: tuple[Intent, ...]
    nowhere: tuple[VersionRef, ...]
    left: tuple[tuple[VersionRef, str], ...]
    unconfirmed: int


def plan_forgetting(
    snapshot: Snapshot, image: ImageName, location: LocationName, now: datetime, settled: timedelta
) -> Forgetting:
    """What of *image*, which *snapshot* has all of, is forgotten in *location*. What was begun to
    be placed less than *settled* ago may still be under way."""
    placements: list[Placement] = []
    given_up: list[Intent] = []
    nowhere: list[VersionRef] = []
    left: list[tuple[VersionRef, str]] = []
    unconfirmed = 0
    for version in snapshot.of(image):
        ref = version.ref
        begun = [each for each in snapshot.intended(ref) if each.location == location]
        over = [each for each in begun if now - each.since >= settled]
        given_up += over
        there = [each for each in snapshot.placed(ref) if each.location == location]
        stones = [
            each
            for each in snapshot.buried(ref)
            if each.open and each.placement.location == location
        ]
        unconfirmed += len(stones)
        if len(over) < len(begun):
            left.append((ref, "it is just being placed there"))
        elif there and (why := _kept(snapshot, ref, len(over), now)):
            left.append((ref, why))
        elif there:
            placements += there
            if len(there) == len(snapshot.placed(ref)):
                nowhere.append(ref)
        elif any(each.is_being_deleted(now) for each in stones):
            left.append((ref, "it is just being deleted there"))
    return Forgetting(tuple(placements), tuple(given_up), tuple(nowhere), tuple(left), unconfirmed)


def _kept(snapshot: Snapshot, ref: VersionRef, over: int, now: datetime) -> str:
    """Why its placements stay recorded; empty where they may go. *over*: how many of its intents
    are given up."""
    stage = snapshot.stage(ref)
    if stage is not Stage.QUARANTINED:
        return f"it is {stage.value}: consumers may get it until a cleanup has quarantined it"
    if holds := snapshot.holds.get(ref):
        return f"held by {listed([each.by for each in holds])}"
    leases = [each for each in snapshot.leases.get(ref, ()) if each.until > now]
    if leases:
        last = max(leases, key=lambda each: each.until)
        return f"leased by {last.consumer} until {moment(last.until)}"
    if len(snapshot.intended(ref)) > over:
        return "it is just being placed elsewhere"
    return ""
