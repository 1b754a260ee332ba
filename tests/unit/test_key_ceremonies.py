"""Whose signatures count: changes of keys, people who sign, and what is refused."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import CryptoSigner
from support.cli import Run, command_line
from support.examples import BETA, STABLE
from support.projects import new_project, release
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from imagectl.bootstrap.project import open_project
from imagectl.consumer import open_catalog
from imagectl.consumer.tree import SignedTree
from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.names import ImageName

IMAGE = ImageName("debian-base")
ONE, TWO = "debian-base@20261120.1", "debian-base@20261120.2"


class Team:
    """A project whose stable shows ONE, two people with keys, and somebody else."""

    def __init__(self, folder: Path, imagectl: Run) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.imagectl = imagectl
        project = new_project(self.root)
        channels = self.root / "catalog" / "channels.yaml"
        channels.write_text(
            "channels:\n  beta: {entry: true}\n  stable: {from: beta, rollback_window: 1}\n"
        )
        release(project, ONE)
        project.close()
        self.key: dict[str, Path] = {}
        for name in ("alice", "bob", "stranger"):
            self.key[name] = self.make_key(name)
        self.done("promote", "stable")
        self.pinned = (self.root / "catalog" / "root.json").read_bytes()

    def make_key(self, name: str) -> Path:
        key = Ed25519PrivateKey.generate()
        path = self.folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        path.with_suffix(".pub").write_bytes(public)
        return path

    def public(self, name: str) -> str:
        return str(self.key[name].with_suffix(".pub"))

    def done(self, *arguments: str) -> str:
        result = self.imagectl("-C", str(self.root), *arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout + result.stderr

    def refused(self, *arguments: str, code: int = 3) -> str:
        result = self.imagectl("-C", str(self.root), *arguments)
        assert result.exit_code == code, result.stdout + result.stderr
        return result.stderr

    def sign(self, role: str, name: str) -> str:
        return self.done("sign", role, "--key", str(self.key[name]), "--yes")

    def two_people(self) -> None:
        """Stable takes the signatures of alice and bob from now on."""
        self.done(
            *("catalog", "rotate-keys", "channel-stable", "--reason", "two people"),
            *("--add", self.public("alice"), "--add", self.public("bob")),
            *("--remove", "online", "--threshold", "2"),
        )
        for name in ("alice", "bob"):
            self.sign("channel-stable", name)

    def next_version(self) -> None:
        project = open_project(self.root)
        release(project, TWO)
        project.close()

    def consumer(self, name: str = "consumer") -> SignedTree:
        return open_catalog(
            str(self.root / "catalog" / "public"),
            root=self.pinned,
            cache=self.folder / name,
            now=datetime.now(UTC),
        )

    def stable(self) -> str:
        head = self.consumer().head(IMAGE, STABLE)
        assert head is not None
        return str(head.version)

    def pending(self, role: str) -> Path:
        return self.root / ".imagectl" / "pending" / f"{role}.json"

    def private(self, name: str) -> Path:
        return self.root / ".imagectl" / "keys" / f"{name}.pem"

    def trusted(self) -> Root:
        data = (self.root / "catalog" / "root.json").read_bytes()
        return Metadata[Root].from_bytes(data).signed


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


def test_two_people_sign_what_stable_is(team: Team) -> None:
    team.two_people()
    assert team.stable() == "20261120.1"
    team.next_version()
    said = team.done("promote", "stable")
    assert "channel-stable waits for 2 more signatures of alice" in said
    assert "or bob" in said
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
    assert result.exit_code != 0
    assert team.pending("channel-stable").read_bytes() == before


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
    team.done(
        *("catalog", "rotate-keys", "root", "--add", team.public("alice")),
        *("--remove", "root", "--reason", "alice keeps it"),
    )
    assert team.trusted().version == 1, "alice has not signed"
    assert team.pending("root").exists()
    said = team.sign("root", "alice")
    assert "alice" in said
    assert "may sign root from then on" in said
    assert "may NOT sign root any more" in said
    assert "alice keeps it" in said
    assert team.trusted().version == 2
    assert not team.pending("root").exists()
    team.consumer()
    assert (team.root / "catalog" / "public" / "metadata" / "2.root.json").exists()


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
    team.refused("catalog", "publish", code=1)
    path.write_bytes(good)
    team.consumer("fresh")


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
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

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
