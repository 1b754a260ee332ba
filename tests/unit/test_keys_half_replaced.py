"""Keys that are replaced: where somebody was interrupted, or others were added since."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.cli import command_line
from support.teams import Team
from tuf.api.metadata import Metadata, Root, Targets

from imagectl.adapters.published import ceremony, trust
from imagectl.adapters.published.verified import Signed
from imagectl.errors import NoSpace

STOLEN = ("catalog", "rotate-keys", "online", "--new", "--remove", "online", "--reason", "stolen")


class Killed(BaseException):
    """Nothing of ours catches it."""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def signers(team: Team) -> dict[str, list[str]]:
    """Whose keys count, by role, as names."""
    root = Metadata[Root].from_bytes((team.root / "catalog" / "root.json").read_bytes()).signed
    data = (team.root / "catalog" / "targets.json").read_bytes()
    delegations = Metadata[Targets].from_bytes(data).signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    keys = {**root.keys, **delegations.keys}
    return {
        name: sorted(keys[each].unrecognized_fields["x-imagectl-name"] for each in role.keyids)
        for name, role in {**root.roles, **delegations.roles}.items()
    }


def failing(real: Callable[..., None], name: str, error: BaseException) -> Callable[..., None]:
    """That function, which fails at the file of that name."""

    def put(path: Path, data: bytes) -> None:
        if path.name == name:
            raise error
        real(path, data)

    return put


@pytest.mark.parametrize("name", ["root.json", "targets.json"])
def test_a_stolen_key_counts_nowhere_after_the_same_command_once_more(
    team: Team, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ceremony, "put", failing(trust.put, name, NoSpace("no space is left")))
        team.refused(*STOLEN, code=1)
    team.done(*STOLEN)
    assert [role for role, names in signers(team).items() if "online" in names] == []
    assert team.consumer().catalog().generation


def test_a_stolen_key_is_found_where_it_still_counts(team: Team) -> None:
    """Half of the change was lost: somebody has removed what waited."""
    shutil.move(team.private("targets"), team.folder / "targets.pem")
    team.done(*STOLEN)
    team.pending("targets").unlink()
    assert signers(team)["timestamp"] == ["online-2"]
    assert signers(team)["channel-stable"] == ["online"]
    shutil.move(team.folder / "targets.pem", team.private("targets"))
    assert "online" in team.done("catalog", "rotate-keys", "online").split()
    team.done(*STOLEN)
    assert [role for role, names in signers(team).items() if "online" in names] == []


def test_a_stolen_key_is_replaced_where_people_were_added_beside_it(team: Team) -> None:
    add = ("catalog", "rotate-keys", "channel-stable", "--add", team.public("alice"))
    team.done(*add, "--reason", "she may, too")
    team.done(*STOLEN)
    assert signers(team)["channel-stable"] == ["alice", "online-2"]
    assert [role for role, names in signers(team).items() if "online" in names] == []


def test_it_does_not_lower_what_people_have_to_sign(team: Team) -> None:
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--add", team.public("alice")),
        *("--threshold", "2", "--reason", "review"),
    )
    team.sign("channel-stable", "alice")
    team.done(*STOLEN, "--threshold", "1")
    data = (team.root / "catalog" / "targets.json").read_bytes()
    stable = Metadata[Targets].from_bytes(data).signed.get_delegated_role("channel-stable")
    assert stable.threshold == 2


def test_no_role_is_left_without_enough_keys(team: Team) -> None:
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--add", team.public("alice")),
        *("--threshold", "2", "--reason", "review"),
    )
    team.sign("channel-stable", "alice")
    team.done("catalog", "rotate-keys", "online", "--new", "--reason", "a second machine")
    refused = team.refused(
        "catalog", "rotate-keys", "online", "--remove", "online", "--reason", "only one"
    )
    assert "nobody could sign channel-stable any more" in refused


def test_a_root_that_counts_already_waits_no_more(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = team.folder / "root-away.pem"
    shutil.move(team.private("root"), away)
    team.done("catalog", "rotate-keys", "root", "--add", team.public("alice"), "--reason", "two")
    keep_root = trust.keep_root

    def killed(folder: Path, root: Signed[Root]) -> None:
        keep_root(folder, root)
        raise Killed

    sign = ("-C", str(team.root), "sign", "root", "--key", str(away), "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(ceremony, "keep_root", killed)
        with pytest.raises(Killed):
            team.imagectl(*sign)
    assert team.pending("root").exists()
    assert "nothing waits for signatures" in team.refused("sign", "--yes", code=6)
    assert not team.pending("root").exists()


def test_a_change_that_is_refused_leaves_no_key(team: Team) -> None:
    def keys() -> set[str]:
        return {path.name for path in (team.root / ".imagectl" / "keys").iterdir()}

    before = keys()
    team.refused(*STOLEN[:-3], "nobody", *STOLEN[-2:], code=6)
    assert keys() == before
    shutil.move(team.private("targets"), team.folder / "targets.pem")
    add = ("catalog", "rotate-keys", "channel-stable", "--reason", "x")
    team.done(*add, "--add", team.public("alice"))
    before = keys()
    team.refused(*add, "--new", code=4)
    assert keys() == before


def test_a_token_that_is_away_is_named_where_something_waits_for_it(team: Team) -> None:
    team.two_people()
    team.next_version()
    settings = team.root / "imagectl.yaml"
    said = yaml.safe_load(settings.read_text())
    said.setdefault("catalog", {})["keys"] = ["hsm:2", {"file": ".imagectl/keys"}]
    settings.write_text(yaml.safe_dump(said))
    promoted = team.done("promote", "stable")
    assert "the signing key hsm:2 does not answer" in promoted
    assert "channel-stable waits for 2 more signatures" in promoted
