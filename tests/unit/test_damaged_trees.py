"""`imagectl catalog publish` puts right what it is said to, and takes no other tree for a damaged
one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from securesystemslib.signer import CryptoSigner, Key
from support.cli import command_line
from support.examples import CI, NOW, STABLE
from support.releases import Book
from support.signed_trees import directory_publisher, directory_tree, trusted
from support.teams import IMAGE, Team
from support.teams import ONE as TEAMS_ONE
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.published.directory import DirectoryPlace
from imagectl.adapters.published.recovering import recover
from imagectl.adapters.published.verified import trusted_root
from imagectl.bootstrap.project import open_project
from imagectl.errors import CannotTell, Conflict, Corrupt, Refused
from imagectl.formats.tuf_roles import METADATA, ROOT, TIMESTAMP_PATH
from imagectl.model.names import VersionId
from imagectl.model.published import Warned

Damage = Callable[[Path], bytes]
ONE, TWO = "debian-ci@20261120.1", "debian-ci@20261120.2"


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    return Team(tmp_path, command_line(monkeypatch))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    directory_publisher(root).publish(book(ONE).snapshot)
    return root


def book(*refs: str) -> Book:
    made = Book()
    for each in refs:
        made.built(each)
        made.moved(STABLE, each)
    return made


def strangers(path: Path) -> bytes:
    metadata = Metadata[Timestamp].from_bytes(path.read_bytes())
    metadata.signed.version += 1
    metadata.sign(CryptoSigner.generate_ed25519())
    return metadata.to_bytes()


def cut_off(path: Path) -> bytes:
    return path.read_bytes()[:100]


def empty(path: Path) -> bytes:
    return b""


def test_of_several_trees_each_is_refreshed_or_named(team: Team) -> None:
    settings = team.root / "imagectl.yaml"
    content = yaml.safe_load(settings.read_text())
    content.setdefault("catalog", {})["publish"] = ["catalog/public", "catalog/second"]
    settings.write_text(yaml.safe_dump(content))
    team.done("catalog", "publish")
    broken = [team.root / "catalog" / tree / TIMESTAMP_PATH for tree in ("public", "second")]
    broken[0].write_bytes(b"")
    said = " ".join(team.refused("catalog", "refresh", code=1).split())
    assert "1 of 2 published trees cannot be refreshed; the others are refreshed" in said
    assert "catalog/second" not in said
    broken[1].write_bytes(b"")
    said = " ".join(team.refused("catalog", "refresh", code=1).split())
    assert "2 of 2 published trees cannot be refreshed" in said
    assert "the others" not in said
    assert "catalog/public: " in said
    assert "catalog/second: " in said


@pytest.mark.parametrize("damage", [strangers, cut_off, empty])
def test_a_timestamp_that_nobody_has_signed_is_written_again(team: Team, damage: Damage) -> None:
    """What people have signed need not be signed again for it."""
    team.two_people()
    path = team.root / "catalog" / "public" / TIMESTAMP_PATH
    path.write_bytes(damage(path))
    said = team.refused("catalog", "refresh", code=1)
    assert "`imagectl catalog publish` writes it again" in said
    said = team.done("catalog", "publish")
    assert f"{path} was damaged" in " ".join(said.split())
    assert team.stable() == "20261120.1"
    assert not team.pending("channel-stable").exists()
    assert "was damaged" not in team.done("catalog", "publish")


@pytest.mark.parametrize("damage", [cut_off, empty])
def test_a_damaged_tree_keeps_nobody_from_replacing_a_key(team: Team, damage: Damage) -> None:
    path = team.root / "catalog" / "public" / TIMESTAMP_PATH
    path.write_bytes(damage(path))
    team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "stolen"),
    )
    assert team.trusted().version == 2
    assert team.stable() == "20261120.1"


def test_a_damaged_tree_is_not_made_to_show_an_older_catalog(public: Path) -> None:
    """P2: also where its timestamp does not say any more what it had."""
    directory_publisher(public).publish(book(ONE, TWO).snapshot)
    (public / TIMESTAMP_PATH).write_bytes(b"")
    with pytest.raises(CannotTell, match="a later state than this catalog"):
        directory_publisher(public).publish(book(ONE).snapshot)
    assert (public / TIMESTAMP_PATH).read_bytes() == b""


def test_an_old_state_is_not_taken_for_the_newest_under_another_number(public: Path) -> None:
    """P2. Whoever may write there can name what was once signed as they like: an older catalog
    would be published over what consumers were shown."""
    (old,) = (public / METADATA).glob("*.snapshot.json")
    later = NOW + timedelta(seconds=1)
    directory_publisher(public, lambda: later).publish(book(ONE, TWO).snapshot)
    assert old.exists(), "it is kept for whoever reads slowly"
    number = int(old.name.partition(".")[0])
    shutil.copy(old, old.with_name(f"{number + 100}.snapshot.json"))
    (public / TIMESTAMP_PATH).write_bytes(b"")
    with pytest.raises(CannotTell, match="a later state than this catalog"):
        directory_publisher(public, lambda: later).publish(book(ONE).snapshot)
    assert (public / TIMESTAMP_PATH).read_bytes() == b""
    directory_publisher(public, lambda: later).publish(book(ONE, TWO).snapshot)
    head = directory_tree(public, later).head(CI, STABLE)
    assert head is not None
    assert head.version == VersionId("20261120", 2)


def test_nothing_is_recovered_that_nobody_has_signed(public: Path) -> None:
    """Whoever may write there could have the newest state be an older one."""
    (path,) = (public / METADATA).glob("*.snapshot.json")
    metadata = Metadata[Snapshot].from_bytes(path.read_bytes())
    signed = metadata.signed.version
    metadata.signed.version += 1
    planted = path.with_name(f"{signed + 1}.snapshot.json")
    planted.write_bytes(metadata.to_bytes())
    root = trusted_root(trusted(public).read_bytes(), "root")
    found = recover(DirectoryPlace(public), [root], b"")
    assert found is not None
    assert found.snapshot.signed.version == signed


def test_a_damaged_tree_without_a_whole_state_is_written_anew(public: Path) -> None:
    (public / TIMESTAMP_PATH).write_bytes(b"")
    (snapshot,) = (public / METADATA).glob("*.snapshot.json")
    snapshot.write_bytes(b"")
    later = NOW + timedelta(seconds=1)
    directory_publisher(public, lambda: later).publish(book(ONE).snapshot)
    assert directory_tree(public, later).head(CI, STABLE) is not None


@pytest.mark.parametrize("damage", [cut_off, empty])
@pytest.mark.parametrize("version", [1, 2])
def test_a_root_that_is_none_is_put_right(public: Path, damage: Damage, version: int) -> None:
    """Ours is written again. The one after it is nobody's, and no consumer could get past it."""
    path = public / METADATA / f"{version}.root.json"
    good = (public / METADATA / "1.root.json").read_bytes()
    path.write_bytes(damage(public / METADATA / "1.root.json"))
    publisher = directory_publisher(public)
    publisher.publish(book(ONE).snapshot)
    assert [str(path) in each for each in publisher.mended] == [True]
    if version == 1:
        assert path.read_bytes() == good
    else:
        assert not path.exists()
    assert directory_tree(public, NOW).head(CI, STABLE) is not None


