"""``imagectl init``: a whole project, and never at the price of something that was there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from imagectl.adapters import scaffold
from imagectl.errors import Failed

Run = Callable[..., Result]


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_writes_every_file_of_the_scaffold(imagectl: Run, tmp_path: Path) -> None:
    result = imagectl("init", str(tmp_path / "new"), "--json")
    answer = json.loads(result.stdout)
    assert answer["project"] == str(tmp_path / "new")
    assert sorted(answer["written"]) == sorted(_tree(tmp_path / "new"))
    assert {"imagectl.yaml", "catalog/channels.yaml", ".gitignore"} <= set(answer["written"])
    assert f"cd {tmp_path / 'new'} && imagectl doctor" in result.stderr


@pytest.mark.parametrize(
    "verb", [("metrics",), ("cleanup", "plan"), ("adopt", "local"), ("janitor", "plan")]
)
def test_what_timers_run_ends_well_in_a_new_project(
    imagectl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """Nothing was built yet: that is no reason to wake anybody."""
    assert imagectl("init", str(tmp_path / "new")).exit_code == 0
    monkeypatch.chdir(tmp_path / "new")
    result = imagectl(*verb)
    assert (result.exit_code, "warning" in result.stderr) == (0, False)
    assert not (tmp_path / "new/.imagectl/locations/local").exists()


def test_leaves_a_readme_and_a_gitignore_alone(imagectl: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_text("mine too")
    result = imagectl("-C", str(tmp_path), "init")
    assert result.exit_code == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_text() == "mine too"
    assert "add to .gitignore: /.imagectl/" in result.stderr


def test_overwrites_nothing_and_names_all_that_is_in_the_way(imagectl: Run, tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "channels.yaml").write_text("mine")
    (tmp_path / "imagectl.yaml").write_text("mine")
    before = _tree(tmp_path)
    result = imagectl("init", str(tmp_path))
    assert result.exit_code == 3
    assert "- imagectl.yaml exists" in result.stderr
    assert "- catalog/channels.yaml exists" in result.stderr
    assert _tree(tmp_path) == before


def test_leaves_nothing_where_it_cannot_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where a folder has to be: half of the files are written before that shows."""
    target = tmp_path / "new"
    target.mkdir()
    (target / "tests").write_text("a file")
    with pytest.raises(Failed) as failure:
        scaffold.write_scaffold(target)
    assert "nothing of it is left" in failure.value.what
    assert _tree(target) == {"tests": b"a file"}
    assert [path.name for path in target.iterdir()] == ["tests"]
