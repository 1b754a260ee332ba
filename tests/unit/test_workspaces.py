from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagectl.adapters.host_machines import place_of
from imagectl.adapters.leasing import LEASE, LedgerLeasing
from imagectl.adapters.workspaces import LocalWorkspaces
from imagectl.errors import CannotTell
from imagectl.model.names import ImageName, LocationName, Sha256, VersionId
from imagectl.model.resource import Resource, ResourceKind
from imagectl.model.version import VersionRef
from imagectl.services.ports.workspaces import Leftover
from imagectl.testing.build import RecordingProgress
from imagectl.testing.resources import MemoryResources

CI = ImageName("ci")
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
ONE = Leftover(VersionRef(CI, VersionId("20261120", 1)), LocationName("cloud"), "made-1", NOW)
TWO = Leftover(
    VersionRef(CI, VersionId("20261120", 2)), LocationName("cloud"), "é", NOW, Sha256("a" * 64)
)


@pytest.fixture
def workspaces(tmp_path: Path) -> LocalWorkspaces:
    return opened(tmp_path, MemoryResources())


def opened(state: Path, ledger: MemoryResources) -> LocalWorkspaces:
    leasing = LedgerLeasing(ledger, lambda: "catalog", "ann@ci", lambda: NOW)
    return LocalWorkspaces(state, RecordingProgress(), lambda: NOW, lambda: leasing)


def test_what_builds_have_left_outlives_the_process(
    workspaces: LocalWorkspaces, tmp_path: Path
) -> None:
    assert workspaces.leftovers(CI) == ()
    workspaces.keep_leftovers(CI, [ONE, TWO])
    again = opened(tmp_path, MemoryResources())
    assert again.leftovers(CI) == (ONE, TWO)
    assert again.leftovers(ImageName("other")) == ()
    again.keep_leftovers(CI, [])
    assert workspaces.leftovers(CI) == ()


@pytest.mark.parametrize("text", ["", "{", "3", '["x"]', '[{"version": "1"}]'])
def test_what_cannot_be_read_is_not_nothing(
    workspaces: LocalWorkspaces, tmp_path: Path, text: str
) -> None:
    workspaces.keep_leftovers(CI, [ONE])
    (path,) = tmp_path.rglob("ci.json")
    path.write_text(text)
    with pytest.raises(CannotTell) as caught:
        workspaces.leftovers(CI)
    assert caught.value.where == str(path)


def test_a_run_is_in_the_ledger_for_as_long_as_there_is_anything_of_it(tmp_path: Path) -> None:
    ledger = MemoryResources()
    with opened(tmp_path, ledger).open(CI, wait=False) as work:
        (entry,) = ledger.all()
        kind, place = ResourceKind.MACHINE, place_of(tmp_path)
        assert entry == Resource(
            entry.id, kind, place, work.id, "work on ci", "ann@ci", NOW, NOW + LEASE
        )
        assert work.folder.is_dir()
    assert ledger.all() == ()
    assert not work.folder.exists()


def test_nothing_is_made_that_is_not_in_the_ledger(tmp_path: Path) -> None:
    ledger = MemoryResources()
    ledger.broken = True
    with pytest.raises(CannotTell), opened(tmp_path, ledger).open(CI, wait=False):
        pytest.fail("work has begun")
    assert not list(tmp_path.glob("runs/*"))
