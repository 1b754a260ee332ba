"""A cleanup all the way down and back, in every type of location.

What it promises does not depend on the location: nothing but what the plan names goes, what is gone
is known to be gone, and it comes back.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cleanups import Cleanups
from support.examples import ref
from support.places import CATALOG_ID, LOCAL, PLACES, Place, opened

from imagectl.errors import CannotTell, NotFound
from imagectl.model.retention import Stage
from imagectl.model.version import VersionRef
from imagectl.services.undo import undo
from imagectl.testing.catalog import MemoryCatalog

OLD, TWIN, NEW = (f"debian-ci@2026111{day}.1" for day in (1, 2, 3))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return opened(request.param, request, tmp_path)


@pytest.fixture
def cleanups(place: Place, tmp_path: Path) -> Cleanups:
    """Two versions, the last of them in beta."""
    folder = tmp_path / "cleanups"
    folder.mkdir()
    made = Cleanups(folder, [place.location], MemoryCatalog(CATALOG_ID))
    for seed, text in enumerate((OLD, NEW)):
        add(made, place, text, seed)
    made.world.enter(ref(NEW))
    return made


def add(cleanups: Cleanups, place: Place, text: str, seed: int) -> None:
    artifact, path = place.artifact(cleanups.folder, seed)
    cleanups.stored.add(path)
    cleanups.add(text, LOCAL, artifact=artifact)


def test_down_and_back(cleanups: Cleanups, place: Place) -> None:
    artifact, _ = place.artifact(cleanups.folder, 7)
    foreign = place.foreign(place.location.named(ref("others@20261111.1"), artifact))
    before = foreign()
    there = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    cleanups.bring_down(ref(OLD), to=Stage.QUARANTINED)
    place.location.verify(there, cleanups.world.clock.now())
    undo(cleanups.world.releasing, [ref(OLD)], "")
    cleanups.bring_down(ref(OLD), to=Stage.DELETED)
    with pytest.raises(NotFound):
        place.location.verify(there, cleanups.world.clock.now())
    assert all(each.gone for each in cleanups.catalog.snapshot().buried(ref(OLD)))
    kept = cleanups.catalog.snapshot().placed(ref(NEW))[0]
    place.location.verify(kept, cleanups.world.clock.now())
    assert foreign() == before

    def remake(_: VersionRef) -> None:
        cleanups.stored.add(place.artifact(cleanups.folder, 0)[1])

    cleanups.undelete(ref(OLD), remake)
    again = cleanups.catalog.snapshot().placed(ref(OLD))[0]
    place.location.verify(again, cleanups.world.clock.now())
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
    assert cleanups.plan().plan.unfinished == ()
    assert foreign() == before


def test_the_same_bytes_of_another_version_stay(cleanups: Cleanups, place: Place) -> None:
    """Places that name things by their digest have the bytes of both versions once."""
    add(cleanups, place, TWIN, 1)
    kept = cleanups.catalog.snapshot().placed(ref(NEW))[0]
    cleanups.bring_down(ref(TWIN), to=Stage.DELETED)
    assert all(each.gone for each in cleanups.catalog.snapshot().buried(ref(TWIN)))
    place.location.verify(kept, cleanups.world.clock.now())
    assert cleanups.plan().steps == ()


def test_one_that_is_not_seen_stops_it(cleanups: Cleanups, place: Place) -> None:
    cleanups.bring_down(ref(OLD), to=Stage.DEPRECATED)
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    place.lose(cleanups.catalog.snapshot().placed(ref(NEW))[0])
    with pytest.raises(CannotTell, match="saw 1 of 2 in local") as caught:
        cleanups.apply(plan)
    assert NEW in caught.value.why
    assert cleanups.stage(ref(OLD)) is Stage.DEPRECATED


def test_a_location_that_does_not_answer_stops_it(cleanups: Cleanups, place: Place) -> None:
    cleanups.pass_days(1.01)
    plan = cleanups.plan()
    with place.unreadable(), pytest.raises(CannotTell):
        cleanups.apply(plan)
    assert cleanups.stage(ref(OLD)) is Stage.ACTIVE
