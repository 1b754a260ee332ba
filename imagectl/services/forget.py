"""Take what was recorded in a location that is no more out of the catalog, as a person says (P1).

Promises: nothing is forgotten while ``imagectl.yaml`` still has the location, nor anything that
consumers may still get, or that is protected (``policy.forgetting``). Each image is one change,
decided anew on what is there then: interrupted, the same command goes on. Nothing is deleted
anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from imagectl.errors import BadUsage, ImagectlError, NotFound, Refused
from imagectl.model.change import EndIntent, ForgetPlacement, Operation
from imagectl.model.names import ImageName, LocationName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.forgetting import Forgetting, plan_forgetting
from imagectl.policy.wording import counted
from imagectl.services.current import check_newest
from imagectl.services.ledger import SETTLED, write_down
from imagectl.services.ports.catalog import Catalog
from imagectl.services.releasing import Releasing
from imagectl.services.show import catch_up, not_seen

SHOWN = 20
"""How many versions a refusal names."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten, or would be: how many placements, of which versions, which of them are in
    no location then, and how many begun placements were given up.

    ``left`` are versions that stay recorded there, each with what keeps it so; ``unconfirmed``
    deletions there stay on record.
    """

    placements: int
    versions: tuple[VersionRef, ...]
    nowhere: tuple[VersionRef, ...]
    given_up: int
    left: tuple[tuple[VersionRef, str], ...]
    unconfirmed: int


def forget_location(
    releasing: Releasing,
    configured: Collection[LocationName],
    location: LocationName,
    reason: str,
    *,
    dry_run: bool = False,
) -> Forgotten:
    """Forget what is recorded in *location*, which is none of those *configured*.

    Raises Refused, with each reason, where nothing can be forgotten, and NotFound where nothing is
    recorded there; CannotTell where a published tree knows a later catalog; Failed where it is
    forgotten, and consumers cannot be shown that.
    """
    if not reason.strip():
        raise BadUsage("why? say it with --reason TEXT", why="it is kept for whoever comes after")
    if location in configured:
        raise Refused(
            f"{location} is not forgotten: it is still there",
            reasons=[f"imagectl.yaml has it under `locations: {{{location}: ...}}`"],
            hint="take its section out first, and its name out of `locations` in each image.yaml",
        )
    check_newest(releasing.catalog, releasing.publishers)

    def plan(snapshot: Snapshot, image: ImageName) -> Forgetting:
        return plan_forgetting(snapshot, image, location, releasing.clock.now(), SETTLED)

    plans = {
        image: plan(releasing.catalog.snapshot((image,)), image)
        for image in _images(releasing.catalog, location)
    }
    left = [each for one in plans.values() for each in one.left]
    if not any(each.placements or each.given_up for each in plans.values()):
        if not left:
            raise NotFound(
                f"nothing is recorded in {location} that could be forgotten",
                why="the catalog has no placement there",
                hint="`imagectl cleanup plan` names locations that it does not look at",
            )
        more = [f"and {counted(len(left) - SHOWN, 'more version')}"] if len(left) > SHOWN else []
        raise Refused(
            f"nothing in {location} can be forgotten yet",
            reasons=[*(f"{ref}: {why}" for ref, why in left[:SHOWN]), *more],
            hint="`imagectl cleanup plan` takes down what nobody needs; type it again once it is "
            "quarantined",
        )
    if not dry_run:
        for image in plans:

            def decide(snapshot: Snapshot, image: ImageName = image) -> Sequence[Operation]:
                plans[image] = plan(snapshot, image)
                return [
                    *(EndIntent(each) for each in plans[image].given_up),
                    *(ForgetPlacement(each) for each in plans[image].placements),
                ]

            write_down(releasing, image, "forget location", reason, decide)
        try:
            catch_up(releasing.catalog, releasing.publishers)
        except ImagectlError as error:
            raise not_seen(f"{location} IS forgotten", error) from error
    placements = [each for one in plans.values() for each in one.placements]
    return Forgotten(
        len(placements),
        tuple(dict.fromkeys(each.version for each in placements)),
        tuple(ref for one in plans.values() for ref in one.nowhere),
        sum(len(one.given_up) for one in plans.values()),
        tuple(each for one in plans.values() for each in one.left),
        sum(one.unconfirmed for one in plans.values()),
    )


def _images(catalog: Catalog, location: LocationName) -> tuple[ImageName, ...]:
    """Those of which anything may be there: a million versions are read one after the other."""
    with catalog.stock() as stock:
        return tuple(
            shelf.image
            for shelf in stock.shelves()
            if any(each.placement.location == location for each in shelf.buried)
            or any(
                each.begun or any(kept.location == location for kept in each.placed)
                for each in shelf.versions
            )
        )
