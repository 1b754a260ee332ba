"""Plans: what steps down, what never does, and that everything is in them once (P1, P4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, STABLE
from support.stocked import (
    CLOUD,
    DAY,
    EVERYWHERE,
    LOCAL,
    POLICY,
    RULE,
    a_ref,
    channel,
    old,
    plan,
    shelf,
    stock,
    tombstone,
    views,
)

from imagectl.model.channel import Channel, ReleasePolicy
from imagectl.model.cleanup import Because, CleanupPlan, Scope
from imagectl.model.names import ImageName, VersionId
from imagectl.model.retention import RetentionPolicy, Stage
from imagectl.model.signature import oldest_first
from imagectl.model.stock import Shelf, Shelved, Stock
from imagectl.model.version import VersionRef

T = TypeVar("T")
LIVING = [each for each in Stage if each is not Stage.DELETED]


def going(made: CleanupPlan) -> dict[str, str]:
    return {str(each.version): each.to.value for each in oldest_first(made.entries) if each.to}


def reasons(made: CleanupPlan) -> dict[int, list[str]]:
    """What keeps each version, by its number."""
    return {
        each.version.version.serial: [str(reason) for reason in each.reasons]
        for each in made.entries
    }


def capped(count: int, share: float = 1.0) -> ReleasePolicy:
    return replace(POLICY, retention=RetentionPolicy(RULE, max_count=count, max_share=share))


@pytest.mark.parametrize("stage", LIVING)
def test_one_plan_takes_a_version_down_by_one_stage(stage: Stage) -> None:
    made = plan(stock(shelf(old(1, stage=stage))))
    (entry,) = made.entries
    assert (entry.stage, entry.to, entry.reasons) == (stage, stage.below, ())


def test_below_the_last_stage_there_is_none() -> None:
    assert reasons(plan(stock(shelf(old(1, stage=Stage.DELETED))))) == {1: ["deleted"]}


def test_a_plan_says_what_it_is_bound_to() -> None:
    catalog = stock(shelf(old(1)), generation=7)
    made = plan(catalog)
    assert (made.catalog_id, made.generation, made.author) == (catalog.catalog_id, 7, "alice")
    assert (made.made, made.expires) == (NOW, NOW + POLICY.retention.expires)
    assert [(each.location, each.scope, each.found) for each in made.sights] == [
        (CLOUD, "all of gce-prod", 0),
        (LOCAL, "all of local", 1),
    ]


def test_the_oldest_go_first_and_no_more_than_the_caps_allow() -> None:
    catalog = stock(shelf(*(old(each, created=NOW - (300 + each) * DAY) for each in range(1, 6))))
    made = plan(catalog, policy=capped(2))
    assert set(going(made)) == {"debian-ci@20250101.4", "debian-ci@20250101.5"}
    assert reasons(made) == {1: ["capped"], 2: ["capped"], 3: ["capped"], 4: [], 5: []}


@pytest.mark.parametrize("stage", [*LIVING[1:], Stage.DELETED])
def test_what_went_within_the_time_of_a_plan_uses_up_the_caps(stage: Stage) -> None:
    """Plans in a loop take no more than one."""
    ages = (timedelta(hours=1), timedelta(hours=23), timedelta(hours=25), -timedelta(hours=1))
    went = (old(each, stage=stage, staged=NOW - age) for each, age in enumerate(ages, start=11))
    catalog = stock(shelf(*(old(each) for each in range(1, 6)), *went))
    assert going(plan(catalog, policy=capped(5))).keys() == {
        "debian-ci@20250101.1",
        "debian-ci@20250101.2",
    }
    made = plan(catalog, policy=capped(3))
    assert not oldest_first(made.entries)
    assert reasons(made)[1] == ["capped: 3 versions went since 2026-11-19 12:00 UTC"]


def test_the_count_is_of_all_that_went_and_the_share_of_what_the_plan_is_about() -> None:
    lately = (old(each, image=BASE, stage=Stage.OBSOLETE, staged=NOW) for each in range(1, 4))
    catalog = stock(shelf(*lately, image=BASE), shelf(*(old(each) for each in range(1, 11))))
    one = Scope((CI,), EVERYWHERE.locations)
    assert len(oldest_first(plan(catalog, policy=capped(5), scope=one).entries)) == 2
    assert len(oldest_first(plan(catalog, policy=capped(100, 0.2), scope=one).entries)) == 2
    assert not oldest_first(plan(catalog, policy=capped(100, 0.2)).entries), (
        "three of thirteen went"
    )


def test_a_share_is_not_less_because_some_are_deleted_already() -> None:
    """Else a plan that was stopped half way could not be gone on with."""
    dead = (old(each, stage=Stage.DELETED, staged=NOW) for each in range(1, 3))
    catalog = stock(shelf(*dead, *(old(each) for each in range(3, 41))))
    assert len(oldest_first(plan(catalog, policy=capped(100, 0.1)).entries)) == 2


def test_a_share_is_of_what_the_plan_is_about() -> None:
    shelves = [
        shelf(*(old(each, image=image) for each in range(1, 11)), image=image)
        for image in (BASE, CI)
    ]
    dead = [old(each, stage=Stage.DELETED) for each in range(11, 30)]
    with_dead = shelf(*shelves[1].versions, *dead)
    both = stock(shelves[0], with_dead)
    assert len(oldest_first(plan(both, policy=capped(100, 0.2)).entries)) == 4, (
        "the dead do not count"
    )
    one = Scope((CI,), EVERYWHERE.locations)
    assert len(oldest_first(plan(both, policy=capped(100, 0.2), scope=one).entries)) == 2


def test_ancestors_of_protected_versions_are_protected_whatever_the_order_of_images() -> None:
    first, second, third = (ImageName(each) for each in ("z-first", "a-second", "m-third"))
    catalog = stock(
        shelf(old(1, image=second, parent=a_ref(1, first)), image=second),
        shelf(
            replace(old(1, image=third, parent=a_ref(1, second)), held=("ann",)),
            old(2, image=third, parent=a_ref(2, first)),
            image=third,
        ),
        shelf(old(1, image=first), old(2, image=first), old(3, image=first), image=first),
    )
    made = plan(catalog)
    kept = {str(each.version): each for each in made.entries if not each.to}
    assert {name: [str(why) for why in each.reasons] for name, each in kept.items()} == {
        "a-second@20250101.1": ["parent: of m-third@20250101.1"],
        "m-third@20250101.1": ["held: ann"],
        "z-first@20250101.1": ["parent: of a-second@20250101.1"],
    }
    assert all(each.protected for each in kept.values())


def test_what_an_undeleted_version_was_built_on_is_not_deleted() -> None:
    """Nothing protects either; but the child could not be rebuilt without its parent (P5)."""
    parent = old(1, image=BASE, stage=Stage.QUARANTINED)
    for stage in LIVING:
        made = plan(stock(shelf(parent, image=BASE), shelf(child(stage))))
        assert "debian-base@20250101.1" not in going(made)
        (entry,) = (each for each in made.entries if each.version.image == BASE)
        assert [str(each) for each in entry.reasons] == ["needed: for debian-ci@20250101.7"]
        assert not entry.protected
    assert going(plan(stock(shelf(parent, image=BASE), shelf(child(Stage.DELETED)))))
    sooner = old(1, image=BASE, stage=Stage.OBSOLETE)
    made = plan(stock(shelf(sooner, image=BASE), shelf(child(Stage.ACTIVE))))
    assert "debian-base@20250101.1" in going(made)


def child(stage: Stage) -> Shelved:
    return old(7, stage=stage, parent=a_ref(1, BASE))


def test_only_the_images_of_the_scope_are_in_the_plan() -> None:
    catalog = stock(
        shelf(old(1, image=BASE), image=BASE, buried=[tombstone(5, BASE)]),
        shelf(old(1), old(2), buried=[tombstone(6)]),
    )
    made = plan(catalog, scope=Scope((CI,), EVERYWHERE.locations))
    assert {each.version.image for each in made.entries} == {CI}
    assert made.unfinished == (tombstone(6),)
    assert set(going(made)) == {"debian-ci@20250101.1", "debian-ci@20250101.2"}


def test_children_outside_the_scope_protect_what_is_inside() -> None:
    held = replace(child(Stage.ACTIVE), held=("ann",))
    catalog = stock(shelf(old(1, image=BASE), image=BASE), shelf(held))
    made = plan(catalog, scope=Scope((BASE,), EVERYWHERE.locations))
    assert oldest_first(made.entries) == ()


def test_what_is_in_no_named_location_is_none_of_the_plans_business() -> None:
    """INCIDENTS D: what is given is not the whole world."""
    catalog = stock(
        shelf(
            old(1, LOCAL),
            old(2, CLOUD),
            old(3, stage=Stage.DELETED),
            replace(old(4), placed=()),
            old(5, LOCAL, CLOUD),
            buried=[tombstone(3, location=CLOUD)],
        )
    )
    made = plan(catalog, scope=Scope((), (LOCAL,), narrowed=True))
    assert [each.version.version.serial for each in made.entries] == [1, 5]
    assert made.unfinished == ()
    assert [each.location for each in made.sights] == [LOCAL]
    assert len(tuple(plan(catalog).entries)) == 5


def test_what_is_elsewhere_too_is_taken_from_nobody_there() -> None:
    """INCIDENTS D: the consumers of a location that was not read still get it."""
    for stage in LIVING:
        catalog = stock(shelf(old(1, LOCAL, CLOUD, stage=stage)))
        made = plan(catalog, scope=Scope((), (LOCAL,), narrowed=True))
        if stage in (Stage.OBSOLETE, Stage.QUARANTINED):
            assert reasons(made) == {1: ["elsewhere: in gce-prod"]}
        else:
            assert len(oldest_first(made.entries)) == 1


def test_a_location_that_the_project_has_no_more_takes_part_in_no_deletion() -> None:
    for stage in LIVING:
        catalog = stock(shelf(old(1, LOCAL, CLOUD, stage=stage)))
        made = plan(catalog, scope=Scope((), (LOCAL,)))
        assert len(oldest_first(made.entries)) == (stage is not Stage.QUARANTINED)


def test_a_plan_can_be_judged_again_for_its_own_versions_alone() -> None:
    catalog = stock(shelf(*(old(each) for each in range(1, 5))))
    made = plan(catalog, policy=capped(1), only=frozenset([a_ref(3)]))
    assert set(going(made)) == {"debian-ci@20250101.3"}, "though two older ones are due"
    held = stock(shelf(old(1), replace(old(3), held=("ann",))))
    assert oldest_first(plan(held, only=frozenset([a_ref(3)])).entries) == ()


def test_the_entries_are_given_anew_each_time() -> None:
    made = plan(stock(shelf(old(1), old(2))))
    assert tuple(made.entries) == tuple(made.entries)
    assert len(tuple(made.entries)) == 2


# What follows holds for any catalog.

TIMES = st.sampled_from([-1, 0, 5, 10, 15, 25, 29, 31, 300])


@st.composite
def shelves_of(draw: st.DrawFn, image: ImageName) -> Shelf:
    count = draw(st.integers(1, 5))
    versions = tuple(draw(shelved(image, serial)) for serial in range(1, count + 1))
    moved = st.lists(st.integers(1, count), max_size=6)
    channels = [
        channel(name, *moves, image=image) for name in (BETA, STABLE) if (moves := draw(moved))
    ]
    return shelf(*versions, channels=channels, image=image)


@st.composite
def shelved(draw: st.DrawFn, image: ImageName, serial: int) -> Shelved:
    parent = draw(st.none() | st.integers(1, 3)) if image == CI else None
    born = NOW - draw(TIMES) * DAY
    stage = draw(st.sampled_from(Stage))
    places = draw(st.sets(st.sampled_from([LOCAL, CLOUD]), min_size=1))
    plain = old(
        serial,
        *sorted(places),
        image=image,
        stage=stage,
        created=born,
        staged=NOW - draw(TIMES) * DAY,
        parent=a_ref(parent, BASE) if parent else None,
    )
    if stage is Stage.DELETED:
        return plain
    return replace(
        plain,
        held=tuple(draw(st.sets(st.sampled_from(["ann", "bob"]), max_size=1))),
        leased=draw(st.none() | TIMES.map(lambda days: NOW + (days - 10) * DAY)),
        begun=draw(st.integers(0, 9)) == 0,
        revoked=draw(st.booleans()),
    )


@st.composite
def catalogs(draw: st.DrawFn) -> Stock:
    base = draw(shelves_of(BASE))
    missing = (old(each, image=BASE) for each in range(len(base.versions) + 1, 4))
    return stock(replace(base, versions=(*base.versions, *missing)), draw(shelves_of(CI)))


RESOLVED = st.dictionaries(
    st.builds(a_ref, st.integers(1, 5), st.sampled_from([BASE, CI])),
    TIMES.map(lambda days: NOW - days * DAY),
    max_size=3,
)
POLICIES = st.builds(capped, st.integers(1, 12), st.sampled_from([0.1, 0.5, 1.0]))
SCOPES = st.builds(
    Scope,
    st.sampled_from([(), (CI,), (BASE,)]),
    st.sampled_from([(LOCAL,), (CLOUD, LOCAL)]),
    st.booleans(),
)


@given(catalogs(), RESOLVED, POLICIES, SCOPES)
def test_everything_is_in_a_plan_once_and_nothing_protected_steps(
    catalog: Stock, resolved: dict[VersionRef, datetime], policy: ReleasePolicy, scope: Scope
) -> None:
    made = plan(catalog, policy=policy, resolved=resolved, scope=scope)
    entries = tuple(made.entries)
    inside = [
        VersionRef(one.image, each.id)
        for one in catalog.shelves()
        for each in one.versions
        if (not scope.images or one.image in scope.images)
        and (not scope.narrowed or any(at.location in scope.locations for at in each.placed))
    ]
    assert [each.version for each in entries] == inside
    for each in entries:
        assert (each.to is None) is bool(each.reasons), "kept with a reason, or stepping"
        if each.to is not None:
            assert each.to is each.stage.below
            assert not plainly_protected(catalog, each.version, resolved)
            if each.to is Stage.DELETED or (scope.narrowed and each.to is Stage.QUARANTINED):
                assert {at.location for at in each.placed} <= set(scope.locations)
    alive = sum(each.stage is not Stage.DELETED for each in entries)
    assert len(oldest_first(made.entries)) <= max(1, policy.retention.max_share * alive)
    assert len(oldest_first(made.entries)) <= policy.retention.max_count
    ages = [age_of(catalog, each.version) for each in oldest_first(made.entries)]
    waiting = [
        age_of(catalog, each.version)
        for each in entries
        if Because.CAPPED in [reason.because for reason in each.reasons]
    ]
    assert not ages or not waiting or max(ages) <= min(waiting), "the oldest first"


def age_of(catalog: Stock, ref: VersionRef) -> datetime:
    return next(
        each.created
        for one in catalog.shelves()
        for each in one.versions
        if (one.image, each.id) == (ref.image, ref.version)
    )


def plainly_protected(
    catalog: Stock, ref: VersionRef, resolved: dict[VersionRef, datetime]
) -> bool:
    """P1 in other words than the policy's: slow, and plain."""
    shelves = {each.image: each for each in catalog.shelves()}
    one = shelves[ref.image]
    version = next(each for each in one.versions if each.id == ref.version)
    if version.stage is Stage.DELETED:
        return False
    last = resolved.get(ref)
    return (
        any(each.head.version == ref.version for each in one.channels.values())
        or any(ref.version in plain_window(each) for each in one.channels.values())
        or bool(version.held)
        or (version.leased is not None and version.leased > NOW)
        or version.begun
        or version.created > NOW - max(RULE.min_age, RULE.grace)
        or (last is not None and last > NOW - RULE.unused)
        or any(
            child.parent == ref
            and plainly_protected(catalog, VersionRef(other, child.id), resolved)
            for other, each in shelves.items()
            for child in each.versions
        )
    )


