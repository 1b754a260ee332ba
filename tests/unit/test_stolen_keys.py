"""What whoever has got the online key has signed does not outlive it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from support.cli import command_line
from support.teams import IMAGE, ONE, Team
from tuf.api.metadata import Metadata, Timestamp

from imagectl.formats.tuf_roles import TIMESTAMP_PATH

LATER = {"generation": 10**9}
ANOTHER = {"catalog": "00000000-0000-4000-8000-000000000000"}
NEW_KEY = ("catalog", "rotate-keys", "online", "--new", "--remove", "online", "--reason", "stolen")


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def say(team: Team, said: Mapping[str, object]) -> None:
    """Have the tree say that of what it shows, signed with the online key."""
    key = CryptoSigner(load_pem_private_key(team.private("online").read_bytes(), None))
    path = team.root / "catalog" / "public" / TIMESTAMP_PATH
    metadata = Metadata[Timestamp].from_bytes(path.read_bytes())
    metadata.signed.version += 1
    metadata.signed.unrecognized_fields["imagectl"].update(said)
    metadata.sign(key)
    path.write_bytes(metadata.to_bytes())


@pytest.mark.parametrize("said", [LATER, ANOTHER], ids=["later", "another catalog"])
def test_a_stolen_key_is_replaced_whatever_was_signed_with_it(
    team: Team, said: Mapping[str, object]
) -> None:
    """Nobody who had it can keep us from publishing, or from warning of a version."""
    say(team, said)
    assert "nothing was done" in team.refused("revoke", ONE, "--reason", "a hole", code=5)
    told = team.done(*NEW_KEY)
    assert "is written anew from this catalog, although it said" in " ".join(told.split())
    assert (team.root / "catalog" / "public" / "metadata" / "2.root.json").exists()
    assert team.stable() == "20261120.1"
    team.next_version()
    team.done("promote", "stable")
    assert team.stable() == "20261120.2"
    team.done("revoke", ONE, "--reason", "a hole")


def test_a_tree_that_comes_back_with_what_a_thief_signed_keeps_nobody_from_anything(
    team: Team,
) -> None:
    public = team.root / "catalog" / "public"
    say(team, LATER)
    shutil.copytree(public, team.folder / "mirror")
    team.done(*NEW_KEY)
    shutil.rmtree(public)
    shutil.copytree(team.folder / "mirror", public)
    team.done("revoke", ONE, "--reason", "a hole", "--even-if-released")
    assert [str(each) for each in team.consumer().warnings(IMAGE)] == ["20261120.1"]


def test_what_former_keys_have_signed_is_not_signed_again_unseen(team: Team) -> None:
    """A tree that comes back may hold whatever a thief has signed."""
    public = team.root / "catalog" / "public"
    shutil.copytree(public, team.folder / "mirror")
    team.done(*NEW_KEY)
    shutil.rmtree(public)
    shutil.copytree(team.folder / "mirror", public)
    said = team.refused("catalog", "refresh", code=1)
    assert "is signed by the former ones yet" in " ".join(said.split())
    team.done("catalog", "publish")
    team.done("catalog", "refresh")


def test_a_catalog_that_is_lost_is_not_begun_anew_where_keys_were_replaced(team: Team) -> None:
    """What former keys have signed is not believed, and still shows that there was a catalog."""
    public = team.root / "catalog" / "public"
    shutil.copytree(public, team.folder / "mirror")
    team.done(*NEW_KEY)
    shutil.rmtree(public)
    shutil.copytree(team.folder / "mirror", public)
    for each in (team.root / ".imagectl").glob("catalog.sqlite3*"):
        each.unlink()
    said = team.refused("list", code=5)
    assert "consumers are shown one" in said


def two_trees(team: Team, first: str = "mirror") -> Path:
    """Have the catalog published to another tree, too, before or after the one of before."""
    settings = team.root / "imagectl.yaml"
    text = settings.read_text()
    known = "{ to: catalog/public, history: true }"
    assert text.count(f"publish: [{known}") == 1
    both = f"catalog/mirror, {known}" if first == "mirror" else f"{known}, catalog/mirror"
    settings.write_text(text.replace(f"publish: [{known}", f"publish: [{both}"))
    team.done("catalog", "publish")
    return team.root / "catalog" / "mirror"


def not_mounted(mirror: Path) -> None:
    shutil.rmtree(mirror)
    mirror.symlink_to(mirror)


def unreadable_file(mirror: Path) -> None:
    (mirror / "metadata" / "2.root.json").mkdir()


@pytest.mark.parametrize("first", ["mirror", "public"])
@pytest.mark.parametrize("damage", [not_mounted, unreadable_file])
def test_a_tree_that_cannot_be_read_keeps_nobody_from_replacing_a_stolen_key(
    team: Team, first: str, damage: Callable[[Path], None]
) -> None:
    mirror = two_trees(team, first)
    damage(mirror)
    said = team.refused(*NEW_KEY, code=5)
    assert "1 of 2 published trees cannot be written; the others show generation" in said
    assert str(mirror) in said
    assert "commit catalog/" in said
    assert team.trusted().version == 2
    team.consumer()
    assert (team.root / "catalog" / "public" / "metadata" / "2.root.json").exists()
    team.refused("revoke", ONE, "--reason", "a hole", "--even-if-released", code=1)
    assert [str(each) for each in team.consumer().warnings(IMAGE)] == ["20261120.1"]
    team.refused("catalog", "publish", code=5)


@pytest.mark.parametrize("first", ["mirror", "public"])
def test_a_tree_that_cannot_be_read_keeps_nobody_from_signing(team: Team, first: str) -> None:
    mirror = two_trees(team, first)
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    not_mounted(mirror)
    team.sign("channel-stable", "alice")
    said = team.refused("sign", "channel-stable", "--key", str(team.key["bob"]), "--yes", code=5)
    assert "1 of 2 published trees cannot be written" in said
    assert team.stable() == "20261120.2"


def test_who_may_not_sign_any_more_moves_nothing(team: Team) -> None:
    """Also while the new signers have not signed yet: that may take days."""
    result = team.imagectl(
        *("-C", str(team.root), "catalog", "rotate-keys", "channel-stable"),
        *("--add", team.public("alice"), "--add", team.public("bob"), "--remove", "online"),
        *("--threshold", "2", "--reason", "two people", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["counts"] is False
    assert "whose keys sign nothing new here" in " ".join(result.stderr.split())
    team.next_version()
    said = team.done("promote", "stable")
    assert "channel-stable waits for 2 more signatures" in said
    assert "until then: `imagectl sign channel-stable`" in " ".join(said.split())
    assert team.stable() == "20261120.1"
    team.sign("channel-stable", "alice")
    assert team.stable() == "20261120.1"
    team.sign("channel-stable", "bob")
    assert team.stable() == "20261120.2"
    assert not team.pending("channel-stable").exists()


def test_a_change_counts_that_consumers_go_by(team: Team) -> None:
    result = team.imagectl(
        *("-C", str(team.root), "catalog", "rotate-keys", "channel-stable"),
        *("--add", team.public("alice"), "--reason", "alice, too", "--json"),
    )
    assert json.loads(result.stdout)["counts"] is True
