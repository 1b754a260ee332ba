"""Promote, roll back, publish and resolve, on ports in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.examples import BASE, BETA, CI, NOW, STABLE, ref
from support.releases import DC1, LOCAL, soaking
from support.troubled import Busy, FullDisk
from support.world import World

from imagectl.consumer.resolving import resolve
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound, Refused
from imagectl.formats.tuf_roles import channel_target, index_target, target_path
from imagectl.model.change import Change, MoveChannel, RecordPlacement
from imagectl.model.channel import ChannelRule, MoveKind, ReleasePolicy
from imagectl.model.names import ChannelName, ImageName, LocationName, VersionId
from imagectl.model.version import Placement, VersionRef
from imagectl.policy.resolution import Resolution, ResolutionRequest
from imagectl.services.live import PATIENCE
from imagectl.services.publish import publish_catalog
from imagectl.services.show import catch_up, point, show
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
BASE_ONE = "debian-base@20261120.1"


class Meddled(MemoryLocation):
    """A location during whose verification something else happens, once."""

    meanwhile: Callable[[], object] | None = None

    def verify(self, placement: Placement, now: datetime) -> Placement:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().verify(placement, now)


@pytest.fixture
def catalog() -> Busy:
    return Busy()


@pytest.fixture
def local() -> Meddled:
    return Meddled(LOCAL)


@pytest.fixture
def dc1() -> MemoryLocation:
    return MemoryLocation(DC1)


@pytest.fixture
def public() -> FullDisk:
    return FullDisk()


@pytest.fixture
def mirror() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
def world(
    tmp_path: Path,
    catalog: Busy,
    local: Meddled,
    dc1: MemoryLocation,
    public: FullDisk,
    mirror: MemoryPublisher,
) -> World:
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    return World(catalog, [local, dc1], [public, mirror], store, tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "fetched"
    folder.mkdir()
    return folder


@pytest.fixture
def untouched(world: World, public: FullDisk) -> Iterator[Callable[[], None]]:
    """Remember everything; afterwards check that nothing of it has changed."""
    remembered: list[object] = []

    def now() -> list[object]:
        return [world.catalog.snapshot(), list(world.catalog.events()), dict(public.files)]

    def remember() -> None:
        remembered.extend(now())

    yield remember
    assert remembered == now()


def placement(world: World, text: str, location: LocationName = LOCAL) -> Placement:
    return next(
        each for each in world.catalog.snapshot().placed(ref(text)) if each.location == location
    )


def got(
    public: MemoryPublisher,
    *,
    channel: ChannelName | None = None,
    version: VersionId | None = None,
    location: LocationName | None = None,
) -> Resolution:
    request = ResolutionRequest(CI, channel, version, location=location)
    return resolve(public.tree(), request, NOW)


def test_a_build_arrives_in_beta_and_consumers_can_have_it(
    world: World, public: FullDisk, mirror: MemoryPublisher
) -> None:
    world.built(ONE)
    assert got(public, channel=BETA).ref == ref(ONE)
    assert got(mirror, version=ref(ONE).version).ref == ref(ONE)
    with pytest.raises(NotFound, match="nothing in channel stable"):
        got(public)


def test_promote_moves_stable_and_says_what_consumers_get(world: World, public: FullDisk) -> None:
    world.built(ONE, needs=(LOCAL, DC1))
    done = world.promote("stable", reason="it works")
    (move,) = done.plan.moves
    assert (move.before, move.target, done.dry_run) == (None, ref(ONE), False)
    assert done.generation == world.catalog.snapshot().generation
    assert [(each.location, each.reference) for each in done.delivered[CI]] == [
        (each.location, each.reference) for each in world.catalog.snapshot().placed(ref(ONE))
    ]
    channel = world.channel(CI, STABLE)
    assert channel is not None
    assert (channel.head.kind, channel.head.by, channel.head.reason) == (
        MoveKind.PROMOTE,
        "alice",
        "it works",
    )
    assert got(public, location=DC1).ref == ref(ONE)


def test_all_that_one_promotion_moves_is_one_change(world: World) -> None:
    world.built(ONE)
    world.built(BASE_ONE)
    world.clock.advance(timedelta(hours=1))
    world.promote("stable")
    change = list(world.catalog.events())[-1].change
    assert change.action == "promote"
    assert [type(each) for each in change.operations] == [
        RecordPlacement,
        RecordPlacement,
        MoveChannel,
        MoveChannel,
    ]
    renewed = {placement(world, text).verified for text in (ONE, BASE_ONE)}
    assert renewed == {NOW + timedelta(hours=1)}


def test_nothing_to_do_changes_nothing(world: World, untouched: Callable[[], None]) -> None:
    world.built(ONE)
    world.promote("stable")
    untouched()
    done = world.promote("stable")
    assert (done.generation, len(done.plan.kept)) == (None, 1)


def test_a_dry_run_verifies_and_changes_nothing(
    world: World, local: Meddled, untouched: Callable[[], None]
) -> None:
    world.built(ONE)
    world.clock.advance(timedelta(hours=1))
    untouched()
    done = world.promote("stable", dry_run=True)
    assert (done.generation, done.dry_run) == (None, True)
    assert done.delivered[CI][0].reference == placement(world, ONE).reference
    local.damage(placement(world, ONE))
    with pytest.raises(Refused, match="stable was not moved"):
        world.promote("stable", dry_run=True)


def test_what_is_gone_from_a_location_is_not_promoted(
    world: World, dc1: MemoryLocation, untouched: Callable[[], None]
) -> None:
    """P6: the catalog alone is not believed."""
    world.built(ONE, needs=(LOCAL, DC1))
    dc1.lose(placement(world, ONE, DC1))
    untouched()
    with pytest.raises(Refused, match="stable was not moved") as caught:
        world.promote("stable")
    (reason,) = caught.value.reasons
    assert "debian-ci@20261120.1 is gone from dc1" in reason
    assert "`imagectl publish debian-ci@20261120.1 --to dc1` puts it there" in reason


def test_what_is_corrupt_is_not_promoted_and_every_fault_is_listed(
    world: World, local: Meddled, dc1: MemoryLocation, untouched: Callable[[], None]
) -> None:
    world.built(ONE, needs=(LOCAL, DC1))
    local.damage(placement(world, ONE))
    dc1.lose(placement(world, ONE, DC1))
    untouched()
    with pytest.raises(Refused) as caught:
        world.promote("stable", "debian-ci")
    assert len(caught.value.reasons) == 2
    reasons = " ".join(caught.value.reasons)
    assert "is corrupt in local" in reasons
    assert "is gone from dc1" in reasons


def test_a_location_that_does_not_answer_stops_everything(
    world: World, dc1: MemoryLocation, untouched: Callable[[], None]
) -> None:
    """P3: no decision from a partial view, also for the image that could be verified."""
    world.built(BASE_ONE)
    world.built(ONE, needs=(LOCAL, DC1))
    untouched()
    with dc1.unreadable(), pytest.raises(CannotTell, match="dc1 cannot be read"):
        world.promote("stable")


def test_a_location_that_the_project_has_no_more_is_a_reason(
    world: World, local: Meddled, untouched: Callable[[], None]
) -> None:
    world.built(ONE, needs=(LOCAL, DC1))
    untouched()
    world.releasing = replace(world.releasing, locations={LOCAL: local})
    with pytest.raises(Refused, match="stable was not moved") as caught:
        world.promote("stable")
    assert "not among the locations of imagectl.yaml" in caught.value.reasons[0]


def test_an_image_that_fails_live_is_held_back_and_the_others_move(
    world: World, local: Meddled, public: FullDisk
) -> None:
    world.built(BASE_ONE)
    world.built(ONE)
    local.lose(placement(world, ONE))
    done = world.promote("stable")
    assert [each.image for each in done.plan.moves] == [BASE]
    assert [each.image for each in done.plan.held_back] == [CI]
    assert set(done.delivered) == {BASE}
    assert world.channel(CI, STABLE) is None


def test_a_change_meanwhile_that_alters_the_decision_is_a_conflict(
    world: World, local: Meddled
) -> None:
    world.built(ONE)
    local.meanwhile = lambda: world.built(TWO)
    with pytest.raises(Conflict, match="the decision is another now"):
        world.promote("stable")
    assert world.channel(CI, STABLE) is None
    assert world.promote("stable").plan.moves[0].target == ref(TWO)


def test_a_change_meanwhile_that_does_not_matter_is_let_be(world: World, local: Meddled) -> None:
    world.built(ONE)
    local.meanwhile = lambda: world.recorded(BASE_ONE)
    assert world.promote("stable").plan.moves[0].target == ref(ONE)


def test_a_placement_that_is_another_meanwhile_was_not_verified(
    world: World, local: Meddled
) -> None:
    world.built(ONE)
    other = replace(placement(world, ONE), provider_id="memory-other")

    def meddle() -> None:
        generation = world.catalog.snapshot(()).generation
        change = Change("x", generation, "bob", "publish", "", NOW, (RecordPlacement(other),))
        world.catalog.commit(change)

    local.meanwhile = meddle
    with pytest.raises(Conflict, match="the decision is another now"):
        world.promote("stable")
    assert world.channel(CI, STABLE) is None


def test_a_change_just_before_the_commit_is_a_conflict_and_is_not_retried(
    world: World, catalog: Busy
) -> None:
    world.built(ONE)
    catalog.meanwhile = lambda: world.recorded(BASE_ONE)
    with pytest.raises(Conflict, match="has changed since this was decided"):
        world.promote("stable")
    assert world.channel(CI, STABLE) is None


def test_a_change_is_based_on_what_was_decided_on(world: World) -> None:
    """Not on whatever generation there is when the change is put together."""
    world.built(ONE)
    plain = world.releasing

    def meddling_key() -> str:
        world.releasing = plain
        world.recorded(BASE_ONE)
        return "a key"

    world.releasing = replace(plain, new_key=meddling_key)
    with pytest.raises(Conflict, match="has changed since this was decided"):
        world.promote("stable")
    assert world.channel(CI, STABLE) is None


def test_a_failed_publication_says_that_the_channel_has_moved(
    world: World, public: FullDisk, mirror: MemoryPublisher
) -> None:
    world.built(ONE)
    public.full = True
    with pytest.raises(Failed, match="stable HAS moved") as caught:
        world.promote("stable")
    assert caught.value.what == (
        "stable HAS moved (debian-ci to 20261120.1), but consumers of 1 of 2 published trees do "
        "not see what the catalog has; those of the others do"
    )
    assert list(caught.value.causes) == [public.where]
    assert caught.value.hint == "put that right, then `imagectl catalog publish`"
    assert got(mirror).ref == ref(ONE), "the other tree is shown all the same"
    public.full = False
    assert catch_up(world.catalog, [public, mirror]) == 1
    assert got(public).ref == ref(ONE)


def test_what_a_killed_process_did_not_publish_is_made_good(
    world: World, public: FullDisk, mirror: MemoryPublisher
) -> None:
    world.built(ONE)
    shown = dict(public.files)
    world.promote("stable")
    public.files = shown
    with pytest.raises(NotFound):
        got(public)
    assert catch_up(world.catalog, [public, mirror]) == 1
    assert got(public).ref == ref(ONE)
    assert catch_up(world.catalog, [public, mirror]) == 0


def test_a_tree_ahead_of_its_catalog_is_never_passed_over(
    world: World, public: FullDisk, mirror: MemoryPublisher
) -> None:
    world.built(ONE)
    older = MemoryCatalog()
    with pytest.raises(CannotTell, match="older than what was published") as caught:
        catch_up(older, [public])
    assert "the catalog is only at 0" in caught.value.why
    assert got(public, channel=BETA).ref == ref(ONE)


def test_publish_catalog_repairs_trees(world: World, public: FullDisk) -> None:
    world.built(ONE)
    (document,) = [path for path in public.files if path.startswith("versions/")]
    del public.files[document]
    assert catch_up(world.catalog, [public]) == 0
    assert publish_catalog(world.catalog, [public]) == world.catalog.snapshot().generation
    assert got(public, channel=BETA).ref == ref(ONE)


def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    world: World, catalog: Busy
) -> None:
    """P7: the caller cannot know whether the commit happened. The key makes asking again safe."""
    world.built(ONE)
    catalog.loses_answer = True
    assert world.promote("stable").generation == catalog.snapshot().generation
    assert not catalog.loses_answer
    channel = world.channel(CI, STABLE)
    assert channel is not None
    assert len(channel.moves) == 1


def test_rollback_appends_and_consumers_get_the_version_before(
    world: World, public: FullDisk
) -> None:
    for text in (ONE, TWO):
        world.built(text)
        world.promote("stable")
    assert got(public).ref == ref(TWO)
    done = world.rollback("stable")
    assert done.plan.moves[0].target == ref(ONE)
    assert done.delivered[CI][0].sha256 == placement(world, ONE).sha256
    channel = world.channel(CI, STABLE)
    assert channel is not None
    assert [move.kind for move in channel.moves] == [
        MoveKind.PROMOTE,
        MoveKind.PROMOTE,
        MoveKind.ROLLBACK,
    ]
    assert got(public).ref == ref(ONE)
    with pytest.raises(Refused, match="stable was not moved"):
        world.promote("stable")
    assert world.promote("stable", TWO).generation


def test_rollback_refuses_a_target_that_is_not_there_any_more(
    world: World, local: Meddled, untouched: Callable[[], None]
) -> None:
    for text in (ONE, TWO):
        world.built(text)
        world.promote("stable")
    local.lose(placement(world, ONE))
    untouched()
    for dry_run in (True, False):
        with pytest.raises(Refused, match="stable was not rolled back") as caught:
            world.rollback("stable", dry_run=dry_run)
        assert "debian-ci@20261120.1 is gone from local" in caught.value.reasons[0]


def test_rollback_of_several_images_is_all_or_nothing_also_live(
    world: World, local: Meddled, untouched: Callable[[], None]
) -> None:
    for serial in (1, 2):
        world.built(f"debian-base@20261120.{serial}")
        world.built(f"debian-ci@20261120.{serial}")
        world.promote("stable")
    local.lose(placement(world, BASE_ONE))
    untouched()
    with pytest.raises(Refused) as caught:
        world.rollback("stable")
    assert caught.value.hint == "without debian-base it would work: name only debian-ci"


def test_a_soak_is_kept_to_by_the_clock(world: World) -> None:
    world.policy = soaking(timedelta(days=3))
    world.built(ONE)
    with pytest.raises(Refused, match="stable was not moved"):
        world.promote("stable")
    world.clock.advance(timedelta(days=3))
    assert world.promote("stable").plan.moves


def test_a_build_that_is_not_in_all_its_places_does_not_enter(
    world: World, untouched: Callable[[], None]
) -> None:
    """P6."""
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    untouched()
    with pytest.raises(Refused, match="beta was not moved"):
        world.enter(made.ref)


def test_a_build_that_was_damaged_before_it_enters_does_not_enter(
    world: World, local: Meddled
) -> None:
    made = world.recorded(ONE)
    (placed,) = world.place(made.ref).placements
    local.damage(placed)
    with pytest.raises(Refused, match="beta was not moved"):
        world.enter(made.ref)


def test_a_build_whose_tests_failed_does_not_enter(world: World) -> None:
    made = world.recorded(ONE, failed=1)
    world.place(made.ref)
    with pytest.raises(Refused, match="beta was not moved"):
        world.enter(made.ref)


def test_builds_that_end_at_the_same_time_both_enter(world: World, catalog: Busy) -> None:
    made = world.recorded(ONE)
    world.place(made.ref)
    catalog.meanwhile = lambda: world.built(BASE_ONE)
    assert world.enter(made.ref).plan.moves
    assert world.catalog.snapshot().head(BASE, BETA)


def test_entering_again_changes_nothing(world: World, untouched: Callable[[], None]) -> None:
    made = world.built(ONE)
    untouched()
    assert world.enter(made.ref).generation is None


def test_placing_puts_a_version_where_it_has_to_be_and_where_it_was_asked_for(
    world: World,
) -> None:
    made = world.recorded(ONE)
    done = world.place(made.ref, DC1)
    assert [each.location for each in done.placements] == [LOCAL, DC1]
    assert done.new == done.placements
    assert {*world.catalog.snapshot().placed(made.ref)} == {*done.placements}


def test_placing_again_only_renews(world: World) -> None:
    made = world.recorded(ONE)
    first = world.place(made.ref)
    world.clock.advance(timedelta(hours=1))
    again = world.place(made.ref)
    assert again.new == ()
    assert again.placements == tuple(
        replace(each, verified=NOW + timedelta(hours=1)) for each in first.placements
    )


def test_placing_goes_on_where_it_stopped(world: World, dc1: MemoryLocation) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    with dc1.unreadable(), pytest.raises(CannotTell):
        world.place(made.ref)
    assert [each.location for each in world.catalog.snapshot().placed(made.ref)] == [LOCAL]
    assert [each.location for each in world.place(made.ref).new] == [DC1]


def test_placing_puts_back_what_is_gone_but_never_over_something_else(
    world: World, local: Meddled
) -> None:
    made = world.built(ONE)
    local.lose(placement(world, ONE))
    world.place(made.ref)
    assert local.verify(placement(world, ONE), NOW)
    local.damage(placement(world, ONE))
    with pytest.raises(Corrupt):
        world.place(made.ref)


def test_placing_is_recorded_on_top_of_other_changes(world: World, catalog: Busy) -> None:
    made = world.recorded(ONE)
    catalog.meanwhile = lambda: world.recorded(BASE_ONE)
    world.place(made.ref)
    assert world.catalog.snapshot().placed(made.ref)


def test_unknown_versions_and_locations_are_not_found(world: World) -> None:
    made = world.recorded(ONE)
    with pytest.raises(NotFound, match="no location dc2") as caught:
        world.place(made.ref, LocationName("dc2"))
    assert caught.value.hint == "did you mean dc1?"
    with pytest.raises(NotFound, match="has no debian-ci@20261120"):
        world.place(ref(TWO))


def test_documents_put_together_wrongly_are_corrupt(world: World, public: FullDisk) -> None:
    """Whoever signs a document may have signed the wrong one: it must fit what was asked."""
    world.built(ONE)
    world.built(BASE_ONE)
    world.promote("stable")
    targets = public.targets
    swap(public, channel_target(BASE, STABLE), channel_target(CI, STABLE))
    with pytest.raises(Corrupt, match="gives stable of debian-base for stable of debian-ci"):
        got(public)
    public.point(targets)
    swap(public, index_target(BASE), index_target(CI))
    with pytest.raises(Corrupt, match=r"gives debian-base@.* for debian-ci@"):
        got(public, version=VersionId("20261120", 1))


def swap(public: MemoryPublisher, source: str, target: str) -> None:
    """Give the document of *source* as *target*."""
    digest = public.targets[source]
    public.files[target_path(target, digest)] = public.files[target_path(source, digest)]
    public.point({**public.targets, target: digest})


THREE = "debian-ci@20261120.3"


def switched(world: World) -> None:
    """ONE and TWO are in stable, in LOCAL only; THREE requires DC1, and is in beta by hand."""
    for text in (ONE, TWO):
        world.built(text)
        world.promote("stable")
    made = world.recorded(THREE, needs=(DC1,))
    world.place(made.ref)
    move = MoveChannel(CI, BETA, made.id, MoveKind.ENTRY)
    generation = world.catalog.snapshot(()).generation
    world.catalog.commit(Change("by hand", generation, "bob", "x", "", NOW, (move,)))


def test_nothing_is_promoted_from_which_one_could_not_go_back(
    world: World, untouched: Callable[[], None]
) -> None:
    """P6: every version and location is named, with what to type."""
    switched(world)
    untouched()
    with pytest.raises(Refused, match="stable was not moved") as caught:
        world.promote("stable")
    assert caught.value.reasons == tuple(
        f"debian-ci: one could not roll back from it: {ref(text).version} is not in dc1 "
        f"(qcow2 for amd64): `imagectl publish {text} --to dc1`"
        for text in (TWO, ONE)
    )
    assert caught.value.hint.startswith("`imagectl publish --backfill debian-ci` puts")


def test_backfilling_makes_the_way_back_and_the_rollback_works(
    world: World, public: FullDisk
) -> None:
    switched(world)
    done = world.backfill()
    assert {(str(each.version), at.location) for each in done.placed for at in each.new} == {
        (ONE, DC1),
        (TWO, DC1),
    }
    assert not done.failed
    assert world.promote("stable").plan.moves[0].target == ref(THREE)
    assert world.rollback("stable").plan.moves[0].target == ref(TWO)
    assert got(public, location=DC1).ref == ref(TWO)


def test_what_one_would_go_back_to_is_verified_live(
    world: World, local: Meddled, dc1: MemoryLocation, untouched: Callable[[], None]
) -> None:
    """P6: the catalog alone is not believed about the way back either."""
    switched(world)
    world.backfill()
    dc1.lose(placement(world, ONE, DC1))
    local.lose(placement(world, ONE))
    untouched()
    with pytest.raises(Refused) as caught:
        world.promote("stable")
    assert caught.value.reasons == (
        "debian-ci: one could not roll back from it: debian-ci@20261120.1 is gone from dc1 "
        f"({placement(world, ONE, DC1).provider_id}); "
        "`imagectl publish debian-ci@20261120.1 --to dc1` puts it there",
    )
    with dc1.unreadable(), pytest.raises(CannotTell):
        world.promote("stable")


def test_only_the_rollback_window_counts(world: World) -> None:
    switched(world)
    world.place(ref(TWO), DC1)
    stable = ChannelRule(STABLE, source=BETA, rollback_window=1)
    world.policy = ReleasePolicy((ChannelRule(BETA, entry=True), stable))
    assert world.promote("stable").plan.moves


def test_a_build_enters_only_where_one_could_go_back(
    world: World, untouched: Callable[[], None]
) -> None:
    world.built(ONE)
    made = world.recorded(TWO, needs=(LOCAL, DC1))
    world.place(made.ref)
    untouched()
    with pytest.raises(Refused, match="beta was not moved") as caught:
        world.enter(made.ref)
    assert "20261120.1 is not in dc1" in caught.value.reasons[0]


def test_a_rollback_asks_for_where_consumers_pull_from_now(world: World) -> None:
    """What the old version was built for does not count: that place may be gone."""
    switched(world)
    world.place(ref(ONE), DC1)
    stable = MoveChannel(CI, STABLE, ref(THREE).version, MoveKind.PROMOTE)
    generation = world.catalog.snapshot(()).generation
    world.catalog.commit(Change("hand", generation, "bob", "x", "", NOW, (stable,)))
    with pytest.raises(Refused) as caught:
        world.rollback("stable")
    assert "20261120.2 is not in dc1" in caught.value.reasons[0]
    assert "20261120.1 would be ready" in caught.value.reasons[1]
    world.place(ref(TWO), DC1)
    without = {name: at for name, at in world.releasing.locations.items() if name != LOCAL}
    world.releasing = replace(world.releasing, locations=without)
    assert world.rollback("stable").plan.moves[0].target == ref(TWO)


def test_backfilling_fetches_what_the_store_has_lost(world: World, scratch: Path) -> None:
    switched(world)
    (lost,) = world.catalog.snapshot().versions[ref(ONE)].artifacts
    world.store.path(lost.sha256).unlink()
    done = world.backfill(CI)
    assert [str(each) for each in done.failed] == [ONE]
    done = world.backfill(CI, scratch=scratch)
    assert not done.failed
    assert world.store.verify(lost.sha256)
    assert world.promote("stable").plan.moves
    assert not [*scratch.iterdir()]


def test_what_a_killed_backfill_had_fetched_is_taken(
    world: World, local: Meddled, scratch: Path
) -> None:
    switched(world)
    (lost,) = world.catalog.snapshot().versions[ref(ONE)].artifacts
    world.store.path(lost.sha256).rename(scratch / lost.sha256)
    local.lose(placement(world, ONE))
    assert [str(each) for each in world.backfill(CI, scratch=scratch).failed] == []
    assert world.store.verify(lost.sha256)


def test_backfilling_tells_of_a_required_location_that_the_project_does_not_have(
    world: World, dc1: MemoryLocation
) -> None:
    """It was done with, and nothing was there that has to be."""
    for text in (ONE, TWO):
        world.built(text, needs=(LOCAL, DC1))
    dc1.lose(placement(world, ONE, DC1))
    others = {name: at for name, at in world.releasing.locations.items() if name != LOCAL}
    world.releasing = replace(world.releasing, locations=others)
    done = world.backfill()
    assert [str(each) for each in done.failed] == [ONE, TWO]
    assert not done.placed
    for version, error in done.failed.items():
        assert isinstance(error, NotFound)
        assert error.what == (
            f"{version} has to be in local, not among the locations of imagectl.yaml"
        )
    assert dc1.verify(placement(world, ONE, DC1), NOW), "the location that is known is filled"


def test_backfilling_goes_on_after_a_version_that_is_nowhere_any_more(
    world: World, local: Meddled, scratch: Path
) -> None:
    switched(world)
    (lost,) = world.catalog.snapshot().versions[ref(ONE)].artifacts
    world.store.path(lost.sha256).unlink()
    local.lose(placement(world, ONE))
    done = world.backfill(scratch=scratch)
    (error,) = done.failed.values()
    assert isinstance(error, NotFound)
    assert error.hint == f"`imagectl rebuild {ONE}` makes it again, to the byte"
    assert "no location gives it back" in error.why
    assert placement(world, TWO, DC1)


def test_after_a_move_locations_are_told_what_channels_point_to(
    world: World, dc1: MemoryLocation, local: Meddled
) -> None:
    for text in (ONE, TWO):
        world.built(text, needs=(LOCAL, DC1))
        world.promote("stable")
    at = placement(world, TWO, DC1)
    assert {name: each.version for name, each in dc1.pointers[CI].items()} == {
        BETA: at.version,
        STABLE: at.version,
    }
    world.rollback("stable")
    assert dc1.pointers[CI][STABLE].version == ref(ONE)
    assert local.pointers[CI][STABLE].location == LOCAL


def test_a_location_without_the_older_version_is_told_that_the_newer_one_is_left(
    world: World, local: Meddled, dc1: MemoryLocation
) -> None:
    """Optional locations do not have every version: no pointer may go on showing the bad one."""
    world.built(ONE)
    made = world.recorded(TWO)
    world.place(made.ref, DC1)
    world.enter(made.ref)
    assert dc1.pointers[CI][BETA].version == made.ref
    world.built(BASE_ONE)
    assert BASE not in dc1.pointers, "where nothing of it ever was, nothing is asked"
    world.rollback("beta", CI)
    assert dc1.pointers[CI] == {}
    assert local.pointers[CI][BETA].version == ref(ONE)


def test_a_check_asks_for_the_whole_window(
    world: World, local: Meddled, untouched: Callable[[], None]
) -> None:
    """It says no before anyone needs it, while the rollback itself would still work."""
    for text in (ONE, TWO, THREE):
        world.built(text)
        world.promote("stable")
    assert [str(each.target) for each in world.check("stable").plan.moves] == [TWO]
    local.lose(placement(world, ONE))
    untouched()
    assert world.rollback("stable", dry_run=True).plan.moves
    with pytest.raises(Refused, match="stable was not rolled back") as caught:
        world.check("stable")
    (reason,) = caught.value.reasons
    assert "one could not roll back from it: debian-ci@20261120.1 is gone from local" in reason
    with local.unreadable(), pytest.raises(CannotTell):
        world.check("stable")


def test_a_check_says_what_was_never_put_there(world: World) -> None:
    switched(world)
    world.place(ref(TWO), DC1)
    stable = MoveChannel(CI, STABLE, ref(THREE).version, MoveKind.PROMOTE)
    generation = world.catalog.snapshot(()).generation
    world.catalog.commit(Change("hand", generation, "bob", "x", "", NOW, (stable,)))
    with pytest.raises(Refused) as caught:
        world.check("stable")
    assert "`imagectl publish debian-ci@20261120.1 --to dc1`" in caught.value.reasons[0]
    assert "--backfill debian-ci" in caught.value.hint
    world.backfill()
    assert world.check("stable").plan.moves


class Deaf(MemoryLocation):
    """A location whose pointers cannot be changed while it is ``deaf``."""

    deaf = True
    asked = 0

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        self.asked += 1
        if self.deaf:
            raise CannotTell("the location does not answer", hint="wait")
        super().point(image, heads)


@pytest.fixture
def cloud(world: World) -> Deaf:
    """In the place of dc1."""
    cloud = Deaf(DC1)
    world.releasing = replace(world.releasing, locations={**world.releasing.locations, DC1: cloud})
    return cloud


def test_a_required_location_that_could_not_be_told_is_an_error_with_true_words(
    world: World, public: FullDisk, cloud: Deaf
) -> None:
    """The channel has moved, and consumers see it; only the location's own pointer is behind."""
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    world.place(made.ref)
    with pytest.raises(Failed) as caught:
        world.enter(made.ref)
    assert caught.value.what == (
        "beta HAS moved (debian-ci to 20261120.1), and published trees show it, but families in "
        "dc1 may not"
    )
    assert caught.value.why == "dc1: the location does not answer"
    assert caught.value.hint == "put that right, then `imagectl catalog publish`"
    assert got(public, channel=BETA, location=DC1).ref == ref(ONE)
    assert not cloud.pointers
    cloud.deaf = False
    assert point(world.releasing) == ()
    assert cloud.pointers[CI][BETA].version == ref(ONE)


