"""A rollback that is tried out: from each location, with the suites of the day, nothing moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from support.workshop import IMAGE, LOCAL, POLICY, STABLE, Workshop, open_workshop

from imagectl.errors import CannotTell, Refused, TestsFailed, Unsupported
from imagectl.model.image import Image
from imagectl.model.names import Format, LocationName
from imagectl.model.release import PromotionRequest, RollbackRequest
from imagectl.model.version import Placement, VersionRef
from imagectl.services.drill import Drilled, drill, worst
from imagectl.services.ports.locations import Booted, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.release import promote
from imagectl.testing.build import MemoryProver
from imagectl.testing.locations import MemoryLocation

CLOUD = LocationName("cloud")
REQUEST = RollbackRequest(STABLE)


class Cloud(MemoryLocation):
    """Runs machines, and gives no bytes back."""

    machines = 0

    @contextmanager
    def boot(self, placement: Placement, work: Workspace, progress: Progress) -> Iterator[Booted]:
        self.machines += 1
        yield Booted("10.0.0.1", 22, "root", work.folder / "key", None)
        self.machines -= 1

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported("the cloud gives no bytes back")


class Closed(MemoryLocation):
    """Neither runs machines nor gives bytes back."""

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported("nothing comes out of there")


class Watching(MemoryProver):
    """Remembers the suites that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.suites: list[tuple[PurePosixPath, ...]] = []

    def prove(
        self,
        image: Image,
        disk: Path,
        disk_format: Format,
        work: Workspace,
        progress: Progress,
        *,
        keep: bool = False,
    ) -> Proof:
        self.suites.append(image.suites)
        return super().prove(image, disk, disk_format, work, progress, keep=keep)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


def released(shop: Workshop, *others: MemoryLocation) -> VersionRef:
    """Two versions in stable; the one before the last."""
    locations = {LOCAL: shop.location, **{each.name: each for each in others}}
    shop.releasing = replace(shop.releasing, locations=locations)
    refs = []
    for summary in ("first", "second"):
        image = replace(IMAGE, summary=summary, required_locations=tuple(locations))
        refs.append(shop.deliver(image).built.version.ref)
        promote(shop.releasing, POLICY, PromotionRequest(STABLE))
    return refs[0]


def drilled(shop: Workshop) -> Mapping[LocationName, Drilled]:
    before = shop.catalog.snapshot()
    would, found = drill(shop.bench, shop.releasing, POLICY, REQUEST, shop.progress)
    assert shop.catalog.snapshot() == before, "nothing is moved or recorded"
    assert would.dry_run
    return {each.location: each for each in found}


def test_what_a_location_gives_back_is_booted_here(shop: Workshop) -> None:
    first = released(shop)
    before = len(shop.prover.booted)
    found = drilled(shop)[LOCAL]
    assert (found.version, found.error) == (first, None)
    assert found.how == "fetched from local, booted here"
    assert found.report is not None
    assert len(found.report.results) == 2
    assert shop.prover.booted[before:] == [Format.QCOW2]


def test_a_location_that_runs_machines_runs_it(shop: Workshop) -> None:
    cloud = Cloud(CLOUD)
    released(shop, cloud)
    found = drilled(shop)
    assert found[CLOUD].how == "booted in cloud"
    assert found[LOCAL].how == "fetched from local, booted here"
    assert (shop.prover.machines, cloud.machines) == (["10.0.0.1"], 0)


def test_failing_suites_are_told_for_each_location(shop: Workshop) -> None:
    released(shop, Cloud(CLOUD))
    shop.prover.failing.add("test_clean")
    found = drilled(shop)
    error = worst([*found.values()])
    assert isinstance(error, TestsFailed)
    assert "1 test failed on debian@20261120.1 from" in error.what
    assert all(each.report is not None and each.error is not None for each in found.values())


def test_what_could_not_be_tried_is_no_success(shop: Workshop) -> None:
    """P8."""
    released(shop, Closed(CLOUD))
    found = drilled(shop)
    error = worst([*found.values()])
    assert isinstance(error, CannotTell)
    assert "neither runs machines nor gives back a disk" in error.what
    assert "nothing comes out of there" in error.why
    assert found[LOCAL].error is None, "the others are tried all the same"


def test_a_rollback_that_would_not_work_is_not_drilled(shop: Workshop) -> None:
    first = released(shop)
    for placement in shop.catalog.snapshot().placed(first):
        shop.location.lose(placement)
    booted = len(shop.prover.booted)
    with pytest.raises(Refused, match="stable was not rolled back"):
        drilled(shop)
    assert len(shop.prover.booted) == booted


def test_the_suites_are_those_that_it_was_built_with(shop: Workshop) -> None:
    first = released(shop)
    watching = Watching()
    shop.bench = replace(shop.bench, prover=watching)
    shop.definitions.define(replace(IMAGE, suites=(PurePosixPath("tests/images/test_new.py"),)))
    assert drilled(shop)[LOCAL].error is None
    ((suite,),) = watching.suites
    assert suite.is_absolute()
    assert suite.name == "test_x.py"
    origin = shop.catalog.snapshot().versions[first].origin
    assert origin is not None
    shop.lose(origin.source)
    drilled(shop)
    assert watching.suites[-1] == (PurePosixPath("tests/images/test_new.py"),)
    assert any("not kept any more: today's are run" in each for each in shop.progress.notes)
