"""Files that wait for people's signatures: what was altered, is behind, or was carried about."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from securesystemslib.signer import CryptoSigner, Key
from support.cli import command_line
from support.teams import TWO, Team
from tuf.api.metadata import Metadata, Targets

from imagectl.adapters.signing_keys import read_private_key
from imagectl.formats.tuf_keys import own_id


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
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


def test_a_signature_that_is_none_is_not_counted(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    team.sign("channel-stable", "alice")
    path = team.pending("channel-stable")
    content = json.loads(path.read_bytes())
    (signature,) = content["signatures"]
    signature["sig"] = "00" * 64
    path.write_text(json.dumps(content))
    said = team.refused("sign", "channel-stable", "--key", str(team.key["bob"]), "--yes")
    assert "it is not what alice" in " ".join(said.split())
    assert path.read_text() == json.dumps(content)


def test_what_waits_for_one_role_is_not_signed_for_another(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    shutil.copy(team.pending("channel-stable"), team.pending("channel-beta"))
    said = team.refused("sign", "channel-beta", "--key", str(team.private("online")), "--yes")
    assert "it says that it is of channel-stable" in " ".join(said.split())


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


def let_wait(team: Team, role: str) -> Path:
    """Have something of *role* wait for alice, or for the key in the safe; its file."""
    if role == "channel-stable":
        team.two_people()
        team.next_version()
        team.done("promote", "stable")
    else:
        team.private(role).rename(team.folder / f"{role}.pem")
        changed = "root" if role == "root" else "channel-stable"
        team.done(
            *("catalog", "rotate-keys", changed, "--add", team.public("stranger")),
            *("--reason", "mine"),
        )
    return team.pending(role)


def alter(path: Path, what: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change something that is enclosed for people, which nobody has signed here."""
    content = json.loads(path.read_bytes())
    enclosed = json.loads(content["imagectl"][what])
    change(enclosed["signed"])
    content["imagectl"][what] = json.dumps(enclosed)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("role", ["root", "targets", "channel-stable"])
def test_nobody_is_told_in_a_project_that_less_changes_than_does(team: Team, role: str) -> None:
    """The file says that what it would change is published already."""
    path = let_wait(team, role)
    signed = json.loads(path.read_bytes())["signed"]

    def all_of_it(published: dict[str, Any]) -> None:
        published.update({**signed, "version": published["version"]})

    alter(path, "published", all_of_it)
    before = path.read_bytes()

    key = team.key["alice"] if role == "channel-stable" else team.folder / f"{role}.pem"
    said = team.refused("sign", role, "--key", str(key), "--yes")

    assert "it is behind, or was altered" in " ".join(said.split())
    assert "would" not in said
    assert path.read_bytes() == before


@pytest.mark.parametrize("role", ["root", "targets", "channel-stable"])
def test_no_stranger_signs_in_a_project_because_the_file_says_so(team: Team, role: str) -> None:
    """Beside a signature that does not count, nobody else could sign."""
    path = let_wait(team, role)
    stranger = read_private_key(str(team.key["stranger"])).public_key

    def strangers(signers: dict[str, Any]) -> None:
        if role == "channel-stable":
            signers = signers["delegations"]
            (known,) = (each for each in signers["roles"] if each["name"] == role)
        else:
            known = signers["roles"][role]
        known["keyids"].append(stranger.keyid)
        signers["keys"][stranger.keyid] = stranger.to_dict()

    alter(path, "signers", strangers)
    before = path.read_bytes()

    said = team.refused("sign", role, "--key", str(team.key["stranger"]), "--yes")

    assert "others may sign by now" in said
    assert path.read_bytes() == before


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
    delegations = content["signed"]["delegations"]
    keyid, alice = key_of(delegations["keys"], "alice")
    bobs, _ = key_of(delegations["keys"], "bob")
    again = Key.from_dict("", copy.deepcopy(alice))
    again.keyval["public"] = again.keyval["public"].upper()
    alices = own_id(again)
    assert alices != keyid
    (role,) = (each for each in delegations["roles"] if each["name"] == "channel-stable")
    role["keyids"][role["keyids"].index(bobs)] = alices
    delegations["keys"][alices] = again.to_dict()
    path.write_text(json.dumps(content))
    before = path.read_bytes()

    said = team.refused(
        *("sign", str(path) if carried else "targets"),
        *("--key", str(team.folder / "targets.pem"), "--yes"),
        code=1,
    )

    assert "lists one key of channel-stable under two ids" in said.replace("\n", " ")
    assert path.read_bytes() == before


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("role", ["root", "targets"])
def test_nobody_signs_another_key_under_an_id_that_they_know(
    team: Team, role: str, *, carried: bool
) -> None:
    """Ids and names are what people are shown, and whoever can write the file leaves them."""
    (team.root / ".imagectl" / "keys" / f"{role}.pem").rename(team.folder / f"{role}.pem")
    changed = "root" if role == "root" else "channel-stable"
    team.done(
        *("catalog", "rotate-keys", changed, "--reason", "alice signs, too"),
        *("--add", team.public("alice")),
    )
    path = team.pending(role)
    content = json.loads(path.read_bytes())
    keys = (content["signed"] if role == "root" else content["signed"]["delegations"])["keys"]
    _, known = key_of(keys, "online")
    known["keyval"] = CryptoSigner.generate_ed25519().public_key.keyval
    path.write_text(json.dumps(content))
    before = path.read_bytes()

    said = team.refused(
        *("sign", str(path) if carried else role),
        *("--key", str(team.folder / f"{role}.pem"), "--yes"),
        code=1,
    )

    assert "which is not that key's own" in " ".join(said.split())
    assert path.read_bytes() == before