def test_an_optional_location_that_could_not_be_told_fails_no_rollback(
    world: World, public: FullDisk, cloud: Deaf
) -> None:
    cloud.deaf = False
    for text in (ONE, TWO):
        made = world.recorded(text)
        world.place(made.ref, DC1)
        world.enter(made.ref)
    cloud.deaf = True
    done = world.rollback("beta", CI)
    (behind,) = done.behind
    assert (behind.location, behind.image, behind.required) == (DC1, CI, False)
    assert behind.error.what == "the location does not answer"
    assert got(public, channel=BETA, location=LOCAL).ref == ref(ONE)
    assert cloud.pointers[CI][BETA].version == ref(TWO)


class Killed(MemoryLocation):
    """A location that the process does not live to tell, or that is told late: ``before`` is done,
    once, in place of it or before it."""

    dies = False
    before: Callable[[], object] | None = None

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        if self.dies:
            self.dies = False
            raise KeyboardInterrupt
        before, self.before = self.before, None
        if before is not None:
            before()
        super().point(image, heads)


def killed_before_pointing(world: World) -> Killed:
    """The channel has gone back to ONE; the location still shows TWO."""
    killed = Killed(LOCAL)
    world.releasing = replace(world.releasing, locations={LOCAL: killed})
    for text in (ONE, TWO):
        world.built(text)
    killed.dies = True
    with pytest.raises(KeyboardInterrupt):
        world.rollback("beta", CI)
    head = world.channel(CI, BETA)
    assert head is not None
    assert (VersionRef(CI, head.head.version), killed.pointers[CI][BETA].version) == (
        ref(ONE),
        ref(TWO),
    )
    return killed


