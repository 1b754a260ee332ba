"""Whose signatures count: changes of keys, people who sign, and what is refused."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from support.cli import command_line
from support.examples import BETA, STABLE
from support.projects import release
from support.teams import IMAGE, ONE, Team
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from imagectl.bootstrap.project import open_project
from imagectl.cli.rotate_keys import command as rotate_keys
from imagectl.consumer import open_catalog
from imagectl.errors import CannotTell, ImagectlError


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def test_two_people_sign_what_stable_is(team: Team) -> None:
    said = team.two_people()
    assert "nothing changes for consumers: what channel-stable says until now is signed" in said
    assert team.stable() == "20261120.1"
    team.next_version()
    said = team.done("promote", "stable")
    assert "channel-stable waits for 2 more signatures of alice" in said
    assert "and bob" in said, "both have to"
    assert "consumers get, once it is signed, qcow2" in said
    assert "now get" not in said
    assert "channel-stable waits for 2 more signatures" in team.done("list")
    assert team.stable() == "20261120.1", "until they have signed"
    beta = team.consumer().head(IMAGE, BETA)
    assert beta is not None
    assert str(beta.version) == "20261120.2", "everything else is published"

    said = team.sign("channel-stable", "alice")
    assert "stable of debian-base: 20261120.1 -> 20261120.2" in said
    assert "1 more signature of bob" in said
    assert "alice" not in said.split("1 more signature of")[1].splitlines()[0]
    assert team.stable() == "20261120.1", "one is not enough"
    said = team.sign("channel-stable", "bob")
    assert "enough have signed" in said
    assert team.stable() == "20261120.2"
    assert not team.pending("channel-stable").exists()
    assert "waits" not in team.done("list")


def test_a_program_is_told_what_waits_for_signatures(team: Team) -> None:
    team.two_people()
    team.next_version()
    for options, waits in ((("--dry-run",), False), ((), True)):
        told = team.imagectl("-C", str(team.root), "promote", "stable", "--json", *options)
        assert json.loads(told.stdout)["waits_for_signatures"] is waits


def test_what_waits_is_not_forgotten_when_something_else_is_published(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    project = open_project(team.root)
    release(project, "debian-ci@20261120.1")
    project.close()
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    assert team.stable() == "20261120.2"


def test_what_others_sign_does_not_keep_warnings(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    team.done("revoke", ONE, "--reason", "a hole")
    assert [str(each) for each in team.consumer().warnings(IMAGE)] == ["20261120.1"]


def test_a_strangers_key_signs_nothing(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    before = team.pending("channel-stable").read_bytes()
    said = team.refused("sign", "channel-stable", "--key", str(team.key["stranger"]), "--yes")
    assert "this key may not sign channel-stable" in said
    assert "alice" in said
    assert team.pending("channel-stable").read_bytes() == before


def test_one_person_counts_once(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    team.sign("channel-stable", "alice")
    said = team.refused("sign", "channel-stable", "--key", str(team.key["alice"]), "--yes")
    assert "has signed channel-stable already" in said
    assert "1 more signature of bob" in said
    assert team.stable() == "20261120.1"


def test_the_same_key_is_not_added_under_another_name(team: Team) -> None:
    team.two_people()
    again = team.folder / "carol.pub"
    shutil.copy(team.public("alice"), again)
    said = team.refused(
        *("catalog", "rotate-keys", "channel-stable", "--add", str(again), "--reason", "more"),
        code=2,
    )
    assert "each key counts once" in said


def test_nobody_signs_what_they_said_no_to(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    before = team.pending("channel-stable").read_bytes()
    # The runner's standard input is empty: nobody says yes.
    result = team.imagectl(
        "-C", str(team.root), "sign", "channel-stable", "--key", str(team.key["alice"])
    )
    assert result.exit_code == 3
    assert "nobody is at a terminal here to say yes" in " ".join(result.stderr.split())
    assert team.pending("channel-stable").read_bytes() == before


def test_what_is_signed_is_shown_to_quiet_people_too(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    said = team.refused("sign", "-q", "channel-stable", "--key", str(team.key["alice"]))
    assert "stable of debian-base: 20261120.1 -> 20261120.2" in said
    assert "Sign this?" in said


def test_a_key_that_does_not_count_is_refused_before_anything_is_asked(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    said = team.refused("sign", "channel-stable", "--key", str(team.key["stranger"]))
    assert "this key may not sign channel-stable" in said
    assert "Sign this?" not in said


def test_nobody_adds_a_signature_unasked_although_enough_have_signed(
    team: Team, tmp_path: Path
) -> None:
    """Where people carry the file round, one more than needed may sign: after looking, too."""
    team.two_people()
    team.done(
        *("catalog", "rotate-keys", "channel-stable", "--threshold", "1", "--reason", "holidays")
    )
    team.next_version()
    team.done("promote", "stable")
    carried = tmp_path / "channel-stable.json"
    shutil.copy(team.pending("channel-stable"), carried)
    team.imagectl(
        *("-C", str(tmp_path), "sign", str(carried), "--key", str(team.key["alice"]), "--yes")
    )
    before = carried.read_bytes()
    said = team.imagectl("-C", str(tmp_path), "sign", str(carried), "--key", str(team.key["bob"]))
    assert said.exit_code == 3
    assert "Sign this?" in said.stderr
    assert carried.read_bytes() == before


def test_who_signs_by_itself_is_no_second_person(team: Team) -> None:
    channel = ("catalog", "rotate-keys", "channel-stable", "--reason", "review")
    said = team.done(*channel, "--add", team.public("alice"), "--threshold", "2", "--dry-run")
    assert "signs by itself, so 1 person has to sign channel-stable" in said
    assert "where 2 people are meant: --remove online" in said
    team.private("online").rename(team.folder / "online.pem")  # on another machine
    said = team.done(*channel, "--add", team.public("alice"), "--threshold", "2", "--dry-run")
    assert "so 1 person has to sign channel-stable" in said
    both = (*channel, "--add", team.public("alice"), "--add", team.public("bob"), "--dry-run")
    assert "by itself" not in team.done(*both, "--remove", "online", "--threshold", "2")


def test_a_key_that_is_kept_here_is_no_second_person(team: Team) -> None:
    said = team.done(
        *("catalog", "rotate-keys", "channel-stable", "--reason", "review"),
        *("--new", "--remove", "online", "--add", team.public("alice"), "--threshold", "2"),
    )
    assert "signs by itself, so 1 person has to sign channel-stable" in said
    assert "--remove channel-stable" in said


def test_the_examples_of_its_help_in_a_row_need_two_people(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(team.folder)
    for name in ("ann", "bob"):
        team.make_key(name)
    examples = [line for line, _ in rotate_keys.examples if " channel-stable " in line]
    said = [team.done(*line.split()[1:]) for line in examples][-1]
    assert "channel-stable takes 2 signatures of:" in said
    assert "by itself" not in said
    listed = [line.split()[1] for line in said.splitlines() if line.startswith("  ")]
    assert listed == ["ann", "bob"]


def test_keys_are_shown(team: Team) -> None:
    said = team.done("catalog", "rotate-keys", "online")
    assert "online takes 1 signature of:" in said
    assert team.trusted().version == 1


def test_a_change_of_keys_takes_a_reason(team: Team) -> None:
    said = team.refused("catalog", "rotate-keys", "online", "--new", code=2)
    assert "takes a --reason" in said


def test_a_trial_changes_nothing(team: Team) -> None:
    before = sorted((team.root / "catalog").rglob("*"))
    team.done(
        *("catalog", "rotate-keys", "root", "--add", team.public("alice"), "--reason", "look"),
        "--dry-run",
    )
    assert sorted((team.root / "catalog").rglob("*")) == before
    assert not team.pending("root").exists()


def test_nobody_is_locked_out(team: Team) -> None:
    said = team.refused("catalog", "rotate-keys", "root", "--remove", "root", "--reason", "oops")
    assert "nobody could sign root any more" in said
    team.refused("catalog", "rotate-keys", "root", "--threshold", "2", "--reason", "oops")


def test_a_new_root_is_signed_by_those_before_and_those_after(team: Team) -> None:
    said = team.done(
        *("catalog", "rotate-keys", "root", "--add", team.public("alice")),
        *("--remove", "root", "--reason", "alice keeps it"),
    )
    assert "\nthis counts once enough have signed: `imagectl sign root`\n" in said
    assert team.trusted().version == 1, "alice has not signed"
    assert team.pending("root").exists()
    said = team.sign("root", "alice")
    assert "alice" in said
    assert "may sign root from then on" in said
    assert "may NOT sign root any more" in said
    assert "alice keeps it" in said
    assert "commit catalog/" in said
    assert team.trusted().version == 2
    assert not team.pending("root").exists()
    team.consumer()
    assert (team.root / "catalog" / "public" / "metadata" / "2.root.json").exists()


def test_one_change_of_keys_at_a_time_waits(team: Team) -> None:
    """Else the later one would take its signatures away from the one before, unsaid."""
    role = ("catalog", "rotate-keys", "root")
    team.done(*role, "--add", team.public("alice"), "--remove", "root", "--reason", "alice")
    before = team.pending("root").read_bytes()
    said = team.refused(*role, "--add", team.public("bob"), "--reason", "bob, too", code=4)
    assert "another change of root waits for signatures" in said
    assert team.pending("root").read_bytes() == before


def test_an_old_root_is_not_enough_for_a_new_one(team: Team) -> None:
    """Without the key of before, whoever adds a key could take the catalog over."""
    team.private("root").rename(team.folder / "root.pem")
    team.done(
        *("catalog", "rotate-keys", "root", "--add", team.public("stranger")),
        *("--remove", "root", "--reason", "mine"),
    )
    said = team.sign("root", "stranger")
    assert "1 more signature of root" in said
    assert team.trusted().version == 1


def test_a_new_keeper_of_targets_signs_the_list_again(team: Team) -> None:
    team.done(
        *("catalog", "rotate-keys", "targets", "--add", team.public("alice")),
        *("--remove", "targets", "--reason", "alice keeps it"),
    )
    assert team.trusted().version == 1, "what targets says is not signed by alice yet"
    team.sign("targets", "alice")
    assert team.trusted().version == 2
    assert team.stable() == "20261120.1"


def test_a_lost_online_key_is_replaced(team: Team) -> None:
    """Lost: nothing is signed with it any more. Root and targets are brought from the safe."""
    team.private("online").unlink()
    team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "the disk died"),
    )
    assert team.trusted().version == 2
    assert team.stable() == "20261120.1"
    team.next_version()
    team.done("promote", "stable")
    assert team.stable() == "20261120.2"


def test_what_a_new_key_waits_for_is_said(team: Team) -> None:
    """The keys of root and targets are in the safe, or nowhere any more."""
    for name in ("root", "targets"):
        team.private(name).rename(team.folder / f"{name}.pem")
    said = team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "stolen"),
    )
    assert f"a key of online was made, {team.private('online-2')}: it stays on this" in said
    assert "root.pem and targets.pem" not in said
    assert "nothing has changed yet" in said
    assert f"carry {team.pending('root')} to whoever has them; where too few of them are" in said
    assert f"carry {team.pending('targets')} to whoever has them; where they are lost, root" in said
    assert team.trusted().version == 1


def test_what_is_signed_already_is_asked_of_nobody(team: Team) -> None:
    """New keys of targets, which is signed by them; root waits for the one that is in the safe."""
    team.private("root").rename(team.folder / "root.pem")
    said = team.done(
        *("catalog", "rotate-keys", "targets", "--new", "--remove", "targets", "--reason", "lost")
    )
    assert "targets is signed, and waits for root" in said
    assert "bring the keys of root" in said
    assert "bring the keys of targets" not in said
    assert "\nthis counts once enough have signed: `imagectl sign root`\n" in said


def test_whoever_publishes_is_told_who_has_to_sign(team: Team) -> None:
    """Consumers of stable are not told of the place before."""
    team.two_people()
    settings = team.root / "imagectl.yaml"
    settings.write_text(settings.read_text() + "  dc2: {type: directory, path: dc2}\n")
    said = team.done("publish", ONE, "--to", "dc2")
    assert "channel-stable waits for 2 more signatures" in said


def test_a_new_key_of_root_belongs_offline(team: Team) -> None:
    said = team.done("catalog", "rotate-keys", "root", "--new", "--reason", "a second keeper")
    assert f"a key of root was made, {team.private('root-2')}: keep it offline" in said
    assert "nothing has changed yet" not in said
    assert "this counts once" not in said


def test_a_revoked_key_is_not_believed(team: Team) -> None:
    """Neither by consumers, nor by whoever publishes."""
    stolen = signer(team.private("online"))
    team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "stolen"),
    )
    team.consumer()
    public = team.root / "catalog" / "public"
    path = public / "metadata" / "timestamp.json"
    good = path.read_bytes()
    metadata = Metadata[Timestamp].from_bytes(good)
    metadata.signed.version += 1
    metadata.sign(stolen)
    path.write_bytes(metadata.to_bytes())
    with pytest.raises(ImagectlError):
        team.consumer("fresh")
    assert "was damaged, or written by somebody who may not" in team.done("catalog", "publish")
    team.consumer("fresh")


def test_keys_are_not_replaced_by_a_project_that_is_behind(team: Team) -> None:
    """Consumers follow the first of two roots with the same number, and the other one never."""
    trust = team.root / "catalog"
    old = {name: (trust / name).read_bytes() for name in ("root.json", "targets.json")}
    lost = ("catalog", "rotate-keys", "online", "--new", "--remove", "online", "--reason", "lost")
    team.done(*lost)
    for name, data in old.items():
        (trust / name).write_bytes(data)
    said = team.refused(*lost, code=4)
    assert "has a later root than this project" in said
    assert {name: (trust / name).read_bytes() for name in old} == old
    assert not team.pending("root").exists()


def test_a_list_of_signers_that_was_altered_is_not_signed_with_the_next_change(team: Team) -> None:
    """Else whoever gets a line into catalog/targets.json may sign from then on."""
    path = team.root / "catalog" / "targets.json"
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    metadata.signed.add_key(signer(team.key["stranger"]).public_key, "channel-beta")
    path.write_bytes(metadata.to_bytes())
    before = path.read_bytes()
    said = team.refused(
        *("catalog", "rotate-keys", "channel-stable", "--add", team.public("alice")),
        *("--reason", "alice, too"),
        code=1,
    )
    assert f"{path} was changed after it was signed" in " ".join(said.split())
    assert path.read_bytes() == before
    assert not team.pending("targets").exists()


def test_consumers_recover_from_numbers_that_were_driven_up(team: Team, tmp_path: Path) -> None:
    """Fast-forward: whoever had the online key has shown numbers that we never reach. After the
    keys of timestamp and snapshot were replaced, consumers start from ours again."""
    stolen = signer(team.private("online"))
    public = team.root / "catalog" / "public"
    forged = tmp_path / "mirror"
    shutil.copytree(public, forged)
    drive_up(forged, stolen, 2**52)
    victim = {"root": team.pinned, "cache": tmp_path / "victim", "now": datetime.now(UTC)}
    open_catalog(str(forged), **victim)  # type: ignore[arg-type]  # the same three each time
    shutil.copytree(public, tmp_path / "ours")
    with pytest.raises(CannotTell):
        open_catalog(str(forged.with_name("ours")), **victim)  # type: ignore[arg-type]
    team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "stolen"),
    )
    tree = open_catalog(str(public), **victim)  # type: ignore[arg-type]
    assert tree.head(IMAGE, STABLE) is not None


def signer(path: Path) -> CryptoSigner:
    return CryptoSigner(load_pem_private_key(path.read_bytes(), None))


def drive_up(tree: Path, key: CryptoSigner, version: int) -> None:
    """Show the same under numbers as high as these."""
    import hashlib

    path = tree / "metadata" / "timestamp.json"
    timestamp = Metadata[Timestamp].from_bytes(path.read_bytes())
    meta = timestamp.signed.snapshot_meta
    old = tree / "metadata" / f"{meta.version}.snapshot.json"
    snapshot = Metadata[Snapshot].from_bytes(old.read_bytes())
    snapshot.signed.version = version
    snapshot.sign(key)
    data = snapshot.to_bytes()
    (tree / "metadata" / f"{version}.snapshot.json").write_bytes(data)
    meta.version = version
    meta.length = len(data)
    meta.hashes = {"sha256": hashlib.sha256(data).hexdigest()}
    timestamp.signed.version = version
    timestamp.sign(key)
    path.write_bytes(timestamp.to_bytes())


def test_what_two_have_signed_reaches_every_tree(team: Team) -> None:
    """The first tree that shows it does not take the signatures away from the next one."""
    settings = team.root / "imagectl.yaml"
    text = settings.read_text()
    first = "publish: [{ to: catalog/public, history: true }"
    assert text.count(first) == 1
    settings.write_text(text.replace(first, f"{first}, catalog/more"))
    team.done("catalog", "publish")
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    for tree in ("public", "more"):
        shown = open_catalog(
            str(team.root / "catalog" / tree),
            root=team.pinned,
            cache=team.folder / tree,
            now=datetime.now(UTC),
        )
        head = shown.head(IMAGE, STABLE)
        assert head is not None
        assert str(head.version) == "20261120.2", tree
