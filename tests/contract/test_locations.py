"""The contract of ``services.ports.Location``, over every place in ``support.places``.

First what holds when all is well, then each fault that a place can inject: nothing is lost, nothing
foreign is changed, the error is of the right kind, and afterwards `put` and `verify` go on by
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import CATALOG_ID, LOCAL, PLACES, Fault, Place, opened
from support.places.place import ignore

from imagectl.adapters.locations import TYPES
from imagectl.adapters.locations.owners import owner_of
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    NotFound,
    Throttled,
    Unsupported,
)
from imagectl.model.version import Artifact, Placement
from imagectl.model.view import View
from imagectl.services.ports.locations import Mark

VERSION = ref("debian-ci@20261120.1")
ANOTHER = ref("debian-ci@20261122.1")
LATER = NOW.replace(hour=13)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return opened(request.param, request, tmp_path)


@pytest.fixture
def made(place: Place, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


def put(place: Place, made: tuple[Artifact, Path], now: datetime = NOW) -> Placement:
    return place.location.put(VERSION, *made, now, ignore)


def view(place: Place) -> View:
    return place.location.view(lambda: NOW)


def ours(place: Place) -> list[str]:
    """The provider ids of what is ours in a complete view."""
    shown = view(place)
    assert shown.complete, shown.gaps
    return [each.provider_id for each in shown.found if each.owner is not None]


def not_placed(place: Place, placed: Placement, other: Artifact) -> Placement:
    """What the placement would be of an artifact that was never placed."""
    twin = replace(placed, sha256=other.sha256, size=other.size)
    provider_id = placed.provider_id
    for old, new in (
        (placed.sha256, other.sha256),
        (f"/{placed.sha256[:2]}/", f"/{other.sha256[:2]}/"),
    ):
        provider_id = provider_id.replace(old, new)
    return replace(twin, provider_id=provider_id)


def test_every_type_of_location_has_its_place() -> None:
    assert set(TYPES) <= set(PLACES)


def test_it_has_its_name_and_takes_something(place: Place, made: tuple[Artifact, Path]) -> None:
    assert place.location.name == LOCAL
    assert made[0].format in place.location.takes


def test_what_is_placed_is_verified_and_can_be_verified_again(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    artifact = made[0]
    assert placed == Placement(
        VERSION,
        artifact.format,
        artifact.architecture,
        LOCAL,
        placed.provider_id,
        placed.reference,
        artifact.sha256,
        artifact.size,
        NOW,
    )
    assert placed.provider_id
    assert placed.reference
    assert place.location.verify(placed, LATER) == replace(placed, verified=LATER)


def test_it_tells_how_much_has_been_moved(place: Place, made: tuple[Artifact, Path]) -> None:
    told: list[int] = []
    place.location.put(VERSION, *made, NOW, told.append)
    assert told
    assert told == sorted(told)
    assert told[-1] == made[0].size


def test_placing_again_changes_nothing(place: Place, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    before = view(place).found
    assert put(place, made, LATER) == replace(placed, verified=LATER)
    assert view(place).found == before


def test_its_name_there_is_known_before_and_takes_no_request(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    before = place.requests()
    name = place.location.named(VERSION, made[0])
    assert place.requests() == before
    assert name == place.location.named(VERSION, made[0])
    put(place, made)
    assert name == place.location.named(VERSION, made[0])


def test_what_is_gone_is_not_found(place: Place, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    place.lose(placed)
    with pytest.raises(NotFound):
        place.location.verify(placed, LATER)
    again = put(place, made)
    assert place.location.verify(again, NOW) == again


def test_other_bytes_are_corrupt_and_never_overwritten(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    place.damage(placed)
    with pytest.raises(Corrupt):
        place.location.verify(placed, LATER)
    with pytest.raises(Corrupt):
        put(place, made)
    with pytest.raises(Corrupt):
        place.location.verify(placed, LATER)


def test_a_location_that_does_not_answer_is_no_proof_of_absence(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    """P2 and P3: CannotTell, never NotFound; and never an empty view that looks complete."""
    placed = put(place, made)
    with place.unreadable():
        with pytest.raises(CannotTell):
            place.location.verify(placed, LATER)
        assert never_complete(place)
    assert place.location.verify(placed, LATER).verified == LATER


def never_complete(place: Place) -> bool:
    try:
        return not view(place).complete
    except CannotTell:
        return True


def test_a_source_that_is_not_the_artifact_is_not_placed(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    other, _ = place.artifact(tmp_path, seed=1)
    with pytest.raises(Corrupt):
        place.location.put(VERSION, other, made[1], NOW, ignore)
    assert not [each for each in view(place).found if each.size is not None and each.owner]


def test_a_source_that_is_not_there_fails(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    with pytest.raises((Failed, NotFound, FileNotFoundError)):
        place.location.put(VERSION, made[0], tmp_path / "nothing", NOW, ignore)


def test_what_comes_back_is_what_was_put(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    back = tmp_path / "back" / "disk"
    back.parent.mkdir()
    try:
        place.location.fetch(placed, back, ignore)
    except Unsupported:
        assert not back.exists()
        return
    assert back.read_bytes() == made[1].read_bytes()


def test_what_is_corrupt_does_not_come_back(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    place.damage(placed)
    back = tmp_path / "back" / "disk"
    back.parent.mkdir()
    with pytest.raises((Corrupt, Unsupported)):
        place.location.fetch(placed, back, ignore)
    assert not back.exists()


def test_a_view_shows_whose_a_thing_is(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    other, _ = place.artifact(tmp_path, seed=1)
    place.foreign(place.location.named(ANOTHER, other))
    shown = view(place)
    assert shown.complete, shown.gaps
    assert shown.location == LOCAL
    mine = [each for each in shown.found if each.owner is not None]
    assert [each.provider_id for each in mine] == [placed.provider_id]
    assert mine[0].owner == owner_of(CATALOG_ID, VERSION, made[0])
    assert [each for each in shown.found if each.owner is None]


def test_a_foreign_thing_of_that_name_is_never_touched(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    """P2: neither overwritten nor deleted."""
    state = place.foreign(place.location.named(VERSION, made[0]))
    before = state()
    with pytest.raises((Conflict, Corrupt)):
        put(place, made)
    assert state() == before


def test_what_is_deleted_is_gone_and_can_be_deleted_again(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    other = place.artifact(tmp_path, seed=1)
    kept = place.location.put(ref("debian-ci@20261121.1"), *other, NOW, ignore)
    place.location.delete(placed, at_once)
    with pytest.raises(NotFound):
        place.location.verify(placed, LATER)
    place.location.delete(placed, at_once)
    assert ours(place) == [kept.provider_id]
    assert place.location.verify(kept, NOW) == kept


def test_nothing_is_taken_away_that_was_not_begun(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    """P2: it is still whole when the catalog is told, and stays so where that refuses."""
    placed = put(place, made)
    begun = []

    def refuse() -> None:
        begun.append(placed)
        raise Conflict("it was brought back meanwhile")

    with pytest.raises(Conflict, match="brought back"):
        place.location.delete(placed, refuse)
    assert len(begun) == 1
    assert place.location.verify(placed, LATER).verified == LATER
    assert ours(place) == [placed.provider_id]
    place.location.delete(placed, lambda: begun.append(placed))
    assert len(begun) > 1
    with pytest.raises(NotFound):
        place.location.verify(placed, LATER)


def test_what_is_not_that_artifact_any_more_is_not_deleted(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    """P2: what was read live must be what was recorded."""
    placed = put(place, made)
    place.damage(placed)
    with pytest.raises((Corrupt, Conflict)):
        place.location.delete(placed, at_once)
    with pytest.raises(Corrupt):
        place.location.verify(placed, LATER)


def test_nothing_is_deleted_where_the_location_does_not_answer(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    with place.unreadable(), pytest.raises(CannotTell):
        place.location.delete(placed, at_once)
    assert place.location.verify(placed, LATER).verified == LATER


def test_marks_can_be_made_and_taken_back(place: Place, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    for mark in (Mark.DEPRECATED, Mark.OBSOLETE, Mark.OBSOLETE, Mark.ACTIVE):
        place.location.mark(placed, mark)
        assert place.location.verify(placed, LATER).verified == LATER


def test_it_says_who_we_are(place: Place, made: tuple[Artifact, Path]) -> None:
    put(place, made)
    assert place.location.probe().identity


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 500, 501, 6000])
def test_a_listing_is_complete_whatever_its_size(place: Place, count: int) -> None:
    """P3."""
    reason = place.fill(count)
    if reason is not None:  # its peer takes too long for so many: the place itself says why
        pytest.skip(reason)
    shown = view(place)
    assert shown.complete, shown.gaps
    found = [each for each in shown.found if each.owner is not None]
    assert len(found) == count
    assert len({each.provider_id for each in found}) == count


@contextmanager
def happening(place: Place, fault: Fault) -> Iterator[None]:
    """The fault, where it can happen to that place."""
    injected = place.fault(fault)
    if isinstance(injected, str):  # such a place has no such fault: it says itself why
        pytest.skip(injected)
    with injected:
        yield


def goes_on(place: Place, made: tuple[Artifact, Path]) -> Placement:
    """After a fault, the same thing again ends well, and there is only one of it."""
    placed = put(place, made)
    assert place.location.verify(placed, NOW) == placed
    assert ours(place) == [placed.provider_id]
    return placed


@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        (Fault.QUOTA, (Throttled, Failed)),
        (Fault.UNAVAILABLE_ALWAYS, (CannotTell,)),
        (Fault.FAILED_OPERATION, (Failed, CannotTell)),
    ],
)
def test_a_fault_that_stays_is_an_error_and_leaves_nothing_wrong(
    place: Place,
    made: tuple[Artifact, Path],
    tmp_path: Path,
    fault: Fault,
    errors: tuple[type[Exception], ...],
) -> None:
    other, _ = place.artifact(tmp_path, seed=1)
    state = place.foreign(place.location.named(ANOTHER, other))
    before = state()
    with happening(place, fault), pytest.raises(errors):
        put(place, made)
    goes_on(place, made)
    assert state() == before


@pytest.mark.parametrize(
    "fault",
    [
        Fault.UNAVAILABLE_ONCE,
        Fault.PRECONDITION,
        Fault.LOST_RESPONSE,
        Fault.STALE_READ,
        Fault.SESSION_ENDED,
        Fault.BROKEN_UPLOAD,
        Fault.CLOCK_SKEW,
    ],
)
def test_a_fault_that_passes_is_overcome_at_once_or_by_putting_again(
    place: Place, made: tuple[Artifact, Path], tmp_path: Path, fault: Fault
) -> None:
    """Nothing is made twice, and what is not ours stays as it is."""
    other, _ = place.artifact(tmp_path, seed=1)
    state = place.foreign(place.location.named(ANOTHER, other))
    before = state()
    first: Placement | None = None
    with happening(place, fault):
        try:
            first = put(place, made)
        except (Conflict, CannotTell, Failed):
            assert fault not in (Fault.UNAVAILABLE_ONCE, Fault.SESSION_ENDED, Fault.CLOCK_SKEW)
    placed = goes_on(place, made)
    assert first in (None, placed)
    assert state() == before


def test_what_the_other_end_stored_wrongly_is_not_placed(
    place: Place, made: tuple[Artifact, Path]
) -> None:
    with happening(place, Fault.WRONG_DIGEST), pytest.raises((Corrupt, Failed)):
        put(place, made)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE_ALWAYS, Fault.CONTAINER_GONE])
def test_a_fault_is_no_proof_of_absence(
    place: Place, made: tuple[Artifact, Path], fault: Fault
) -> None:
    """P2, P3. What is certain is that a listing of it is not everything."""
    placed = put(place, made)
    with happening(place, fault):
        with pytest.raises(CannotTell):
            place.location.verify(placed, LATER)
        assert never_complete(place)
        with pytest.raises(CannotTell):
            place.location.delete(placed, at_once)


def test_a_part_that_is_not_reached_is_a_gap(place: Place, made: tuple[Artifact, Path]) -> None:
    """P3."""
    put(place, made)
    with happening(place, Fault.PART_UNREACHABLE):
        assert never_complete(place)
    goes_on(place, made)


def test_a_page_that_is_not_reached_is_a_gap(place: Place) -> None:
    """P3: never the first page as if it were everything."""
    # A place that is not read in pages, or whose peer cannot hold so many, says so itself.
    if place.fill(1200) is not None and (reason := place.fill(501)) is not None:
        pytest.skip(f"there are too few for a second page: {reason}")
    with happening(place, Fault.UNAVAILABLE_PAGE_2):
        assert never_complete(place)
    assert view(place).complete


@pytest.mark.parametrize(
    ("fault", "denial"),
    [
        (Fault.CREDENTIAL_MISSING, Denial.MISSING),
        (Fault.CREDENTIAL_WRONG, Denial.WRONG),
        (Fault.CREDENTIAL_EXPIRED, Denial.EXPIRED),
        (Fault.CREDENTIAL_NARROW, Denial.TOO_NARROW),
    ],
)
def test_credentials_that_do_not_do_are_told_apart(
    place: Place, made: tuple[Artifact, Path], fault: Fault, denial: Denial
) -> None:
    with happening(place, fault):
        with pytest.raises(Denied) as probed:
            place.location.probe()
        assert probed.value.denial is denial
        with pytest.raises(Denied) as tried:
            put(place, made)
        assert tried.value.denial is denial
    goes_on(place, made)
