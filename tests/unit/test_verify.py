"""Whether channels point to what works and whether one could roll back, on ports in memory (P6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.examples import BASE, BETA, CI, NOW, STABLE, ref
from support.releases import DC1, LOCAL
from support.world import World

from imagectl.adapters.metrics import write_verified
from imagectl.errors import CannotTell, Conflict, Failed, NotFound
from imagectl.model.change import Change, RecordPlacement
from imagectl.model.names import ChannelName, ImageName, LocationName
from imagectl.model.version import Placement
from imagectl.services.live import PATIENCE, look
from imagectl.services.verify import ChannelChecked, State, Verified, verify
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

ONE, TWO, THREE, FOUR, FIVE = (f"debian-ci@20261120.{serial}" for serial in range(1, 6))
LABELS = ("image", "channel", "location")
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def local() -> MemoryLocation:
    return MemoryLocation(LOCAL)


@pytest.fixture
def dc1() -> MemoryLocation:
    return MemoryLocation(DC1)


@pytest.fixture
def world(tmp_path: Path, local: MemoryLocation, dc1: MemoryLocation) -> World:
    """Three versions in stable and in two locations; an hour has passed."""
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    made = World(MemoryCatalog(), [local, dc1], [MemoryPublisher()], store, tmp_path)
    for text in (ONE, TWO, THREE):
        made.built(text, needs=(LOCAL, DC1))
        made.promote("stable")
    made.clock.advance(timedelta(hours=1))
    return made


def verified(world: World, *channels: ChannelName) -> Verified:
    return verify(world.releasing, world.policy, channels)


def stable(found: Verified) -> ChannelChecked:
    return next(each for each in found.channels if each.channel == STABLE)


def states(channel: ChannelChecked) -> dict[tuple[int, LocationName], State]:
    return {(each.version.version.serial, each.location): each.state for each in channel.checked}


def placed(world: World, text: str, at: LocationName) -> Placement:
    return next(each for each in world.catalog.snapshot().placed(ref(text)) if each.location == at)


def numbers(path: Path) -> dict[tuple[str, ...], float]:
    """Every sample of the file by its name and the values of its labels."""
    return {
        (sample.name, *(sample.labels[each] for each in LABELS if each in sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def measured(world: World, tmp_path: Path) -> dict[tuple[str, ...], float]:
    path = tmp_path / "imagectl.prom"
    found = verified(world)
    write_verified(path, found, found.at)
    return numbers(path)


def test_all_that_is_there_is_good_and_is_recorded_as_seen(world: World) -> None:
    found = verified(world)
    channel = stable(found)
    assert (channel.head, channel.window) == (
        ref(THREE).version,
        (ref(TWO).version, ref(ONE).version),
    )
    assert set(states(channel).values()) == {State.GOOD}
    assert len(states(channel)) == 6
    assert found.renewed == 6, "beta and stable have the same versions, which are read once"
    assert placed(world, ONE, DC1).verified == LATER
    assert list(world.catalog.events())[-1].change.action == "verify"


def test_what_is_gone_or_changed_is_told_with_what_to_type(
    world: World, local: MemoryLocation, dc1: MemoryLocation
) -> None:
    dc1.lose(placed(world, ONE, DC1))
    local.damage(placed(world, TWO, LOCAL))
    channel = stable(verified(world))
    assert states(channel)[1, DC1] is State.MISSING
    assert states(channel)[2, LOCAL] is State.CORRUPT
    assert sum(each is State.GOOD for each in states(channel).values()) == 4
    (gone,) = [each for each in channel.checked if each.state is State.MISSING]
    assert "`imagectl publish debian-ci@20261120.1 --to dc1`" in gone.reasons[0]
    assert gone.verified is None
    assert placed(world, ONE, DC1).verified == NOW, "what was not seen is not renewed"


def test_what_is_in_a_place_that_nobody_requires_is_named_and_not_called_good(
    world: World, dc1: MemoryLocation
) -> None:
    """P8: nobody has looked."""
    assert verified(world).beside == ()
    world.built(FOUR, needs=(LOCAL,))
    world.promote("stable")
    dc1.lose(placed(world, THREE, DC1))
    found = verified(world)
    assert found.beside == tuple((ref(each), DC1) for each in (ONE, TWO, THREE))
    assert {each.location for each in stable(found).checked} == {LOCAL}
    assert not found.having(State.MISSING)


def test_what_one_channel_requires_is_looked_at_for_another_too(
    world: World, dc1: MemoryLocation
) -> None:
    """Beta's head is in both places; the way back of both channels is the same."""
    world.built(FOUR, needs=(LOCAL,))
    world.promote("stable")
    world.built(FIVE, needs=(LOCAL, DC1))
    found = verified(world)
    in_dc1 = {
        each.version
        for channel in found.channels
        for each in channel.checked
        if each.location == DC1
    }
    assert ref(FIVE) in in_dc1
    assert {each for each, _ in found.beside} & in_dc1 == set()


