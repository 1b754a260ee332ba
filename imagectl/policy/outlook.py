"""When a version may go down next, or what keeps it where it is.

Promises: it is judged as a cleanup of now would judge it, by the same code. What only a cleanup can
tell, which looks into locations, is left to that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import Because, CleanupRequest, Reason, Scope
from imagectl.model.names import ChannelName, LocationName
from imagectl.model.retention import Stage
from imagectl.model.stock import Stock
from imagectl.model.version import VersionRef
from imagectl.policy.cleanup import elsewhere, plan_cleanup


@dataclass(frozen=True, slots=True)
class Outlook:
    """What may become of a version.

    ``to``: the next stage on its way down, None below the last. ``reasons``: each one that keeps it
    now. ``earliest``: when the last of them ends; now, where there is none; None where one of them
    does not end by itself.
    """

    to: Stage | None
    reasons: tuple[Reason, ...]
    earliest: datetime | None


def look_ahead(
    stock: Stock,
    ref: VersionRef,
    policy: ReleasePolicy,
    resolved: Mapping[VersionRef, datetime],
    locations: Collection[LocationName],
    shown: Mapping[VersionRef, Collection[ChannelName]],
    now: datetime,
) -> Outlook:
    """What may become of *ref*, which is in *stock*, all of the catalog. *resolved*: when consumers
    have resolved versions last; *locations*: those that a cleanup would look at; *shown*: as in
    ``CleanupRequest``.

    Raises CannotTell where the catalog does not fit together.
    """
    request = CleanupRequest(Scope((ref.image,), ()), "", frozenset({ref}), shown=shown)
    plan = plan_cleanup(stock, policy, (), {}, resolved, request, now)
    entry = next(each for each in plan.entries if each.version == ref)
    # The plan looks at no location, so all of them are elsewhere to it.
    beside = Scope((ref.image,), tuple(locations))
    reasons = (
        *(each for each in entry.reasons if each.because is not Because.ELSEWHERE),
        *elsewhere(entry.stage, entry.placed, beside),
    )
    ends = [each.until for each in reasons if each.until is not None]
    bounded = len(ends) == len(reasons)
    return Outlook(entry.stage.below, reasons, max(ends, default=now) if bounded else None)
