"""Files that wait for people's signatures: what was altered, is behind, or was carried about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from support.cli import command_line
from support.teams import Team
from tuf.api.metadata import Metadata, Targets


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def test_what_a_stranger_has_signed_into_the_file_is_refused(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    path = team.pending("channel-stable")
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    metadata.sign(CryptoSigner.generate_ed25519(), append=True)
    path.write_bytes(metadata.to_bytes())
    said = team.refused("sign", "channel-stable", "--key", str(team.key["alice"]), "--yes")
    assert "somebody has signed channel-stable who may not" in said


@pytest.mark.parametrize("signed", [False, True])
def test_what_was_altered_is_refused(team: Team, *, signed: bool) -> None:
    """Whoever can write the file has two people sign what they never saw: no."""
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    if signed:
        team.sign("channel-stable", "alice")
    path = team.pending("channel-stable")
    content = json.loads(path.read_bytes())
    (target,) = content["signed"]["targets"].values()
    target["hashes"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    said = team.refused("sign", "channel-stable", "--key", str(team.key["bob"]), "--yes")
    assert "altered" in said
    assert str(path) in said.replace("\n", "")
    assert team.stable() == "20261120.1"


def test_what_is_not_what_the_catalog_says_is_refused(team: Team) -> None:
    """A file that is whole, and says what stable was once to be."""
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    old = team.pending("channel-stable").read_bytes()
    team.done("rollback", "stable", "--reason", "it was bad")
    team.pending("channel-stable").write_bytes(old)
    said = team.refused("sign", "channel-stable", "--key", str(team.key["alice"]), "--yes")
    assert "behind" in said
    assert "the catalog says another thing" in said


@pytest.mark.parametrize("carried", [False, True])
def test_nobody_signs_that_one_key_counts_twice(team: Team, *, carried: bool) -> None:
    """Whoever writes a list of keys chooses their ids: alice could be two people by it."""
    (team.root / ".imagectl" / "keys" / "targets.pem").rename(team.folder / "targets.pem")
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
        *("--add", team.public("alice"), "--add", team.public("bob"), "--threshold", "2"),
    )
    path = team.pending("targets")
    content = json.loads(path.read_bytes())
    keys = content["signed"]["delegations"]["keys"]
    alice = next(key for key in keys.values() if key["x-imagectl-name"] == "alice")
    bob = next(key for key in keys.values() if key["x-imagectl-name"] == "bob")
    bob["keyval"] = alice["keyval"]
    path.write_text(json.dumps(content))
    before = path.read_bytes()

    said = team.refused(
        *("sign", str(path) if carried else "targets"),
        *("--key", str(team.folder / "targets.pem"), "--yes"),
        code=1,
    )

    assert "lists one key of channel-stable under two ids" in said.replace("\n", " ")
    assert path.read_bytes() == before


def test_a_file_is_carried_to_another_machine(team: Team, tmp_path: Path) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    carried = [tmp_path / name / "channel-stable.json" for name in ("a", "b")]
    for path, name in zip(carried, ("alice", "bob"), strict=True):
        path.parent.mkdir()
        shutil.copy(team.pending("channel-stable"), path)
        result = team.imagectl(
            *("-C", str(path.parent), "sign", str(path), "--key", str(team.key[name]), "--yes")
        )
        assert result.exit_code == 0, result.stderr
        assert "stable of debian-base: 20261120.1 -> 20261120.2" in result.stderr
    assert "waits for 1 more signature of bob" in team.done("sign", str(carried[0]))
    assert team.stable() == "20261120.1"
    team.done("sign", str(carried[1]))
    assert team.stable() == "20261120.2"
