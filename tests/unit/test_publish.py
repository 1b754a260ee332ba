"""Publishing to several locations: at the same time, intents first, each for itself."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.examples import NOW, locked, opaque
from support.putting import ONE, S3, Busy, Place, intents, placed
from support.releases import DC1, LOCAL
from support.world import World

from imagectl.errors import (
    BadUsage,
    CannotTell,
    Conflict,
    Denial,
    Denied,
    Failed,
    ImagectlError,
    NotFound,
)
from imagectl.model.change import EndIntent, RecordIntent, RecordPlacement
from imagectl.model.names import Format, LocationName
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.services import publish
from imagectl.services.ports.locations import Credential, Moved
from imagectl.testing.build import RecordingProgress
from imagectl.testing.store import MemoryStore

pytest_plugins = ["support.putting"]

GCE = LocationName("gce-prod")


def test_each_location_s_intents_are_written_before_anything_is_made_there(
    world: World, places: dict[LocationName, Place]
) -> None:
    """P7."""
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    before = world.catalog.snapshot().generation
    done = world.place(made.ref, S3)
    changes = [event.change.operations for event in world.catalog.events(before)]
    begun = [each.intent for (each, *_) in changes if isinstance(each, RecordIntent)]
    assert {each.location for each in begun} == {LOCAL, DC1, S3}
    assert {each.named for each in begun} == {f"memory-{made.artifacts[0].sha256}"}
    assert {(each.since, each.by) for each in begun} == {(NOW, "alice")}
    for place in places.values():
        (seen,) = place.seen
        assert place.name in {each.location for each in seen}
    # Each placement is recorded by the very change that ends its intent.
    ended = [each for each in changes if not isinstance(each[0], RecordIntent)]
    assert len(ended) == 3
    for recorded, ending in ended:
        assert isinstance(recorded, RecordPlacement)
        assert isinstance(ending, EndIntent)
        assert recorded.placement.key == ending.intent.key
    assert intents(world) == []
    assert [each.location for each in done.new] == [LOCAL, DC1, S3]


def test_one_that_does_not_answer_holds_up_no_other(
    world: World, places: dict[LocationName, Place]
) -> None:
    """Logging in, too, may take as long as patience lasts."""

    class Slow(Place):
        def probe(self) -> Credential:
            for _ in range(3000):
                if LOCAL in placed(world):
                    raise CannotTell("no answer")
                threading.Event().wait(0.01)
            raise AssertionError("the other location waited for this one")

    assert isinstance(world.catalog, Busy)
    world.releasing.locations[DC1] = Slow(DC1, world.catalog)  # type: ignore[index]  # a dict
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    with pytest.raises(CannotTell):
        world.place(made.ref)
    assert placed(world) == {LOCAL}


def test_locations_are_filled_at_the_same_time(
    world: World, places: dict[LocationName, Place]
) -> None:
    together = threading.Barrier(3, timeout=30)
    for place in places.values():
        place.first = together.wait
    made = world.recorded(ONE, needs=(LOCAL, DC1, S3))
    assert len(world.place(made.ref).placements) == 3


def test_each_location_is_recorded_as_it_ends(
    world: World, places: dict[LocationName, Place]
) -> None:
    def wait_for_the_other() -> None:
        for _ in range(3000):
            if LOCAL in placed(world):
                return
            threading.Event().wait(0.01)
        raise AssertionError("the other location was not recorded before this one has ended")

    places[DC1].first = wait_for_the_other
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    world.place(made.ref)
    assert placed(world) == {LOCAL, DC1}


def test_one_that_fails_keeps_no_other_from_being_filled(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1, S3))
    places[DC1].error = Denied("dc1 does not know us", denial=Denial.WRONG, hint="mend it")
    places[S3].error = CannotTell("no answer", why="503")
    with pytest.raises(CannotTell) as caught:
        world.place(made.ref)
    error = caught.value
    assert error.what == f"publishing {ONE} failed in dc1 and s3; it is in local, which is recorded"
    assert error.why == "dc1: dc1 does not know us (mend it)\ns3: no answer: 503"
    assert error.hint == f"`imagectl publish {ONE} --to dc1 --to s3` goes on where it stopped"
    assert isinstance(error.causes["dc1"], Denied)
    assert placed(world) == {LOCAL}
    assert [name for name, _ in intents(world)] == [DC1, S3]

    places[DC1].error = places[S3].error = None
    done = world.place(made.ref)
    assert [each.location for each in done.new] == [DC1, S3]
    assert [place.puts for place in places.values()] == [1, 2, 2]
    assert intents(world) == []


@pytest.mark.parametrize(
    ("one", "other", "code"),
    [
        (CannotTell("no answer"), CannotTell("no answer"), 5),
        (CannotTell("no answer"), Failed("broken"), 1),
        (CannotTell("no answer"), Conflict("somebody else's"), 4),
        (Conflict("somebody else's"), Failed("broken"), 1),
    ],
)
def test_the_exit_code_is_of_the_worst_that_is_known(
    world: World,
    places: dict[LocationName, Place],
    one: ImagectlError,
    other: ImagectlError,
    code: int,
) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1, S3))
    places[LOCAL].error, places[S3].error = one, other
    with pytest.raises(ImagectlError) as caught:
        world.place(made.ref)
    assert caught.value.exit_code == code


def test_where_one_is_not_let_in_nothing_is_begun(
    world: World, places: dict[LocationName, Place]
) -> None:
    """A credential that does not do is found out before gigabytes have been uploaded."""
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    places[DC1].denial = Denied("alice may not write there", denial=Denial.TOO_NARROW)
    with pytest.raises(CannotTell, match="failed in dc1; it is in local") as caught:
        world.place(made.ref)
    assert isinstance(caught.value.causes["dc1"], Denied)
    assert places[DC1].puts == 0
    assert intents(world) == []
    assert placed(world) == {LOCAL}


def test_one_logs_in_where_something_is_to_be_made_and_is_warned_of_what_ends(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE)
    told = RecordingProgress()
    places[LOCAL].expires = NOW + timedelta(days=3)
    publish.place(world.releasing, world.store, made.ref, progress=told)
    (note,) = told.notes
    assert note.startswith("local: the credential expires in 3 d, ")
    publish.place(world.releasing, world.store, made.ref, progress=told)
    assert places[LOCAL].probes == 1, "verifying logs in by itself"


def test_the_only_location_fails_with_its_own_error(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE)
    places[LOCAL].error = Denied("local is closed", denial=Denial.EXPIRED)
    with pytest.raises(Denied, match="local is closed"):
        world.place(made.ref)


def test_optional_locations_fail_nothing_and_are_reported(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE)
    places[S3].error = Failed("no bucket")

    def run() -> publish.Placed:
        optional = (S3, LOCAL, LocationName("nowhere"))
        return publish.place(world.releasing, world.store, made.ref, (DC1,), optional=optional)

    done = run()
    assert [each.location for each in done.placements] == [LOCAL, DC1]
    assert list(done.failed) == [S3, "nowhere"]
    assert done.failed[S3].what == "no bucket"
    assert isinstance(done.failed[LocationName("nowhere")], NotFound)
    assert [name for name, _ in intents(world)] == [S3]

    places[S3].error = None
    assert [each.location for each in run().new] == [S3]


def test_what_was_asked_for_is_not_optional(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE)
    places[S3].error = Failed("no bucket")
    with pytest.raises(Failed, match="failed in s3; it is in local"):
        publish.place(world.releasing, world.store, made.ref, (S3,), optional=(S3,))


def test_only_the_locations_named_are_filled(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE, needs=(LOCAL, LocationName("gone-since")))
    done = publish.place(world.releasing, world.store, made.ref, (S3,), optional=(DC1,), only=True)
    assert [each.location for each in done.placements] == [S3]
    assert placed(world) == {S3}


def test_each_location_gets_what_it_takes(
    tmp_path: Path, busy: Busy, places: dict[LocationName, Place]
) -> None:
    (tmp_path / "store").mkdir()
    gce = Place(GCE, busy, frozenset({Format.GCE}))
    world = World(busy, [*places.values(), gce], [], MemoryStore(tmp_path / "store"), tmp_path)
    made = world.recorded(ONE, formats=(Format.QCOW2, Format.GCE))
    done = world.place(made.ref, GCE)
    assert [(each.location, each.format) for each in done.placements] == [
        (LOCAL, Format.QCOW2),
        (LOCAL, Format.GCE),
        (GCE, Format.GCE),
    ]
    plain = world.recorded("debian-ci@20261120.2")
    before = busy.snapshot()
    with pytest.raises(BadUsage, match="gce-prod takes no artifact") as caught:
        world.place(plain.ref, GCE)
    assert caught.value.why == "it has qcow2, and gce-prod takes gce"
    assert busy.snapshot() == before


def test_an_artifact_that_is_gone_from_the_store_begins_nothing(world: World) -> None:
    made = world.recorded(ONE)
    world.store.path(made.artifacts[0].sha256).unlink()
    before = world.catalog.snapshot()
    with pytest.raises(NotFound) as caught:
        world.place(made.ref)
    assert world.catalog.snapshot() == before
    assert caught.value.what == f"the qcow2 of {made.ref} is not in the artifact store"
    assert caught.value.where
    assert caught.value.why
    assert caught.value.hint == "bring the store back from a backup"


def test_what_can_be_made_again_is_said_to_be_where_the_store_has_lost_it(
    world: World, places: dict[LocationName, Place]
) -> None:
    """At first, and where it was in a location and is gone from there too."""
    made = world.recorded(ONE, of=locked)
    (known,) = world.place(made.ref).placements
    places[LOCAL].lose(known)
    world.store.path(made.artifacts[0].sha256).unlink()
    for to in (LOCAL, S3):
        with pytest.raises(NotFound, match=f"the qcow2 of {ONE} is not in the") as caught:
            publish.place(world.releasing, world.store, made.ref, (to,), only=True)
        assert f"`imagectl rebuild {ONE}` makes it again" in caught.value.hint


def test_what_packer_left_is_not_said_to_be_made_again(world: World) -> None:
    made = world.recorded(ONE, of=opaque)
    world.store.path(made.artifacts[0].sha256).unlink()
    with pytest.raises(NotFound) as caught:
        world.place(made.ref)
    assert "rebuild" not in caught.value.hint


def test_what_is_put_back_is_in_the_ledger_before(
    world: World, places: dict[LocationName, Place]
) -> None:
    """P7: a placement that is known does not say that its thing is being made again."""
    made = world.recorded(ONE)
    (known,) = world.place(made.ref).placements
    places[LOCAL].lose(known)
    world.place(made.ref)
    assert [[each.location for each in seen] for seen in places[LOCAL].seen] == [[LOCAL], [LOCAL]]
    assert intents(world) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_dying_while_something_is_made_leaves_its_name_in_the_ledger(
    world: World, places: dict[LocationName, Place], moment: str
) -> None:
    """P7. KeyboardInterrupt stands for a kill: nothing is caught or cleaned up by the service."""
    made = world.recorded(ONE)
    if moment == "before":
        places[LOCAL].error = KeyboardInterrupt()
    else:
        places[LOCAL].after = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.place(made.ref)
    assert placed(world) == set()
    assert intents(world) == [(LOCAL, f"memory-{made.artifacts[0].sha256}")]
    places[LOCAL].error = places[LOCAL].after = None
    world.clock.advance(timedelta(hours=1))
    world.place(made.ref)
    assert placed(world) == {LOCAL}
    assert intents(world) == []


def test_an_intent_under_another_name_stays_until_it_is_given_up(
    world: World, places: dict[LocationName, Place]
) -> None:
    """The location was another place then: what it may hold is not what is recorded now."""
    made = world.recorded(ONE)
    places[LOCAL].error = CannotTell("no answer")
    with pytest.raises(CannotTell):
        world.place(made.ref)
    ((_, old),) = intents(world)
    places[LOCAL].error, places[LOCAL].prefix = None, "moved-"
    world.place(made.ref)
    assert intents(world) == [(LOCAL, old)]
    world.clock.advance(timedelta(hours=1))
    publish.give_up(world.releasing, made.ref)
    assert intents(world) == []


def test_the_ledger_is_written_on_top_of_other_changes(world: World, busy: Busy) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    serials = iter(range(1, 100))
    busy.change = lambda: world.recorded(f"debian-base@20261120.{next(serials)}")
    busy.meanwhile = 7
    world.place(made.ref)
    assert placed(world) == {LOCAL, DC1}
    assert busy.meanwhile == 0
    assert busy.verify() == ()


def test_a_catalog_that_never_stands_still_is_a_conflict(world: World, busy: Busy) -> None:
    made = world.recorded(ONE)
    serials = iter(range(1, 1000))
    busy.change = lambda: world.recorded(f"debian-base@20261120.{next(serials)}")
    busy.meanwhile = 1000
    with pytest.raises(Conflict):
        world.place(made.ref)


def test_two_at_the_same_time_begin_once(
    world: World, places: dict[LocationName, Place], busy: Busy
) -> None:
    made = world.recorded(ONE)
    other = World(
        busy,
        list(places.values()),
        [],
        world.store,
        Path(),
        new_key=iter(f"other-{number}" for number in range(99)).__next__,
    )

    def both() -> None:
        places[LOCAL].first = lambda: None
        other.place(made.ref)

    places[LOCAL].first = both
    world.place(made.ref)
    begun = [
        each
        for event in busy.events()
        for each in event.change.operations
        if isinstance(each, RecordIntent)
    ]
    assert len(begun) == 1
    assert intents(world) == []


def test_how_far_it_is_is_told_for_each_location(world: World) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    told = RecordingProgress()
    publish.place(world.releasing, world.store, made.ref, progress=told)
    size = made.artifacts[0].size
    assert sorted(told.moves) == [
        (f"{name}: qcow2", done, size) for name in ("dc1", "local") for done in (0, size)
    ]
    assert sorted(told.notes) == ["dc1: done", "local: done"]


def test_a_location_that_has_failed_is_told_before_the_others_end(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    told = RecordingProgress()
    places[DC1].error = Failed("the datastore is full")

    def wait() -> None:
        for _ in range(3000):
            if told.notes:
                return
            threading.Event().wait(0.01)

    places[LOCAL].first = wait
    with pytest.raises(Failed):
        publish.place(world.releasing, world.store, made.ref, progress=told)
    assert told.notes == ["dc1: FAILED: the datastore is full", "local: done"]


@pytest.mark.parametrize("needs", [(DC1,), (LOCAL, DC1)])
def test_a_location_that_lacks_something_is_no_unknown_version(
    world: World, places: dict[LocationName, Place], needs: tuple[LocationName, ...]
) -> None:
    """Exit code 6 would say that there is no such version."""
    made = world.recorded(ONE, needs=needs)
    places[DC1].error = NotFound("there is no bucket images", hint="make it")
    with pytest.raises(Failed) as caught:
        world.place(made.ref)
    failure = caught.value.causes.get(DC1, caught.value)
    assert (failure.what, failure.where) == ("there is no bucket images", DC1)
    assert (failure.exit_code, caught.value.exit_code, failure.hint) == (1, 1, "make it")


def test_a_mistake_of_ours_in_one_location_leaves_the_others_alone(
    world: World, places: dict[LocationName, Place]
) -> None:
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    places[DC1].error = ZeroDivisionError("a mistake")
    with pytest.raises(ZeroDivisionError):
        world.place(made.ref)
    assert placed(world) == {LOCAL}


def test_an_interrupted_publish_stops_its_uploads_and_keeps_the_ledger(
    world: World, places: dict[LocationName, Place]
) -> None:
    """As by Ctrl-C: the main thread waits, and the uploads have threads of their own."""
    made = world.recorded(ONE, needs=(LOCAL, DC1))
    told = RecordingProgress()
    going = threading.Barrier(2, timeout=30)
    stopped = threading.Event()

    class Uploading(Place):
        """Sends one byte after the other, for ever."""

        def put(
            self,
            version: VersionRef,
            artifact: Artifact,
            source: Path,
            now: datetime,
            moved: Moved,
        ) -> Placement:
            if going.wait() == 0:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)
            while not stopped.wait(0.001):
                moved(1)
            raise AssertionError("the upload was not stopped")

    uploading = [Uploading(name, places[name].catalog) for name in (LOCAL, DC1)]
    world.releasing = replace(world.releasing, locations={each.name: each for each in uploading})

    try:
        with pytest.raises(KeyboardInterrupt):
            publish.place(world.releasing, world.store, made.ref, progress=told)
    finally:
        stopped.set()
    assert [name for name, _ in intents(world)] == [LOCAL, DC1]
    assert not [each for each in threading.enumerate() if each.name.startswith("task-")]