def test_nobody_takes_a_tree_over_with_a_root_of_their_own(public: Path, tmp_path: Path) -> None:
    """Whoever may write there puts it after ours, and signs all else by it."""
    theirs = tmp_path / "theirs"
    later = NOW + timedelta(seconds=1)
    shutil.copytree(public, theirs)
    for each in (theirs / METADATA).iterdir():
        each.unlink()
    directory_publisher(theirs, lambda: later).publish(book(ONE, TWO).snapshot)
    root = root_after(theirs, 2)
    (theirs / METADATA / "1.root.json").unlink()
    shutil.copytree(theirs, public, dirs_exist_ok=True)
    (public / METADATA / "2.root.json").write_bytes(root)
    trust = trusted(public).read_bytes()
    publisher = directory_publisher(public, lambda: later)
    publisher.publish(book(ONE).snapshot)
    assert trusted(public).read_bytes() == trust
    head = directory_tree(public, later).head(CI, STABLE)
    assert head is not None
    assert head.version == VersionId("20261120", 1)
    assert any("2.root.json was damaged, or written" in each for each in publisher.mended)


def root_after(tree: Path, version: int) -> bytes:
    """The first root of a tree, under that number, signed with its key."""
    path = tree / METADATA / "1.root.json"
    key = CryptoSigner.from_priv_key_uri(
        f"file2:{trusted(tree).parents[1] / 'keys' / 'root.pem'}", key_of(path)
    )
    metadata = Metadata[Root].from_bytes(path.read_bytes())
    metadata.signed.version = version
    metadata.sign(key)
    return metadata.to_bytes()


