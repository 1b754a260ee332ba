"""The contract of ``services.ports.Catalog``, over every implementation of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from support.catalogs import ID, Fresh
from support.examples import (
    BASE,
    BETA,
    CI,
    NOW,
    STABLE,
    begin,
    change,
    confirm,
    end,
    end_lease,
    hold,
    intend,
    intent,
    lease,
    locked,
    move,
    opaque,
    place,
    record,
    ref,
    restore,
    revoke,
    step,
    unhold,
    version,
)
from support.strategies import histories

from imagectl.errors import Conflict, ImpossibleChange
from imagectl.formats.events import event_hash
from imagectl.model.change import Change, Operation, RecordVersion
from imagectl.model.channel import MoveKind
from imagectl.model.event import GENESIS
from imagectl.model.fold import fold
from imagectl.model.names import ImageName, VersionId
from imagectl.model.retention import DELETING, Stage
from imagectl.model.version import Reproducible
from imagectl.services.ports.catalog import Catalog, Committed
from imagectl.testing.catalog import MemoryCatalog

pytest_plugins = ["support.catalogs"]

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
PARENT = "debian-base@20261119.1"


def unchanged(catalog: Catalog) -> Callable[[], None]:
    """What to call later, to check that nothing has happened in between."""
    before = (catalog.snapshot(), tuple(catalog.events()))

    def check() -> None:
        assert (catalog.snapshot(), tuple(catalog.events())) == before
        assert catalog.verify() == ()

    return check


def test_a_new_catalog_is_empty(catalog: Catalog) -> None:
    assert catalog.snapshot() == fold(ID, [])
    assert list(catalog.events()) == []
    assert catalog.verify() == ()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories())
def test_a_catalog_is_the_fold_of_its_changes(fresh: Fresh, history: list[Change]) -> None:
    catalog = fresh()
    for generation, each in enumerate(history, start=1):
        assert catalog.commit(each) == Committed(generation, replayed=False)
        assert catalog.snapshot() == fold(ID, history[:generation])
    assert [event.change for event in catalog.events()] == history
    assert catalog.verify() == ()


def test_everything_comes_back_as_it_was_recorded(catalog: Catalog) -> None:
    odd = replace(
        version(ONE, parent=ref(PARENT)),
        summary='two\nlines, "quotes", \\, \x1b[31m, \U0001f600 and \x7f',
        created=NOW.astimezone(timezone(timedelta(hours=-5))) + timedelta(microseconds=1),
        artifacts=version(ONE).artifacts * 3,
        required_locations=(),
        seconds=0.1 + 0.2,
    )
    catalog.commit(change("a", 0, record(PARENT), RecordVersion(odd), place(ONE)))
    snapshot = catalog.snapshot()
    assert snapshot.versions == {ref(PARENT): version(PARENT), ref(ONE): odd}
    assert snapshot.versions[ref(ONE)].created.utcoffset() == timedelta(0) or isinstance(
        catalog, MemoryCatalog
    )
    assert snapshot.placed(ref(ONE)) == (place(ONE).placement,)


def test_how_a_version_was_made_comes_back_as_recorded(catalog: Catalog) -> None:
    recorded = [
        locked(ONE),
        locked(TWO, Reproducible.NO, "path /etc/x: bytes 1 to 7 differ, \U0001f600"),
        locked("debian-ci@20261120.3", Reproducible.UNPROVEN),
        opaque("debian-ci@20261120.4"),
        replace(locked("debian-ci@20261120.5"), origin=None),
        version("debian-ci@20261120.6"),
    ]
    catalog.commit(change("a", 0, *(RecordVersion(each) for each in recorded)))
    assert list(catalog.snapshot().versions.values()) == recorded
    (event,) = catalog.events()
    assert [
        each.version for each in event.change.operations if isinstance(each, RecordVersion)
    ] == (recorded)
    assert catalog.verify() == ()


def test_what_is_about_to_be_made_is_known_until_it_is_ended(catalog: Catalog) -> None:
    """P7."""
    catalog.commit(change("a", 0, record(ONE), record(TWO)))
    catalog.commit(change("b", 1, intend(ONE, "dc2"), intend(ONE, "dc1"), intend(TWO)))
    assert catalog.snapshot().intended(ref(ONE)) == (intent(ONE, "dc2"), intent(ONE, "dc1"))
    with pytest.raises(ImpossibleChange, match="already being made"):
        catalog.commit(change("c", 2, intend(ONE, "dc1")))
    catalog.commit(change("c", 2, place(ONE, "dc2"), end(ONE, "dc2")))
    assert catalog.snapshot().intended(ref(ONE)) == (intent(ONE, "dc1"),)
    with pytest.raises(ImpossibleChange, match="not being made"):
        catalog.commit(change("d", 3, end(ONE, "dc2")))
    catalog.commit(change("d", 3, end(ONE, "dc1"), intend(ONE, "dc2", named="another")))
    snapshot = catalog.snapshot([CI])
    assert snapshot.intended(ref(ONE)) == (intent(ONE, "dc2", named="another"),)
    assert snapshot.intended(ref(TWO)) == (intent(TWO),)
    assert catalog.verify() == ()


def test_events_are_chained(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE)))
    catalog.commit(change("b", 1, move(CI, BETA, "20261120.1")))
    catalog.commit(change("c", 2, move(CI, STABLE, "20261120.1")))
    previous = GENESIS
    for number, event in enumerate(catalog.events(), start=1):
        assert event.generation == number
        assert event.previous == previous
        assert event.hash == event_hash(number, event.change, previous)
        previous = event.hash
    assert previous != GENESIS


def test_events_after_a_generation(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE)))
    catalog.commit(change("b", 1, place(ONE)))
    catalog.commit(change("c", 2, place(ONE, "dc1")))
    keys = {after: [e.change.key for e in catalog.events(after)] for after in (-1, 0, 1, 2, 3, 9)}
    assert keys == {
        -1: ["a", "b", "c"],
        0: ["a", "b", "c"],
        1: ["b", "c"],
        2: ["c"],
        3: [],
        9: [],
    }


def test_a_long_history_is_read_whole(catalog: Catalog) -> None:
    catalog.commit(change("0", 0, record(ONE)))
    for number in range(1, 600):
        catalog.commit(change(str(number), number, move(CI, BETA, "20261120.1")))
    assert [event.generation for event in catalog.events()] == list(range(1, 601))
    assert [event.generation for event in catalog.events(597)] == [598, 599, 600]
    channel = catalog.snapshot().channel(CI, BETA)
    assert channel is not None
    assert [made.generation for made in channel.moves] == list(range(2, 601))
    assert catalog.verify() == ()


def test_a_snapshot_of_some_images_has_only_those(catalog: Catalog) -> None:
    catalog.commit(
        change(
            "a",
            0,
            *(record(PARENT), record(ONE), place(PARENT), place(ONE)),
            *(move(BASE, BETA, "20261119.1"), move(CI, BETA, "20261120.1")),
        )
    )
    whole = catalog.snapshot()
    assert whole.images == (BASE, CI)
    for wanted in ([], [CI], [BASE], [CI, BASE, CI], [ImageName("unknown")]):
        assert catalog.snapshot(wanted) == whole.only(wanted)
    assert catalog.snapshot([]).generation == 1
    many = [CI, *(ImageName(f"a-{number}") for number in range(2_500))]
    assert catalog.snapshot(many) == whole.only([CI])


def test_a_change_may_be_long(catalog: Catalog) -> None:
    names = [f"debian-ci@20261120.{serial}" for serial in range(1, 251)]
    catalog.commit(change("a", 0, *(record(name) for name in names)))
    catalog.commit(change("b", 1, *(place(name) for name in names)))
    later = NOW + timedelta(hours=1)
    catalog.commit(change("c", 2, *(place(name, at=later) for name in names)))
    placed = catalog.snapshot().placements
    assert [placed[ref(name)] for name in names] == [
        (place(name, at=later).placement,) for name in names
    ]
    assert catalog.verify() == ()


def test_a_snapshot_stays_as_it_was(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE), move(CI, BETA, "20261120.1")))
    before = catalog.snapshot()
    catalog.commit(change("b", 1, record(TWO), place(ONE), move(CI, BETA, "20261120.2")))
    assert before == fold(ID, [change("a", 0, record(ONE), move(CI, BETA, "20261120.1"))])


def test_a_rollback_is_appended(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE), record(TWO), move(CI, STABLE, "20261120.1")))
    catalog.commit(change("b", 1, move(CI, STABLE, "20261120.2")))
    catalog.commit(change("c", 2, move(CI, STABLE, "20261120.1", MoveKind.ROLLBACK)))
    channel = catalog.snapshot().channel(CI, STABLE)
    assert channel is not None
    assert [(each.version.serial, each.kind) for each in channel.moves] == [
        (1, MoveKind.PROMOTE),
        (2, MoveKind.PROMOTE),
        (1, MoveKind.ROLLBACK),
    ]


def test_a_placement_is_renewed_in_its_place(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE), place(ONE, "dc1"), place(ONE, "local")))
    later = NOW + timedelta(hours=1)
    catalog.commit(change("b", 1, place(ONE, "dc1", at=later)))
    placed = catalog.snapshot([CI]).placed(ref(ONE))
    assert [(each.location, each.verified) for each in placed] == [("dc1", later), ("local", NOW)]


@pytest.mark.parametrize("based_on", [0, 1, 3, 99])
def test_a_change_decided_on_another_generation_is_a_conflict(
    catalog: Catalog, based_on: int
) -> None:
    catalog.commit(change("a", 0, record(ONE)))
    catalog.commit(change("b", 1, record(TWO)))
    check = unchanged(catalog)
    with pytest.raises(Conflict, match="nothing was done") as caught:
        catalog.commit(change("c", based_on, move(CI, BETA, "20261120.1")))
    assert f"generation {based_on}" in caught.value.why
    assert caught.value.hint
    check()


def test_a_conflict_is_one_even_where_another_image_changed(catalog: Catalog) -> None:
    """Nothing is rebased: a decision may have rested on anything in the catalog."""
    catalog.commit(change("a", 0, record(ONE)))
    catalog.commit(change("b", 1, record(PARENT)))
    with pytest.raises(Conflict):
        catalog.commit(change("c", 1, move(CI, BETA, "20261120.1")))


def test_the_same_key_is_applied_once(catalog: Catalog) -> None:
    first = change("a", 0, record(ONE))
    second = change("b", 1, move(CI, BETA, "20261120.1"))
    catalog.commit(first)
    assert catalog.commit(second) == Committed(2, replayed=False)
    check = unchanged(catalog)
    assert catalog.commit(second) == Committed(2, replayed=True)
    assert catalog.commit(first) == Committed(1, replayed=True)
    assert catalog.commit(replace(second, based_on=2)) == Committed(2, replayed=True)
    check()
    assert catalog.commit(replace(second, key="c", based_on=2)) == Committed(3, replayed=False)


@pytest.mark.parametrize(
    "impossible",
    [
        change("k", 1),
        change("k", 1, record(ONE)),
        change("k", 1, record(TWO), record(TWO)),
        change("k", 1, record(TWO), record(ONE)),
        change("k", 1, record(TWO), place(PARENT)),
        change("k", 1, record(TWO), move(CI, BETA, "20261120.3")),
        change("k", 1, record(TWO), move(BASE, BETA, "20261120.2")),
        change("k", 1, record(TWO), reason="\0"),
        change("k", 1, record(TWO), reason="\ud800"),
        change("", 1, record(TWO)),
        replace(change("k", 1, record(TWO)), at=NOW.replace(tzinfo=None)),
    ],
)
def test_an_impossible_change_is_refused_whole(catalog: Catalog, impossible: Change) -> None:
    catalog.commit(change("a", 0, record(ONE), move(CI, BETA, "20261120.1")))
    check = unchanged(catalog)
    with pytest.raises(ImpossibleChange):
        catalog.commit(impossible)
    check()
    # The key was not used up.
    assert catalog.commit(change("k", 1, record(TWO))) == Committed(2, replayed=False)


def test_a_version_cannot_be_recorded_again_with_other_content(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE)))
    check = unchanged(catalog)
    other = replace(version(ONE), summary="something else")
    with pytest.raises(ImpossibleChange, match="versions do not change"):
        catalog.commit(change("b", 1, RecordVersion(other)))
    check()


def test_protections_and_stages_come_back_as_they_were_recorded(catalog: Catalog) -> None:
    """Each is renewed, taken back in the middle, and recorded again."""
    as_bob = replace(change("c", 2, hold(ONE), revoke(TWO), reason="CVE"), actor="bob")
    history = [
        change("a", 0, record(ONE), record(TWO), place(TWO), place(TWO, "dc1")),
        change("b", 1, hold(ONE), lease(ONE), lease(ONE, "ci-8"), lease(ONE, "ci-9"), reason="x"),
        as_bob,
        change("d", 3, hold(ONE), lease(ONE, "ci-8", hours=9), end_lease(ONE), reason="y"),
        change("e", 4, *step(TWO)),
        change("f", 5, begin(TWO, "dc1"), begin(TWO)),
        change("g", 6, confirm(TWO, "dc1", begun=NOW), unhold(ONE, "bob"), restore(TWO)),
        replace(
            change("h", 7, *step(TWO, Stage.QUARANTINED), place(TWO), revoke(ONE)),
            at=NOW + DELETING,
        ),
        change("i", 8, *step(TWO, Stage.ACTIVE), unhold(ONE), end_lease(ONE, "ci-9")),
    ]
    for generation, each in enumerate(history, start=1):
        catalog.commit(each)
        assert catalog.snapshot() == fold(ID, history[:generation])
        assert catalog.verify() == ()


def test_nothing_comes_back_while_it_is_being_deleted(catalog: Catalog) -> None:
    """P2: what a location is just asked to delete is nobody's to rely on."""
    catalog.commit(change("a", 0, record(ONE), place(ONE), place(ONE, "dc1")))
    catalog.commit(change("b", 1, *step(ONE)))
    catalog.commit(change("c", 2, begin(ONE)))
    check = unchanged(catalog)
    up = change("d", 3, *step(ONE, Stage.QUARANTINED))
    with pytest.raises(ImpossibleChange, match="being deleted from local"):
        catalog.commit(replace(up, at=NOW + DELETING - timedelta(microseconds=1)))
    check()
    catalog.commit(change("e", 3, confirm(ONE, begun=NOW)))
    catalog.commit(replace(up, based_on=4))
    assert catalog.snapshot().stage(ref(ONE)) is Stage.QUARANTINED