def plain_window(moved: Channel) -> list[VersionId]:
    """What a rollback of that channel by one would go to: all moves are forward here, or take off
    what is above."""
    stack: list[VersionId] = []
    for each in moved.moves:
        stack = [*(below for below in stack if below < each.version), each.version]
    size = 1 if moved.name == STABLE else 3
    return stack[-1 - size : -1]


@given(catalogs(), POLICIES, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_read_is_irrelevant(
    catalog: Stock, policy: ReleasePolicy, random: Random
) -> None:
    shelves = list(catalog.shelves())
    random.shuffle(shelves)
    turned = stock(*shelves)
    shown = [replace(each, found=shuffled(each.found, random)) for each in views(catalog)]
    one = plan(catalog, policy=policy)
    other = plan(turned, policy=policy, seen=shuffled(shown, random))
    assert one.sights == other.sights
    assert one.unknown == other.unknown

    def verdicts(made: CleanupPlan) -> set[tuple[VersionRef, Stage | None, frozenset[Because]]]:
        # Which one of its children is named for a parent, is left open.
        return {
            (each.version, each.to, frozenset(why.because for why in each.reasons))
            for each in made.entries
        }

    assert verdicts(one) == verdicts(other)


def shuffled(things: Iterable[T], random: Random) -> tuple[T, ...]:
    """In another order."""
    other = list(things)
    random.shuffle(other)
    return tuple(other)


@given(catalogs(), st.data(), RESOLVED)
def test_one_protection_more_lets_nothing_go_that_was_kept(
    catalog: Stock, data: st.DataObject, resolved: dict[VersionRef, datetime]
) -> None:
    """Without caps, that is: with them, what is protected makes room for the next."""
    before = plan(catalog, policy=capped(1000), resolved=resolved)
    shelves = list(catalog.shelves())
    at = data.draw(st.integers(0, len(shelves) - 1))
    chosen = data.draw(st.sampled_from(shelves[at].versions))
    if chosen.stage is Stage.DELETED:
        return
    more: dict[str, object] = data.draw(
        st.sampled_from(
            [
                {"held": ("eve",)},
                {"leased": NOW + DAY},
                {"begun": True},
                {"created": NOW - timedelta(hours=1)},
            ]
        )
    )
    protected = replace(chosen, **more)  # type: ignore[arg-type]  # the fields' own types
    shelves[at] = replace(
        shelves[at],
        versions=tuple(protected if each is chosen else each for each in shelves[at].versions),
    )
    after = plan(stock(*shelves), policy=capped(1000), resolved=resolved)
    assert set(going(after)) <= set(going(before))
    assert str(VersionRef(shelves[at].image, chosen.id)) not in going(after)
