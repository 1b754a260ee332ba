"""When a version may go down next: then a cleanup takes it down, and not a second before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from support.examples import BASE, BETA, CI, NOW
from support.stocked import (
    CLOUD,
    DAY,
    EVERYWHERE,
    LOCAL,
    POLICY,
    a_ref,
    channel,
    old,
    plan,
    shelf,
    stock,
)

from imagectl.model.cleanup import Scope
from imagectl.model.names import LocationName
from imagectl.model.retention import Stage
from imagectl.model.signature import oldest_first
from imagectl.model.stock import Shelved, Stock
from imagectl.model.version import VersionRef
from imagectl.policy.outlook import Outlook, look_ahead

ONE = a_ref(1)
SECOND = timedelta(seconds=1)


def ahead(
    catalog: Stock,
    resolved: Mapping[VersionRef, datetime] | None = None,
    locations: tuple[LocationName, ...] = EVERYWHERE.locations,
) -> Outlook:
    return look_ahead(catalog, ONE, POLICY, resolved or {}, locations, {}, NOW)


@pytest.mark.parametrize(
    ("version", "resolved"),
    [
        (old(1, created=NOW - 20 * DAY), None),
        (old(1, stage=Stage.DEPRECATED, staged=NOW - 2 * DAY), None),
        (old(1, stage=Stage.OBSOLETE, staged=NOW - 2 * DAY), None),
        (replace(old(1), leased=NOW + DAY, leased_by="ci-7"), None),
        (old(1), NOW - 3 * DAY),
        (replace(old(1, created=NOW), leased=NOW + DAY, leased_by="ci-7"), NOW - 3 * DAY),
    ],
)
def test_a_cleanup_takes_it_down_from_then_on(version: Shelved, resolved: datetime | None) -> None:
    used = {ONE: resolved} if resolved else {}
    catalog = stock(shelf(version))
    found = ahead(catalog, used)
    assert found.to is version.stage.below
    assert found.reasons
    assert found.earliest is not None
    scope = Scope((CI,), ())

    def steps(at: datetime) -> list[Stage | None]:
        made = plan(catalog, resolved=used, scope=scope, now=at)
        return [each.to for each in oldest_first(made.entries)]

    assert steps(found.earliest - SECOND) == []
    assert steps(found.earliest) == [version.stage.below]


def test_what_nothing_keeps_may_go_now() -> None:
    assert ahead(stock(shelf(old(1)))) == Outlook(Stage.DEPRECATED, (), NOW)


def test_what_does_not_end_by_itself_has_no_time() -> None:
    young = replace(old(1, created=NOW), held=("ann",))
    found = ahead(stock(shelf(young, channels=[channel(BETA, 1)])))
    assert found.earliest is None
    assert [each.because.value for each in found.reasons] == [
        *("channel", "keep-last", "held", "young")
    ]


def test_a_version_of_another_image_that_was_built_on_it_keeps_it() -> None:
    child = replace(old(2, image=BASE, parent=ONE), held=("ann",))
    found = ahead(stock(shelf(child, image=BASE), shelf(old(1))))
    assert (found.earliest, [str(each) for each in found.reasons]) == (
        None,
        [f"parent: of {a_ref(2, BASE)}"],
    )


def test_a_location_that_cleanups_do_not_look_at_keeps_it_from_being_deleted() -> None:
    catalog = stock(shelf(old(1, LOCAL, CLOUD, stage=Stage.QUARANTINED)))
    assert ahead(catalog).earliest == NOW
    found = ahead(catalog, locations=(LOCAL,))
    assert (found.earliest, [str(each) for each in found.reasons]) == (
        None,
        ["elsewhere: in gce-prod"],
    )


def test_below_the_last_stage_there_is_nothing() -> None:
    assert ahead(stock(shelf(old(1, stage=Stage.DELETED)))).to is None