def test_what_was_signed_unseen_does_not_count(team: Team) -> None:
    """Signed by another program, or by an older one of ours: it is not published."""
    trust = team.root / "catalog" / "targets.json"
    metadata = Metadata[Targets].from_bytes(trust.read_bytes())
    metadata.signed.version += 1
    assert metadata.signed.delegations is not None
    for key in metadata.signed.delegations.keys.values():
        key.keyval = CryptoSigner.generate_ed25519().public_key.keyval
    metadata.sign(read_private_key(str(team.private("targets"))))
    path = team.pending("targets")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(metadata.to_bytes())
    before = trust.read_bytes()

    team.done("catalog", "publish")

    assert trust.read_bytes() == before
    trust.write_bytes(metadata.to_bytes())
    said = team.refused("catalog", "publish", code=1)
    assert "which is not that key's own" in " ".join(said.split())


def key_of(keys: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """The id of a key with that name, and what is said of it."""
    return next(each for each in keys.items() if each[1]["x-imagectl-name"] == name)


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


def test_signatures_of_what_does_not_wait_any_more_are_not_taken_over(
    team: Team, tmp_path: Path
) -> None:
    """Beside one of something else, nobody could sign what waits now."""
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    carried = tmp_path / "channel-stable.json"
    shutil.copy(team.pending("channel-stable"), carried)
    signed = team.imagectl(
        *("-C", str(tmp_path), "sign", str(carried), "--key", str(team.key["alice"]), "--yes")
    )
    assert signed.exit_code == 0, signed.stderr
    team.done("rollback", "stable", "--reason", "it was bad")
    team.done("promote", "stable", TWO, "--reason", "it was not")
    before = team.pending("channel-stable").read_bytes()
    said = team.refused("sign", str(carried))
    assert "is not what waits for signatures of channel-stable now" in " ".join(said.split())
    assert team.pending("channel-stable").read_bytes() == before


def test_nobody_signs_what_can_be_compared_with_no_tree(team: Team) -> None:
    path = let_wait(team, "channel-stable")
    before = path.read_bytes()
    public = team.root / "catalog" / "public"
    public.rename(team.folder / "elsewhere")
    public.symlink_to(public)  # not mounted
    said = team.refused("sign", "channel-stable", "--key", str(team.key["alice"]), "--yes", code=5)
    assert "cannot be read" in " ".join(said.split())
    assert path.read_bytes() == before


class Away:
    """Alice's machine: a file that was carried there, her key, and a root of her own."""

    def __init__(self, team: Team, role: str = "channel-stable") -> None:
        self.team = team
        self.folder = team.folder / "away"
        self.folder.mkdir()
        self.file = self.folder / f"{role}.json"
        shutil.copy(team.pending(role), self.file)
        self.root = self.folder / "root.json"
        self.root.write_bytes(team.pinned)
        self.compared = ("--catalog", str(team.root / "catalog" / "public"), "--root", "root.json")

    def sign(self, *options: str, key: Path | None = None) -> Result:
        return self.team.imagectl(
            *("-C", str(self.folder), "sign", str(self.file), "--yes", *options),
            *("--key", str(key or self.team.key["alice"])),
        )


@pytest.fixture
def away(team: Team, monkeypatch: pytest.MonkeyPatch) -> Away:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    made = Away(team)
    monkeypatch.chdir(made.folder)
    return made


def test_what_nobody_could_compare_is_said_loudly(away: Away) -> None:
    result = away.sign("--json")
    assert result.exit_code == 0, result.stderr
    assert "warning: NOT CHECKED: whose keys count for channel-stable" in result.stderr
    [unchecked] = json.loads(result.stdout)["unchecked"]
    assert "may have made it up" in unchecked


def test_a_file_that_leaves_out_what_would_be_signed_is_refused(away: Away) -> None:
    """Who carries it has added stable of another image, and says that it is published already."""
    content = json.loads(away.file.read_bytes())
    (target,) = content["signed"]["targets"].values()
    hidden = "images/other-image/channels/stable.json"
    content["signed"]["targets"][hidden] = target
    away.file.write_text(json.dumps(content))
    alter(away.file, "published", lambda published: published["targets"].update({hidden: target}))
    before = away.file.read_bytes()

    result = away.sign()

    assert result.exit_code == 3, result.stderr
    said = " ".join(result.stderr.split())
    assert "1 document would be signed, too, that the file does not show" in said
    assert f"{hidden}: they are published already, says the file" in said
    assert away.file.read_bytes() == before


def test_a_file_is_compared_with_what_consumers_see(away: Away) -> None:
    result = away.sign("--json", *away.compared)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["unchecked"] == []
    assert "NOT CHECKED" not in result.stderr
    assert "stable of debian-base: 20261120.1 -> 20261120.2" in result.stderr


def test_a_file_that_hides_what_it_changes_is_refused(away: Away) -> None:
    """It says that stable is there already: whoever believes it sees nothing change."""
    signed = json.loads(away.file.read_bytes())["signed"]["targets"]
    alter(away.file, "published", lambda published: published.update(targets=signed))
    before = away.file.read_bytes()

    result = away.sign(*away.compared)

    assert result.exit_code == 3, result.stderr
    assert "it is about another state of channel-stable" in result.stderr
    assert "->" not in result.stderr
    assert away.file.read_bytes() == before


def test_a_file_by_which_others_may_sign_is_refused(away: Away) -> None:
    def one_is_enough(targets: dict[str, Any]) -> None:
        for role in targets["delegations"]["roles"]:
            role["threshold"] = 1

    alter(away.file, "signers", one_is_enough)
    before = away.file.read_bytes()

    result = away.sign(*away.compared)

    assert result.exit_code == 3, result.stderr
    assert "others may sign channel-stable" in result.stderr
    assert away.file.read_bytes() == before


def test_a_list_by_a_root_that_waits_itself_can_be_signed(team: Team) -> None:
    """Neither counts without the other, so consumers cannot tell of that root yet."""
    team.done(
        *("catalog", "rotate-keys", "targets", "--add", team.public("alice")),
        *("--remove", "targets", "--reason", "alice keeps it"),
    )
    away = Away(team, "targets")
    result = away.sign("--json", *away.compared[:-1], str(away.root))
    assert result.exit_code == 0, result.stderr
    [unchecked] = json.loads(result.stdout)["unchecked"]
    assert "by root 2: that root waits for signatures itself" in unchecked
    assert "channel-stable takes 1 signature of online" in result.stderr, "all of it is shown"


def test_nothing_is_compared_with_whatever_root_comes_first(away: Away) -> None:
    result = away.sign(*away.compared[:2])
    assert result.exit_code == 2, result.stderr
    assert "whose signatures count" in result.stderr


def test_in_its_project_what_waits_is_compared_with_the_project(away: Away) -> None:
    said = away.team.refused(
        *("sign", "channel-stable", "--key", str(away.team.key["alice"]), *away.compared), code=2
    )
    assert "--catalog goes with a FILE and a --key" in said


def test_a_file_is_looked_for_where_the_project_is(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(away.folder.parent)
    result = away.team.imagectl(
        *("-C", "away", "sign", "channel-stable.json", "--yes", "--key"),
        str(away.team.key["alice"]),
    )
    assert result.exit_code == 0, result.stderr


def test_where_no_project_is_a_file_wants_a_key(away: Away) -> None:
    result = away.team.imagectl("sign", "channel-stable.json")
    assert result.exit_code == 6
    assert "with --key" in result.stderr
    assert "imagectl init" not in result.stderr


def test_a_file_of_anything_else_is_refused(away: Away) -> None:
    content = json.loads(away.file.read_bytes())
    content["imagectl"]["documents"] = 5
    away.file.write_text(json.dumps(content))
    result = away.sign()
    assert result.exit_code == 3
    assert "it does not say what it would change" in result.stderr