@pytest.mark.parametrize(
    "protection",
    [move(CI, STABLE, "20261120.1"), hold(ONE), lease(ONE), intend(ONE, "dc2")],
)
def test_nothing_takes_down_what_is_protected(catalog: Catalog, protection: Operation) -> None:
    """P1, in the catalog itself, whatever has been decided on which generation."""
    catalog.commit(change("a", 0, record(ONE), place(ONE)))
    catalog.commit(change("b", 1, protection))
    check = unchanged(catalog)
    with pytest.raises(ImpossibleChange, match="protected"):
        catalog.commit(change("c", 2, record(TWO), *step(ONE, Stage.DEPRECATED)))
    check()


def test_all_channels_of_the_image_protect_it(catalog: Catalog) -> None:
    """P1: also those that the change does not name, beside one that it does."""
    catalog.commit(change("a", 0, record(ONE), record(TWO), move(CI, STABLE, "20261120.1")))
    moving: tuple[Operation, ...] = (
        move(CI, BETA, "20261120.2"),
        *step(ONE, Stage.DEPRECATED),
    )
    with pytest.raises(ImpossibleChange, match="stable points to it"):
        catalog.commit(change("b", 1, *moving))
    catalog.commit(change("b", 1, move(CI, STABLE, "20261120.2"), *moving))
    assert catalog.snapshot([CI]).stage(ref(ONE)) is Stage.DEPRECATED
    assert catalog.verify() == ()