def test_a_location_that_does_not_answer_is_unknown_and_asked_no_further(
    world: World, dc1: MemoryLocation
) -> None:
    """P3, P8."""
    with dc1.unreadable():
        found = verified(world)
    channel = stable(found)
    assert {state for (_, at), state in states(channel).items() if at == DC1} == {State.UNKNOWN}
    assert {state for (_, at), state in states(channel).items() if at == LOCAL} == {State.GOOD}
    assert found.renewed == 3
    assert channel.of_head(DC1).verified == NOW, "when it was last seen is still known"


def test_a_location_is_asked_only_so_often_for_nothing(world: World) -> None:
    asked = []

    class Dead(MemoryLocation):
        def verify(self, placement: Placement, now: object) -> Placement:
            asked.append(placement)
            raise CannotTell("nobody answers")

    every = [placed(world, text, DC1) for text in (ONE, TWO, THREE)]
    looked = look({DC1: Dead(DC1)}, every, world.clock)
    assert len(looked) == 3
    assert all(isinstance(each.trouble, CannotTell) for each in looked.values())
    assert len(asked) == PATIENCE


@pytest.mark.parametrize(
    ("error", "wrong", "says"),
    [
        (Conflict("it has no marks of ours"), True, "is somebody else's"),
        (Failed("the disk is full"), False, "cannot tell: the disk is full"),
    ],
)
def test_other_errors_of_a_location(world: World, error: Exception, wrong: bool, says: str) -> None:
    class Odd(MemoryLocation):
        def verify(self, placement: Placement, now: object) -> Placement:
            raise error

    (found,) = look({DC1: Odd(DC1)}, [placed(world, ONE, DC1)], world.clock).values()
    assert found.wrong is wrong
    assert says in found.words


def test_what_somebody_else_changed_meanwhile_is_not_recorded_over(world: World) -> None:
    """What was seen is the old thing: the new placement must not be lost."""
    other = replace(placed(world, ONE, DC1), provider_id="memory-other")

    class Meddled(MemoryLocation):
        def verify(self, placement: Placement, now: datetime) -> Placement:
            if placement.version == ref(ONE):
                generation = world.catalog.snapshot(()).generation
                renewed = RecordPlacement(other)
                world.catalog.commit(
                    Change("meanwhile", generation, "bob", "publish", "", NOW, (renewed,))
                )
            return replace(placement, verified=now)

    world.releasing = replace(
        world.releasing, locations={**world.releasing.locations, DC1: Meddled(DC1)}
    )
    assert verified(world).renewed == 5
    assert placed(world, ONE, DC1) == other
    assert placed(world, TWO, DC1).verified == LATER


def test_what_was_never_put_where_consumers_pull_from_now_is_missing(world: World) -> None:
    without = {LOCAL: world.releasing.locations[LOCAL]}
    world.releasing = replace(world.releasing, locations=without)
    channel = stable(verified(world))
    missing = [each for each in channel.checked if each.state is State.MISSING]
    assert {each.location for each in missing} == {DC1}
    assert "not among the locations of imagectl.yaml" in missing[0].reasons[0]


def test_what_was_recorded_just_now_is_not_recorded_again(world: World) -> None:
    hour = timedelta(hours=1)
    first = verify(world.releasing, world.policy)
    assert verify(world.releasing, world.policy).renewed == first.renewed, "but if nobody says so"
    assert verify(world.releasing, world.policy, fresh=hour).renewed == 0
    world.clock.advance(hour)
    assert verify(world.releasing, world.policy, fresh=hour).renewed == first.renewed


def test_what_a_location_says_anew_is_recorded_though_it_was_just_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified(world)
    at = world.releasing.locations[DC1]

    def moved(placement: Placement, now: datetime) -> Placement:
        return replace(placement, verified=now, reference="elsewhere")

    monkeypatch.setattr(at, "verify", moved)
    found = verify(world.releasing, world.policy, fresh=timedelta(hours=1))
    assert found.renewed > 0
    assert placed(world, ONE, DC1).reference == "elsewhere"


