"""What consumers of a channel still get is not taken away while the move waits for people (P1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import projects
from support.cli import command_line
from support.examples import ref
from support.projects import release
from support.teams import Team

from imagectl.adapters.clock import SystemClock
from imagectl.bootstrap.project import open_project
from imagectl.model.retention import Stage
from imagectl.services import cleanup

FIRST, LAST = "debian-base@20261120.1", "debian-base@20261120.4"

CHANNELS = """\
channels:
  beta: {entry: true, rollback_window: 1}
  stable: {from: beta, rollback_window: 1}
retention: {keep_last: 1, min_age: 1d, unused: 1d, grace: 1d, max_count: 5, max_share: 90%}
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """Consumers of stable get FIRST; three promotions later, nobody has signed any of them."""
    monkeypatch.setattr(projects, "BUILT", datetime(2026, 1, 1, tzinfo=UTC))
    monkeypatch.setenv("IMAGECTL_KEY", str(tmp_path / "key.pem"))
    team = Team(tmp_path, command_line(monkeypatch))
    (team.root / "catalog" / "channels.yaml").write_text(CHANNELS)
    team.two_people()
    for serial in (2, 3, 4):
        project = open_project(team.root)
        release(project, f"debian-base@20261120.{serial}")
        project.close()
        team.done("promote", "stable")
    return team


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is old by now."""
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(days=2))


def stage(team: Team, text: str) -> Stage:
    project = open_project(team.root)
    try:
        return project.catalog.snapshot().stage(ref(text))
    finally:
        project.close()


def test_what_consumers_still_get_is_protected(team: Team) -> None:
    assert team.stable() == FIRST.partition("@")[2]
    plan = team.root / "plan.json"
    page = team.done("cleanup", "plan", "-v", "--out", str(plan))
    assert "consumers of a channel still get it" in page
    assert "next      stays active (shown: stable" in team.done("show", FIRST)
    team.done("cleanup", "apply", str(plan))
    assert stage(team, FIRST) is Stage.ACTIVE
    assert stage(team, "debian-base@20261120.2") is Stage.DEPRECATED, "nobody ever got that one"


def test_once_enough_have_signed_it_goes(team: Team) -> None:
    team.sign("channel-stable", "alice")
    team.sign("channel-stable", "bob")
    assert team.stable() == LAST.partition("@")[2]
    said = json.loads(team.imagectl("-C", str(team.root), "cleanup", "plan", "--json").stdout)
    assert FIRST in [each["version"] for each in said["steps"]]


def test_it_is_asked_again_right_before_each_step(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been shown anew since everything was read."""
    monkeypatch.setattr(cleanup, "still_shown", lambda _: {})
    plan = team.root / "plan.json"
    team.done("cleanup", "plan", "--out", str(plan))
    assert "shown: stable" in team.done("cleanup", "apply", str(plan))
    assert stage(team, FIRST) is Stage.ACTIVE
