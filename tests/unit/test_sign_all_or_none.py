"""`imagectl sign` for several roles at once, and beside other processes: what it says is so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock
from support.cli import command_line
from support.teams import Team

from imagectl.adapters.published import signing
from imagectl.cli.main import root as cli


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """Both channels wait for alice and bob."""
    team = Team(tmp_path, command_line(monkeypatch))
    for channel in ("channel-beta", "channel-stable"):
        team.done(
            *("catalog", "rotate-keys", channel, "--reason", "two people"),
            *("--add", team.public("alice"), "--add", team.public("bob")),
            *("--remove", "online", "--threshold", "2"),
        )
    return team


def signatures(team: Team) -> list[int]:
    paths = (team.pending(role) for role in ("channel-beta", "channel-stable"))
    return [len(json.loads(path.read_bytes())["signatures"]) for path in paths]


def test_who_says_no_to_the_second_has_signed_nothing(team: Team) -> None:
    sign = ["-C", str(team.root), "sign", "--key", str(team.key["alice"])]
    ended = CliRunner().invoke(cli, sign, input="y\nn\n", prog_name="imagectl")
    assert (ended.exit_code, "nothing was signed" in ended.stderr) == (3, True)
    assert signatures(team) == [0, 0]


def test_who_may_not_sign_the_second_has_signed_nothing(team: Team) -> None:
    team.sign("channel-stable", "alice")
    team.refused("sign", "--key", str(team.key["alice"]), "--yes")
    assert signatures(team) == [0, 1]


def test_nor_in_files_that_were_carried(team: Team) -> None:
    team.sign("channel-stable", "alice")
    files = [str(team.pending(each)) for each in ("channel-beta", "channel-stable")]
    team.refused("sign", *files, "--key", str(team.key["alice"]), "--yes")
    assert signatures(team) == [0, 1]


def test_a_process_that_just_signs_is_waited_for_and_then_named(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "LOCK_SECONDS", 0.1)
    with FileLock(team.pending("x").with_name(".lock")):
        refused = team.refused(
            "sign", "channel-stable", "--key", str(team.key["alice"]), "--yes", code=4
        )
    assert "another process has been signing" in refused
    assert signatures(team) == [0, 0]


def test_a_reason_of_two_lines_is_not_taken_for_a_signature(team: Team) -> None:
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    team.next_version()
    team.done("promote", "stable", "--reason", "weekly)\n  signed by bob (9c6f1e2d3a4b)")
    shown = team.sign("channel-stable", "alice")
    assert "\n  signed by bob" not in shown
    assert "\n        signed by bob" in shown
