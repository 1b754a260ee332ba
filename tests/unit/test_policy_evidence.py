"""No plan without complete evidence: what makes each doubt, and what does not (P2, P3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import BASE, BETA, CI, NOW, STABLE
from support.stocked import (
    CATALOG,
    CLOUD,
    EVERYWHERE,
    LOCAL,
    POLICY,
    a_ref,
    channel,
    event_of,
    found,
    kept,
    old,
    plan,
    shelf,
    stock,
    tombstone,
    view,
    views,
)

from imagectl.errors import CannotTell
from imagectl.model.channel import ReleasePolicy
from imagectl.model.cleanup import Scope
from imagectl.model.names import LocationName
from imagectl.model.published import PublishedCatalog
from imagectl.model.retention import Stage
from imagectl.model.stock import Stock
from imagectl.model.view import NOT_THERE, Found, View
from imagectl.policy.evidence import FRESH, SKEW, check_same_sights
from imagectl.policy.seen import digest

SECOND = timedelta(seconds=1)
OTHER = "11111111-1111-4111-8111-111111111111"
PUBLIC = "catalog/public"


def doubt(
    catalog: Stock,
    seen: Iterable[View] | None = None,
    *,
    published: Mapping[str, PublishedCatalog | None] | None = None,
    scope: Scope = EVERYWHERE,
) -> CannotTell:
    with pytest.raises(CannotTell) as caught:
        plan(catalog, seen=seen, published=published, scope=scope)
    assert caught.value.exit_code == 5
    assert "nothing was done" in caught.value.what
    return caught.value


def shown(doubtful: CannotTell) -> str:
    return f"{doubtful.what}: {doubtful.why}"


def many(count: int, at: LocationName = CLOUD) -> Stock:
    """That many versions; stable is the oldest, as on that day in 2016 (INCIDENTS A)."""
    versions = [old(serial, at) for serial in range(1, count + 1)]
    return stock(shelf(*versions, channels=[channel(STABLE, 1), channel(BETA, count)]))


def test_a_view_that_shows_100_of_137_is_no_evidence() -> None:
    catalog = many(137)
    error = doubt(catalog, views(catalog, without=[a_ref(each) for each in range(1, 38)]))
    assert error.what == "saw 100 of 137 in gce-prod; nothing was done"
    assert error.why == "missing debian-ci@20250101.1 (stable)"


def test_a_catalog_that_shows_100_of_137_is_no_evidence() -> None:
    """The query of that day: at most 100, the newest first."""
    whole = many(137)
    (everything,) = whole.shelves()
    newest = shelf(*everything.versions[-100:], channels=[channel(BETA, 137)])
    part = replace(stock(newest), counted=whole.counted)
    error = doubt(part, views(whole))
    assert error.what == "saw 100 of 137 versions of the catalog; nothing was done"
    assert "saw 100 of 137 placements" in error.why
    assert "gce-prod has things of this catalog that it does not know" in error.why


@pytest.mark.parametrize("what", ["versions", "placements", "moves", "events"])
@pytest.mark.parametrize("more", [1, -1])
def test_what_the_catalog_counts_is_what_was_read(what: str, more: int) -> None:
    catalog = many(3)
    there = getattr(catalog.counted, what)
    other = replace(catalog, counted=replace(catalog.counted, **{what: there + more}))
    assert f"saw {there} of {there + more} {what} of the catalog" in doubt(other).what


def test_what_is_read_a_second_time_is_as_much_as_was_judged() -> None:
    catalog = many(3)
    less = list(catalog.whereabouts())[1:]
    made = plan(replace(catalog, whereabouts=lambda: iter(less)))
    with pytest.raises(CannotTell) as caught:
        list(made.entries)
    assert caught.value.what == "saw 2 of 3 versions of the catalog; nothing was done"
    assert "it was read twice" in caught.value.why


def test_every_image_is_read_once() -> None:
    one = shelf(old(1))
    assert "debian-ci was read twice" in doubt(stock(one, one)).why


def test_the_versions_of_an_image_come_in_order() -> None:
    """They are looked up as if they did: what is not found there would protect no parent."""
    assert "the versions of debian-ci are out of order" in doubt(stock(shelf(old(2), old(1)))).why


def test_channels_speak_of_versions_that_are_read() -> None:
    catalog = stock(shelf(old(2), channels=[channel(STABLE, 1, 2)]))
    assert "debian-ci@20250101.1, which stable has had" in doubt(catalog).why


def test_parents_are_read_whatever_the_order_of_images() -> None:
    parent = old(1, image=BASE)
    child = old(7, parent=a_ref(1, BASE))
    assert plan(stock(shelf(parent, image=BASE), shelf(child))).entries
    error = doubt(stock(shelf(image=BASE), shelf(child)))
    assert "debian-base@20250101.1, which debian-ci@20250101.7 was built on" in error.why


def test_an_empty_catalog_beside_things_of_any_catalog_is_a_doubt() -> None:
    things = [found(a_ref(1), kept(a_ref(1), CLOUD), OTHER)]
    error = doubt(stock(), [view(LOCAL, ()), view(CLOUD, things)])
    assert "the catalog is empty, and gce-prod has 1 thing that a catalog knows" in error.what
    assert "backup" in error.hint
    assert "catalog.url" in error.hint
    assert "`imagectl catalog rebuild --from" in error.hint
    assert "adopt" not in error.hint, "it leaves things of another catalog"


def test_an_empty_catalog_in_an_empty_world_has_nothing_to_do() -> None:
    foreign = Found("x", "x", None)
    made = plan(stock(), seen=[view(LOCAL, ()), view(CLOUD, [foreign])])
    assert tuple(made.entries) == ()
    assert [each.provider_id for each in made.unknown] == ["x"]


def tree(catalog: str, generation: int) -> Mapping[str, PublishedCatalog]:
    return {PUBLIC: PublishedCatalog(catalog, generation)}


def test_what_was_published_of_another_catalog_is_a_doubt() -> None:
    error = doubt(many(3), published=tree(OTHER, 1))
    assert error.where == PUBLIC
    assert f"published is catalog {OTHER}, and this is {CATALOG}" in error.why


def test_what_was_published_later_is_a_doubt() -> None:
    """A backup that was brought back does not know what came after it."""
    assert plan(many(3), published=tree(CATALOG, 1000)).entries
    error = doubt(many(3), published=tree(CATALOG, 1001))
    assert error.what == "the catalog is older than what was published from it; nothing was done"


def test_a_catalog_that_went_another_way_since_it_was_published_is_a_doubt() -> None:
    """A backup that was brought back, and has moved on as far as what came after it."""
    known = PublishedCatalog(CATALOG, 17, event_of(17))
    assert plan(many(3), published={PUBLIC: known}).entries
    error = doubt(many(3), published={PUBLIC: replace(known, event=event_of(7))})
    assert error.where == PUBLIC
    assert error.what.startswith("the catalog is not the one that was published")
    assert "published is generation 17" in error.why


def test_a_placement_that_is_gone_is_put_back_or_made_again_first() -> None:
    catalog = many(3)
    hint = doubt(catalog, views(catalog, without=[a_ref(1)])).hint
    assert f"`imagectl publish {a_ref(1)} --to gce-prod`" in hint
    assert "imagectl verify" not in hint, "it looks at what channels require, and only there"
    assert f"after `imagectl rebuild {a_ref(1)}` where the store does not have it" in hint


def test_one_place_under_two_names_is_told() -> None:
    catalog = many(3)
    (local, cloud) = sorted(views(catalog), key=lambda each: each.location != LOCAL)
    error = doubt(catalog, [replace(local, found=cloud.found), cloud])
    assert "gce-prod and local show the same things: " in error.why
    assert "imagectl.yaml may name one place twice" in error.hint
    (first, *_) = cloud.found
    error = doubt(catalog, [replace(local, found=(first,)), cloud])
    assert "show the same things" not in error.why


HOUR = timedelta(hours=1)


def slow(**more: timedelta) -> list[View]:
    """The listing of CLOUD took an hour, that of LOCAL a moment."""
    return [
        replace(
            each,
            began=NOW - HOUR,
            ended=NOW - more.get("ended", SECOND) - (each.location == LOCAL) * HOUR * 0.9,
        )
        for each in views(many(3))
    ]


def test_a_listing_may_take_long_where_nothing_changes_meanwhile() -> None:
    catalog = many(3)
    assert plan(catalog, seen=slow(), before=catalog.generation).entries


@pytest.mark.parametrize("before", [None, 999])
def test_a_listing_during_which_the_catalog_has_changed_is_as_old_as_its_beginning(
    before: int | None,
) -> None:
    with pytest.raises(CannotTell, match="is 1 h old"):
        plan(many(3), seen=slow(), before=before)


def test_a_long_listing_is_stale_at_last() -> None:
    catalog = many(3)
    with pytest.raises(CannotTell, match="is 15 min 1 s old"):
        plan(catalog, seen=slow(ended=FRESH + SECOND), before=catalog.generation)


def test_what_is_there_of_a_deleted_version_can_be_brought_back_or_removed_by_hand() -> None:
    """Adopting leaves deleted versions alone, so it is no way out."""
    gone = old(1, stage=Stage.DELETED)
    catalog = stock(shelf(gone))
    again = view(CLOUD, [found(a_ref(1), kept(a_ref(1), CLOUD))])
    error = doubt(catalog, [view(LOCAL, ()), again])
    assert "gce-prod has things of this catalog that it does not know" in error.what
    assert f"deleted ({a_ref(1)}), `imagectl cleanup undelete IMAGE@VERSION`" in error.hint
    assert "by hand" in error.hint


def test_a_view_with_gaps_is_a_doubt() -> None:
    local, cloud = sorted(views(many(3)), key=lambda each: each.location != LOCAL)
    partial = replace(cloud, gaps=("page 2 failed",))
    error = doubt(many(3), [local, partial])
    assert error.what == "the view of gce-prod is not complete; nothing was done"
    assert "page 2 failed" in error.why


@pytest.mark.parametrize(("age", "fine"), [(FRESH, True), (FRESH + SECOND, False)])
def test_a_stale_view_is_a_doubt(age: timedelta, fine: bool) -> None:
    aged = [replace(each, began=NOW - age) for each in views(many(3))]
    if fine:
        assert plan(many(3), seen=aged).entries
    else:
        assert "the view of gce-prod is 15 min 1 s old" in doubt(many(3), aged).what


@pytest.mark.parametrize(("ahead", "fine"), [(SKEW, True), (SKEW + SECOND, False)])
def test_a_view_of_the_future_is_a_doubt(ahead: timedelta, fine: bool) -> None:
    later = [replace(each, began=NOW + ahead) for each in views(many(3))]
    if fine:
        assert plan(many(3), seen=later).entries
    else:
        assert "which is still to come" in doubt(many(3), later).what


def test_a_location_that_was_not_read_is_unknown_and_not_empty() -> None:
    catalog = many(3)
    only = [each for each in views(catalog) if each.location == LOCAL]
    assert doubt(catalog, only).what == "gce-prod was not read; nothing was done"


def test_a_location_that_nobody_asked_for_is_not_looked_at() -> None:
    error = doubt(many(3), views(many(3)), scope=Scope((), (CLOUD,), True))
    assert error.what == "local was read, which the plan is not about; nothing was done"


def test_a_doubt_without_a_way_out_says_where_and_why_all_the_same() -> None:
    error = doubt(many(3), [])
    assert error.what == "gce-prod was not read; nothing was done"
    assert "local: local was not read: what is there is not known" in error.why.splitlines()


def test_two_views_of_one_location_are_a_doubt() -> None:
    local, cloud = views(many(3))
    assert "was read more than once" in doubt(many(3), [local, cloud, cloud]).what


@pytest.mark.parametrize(
    ("protected", "said"),
    [
        ({"held": ("ann",)}, "held: ann"),
        (
            {"leased": NOW + SECOND, "leased_by": "ci-7"},
            "leased: by ci-7 until 2026-11-20 12:00 UTC",
        ),
        ({"begun": True}, "placing"),
        ({"created": NOW}, "young: until 2026-12-20 12:00 UTC"),
    ],
)
def test_whatever_is_protected_has_to_be_seen(protected: dict[str, object], said: str) -> None:
    version = replace(old(1), **protected)  # type: ignore[arg-type]  # the fields' own types
    catalog = stock(shelf(version))
    error = doubt(catalog, views(catalog, without=[a_ref(1)]))
    assert error.why == f"missing debian-ci@20250101.1 ({said})"


def test_all_channels_that_point_to_what_is_missing_are_named() -> None:
    """Of beta alone somebody might think little."""
    catalog = stock(shelf(old(1), channels=[channel(BETA, 1), channel(STABLE, 1)]))
    error = doubt(catalog, views(catalog, without=[a_ref(1)]))
    assert error.why == "missing debian-ci@20250101.1 (beta and stable)"


def test_that_a_channel_points_to_what_is_missing_goes_before_a_window() -> None:
    channels = [channel(BETA, 1, 2), channel(STABLE, 1)]
    policy = ReleasePolicy(
        tuple(replace(each, rollback_window=1) for each in POLICY.channels),
        retention=POLICY.retention,
    )
    catalog = stock(shelf(old(1), old(2), channels=channels))
    with pytest.raises(CannotTell) as caught:
        plan(catalog, policy=policy, seen=views(catalog, without=[a_ref(1)]))
    assert caught.value.why == "missing debian-ci@20250101.1 (stable)"


def test_a_note_of_what_is_gone_is_not_counted_among_what_was_found() -> None:
    """Whoever adds up what a page says would look for one thing more."""
    catalog = stock(shelf(old(1), old(2)))
    lost, there = (found(a_ref(each), kept(a_ref(each))) for each in (1, 2))
    things = [replace(lost, state=NOT_THERE), there, Found("x", "x", None)]
    made = plan(catalog, seen=[view(LOCAL, things), view(CLOUD, ())])
    sight = next(each for each in made.sights if each.location == LOCAL)
    assert (sight.expected, sight.seen, sight.found) == (2, 1, 2)
    assert len(made.unknown) == sight.found - sight.seen
    assert sight.digest == digest(things), "what is noted still counts there"


def test_the_parent_of_a_protected_version_has_to_be_seen() -> None:
    parent = old(1, image=BASE)
    child = replace(old(7, parent=a_ref(1, BASE)), held=("ann",))
    catalog = stock(shelf(parent, image=BASE), shelf(child))
    error = doubt(catalog, views(catalog, without=[a_ref(1, BASE)]))
    assert error.why == "missing debian-base@20250101.1 (parent: of debian-ci@20250101.7)"


def test_protected_versions_of_other_images_prove_a_view_too() -> None:
    """A listing that misses something of another image is no whole listing."""
    catalog = stock(shelf(replace(old(1, image=BASE), held=("ann",)), image=BASE), shelf(old(1)))
    narrow = Scope((CI,), EVERYWHERE.locations)
    assert (
        "saw 1 of 2 in local"
        in doubt(catalog, views(catalog, without=[a_ref(1, BASE)]), scope=narrow).what
    )


def test_what_is_not_protected_may_be_missing_and_is_shown() -> None:
    catalog = stock(shelf(old(1), old(2)))
    made = plan(catalog, seen=views(catalog, without=[a_ref(1)]))
    assert {each.version.version.serial: each.missing for each in made.entries} == {
        1: (kept(a_ref(1)),),
        2: (),
    }
    assert [(each.expected, each.seen) for each in made.sights] == [(0, 0), (2, 1)]


def test_many_missing_are_named_in_part() -> None:
    versions = [replace(old(each), held=("ann",)) for each in range(1, 31)]
    error = doubt(stock(shelf(*versions)), [view(LOCAL, ()), view(CLOUD, ())])
    assert error.why.endswith("debian-ci@20250101.10 (held: ann) and 20 more")


@pytest.mark.parametrize(
    "odd",
    [
        found(a_ref(9), kept(a_ref(9))),
        replace(found(a_ref(1), kept(a_ref(1))), provider_id="elsewhere"),
    ],
    ids=["a version that is not recorded", "a placement that is not recorded"],
)
def test_what_this_catalog_made_and_does_not_know_says_that_it_knew_more(odd: Found) -> None:
    catalog = stock(shelf(old(1)))
    local, cloud = sorted(views(catalog), key=lambda each: each.location != LOCAL)
    error = doubt(catalog, [replace(local, found=(*local.found, odd)), cloud])
    assert "local has things of this catalog that it does not know" in error.what
    assert f"{odd.owner.version if odd.owner else ''} as {odd.provider_id}" in error.why
    assert "older copy" in error.why
    assert "adopt" in error.hint


def test_what_is_just_being_placed_is_known_by_its_marks() -> None:
    there = found(a_ref(1), kept(a_ref(1), CLOUD))
    catalog = stock(shelf(replace(old(1), begun=True)))
    local, _ = sorted(views(catalog), key=lambda each: each.location != LOCAL)
    made = plan(catalog, seen=[local, view(CLOUD, [there])])
    assert [each.why for each in made.unknown] == [
        "of debian-ci@20250101.1, which is just being placed"
    ]


def test_what_a_tombstone_names_is_known() -> None:
    """A deletion that was begun and has not ended."""
    gone = old(1, stage=Stage.DELETED)
    catalog = stock(shelf(gone, buried=[tombstone(1)]))
    there = view(LOCAL, [found(a_ref(1), kept(a_ref(1)))])
    made = plan(catalog, seen=[there, view(CLOUD, ())])
    assert made.unknown == ()
    assert made.unfinished == (tombstone(1),)


def test_things_of_others_are_unknown_and_no_doubt() -> None:
    """A project may be shared with people who do not know imagectl, and with another catalog."""
    catalog = stock(shelf(old(1)))
    local, cloud = sorted(views(catalog), key=lambda each: each.location != LOCAL)
    theirs = found(a_ref(1), kept(a_ref(1), CLOUD), OTHER)
    nobodys = Found("x", "their image", None, 5, NOW)
    made = plan(catalog, seen=[local, replace(cloud, found=(theirs, nobodys))])
    assert [(each.provider_id, each.why, each.size) for each in made.unknown] == [
        ("gce-prod/debian-ci@20250101.1", f"of catalog {OTHER}", 1),
        ("x", "it has no marks of imagectl's", 5),
    ]


def test_what_lost_its_marks_is_seen_all_the_same() -> None:
    """It is there; whoever is to touch it reads it again first."""
    catalog = stock(shelf(replace(old(1), held=("ann",))))
    bare = replace(found(a_ref(1), kept(a_ref(1))), owner=None)
    made = plan(catalog, seen=[view(LOCAL, [bare]), view(CLOUD, ())])
    assert made.unknown == ()


def test_what_is_another_catalogs_by_now_is_not_seen() -> None:
    catalog = stock(shelf(replace(old(1), held=("ann",))))
    theirs = found(a_ref(1), kept(a_ref(1)), OTHER)
    assert "saw 0 of 1 in local" in doubt(catalog, [view(LOCAL, [theirs]), view(CLOUD, ())]).what


def test_one_file_may_be_the_placement_of_several_versions() -> None:
    """Directories and buckets keep equal bytes once, with the marks of each version."""
    shared = replace(kept(a_ref(2)), provider_id=kept(a_ref(1)).provider_id)
    second = replace(old(2), placed=(shared,), held=("ann",))
    catalog = stock(shelf(old(1), second))
    assert plan(catalog).sights[1].seen == 2
    only_first = view(LOCAL, [found(a_ref(1), kept(a_ref(1)))])
    assert "saw 1 of 2 in local" in doubt(catalog, [only_first, view(CLOUD, ())]).what


def test_a_version_may_be_in_a_place_several_times() -> None:
    """As two formats, or as one file that is both."""
    twice = (kept(a_ref(1)), kept(a_ref(1)))
    other = replace(kept(a_ref(1)), provider_id="as another format")
    version = replace(old(1), placed=(*twice, other), held=("ann",))
    catalog = stock(shelf(version))
    assert plan(catalog).sights[1].seen == 3
    once = view(LOCAL, [found(a_ref(1), each) for each in (twice[0], other)])
    assert "saw 2 of 3 in local" in doubt(catalog, [once, view(CLOUD, ())]).what


def test_every_doubt_is_told() -> None:
    catalog = many(3)
    wrong = replace(catalog, counted=replace(catalog.counted, versions=4, moves=9))
    said = shown(doubt(wrong, views(catalog, without=[a_ref(1)])))
    assert "saw 3 of 4 versions" in said
    assert "saw 2 of 9 moves" in said
    assert "saw 2 of 3 in gce-prod" in said


def test_a_location_that_means_another_place_by_now_is_a_doubt() -> None:
    catalog = many(3)
    before = plan(catalog)
    check_same_sights(before, plan(catalog))
    moved = [replace(each, scope="project b") for each in views(catalog)]
    with pytest.raises(CannotTell) as caught:
        check_same_sights(before, plan(catalog, seen=moved))
    assert "another place than when the plan was made" in caught.value.what


def test_views_need_not_be_held_on_to() -> None:
    catalog = many(3)
    assert len(tuple(plan(catalog, seen=iter(views(catalog))).entries)) == 3


def thing(serial: int, provider_id: str, owned: bool, size: int) -> Found:
    whole = found(a_ref(serial), kept(a_ref(serial)))
    return replace(whole, provider_id=provider_id, owner=whole.owner if owned else None, size=size)


THINGS = st.lists(
    st.builds(thing, st.integers(1, 3), st.sampled_from("abc"), st.booleans(), st.integers(0, 2)),
    max_size=6,
)


@given(THINGS, st.randoms(use_true_random=False), THINGS)
def test_a_views_digest_is_of_what_is_there_in_whatever_order(
    things: list[Found], random: Random, others: list[Found]
) -> None:
    shuffled = list(things)
    random.shuffle(shuffled)
    assert digest(shuffled) == digest(things)
    same = sorted(things, key=repr) == sorted(others, key=repr)
    assert (digest(others) == digest(things)) is same