def test_only_what_is_asked_for(world: World) -> None:
    world.built("debian-base@20261120.1")
    assert {each.channel for each in verified(world, BETA).channels} == {BETA}
    found = verify(world.releasing, world.policy, (), (BASE,))
    assert {each.image for each in found.channels} == {BASE}
    with pytest.raises(NotFound, match="no channel stabel"):
        verified(world, ChannelName("stabel"))
    with pytest.raises(NotFound, match="no version of nothing"):
        verify(world.releasing, world.policy, (), (ImageName("nothing"),))


def test_the_numbers_when_all_is_good(world: World, tmp_path: Path) -> None:
    found = measured(world, tmp_path)
    later = LATER.timestamp()
    for at in (LOCAL, DC1):
        assert found["imagectl_rollback_ready", CI, STABLE, at] == 1
        assert found["imagectl_head_ready", CI, STABLE, at] == 1
        assert found["imagectl_rollback_verified_timestamp_seconds", CI, STABLE, at] == later
    assert found["imagectl_rollback_versions", CI, STABLE] == 2
    assert found["imagectl_verify_timestamp_seconds",] == later
    assert found["imagectl_verify_last_success_timestamp_seconds",] == later


def test_what_one_cannot_go_back_to_is_0_there_and_nowhere_else(
    world: World, dc1: MemoryLocation, tmp_path: Path
) -> None:
    dc1.lose(placed(world, ONE, DC1))
    found = measured(world, tmp_path)
    assert found["imagectl_rollback_ready", CI, STABLE, DC1] == 0
    assert found["imagectl_head_ready", CI, STABLE, DC1] == 1
    assert found["imagectl_rollback_ready", CI, STABLE, LOCAL] == 1
    assert ("imagectl_rollback_verified_timestamp_seconds", CI, STABLE, DC1) not in found
    assert found["imagectl_verify_last_success_timestamp_seconds",] == LATER.timestamp()


def test_what_is_unknown_is_absent_with_the_age_of_the_last_success(
    world: World, dc1: MemoryLocation, tmp_path: Path
) -> None:
    """P8: neither the last known value nor 0."""
    before = measured(world, tmp_path)
    world.clock.advance(timedelta(hours=2))
    with dc1.unreadable():
        found = measured(world, tmp_path)
    assert ("imagectl_rollback_ready", CI, STABLE, DC1) not in found
    assert ("imagectl_head_ready", CI, STABLE, DC1) not in found
    assert found["imagectl_rollback_ready", CI, STABLE, LOCAL] == 1
    for name in (
        ("imagectl_rollback_verified_timestamp_seconds", CI, STABLE, DC1),
        ("imagectl_verify_last_success_timestamp_seconds",),
    ):
        assert found[name] == before[name]
    assert found["imagectl_verify_timestamp_seconds",] == LATER.timestamp() + 7200


def test_what_is_certainly_gone_is_0_though_the_rest_is_unknown(
    world: World, tmp_path: Path
) -> None:
    class Half(MemoryLocation):
        def verify(self, placement: Placement, now: object) -> Placement:
            if placement.version == ref(TWO):
                raise NotFound("gone")
            raise CannotTell("nobody answers")

    locations = {**world.releasing.locations, DC1: Half(DC1)}
    world.releasing = replace(world.releasing, locations=locations)
    assert measured(world, tmp_path)["imagectl_rollback_ready", CI, STABLE, DC1] == 0


def test_with_nothing_earlier_there_is_nothing_to_be_ready(world: World, tmp_path: Path) -> None:
    world.built("debian-base@20261120.1")
    found = measured(world, tmp_path)
    assert found["imagectl_rollback_versions", BASE, BETA] == 0
    assert found["imagectl_head_ready", BASE, BETA, LOCAL] == 1
    assert ("imagectl_rollback_ready", BASE, BETA, LOCAL) not in found


def test_where_nothing_could_be_found_out_only_the_times_are_left(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "imagectl.prom"
    measured(world, tmp_path)
    write_verified(path, None, NOW + timedelta(days=1))
    assert numbers(path) == {
        ("imagectl_verify_timestamp_seconds",): (NOW + timedelta(days=1)).timestamp(),
        ("imagectl_verify_last_success_timestamp_seconds",): LATER.timestamp(),
    }
    path.write_text("# not { numbers")
    write_verified(path, None, NOW)
    assert numbers(path) == {("imagectl_verify_timestamp_seconds",): NOW.timestamp()}


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="metrics cannot be written") as caught:
        write_verified(tmp_path / "nowhere" / "imagectl.prom", None, NOW)
    assert caught.value.where.endswith("nowhere/imagectl.prom")