@pytest.mark.parametrize(
    "repair",
    [
        lambda world: show(world.releasing),
        lambda world: world.built(BASE_ONE),
        lambda world: world.rollback("beta", CI, to=ref(ONE).version),
    ],
    ids=["show", "another image", "typed again"],
)
def test_what_a_killed_process_did_not_tell_locations_is_made_good(
    world: World, repair: Callable[[World], object]
) -> None:
    """P6, P7: by whatever is done next, on whatever machine: only the catalog is asked."""
    killed = killed_before_pointing(world)
    repair(world)
    assert killed.pointers[CI][BETA].version == ref(ONE)


def test_a_process_that_was_overtaken_shows_no_earlier_move(world: World) -> None:
    """Two processes move a channel; the first of them tells the location last."""
    slow = Killed(LOCAL)
    world.releasing = replace(world.releasing, locations={LOCAL: slow})
    world.built(ONE)
    made = world.recorded(TWO)
    world.place(made.ref)
    slow.before = lambda: world.rollback("beta", CI)
    world.enter(made.ref)
    assert slow.pointers[CI][BETA].version == ref(ONE)


def test_locations_are_told_also_where_a_tree_cannot_be_written(
    world: World, local: Meddled, public: FullDisk
) -> None:
    made = world.recorded(ONE)
    world.place(made.ref)
    public.full = True
    with pytest.raises(Failed, match="consumers of 1 of 2 published trees do not see"):
        world.enter(made.ref)
    assert local.pointers[CI][BETA].version == ref(ONE)


def test_a_location_that_does_not_answer_is_told_no_further(world: World, cloud: Deaf) -> None:
    cloud.deaf = False
    names = [f"image-{number}" for number in range(5)]
    for name in names:
        made = world.recorded(f"{name}@20261120.1")
        world.place(made.ref, DC1)
        world.enter(made.ref)
    cloud.deaf, cloud.asked = True, 0
    assert [each.image for each in point(world.releasing)] == names
    assert cloud.asked == PATIENCE
