from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagectl.adapters.workspaces import LocalWorkspaces
from imagectl.errors import CannotTell
from imagectl.model.names import ImageName, LocationName, Sha256, VersionId
from imagectl.model.version import VersionRef
from imagectl.services.ports import Leftover
from imagectl.testing.build import RecordingProgress

CI = ImageName("ci")
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
ONE = Leftover(VersionRef(CI, VersionId("20261120", 1)), LocationName("cloud"), "made-1", NOW)
TWO = Leftover(
    VersionRef(CI, VersionId("20261120", 2)), LocationName("cloud"), "é", NOW, Sha256("a" * 64)
)


@pytest.fixture
def workspaces(tmp_path: Path) -> LocalWorkspaces:
    return LocalWorkspaces(tmp_path, RecordingProgress(), lambda: NOW)


def test_what_builds_have_left_outlives_the_process(
    workspaces: LocalWorkspaces, tmp_path: Path
) -> None:
    assert workspaces.leftovers(CI) == ()
    workspaces.keep_leftovers(CI, [ONE, TWO])
    again = LocalWorkspaces(tmp_path, RecordingProgress(), lambda: NOW)
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