def test_a_root_in_anothers_place_is_nobodys(public: Path) -> None:
    """Our key has signed it, as the one after the next: no consumer takes it for the next."""
    path = public / METADATA / "2.root.json"
    path.write_bytes(root_after(public, 3))
    trust = trusted(public).read_bytes()
    directory_publisher(public).publish(book(ONE).snapshot)
    assert trusted(public).read_bytes() == trust
    assert not path.exists()


def test_a_tree_of_others_is_not_taken_for_a_damaged_one(public: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    directory_publisher(other).publish(book(ONE).snapshot)
    shutil.rmtree(other)
    shutil.copytree(public, other)
    before = {path: path.read_bytes() for path in other.rglob("*.json")}
    with pytest.raises(Refused, match="is signed by others"):
        directory_publisher(other).publish(book(ONE).snapshot)
    assert {path: path.read_bytes() for path in other.rglob("*.json")} == before


@pytest.mark.parametrize("version", [1, 2])
def test_another_root_that_consumers_believe_is_left(public: Path, version: int) -> None:
    """Somebody has replaced keys with the same key of root, and has not told us."""
    path = public / METADATA / "1.root.json"
    key = CryptoSigner.from_priv_key_uri(
        f"file2:{public.with_name('public.signing') / 'keys' / 'root.pem'}", key_of(path)
    )
    metadata = Metadata[Root].from_bytes(path.read_bytes())
    metadata.signed.version = version
    metadata.signed.expires += timedelta(days=1)
    metadata.sign(key)
    (public / TIMESTAMP_PATH).unlink()
    there = public / METADATA / f"{version}.root.json"
    there.write_bytes(metadata.to_bytes())
    with pytest.raises(Conflict, match="root"):
        directory_publisher(public).publish(book(ONE).snapshot)
    assert there.read_bytes() == metadata.to_bytes()


def key_of(path: Path) -> Key:
    root = Metadata[Root].from_bytes(path.read_bytes()).signed
    return root.get_key(root.roles[ROOT].keyids[0])


def newest(team: Team, role: str) -> Path:
    found = (team.root / "catalog" / "public" / METADATA).glob(f"*.{role}.json")
    return max(found, key=lambda each: int(each.name.partition(".")[0]))


@pytest.mark.parametrize("damage", [cut_off, empty])
@pytest.mark.parametrize("role", ["channel-stable", "snapshot"])
def test_what_people_have_signed_is_mended_without_them(
    team: Team, role: str, damage: Damage
) -> None:
    team.two_people()
    path = newest(team, role)
    good = path.read_bytes()
    path.write_bytes(damage(path))
    team.done("catalog", "publish")
    assert team.stable() == "20261120.1"
    assert not team.pending("channel-stable").exists()
    if role != "snapshot":
        assert path.read_bytes() == good
    assert "waits" not in team.done("catalog", "publish")


def test_it_is_mended_while_something_else_waits_for_them(team: Team) -> None:
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    team.sign("channel-stable", "alice")
    path = newest(team, "channel-stable")
    path.write_bytes(b"")
    assert "waits for 1 more signature of bob" in team.done("catalog", "publish")
    assert team.stable() == "20261120.1"
    team.sign("channel-stable", "bob")
    assert team.stable() == "20261120.2"


def signed_again(team: Team, *, keep: bool) -> None:
    """Stable shows TWO, which both have signed; here is nothing of it, or what they signed before
    where that is to be kept."""
    team.two_people()
    kept = team.root / ".imagectl" / "signed" / "channel-stable.json"
    former = kept.read_bytes()
    team.next_version()
    team.done("promote", "stable")
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    assert team.stable() == "20261120.2"
    kept.unlink()
    if keep:
        kept.write_bytes(former)


@pytest.mark.parametrize("keep", [False, True])
def test_what_they_have_to_sign_again_holds_up_nothing_else(team: Team, keep: bool) -> None:
    signed_again(team, keep=keep)
    newest(team, "channel-stable").write_bytes(b"")
    team.done("revoke", TEAMS_ONE, "--reason", "a hole", "--even-if-released")
    tree = team.consumer("another")
    assert tree.warnings(IMAGE)[VersionId("20261120", 1)].warned is Warned.REVOKED
    with pytest.raises(Corrupt):
        tree.head(IMAGE, STABLE)
    said = " ".join(team.done("catalog", "publish").split())
    assert "channel-stable is damaged, and its signers are needed" in said
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    assert team.stable() == "20261120.2"
    assert "damaged" not in team.done("catalog", "publish")


class TenDaysLater(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(days=10)


def test_a_list_that_waits_for_its_signers_holds_up_no_refresh(team: Team) -> None:
    """Else consumers would be given nothing at all any more, once what is renewed daily is over."""
    signed_again(team, keep=False)
    newest(team, "channel-stable").write_bytes(b"")
    assert "`imagectl catalog publish` writes it" in team.refused("catalog", "refresh", code=1)
    team.done("catalog", "publish")
    said = " ".join(team.done("catalog", "refresh").split())
    assert "channel-stable is damaged, and its signers are needed" in said
    assert "`imagectl sign channel-stable`" in said
    (tree,) = json.loads(
        team.imagectl("-C", str(team.root), "catalog", "refresh", "--json").stdout
    )["trees"]
    assert tree["damaged"] == ["channel-stable"]
    assert {"timestamp", "targets", "catalog"} <= tree["expires"].keys()
    project = open_project(team.root)
    project.clock = TenDaysLater()
    (publisher,) = project.publishers
    assert publisher.refresh()
    until = publisher.signatures(publisher.damaged)["timestamp"]
    assert until > project.clock.now() + timedelta(days=13)
    project.close()
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    assert team.stable() == "20261120.2"
    assert "damaged" not in team.done("catalog", "refresh")


def test_what_a_publish_can_mend_is_left_to_it(team: Team) -> None:
    """Although something else waits for the signers of the list."""
    team.two_people()
    team.next_version()
    team.done("promote", "stable")
    newest(team, "channel-stable").write_bytes(b"")
    assert "`imagectl catalog publish` writes it" in team.refused("catalog", "refresh", code=1)
    team.done("catalog", "publish")
    assert "damaged" not in team.done("catalog", "refresh")
    assert team.stable() == "20261120.1"


@pytest.mark.parametrize("role", ["targets", "snapshot"])
def test_a_list_is_whole_although_what_leads_to_it_is_not(team: Team, role: str) -> None:
    signed_again(team, keep=False)
    newest(team, role).write_bytes(b"")
    assert "damaged" not in team.done("catalog", "publish")
    assert team.stable() == "20261120.2"
    assert not team.pending("channel-stable").exists()


@pytest.mark.parametrize("name", ["targets.json", "root.json"])
@pytest.mark.parametrize("verb", ["publish", "refresh"])
def test_what_the_project_keeps_itself_is_brought_back_from_git(
    team: Team, verb: str, name: str
) -> None:
    path = team.root / "catalog" / name
    path.write_bytes(cut_off(path))
    said = " ".join(team.refused("catalog", verb, code=1).split())
    assert str(path) in said.replace(" ", "")
    assert f"hint: bring catalog/{name} back from git" in said


@pytest.mark.parametrize("verb", ["publish", "refresh"])
def test_so_is_a_root_of_before(team: Team, verb: str) -> None:
    """Else consumers who have it would be given what they cannot follow."""
    team.done(
        *("catalog", "rotate-keys", "online", "--new", "--remove", "online"),
        *("--reason", "stolen"),
    )
    path = team.root / "catalog" / "roots" / "1.root.json"
    path.write_bytes(cut_off(path))
    said = " ".join(team.refused("catalog", verb, code=1).split())
    assert str(path) in said.replace(" ", "")
    assert "hint: bring catalog/roots/1.root.json back from git" in said


def test_nobody_has_an_older_list_published_by_removing_the_newest(team: Team) -> None:
    """What people have signed before is signed, too."""
    signed_again(team, keep=True)
    newest(team, "channel-stable").unlink()
    newest(team, "snapshot").write_bytes(b"")
    said = team.refused("catalog", "publish", code=1)
    assert "`imagectl sign channel-stable`: once enough have signed" in " ".join(said.split())
    for name in ("alice", "bob"):
        team.sign("channel-stable", name)
    assert team.stable() == "20261120.2"
