"""Holding, leasing and revoking versions, and what that means for channels and consumers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.examples import BETA, CI, NOW, STABLE, change, record, ref
from support.releases import LOCAL
from support.troubled import Busy, FullDisk
from support.world import World

from imagectl.adapters.catalog_sql.catalog import SqlCatalog
from imagectl.consumer.resolving import resolve
from imagectl.errors import BadUsage, Failed, ImpossibleChange, NotFound, Refused
from imagectl.model.change import RecordVersion, StepVersion
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.retention import Lease, Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import VersionRef
from imagectl.policy.resolution import Resolution, ResolutionRequest
from imagectl.services.protect import (
    LONGEST_LEASE,
    end_lease,
    hold,
    leased,
    leases_of,
    restore,
    revoke,
    take_lease,
    unhold,
)
from imagectl.services.releasing import Releasing
from imagectl.services.show import point
from imagectl.services.verify import State, verify
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

ONE, TWO, THREE = (ref(f"debian-ci@20261120.{serial}") for serial in (1, 2, 3))
HOUR = timedelta(hours=1)


@pytest.fixture
def catalog() -> Busy:
    return Busy()


@pytest.fixture
def local() -> MemoryLocation:
    return MemoryLocation(LOCAL)


@pytest.fixture
def public() -> FullDisk:
    return FullDisk()


@pytest.fixture
def world(tmp_path: Path, catalog: Busy, local: MemoryLocation, public: FullDisk) -> World:
    """Three versions have been in beta and in stable, which point to the third."""
    (tmp_path / "store").mkdir()
    made = World(catalog, [local], [public], MemoryStore(tmp_path / "store"), tmp_path)
    for each in (ONE, TWO, THREE):
        made.built(str(each))
        made.promote("stable")
    return made


def by(world: World, actor: str) -> Releasing:
    return replace(world.releasing, actor=actor)


def down(world: World, version: VersionRef, stages: Sequence[Stage]) -> None:
    for stage in stages:
        generation = world.catalog.snapshot(()).generation
        step = change(f"{version} {stage}", generation, StepVersion(version, stage), reason="old")
        world.catalog.commit(step)


def got(
    world: World,
    public: MemoryPublisher,
    *,
    version: VersionRef | None = None,
    channel: ChannelName | None = None,
) -> Resolution:
    request = ResolutionRequest(CI, channel=channel, version=version.version if version else None)
    return resolve(public.tree(), request, world.clock.now())


def test_a_hold_says_who_and_why_and_is_renewed_not_doubled(world: World) -> None:
    held, generation = hold(world.releasing, ONE, "ticket 4711")
    assert (held.by, held.at, held.reason) == ("alice", NOW, "ticket 4711")
    assert generation == world.catalog.snapshot(()).generation
    hold(world.releasing, ONE, "ticket 4712")
    hold(by(world, "bob"), ONE, "audit")
    assert {each.by: each.reason for each in world.catalog.snapshot().holds[ONE]} == {
        "alice": "ticket 4712",
        "bob": "audit",
    }
    last = list(world.catalog.events())[-1].change
    assert (last.actor, last.action, last.reason) == ("bob", "hold", "audit")


def test_only_ones_own_hold_is_taken_back_unless_another_is_named(world: World) -> None:
    hold(by(world, "bob"), ONE, "audit")
    with pytest.raises(NotFound, match="is not held by alice") as caught:
        unhold(world.releasing, ONE, "done")
    assert caught.value.why == "it is held by bob"
    assert "--by bob" in caught.value.hint
    unhold(world.releasing, ONE, "bob has left", by="bob")
    assert world.catalog.snapshot().holds == {}
    last = list(world.catalog.events())[-1].change
    assert (last.actor, last.reason) == ("alice", "bob has left")
    with pytest.raises(NotFound, match="is not held by alice") as caught:
        unhold(world.releasing, ONE, "done")
    assert caught.value.why == "nobody holds it"


@pytest.mark.parametrize("act", [hold, unhold, revoke, restore])
def test_each_of_them_asks_why(world: World, act: Callable[..., object]) -> None:
    before = world.catalog.snapshot(()).generation
    with pytest.raises(BadUsage, match="why"):
        act(world.releasing, ONE, "  ")
    assert world.catalog.snapshot(()).generation == before


def test_what_does_not_exist_can_be_neither_held_nor_leased(world: World) -> None:
    with pytest.raises(NotFound):
        hold(world.releasing, ref("debian-ci@20261120.9"), "x")
    with pytest.raises(NotFound):
        take_lease(world.releasing, ref("nothing@20261120.1"), "ci", HOUR)


def test_a_hold_waits_for_nobody(world: World, catalog: Busy) -> None:
    """Another change in between is no reason to say no."""
    catalog.meanwhile = lambda: hold(by(world, "bob"), ONE, "audit")
    hold(world.releasing, ONE, "ticket")
    assert [each.by for each in world.catalog.snapshot().holds[ONE]] == ["bob", "alice"]


def test_a_hold_is_published_so_that_an_older_catalog_is_found_out(
    world: World, public: FullDisk
) -> None:
    _, generation = hold(world.releasing, ONE, "audit")
    assert public.tree().catalog().generation == generation
    public.full = True
    with pytest.raises(Failed, match="IS held, but its generation is not published yet"):
        hold(by(world, "bob"), ONE, "audit")
    assert [each.by for each in world.catalog.snapshot().holds[ONE]] == ["alice", "bob"]


def test_what_is_deleted_cannot_be_held_and_what_is_held_cannot_go(world: World) -> None:
    world.recorded("debian-ci@20261119.1")
    old = ref("debian-ci@20261119.1")
    down(world, old, [Stage.DEPRECATED])
    hold(world.releasing, old, "not yet")
    with pytest.raises(ImpossibleChange, match="held by alice"):
        down(world, old, [Stage.OBSOLETE])
    unhold(world.releasing, old, "now")
    down(world, old, [Stage.OBSOLETE, Stage.QUARANTINED, Stage.DELETED])
    with pytest.raises(Refused, match="cannot be held") as caught:
        hold(world.releasing, old, "too late")
    assert "cleanup undelete debian-ci@20261119.1" in caught.value.reasons[0]
    with pytest.raises(Refused, match="is put nowhere"):
        world.place(old)


def test_a_lease_is_renewed_but_never_shortened(world: World) -> None:
    lease = take_lease(world.releasing, ONE, "ci-7", 4 * HOUR)
    assert lease == Lease(ONE, "ci-7", NOW, NOW + 4 * HOUR)
    world.clock.advance(HOUR)
    assert take_lease(world.releasing, ONE, "ci-7", HOUR).until == NOW + 4 * HOUR
    longer = take_lease(world.releasing, ONE, "ci-7", 5 * HOUR)
    assert longer == Lease(ONE, "ci-7", NOW, NOW + 6 * HOUR)
    assert leases_of(world.catalog.snapshot(), world.clock.now()) == (longer,)
    assert end_lease(world.releasing, ONE, "ci-7")
    assert not end_lease(world.releasing, ONE, "ci-7")
    assert leases_of(world.catalog.snapshot(), world.clock.now()) == ()


def test_leases_that_are_over_count_no_more_and_go_with_the_next_one(world: World) -> None:
    take_lease(world.releasing, ONE, "killed", HOUR)
    world.clock.advance(HOUR)
    assert leases_of(world.catalog.snapshot(), world.clock.now()) == ()
    take_lease(world.releasing, ONE, "ci-7", HOUR)
    assert [each.consumer for each in world.catalog.snapshot().leases[ONE]] == ["ci-7"]


@pytest.mark.parametrize("length", [timedelta(0), LONGEST_LEASE + HOUR, timedelta.max])
def test_a_lease_has_a_sensible_length(world: World, length: timedelta) -> None:
    with pytest.raises(BadUsage, match="a lease is for"):
        take_lease(world.releasing, ONE, "ci-7", length)


def test_a_lease_holds_while_a_block_runs_and_ends_also_when_that_fails(world: World) -> None:
    seen: list[Lease] = []

    def build() -> None:
        with leased(world.releasing, ONE, "build", HOUR):
            seen.extend(world.catalog.snapshot().leases[ONE])
            raise Failed("the build")

    with pytest.raises(Failed, match="the build"):
        build()
    assert [each.consumer for each in seen] == ["build"]
    assert world.catalog.snapshot().leases == {}


@pytest.mark.parametrize("stages", [2, 3])
def test_only_what_can_be_had_is_leased(world: World, stages: int) -> None:
    world.recorded("debian-ci@20261119.1")
    old = ref("debian-ci@20261119.1")
    down(world, old, [Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED][:stages])
    if stages == 2:
        assert take_lease(world.releasing, old, "ci", HOUR).until == NOW + HOUR
    else:
        with pytest.raises(Refused, match="cannot be leased") as caught:
            take_lease(world.releasing, old, "ci", HOUR)
        assert "cleanup undo debian-ci@20261119.1" in caught.value.reasons[0]
    revoke(world.releasing, ONE, "a hole")
    with pytest.raises(Refused, match="cannot be leased"):
        take_lease(world.releasing, ONE, "ci", HOUR)


def test_what_a_channel_points_to_is_not_revoked_by_accident(
    world: World, public: FullDisk
) -> None:
    before = world.catalog.snapshot()
    with pytest.raises(Refused, match="consumers of beta and stable would get") as caught:
        revoke(world.releasing, THREE, "a hole")
    assert caught.value.reasons == (
        "beta points to it: `imagectl rollback beta debian-ci`",
        "stable points to it: `imagectl rollback stable debian-ci`",
    )
    assert world.catalog.snapshot() == before
    assert got(world, public).ref == THREE


def test_a_move_that_comes_in_between_is_seen(world: World, catalog: Busy) -> None:
    world.rollback("stable", CI)
    world.rollback("beta", CI)
    catalog.meanwhile = lambda: world.promote("stable", str(TWO))
    revoke(world.releasing, THREE, "a hole")
    catalog.meanwhile = lambda: world.rollback("stable", CI, to=ONE.version)
    with pytest.raises(Refused, match="consumers of stable"):
        revoke(world.releasing, ONE, "another hole")


def test_a_revoked_version_is_given_to_nobody_until_it_is_restored(
    world: World, public: FullDisk
) -> None:
    revoked = revoke(world.releasing, TWO, "CVE-2026-1")
    assert (revoked.pointing, revoked.children, revoked.behind) == ((), (), ())
    with pytest.raises(Refused, match=f"{TWO} cannot be had") as caught:
        got(world, public, version=TWO)
    assert caught.value.reasons == (
        "20261120.2 is revoked since 2026-11-20 12:00 UTC, by alice: CVE-2026-1",
    )
    assert got(world, public).ref == THREE
    again = revoke(world.releasing, TWO, "twice")
    assert again.generation is None
    assert again.revocation.reason == "CVE-2026-1"
    restore(world.releasing, TWO, "it was another one")
    assert got(world, public, version=TWO).ref == TWO
    assert restore(world.releasing, TWO, "twice").generation is None


def test_a_channel_on_a_revoked_version_gives_an_error_until_it_is_moved(
    world: World, public: FullDisk, local: MemoryLocation
) -> None:
    revoked = revoke(world.releasing, THREE, "CVE-2026-1", even_if_released=True)
    assert revoked.pointing == (BETA, STABLE)
    with pytest.raises(Refused, match="stable of debian-ci points to a version") as caught:
        got(world, public)
    assert "CVE-2026-1" in caught.value.reasons[0]
    assert "imagectl rollback stable debian-ci" in caught.value.hint
    point(world.releasing)
    assert local.pointers[CI] == {}
    world.rollback("stable", CI)
    assert got(world, public).ref == TWO
    assert {channel: each.version for channel, each in local.pointers[CI].items()} == {STABLE: TWO}
    with pytest.raises(Refused):
        got(world, public, channel=BETA)


def test_a_revocation_that_consumers_cannot_be_shown_says_so(
    world: World, public: FullDisk
) -> None:
    public.full = True
    with pytest.raises(Failed, match="IS revoked, but consumers do not see it yet"):
        revoke(world.releasing, TWO, "a hole")
    assert TWO in world.catalog.snapshot().revoked
    public.full = False
    revoke(world.releasing, TWO, "a hole")
    with pytest.raises(Refused):
        got(world, public, version=TWO)


def test_children_of_what_is_revoked_are_told(world: World) -> None:
    for text, parent in (("app@20261120.1", ONE), ("app-ci@20261120.1", ref("app@20261120.1"))):
        made = replace(record(text).version, parent=parent)
        generation = world.catalog.snapshot(()).generation
        world.catalog.commit(change(text, generation, replace(record(text), version=made)))
    revoked = revoke(world.releasing, ONE, "a hole")
    assert revoked.children == (ref("app@20261120.1"), ref("app-ci@20261120.1"))
    assert revoke(world.releasing, ref("app@20261120.1"), "its base").children == (
        ref("app-ci@20261120.1"),
    )


class Noting(SqlCatalog):
    """Notes how often all of it is read at once: of a million versions, that takes gigabytes."""

    wholes = 0

    def snapshot(self, images: Collection[ImageName] | None = None) -> Snapshot:
        self.wholes += images is None
        return super().snapshot(images)


def test_children_are_looked_for_image_by_image(world: World, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalog.sqlite3"
    noting = Noting(url, new_id=lambda: "a-catalog")
    with noting:
        child = replace(record("app@20261120.1").version, parent=ONE)
        noting.commit(change("a", 0, record(str(ONE))))
        noting.commit(change("b", 1, RecordVersion(child)))
        releasing = replace(world.releasing, catalog=noting, publishers=(), locations={})
        assert revoke(releasing, ONE, "a hole").children == (child.ref,)
        revoking, noting.wholes = noting.wholes, 0
        restore(releasing, ONE, "a mistake")
        assert revoking == noting.wholes


def test_rollback_goes_past_what_cannot_be_had(world: World) -> None:
    revoke(world.releasing, TWO, "a hole")
    released = world.rollback("stable", CI)
    (move,) = released.plan.moves
    assert move.to == ONE.version
    assert any("passed by: 20261120.2 was revoked" in each for each in move.reasons)
    with pytest.raises(Refused) as caught:
        world.rollback("stable", CI, to=TWO.version)
    assert caught.value.reasons[0].startswith("debian-ci: 20261120.2 was revoked on")


def test_where_nothing_can_be_had_a_rollback_says_what_was_taken_away(world: World) -> None:
    revoke(world.releasing, TWO, "a hole")
    revoke(world.releasing, ONE, "another")
    with pytest.raises(Refused) as caught:
        world.rollback("stable", CI)
    assert [each.split(";")[0] for each in caught.value.reasons] == [
        "debian-ci: there is no earlier good version than 20261120.3 to go back to",
        "debian-ci: 20261120.2 was revoked on 2026-11-20 12:00 UTC by alice: a hole",
        "debian-ci: 20261120.1 was revoked on 2026-11-20 12:00 UTC by alice: another",
    ]


def test_nothing_revoked_is_promoted_or_asked_to_be_a_way_back(world: World) -> None:
    revoke(world.releasing, TWO, "a hole")
    four = world.built("debian-ci@20261120.4").ref
    world.promote("stable")
    assert world.catalog.snapshot().head(CI, STABLE) == four.version
    five = world.built("debian-ci@20261120.5").ref
    revoke(world.releasing, five, "worse", even_if_released=True)
    with pytest.raises(Refused) as caught:
        world.promote("stable")
    assert "20261120.5 was revoked" in caught.value.reasons[0]


def test_what_is_on_its_way_down_is_no_target_either(world: World) -> None:
    world.recorded("debian-ci@20261121.1")
    new = ref("debian-ci@20261121.1")
    world.place(new)
    down(world, new, [Stage.DEPRECATED])
    with pytest.raises(Refused) as caught:
        world.arrive(new)
    assert "20261121.1 is deprecated since" in caught.value.reasons[0]
    assert "cleanup undo debian-ci@20261121.1" in caught.value.reasons[0]


def test_verify_passes_by_what_is_no_way_back(world: World) -> None:
    revoke(world.releasing, TWO, "a hole")
    found = verify(world.releasing, world.policy)
    assert all(each.window == (ONE.version,) for each in found.channels)


def test_verify_tells_a_channel_on_a_revoked_version_from_one_whose_version_is_gone(
    world: World, local: MemoryLocation
) -> None:
    revoke(world.releasing, THREE, "a hole", even_if_released=True)
    head = verify(world.releasing, world.policy).channels[0].of_head(LOCAL)
    assert (head.state, head.verified) == (State.REVOKED, NOW)
    assert head.reasons[0].startswith("20261120.3 was revoked on")
    (placement,) = world.catalog.snapshot().placed(THREE)
    local.lose(placement)
    assert verify(world.releasing, world.policy).channels[0].of_head(LOCAL).state is State.MISSING


@pytest.mark.parametrize("stage", [Stage.DEPRECATED, Stage.OBSOLETE])
def test_who_pins_what_is_going_is_told_to_move_on(
    world: World, public: FullDisk, stage: Stage
) -> None:
    old = world.recorded("debian-ci@20261119.1").ref
    world.place(old)
    down(world, old, list(Stage)[1 : list(Stage).index(stage) + 1])
    point_and_publish(world)
    found = got(world, public, version=old)
    assert found.ref == old
    assert found.notices == (
        f"20261119.1 is {stage.value} since 2026-11-20 12:00 UTC, by alice: old; "
        "it is on its way out: `imagectl resolve debian-ci` says what its channel has",
    )
    assert got(world, public).notices == ()


def test_who_pins_what_is_gone_is_told_how_to_have_it_again(world: World, public: FullDisk) -> None:
    old = world.recorded("debian-ci@20261119.1").ref
    world.place(old)
    down(world, old, [Stage.DEPRECATED, Stage.OBSOLETE, Stage.QUARANTINED])
    point_and_publish(world)
    with pytest.raises(Refused, match="cannot be had") as refused:
        got(world, public, version=old)
    assert "20261119.1 is quarantined since" in refused.value.reasons[0]
    assert "imagectl cleanup undo debian-ci@20261119.1" in refused.value.hint
    down(world, old, [Stage.DELETED])
    point_and_publish(world)
    with pytest.raises(NotFound, match=f"{old} was deleted") as gone:
        got(world, public, version=old)
    assert "by alice: old" in gone.value.why
    assert "imagectl cleanup undelete debian-ci@20261119.1" in gone.value.hint


def point_and_publish(world: World) -> None:
    for publisher in world.releasing.publishers:
        publisher.publish(world.catalog.snapshot())