def test_nothing_is_built_on_what_has_been_deleted(catalog: Catalog) -> None:
    """P1: the parent of what is recorded is looked at, though it is another image's."""
    catalog.commit(change("a", 0, record(PARENT)))
    catalog.commit(change("b", 1, *step(PARENT)))
    check = unchanged(catalog)
    with pytest.raises(ImpossibleChange, match="has been deleted meanwhile"):
        catalog.commit(change("c", 2, RecordVersion(version(ONE, parent=ref(PARENT)))))
    check()


def test_threads_that_race_are_applied_once_or_told(catalog: Catalog) -> None:
    catalog.commit(change("a", 0, record(ONE), record(TWO)))
    made: list[int] = []
    rounds = 300 if isinstance(catalog, MemoryCatalog) else 20

    def race(name: int) -> None:
        for number in range(rounds):
            based_on = catalog.snapshot([]).generation
            to = f"20261120.{1 + number % 2}"
            with suppress(Conflict):
                key = f"{name}-{number}"
                made.append(catalog.commit(change(key, based_on, move(CI, BETA, to))).generation)

    threads = [threading.Thread(target=race, args=(name,)) for name in range(4)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # else each of them is through before the next one's turn
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert len(made) >= rounds  # each conflict is somebody else's commit
    assert sorted(made) == list(range(2, len(made) + 2))
    assert catalog.snapshot([]).generation == 1 + len(made) == len(list(catalog.events()))
    assert catalog.verify() == ()
    channel = catalog.snapshot().channel(CI, BETA)
    assert channel is not None
    assert len(channel.moves) == len(made)
    assert channel.head.version in (VersionId("20261120", 1), VersionId("20261120", 2))
