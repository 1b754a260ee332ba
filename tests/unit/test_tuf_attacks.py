"""What an attacker, a mirror or a mishap can make of a published tree is refused (P10).

The trees are made with python-tuf alone. Most of what is refused here is refused by python-tuf;
these tests see that it is asked, with what it needs to know, and that our words name the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes
from tuf.api.metadata import Metadata, TargetFile

from imagectl.consumer import signed_tree
from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.errors import CannotTell, Corrupt, ImagectlError, NotFound
from imagectl.model.names import Sha256

STABLE = "images/debian-ci/channels/stable.json"
YESTERDAY = NOW - timedelta(days=1)


class Client:
    """A consumer with a cache, and the folder where a mirror shows it trees."""

    def __init__(self, folder: Path, tree: TufTree) -> None:
        self.mirror = folder / "mirror"
        self.cache = folder / "cache"
        self.root = tree.files["metadata/1.root.json"]

    def look(self, tree: TufTree, now: datetime = NOW) -> SignedFiles:
        tree.write(self.mirror)
        return open_files(str(self.mirror), root=self.root, cache=self.cache, now=now)

    def read(self, tree: TufTree, *names: str, now: datetime = NOW) -> list[bytes | None]:
        files = self.look(tree, now)
        return [files.target(name, as_bytes) for name in names or (INDEX, STABLE)]

    def read_all(self, tree: TufTree, document: Sha256) -> None:
        files = self.look(tree)
        for name in (INDEX, STABLE):
            files.target(name, as_bytes)
        files.document(document, as_bytes)

    def refused(self, tree: TufTree, *names: str, now: datetime = NOW) -> ImagectlError:
        """The error, whose words name a file; what is trusted is as before."""
        with pytest.raises((CannotTell, Corrupt)) as caught:
            self.read(tree, *names, now=now)
        assert caught.value.where
        assert caught.value.hint
        return caught.value

    def version(self, role: str) -> int:
        """Which version of that role's metadata is trusted."""
        data = json.loads((self.cache / "metadata" / f"{role}.json").read_bytes())
        found = data["signed"]["version"]
        assert isinstance(found, int)
        return found


@pytest.fixture
def tree() -> TufTree:
    made = TufTree()
    made.put("catalog", "catalog.json", b"the catalog")
    made.put("images", INDEX, b"the index")
    made.put("channel-stable", STABLE, b"the head")
    made.publish("catalog", "images", "channel-stable")
    return made


@pytest.fixture
def client(tmp_path: Path, tree: TufTree) -> Client:
    return Client(tmp_path, tree)


def test_what_was_signed_is_read(client: Client, tree: TufTree) -> None:
    assert client.read(tree) == [b"the index", b"the head"]
    assert client.read(tree, "images/debian-ci/channels/beta.json", "nothing.json") == [None, None]


def test_an_old_state_is_not_played_back(client: Client, tree: TufTree) -> None:
    old = tree.copy()
    tree.put("channel-stable", STABLE, b"a fix")
    tree.publish("channel-stable")
    assert client.read(tree, STABLE) == [b"a fix"]

    error = client.refused(old)

    assert error.where.endswith("/metadata/timestamp.json")
    assert client.version("timestamp") == 3
    assert client.read(tree, STABLE) == [b"a fix"]


def test_an_older_timestamp_is_not_played_back(client: Client, tree: TufTree) -> None:
    """It would run out later, or sooner, than what was seen."""
    old = tree.copy()
    tree.timestamp.signed.version += 1
    tree.sign_timestamp()
    client.read(tree)

    assert client.refused(old).where.endswith("/metadata/timestamp.json")
    assert client.version("timestamp") == 3


def test_an_older_snapshot_is_not_named_anew(client: Client, tree: TufTree) -> None:
    tree.publish("images")
    client.read(tree)
    tree.snapshot.signed.version -= 1
    tree.sign("snapshot")
    tree.timestamp.signed.version += 1
    tree.sign_timestamp()

    assert "timestamp.json" in client.refused(tree).what
    assert client.version("snapshot") == 3


@pytest.mark.parametrize("role", ["targets", "images", "channel-stable"])
@pytest.mark.parametrize("hashes", [True, False])
def test_an_older_list_is_not_named_anew(tmp_path: Path, role: str, hashes: bool) -> None:
    tree = TufTree(hashes=hashes)
    tree.put("images", INDEX, b"the index")
    tree.publish("targets", "images", "channel-stable")
    client = Client(tmp_path, tree)
    client.read(tree)
    tree.lists[role].signed.version -= 2
    tree.publish(role)

    error = client.refused(tree)

    assert error.where.endswith("/metadata/3.snapshot.json")
    assert client.version("snapshot") == 2


def test_a_list_does_not_vanish(client: Client, tree: TufTree) -> None:
    client.read(tree)
    del tree.snapshot.signed.meta["images.json"]
    tree.publish("catalog")

    with pytest.raises(CannotTell) as caught:
        client.look(tree)
    assert caught.value.where.endswith("/metadata/3.snapshot.json")
    assert client.version("snapshot") == 2


@pytest.mark.parametrize(
    "role", ["root", "timestamp", "snapshot", "targets", "images", "channel-stable"]
)
def test_what_has_run_out_is_not_used(client: Client, tree: TufTree, role: str) -> None:
    """A mirror that stands still is seen when the first signature runs out."""
    tree.metadata(role).signed.expires = YESTERDAY
    if role == "root":
        tree.new_root(tree.signers["root"])
    elif role == "timestamp":
        tree.sign("timestamp")
    elif role == "snapshot":
        tree.publish()
    else:
        tree.publish(role)

    assert "has run out" in client.refused(tree).what
    assert client.read(tree, now=YESTERDAY - timedelta(days=1)) == [b"the index", b"the head"]


def test_a_state_that_stands_still_runs_out(client: Client, tree: TufTree) -> None:
    client.read(tree)

    assert client.read(tree, now=NOW + timedelta(days=13)) == [b"the index", b"the head"]
    error = client.refused(tree, now=NOW + timedelta(days=15))

    assert "catalog refresh" in error.hint


@pytest.mark.parametrize("hashes", [True, False])
def test_states_are_not_mixed(tmp_path: Path, hashes: bool) -> None:
    """A list of one state is not taken where another state names it."""
    tree = TufTree(hashes=hashes)
    tree.put("images", INDEX, b"the index")
    tree.publish("images")
    client = Client(tmp_path, tree)
    old = tree.files[tree.place("images")]
    tree.put("images", INDEX, b"a newer index")
    tree.publish("images")
    tree.files[tree.place("images")] = old

    assert client.refused(tree, INDEX).where.endswith("/metadata/3.images.json")


@pytest.mark.parametrize("hashes", [True, False])
def test_an_old_snapshot_is_not_taken_for_the_new_one(tmp_path: Path, hashes: bool) -> None:
    tree = TufTree(hashes=hashes)
    old = tree.files[tree.place("snapshot")]
    tree.publish("images")
    tree.files[tree.place("snapshot")] = old

    assert Client(tmp_path, tree).refused(tree).where.endswith("/metadata/2.snapshot.json")


@pytest.mark.parametrize("role", ["snapshot", "images"])
def test_there_is_one_state_of_each_version(client: Client, tree: TufTree, role: str) -> None:
    """Whoever signs lists shows the same to everyone: the snapshot, or timestamp, says which."""
    length = len(tree.files[tree.place(role)])
    tree.metadata(role).signed.expires += timedelta(days=1)
    assert len(tree.sign(role)) == length

    error = client.refused(tree)

    assert tree.place(role) in error.where
    assert isinstance(error, Corrupt)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "images", "channel-stable"])
def test_somebody_elses_key_signs_nothing(client: Client, tree: TufTree, role: str) -> None:
    other = {"timestamp": "snapshot", "channel-stable": "channel-beta"}.get(role, "timestamp")
    tree.signers[role] = tree.signers[other]
    if role == "timestamp":
        tree.sign("timestamp")
    elif role == "snapshot":
        tree.publish()
    else:
        tree.publish(role)

    assert "is not signed by those whose keys count" in client.refused(tree).what


def test_a_role_signs_its_own_documents_only(client: Client, tree: TufTree) -> None:
    """Whoever may move beta moves beta."""
    data = b"what beta points to, as stable"
    tree.files[tree.path(STABLE, data)] = data
    tree.lists["channel-beta"].signed.targets[STABLE] = TargetFile.from_data(STABLE, data)
    tree.publish("channel-beta")

    assert client.read(tree, STABLE) == [b"the head"]

    del tree.lists["channel-stable"].signed.targets[STABLE]
    tree.publish("channel-stable")
    assert client.read(tree, STABLE) == [None]


def test_a_list_is_not_taken_for_that_of_another_role(client: Client, tree: TufTree) -> None:
    tree.files[tree.place("channel-stable")] = tree.files[tree.place("images")]
    tree.snapshot.signed.meta["channel-stable.json"] = tree.snapshot.signed.meta["images.json"]
    tree.publish()

    assert client.refused(tree, STABLE).where.endswith(".channel-stable.json")


def test_a_snapshot_is_not_taken_for_a_timestamp(tmp_path: Path) -> None:
    tree = TufTree()
    tree.root.signed.add_key(tree.signers["snapshot"][0].public_key, "timestamp")
    tree.sign("root")
    tree.files["metadata/timestamp.json"] = tree.files[tree.place("snapshot")]

    Client(tmp_path, tree).refused(tree)


def test_two_have_to_sign_where_two_have_to(tmp_path: Path) -> None:
    tree = TufTree({"images": (INDEX,)})
    tree.delegate("channel-stable", (STABLE,), count=2, threshold=2)
    tree.put("channel-stable", STABLE, b"the head")
    tree.publish("targets", "channel-stable")
    client = Client(tmp_path, tree)
    assert client.read(tree, STABLE) == [b"the head"]
    two = tree.signers["channel-stable"]

    tree.signers["channel-stable"] = two[:1]
    tree.publish("channel-stable")
    assert "is not signed by those" in client.refused(tree, STABLE).what

    tree.signers["channel-stable"] = [two[0], tree.signers["images"][0]]
    tree.publish("channel-stable")
    assert "is not signed by those" in client.refused(tree, STABLE).what

    tree.signers["channel-stable"] = two
    tree.publish("channel-stable")
    assert client.read(tree, STABLE) == [b"the head"]


def test_one_signature_twice_counts_once(tmp_path: Path) -> None:
    tree = TufTree({"images": (INDEX,)})
    tree.delegate("channel-stable", (STABLE,), count=2, threshold=2)
    tree.put("channel-stable", STABLE, b"the head")
    tree.signers["channel-stable"] = tree.signers["channel-stable"][:1]
    tree.publish("targets", "channel-stable")
    content = json.loads(tree.files[tree.place("channel-stable")])
    content["signatures"] *= 2
    tree.files[tree.place("channel-stable")] = json.dumps(content).encode()
    tree.hashes = False
    tree.snapshot.signed.meta["channel-stable.json"] = tree._meta(2, b"")
    tree.publish()

    assert Client(tmp_path, tree).refused(tree, STABLE).where.endswith(".channel-stable.json")


def test_the_next_roots_are_followed(client: Client, tree: TufTree) -> None:
    client.read(tree)
    for _ in range(3):
        old = tree.rekey("root")
        tree.rekey("timestamp")
        tree.new_root(old)
    tree.publish("images")

    assert client.read(tree) == [b"the index", b"the head"]
    assert client.version("root") == 4


def test_a_consumer_with_an_old_root_follows_too(tmp_path: Path, tree: TufTree) -> None:
    first = Client(tmp_path / "first", tree)
    tree.new_root(tree.rekey("root"))

    assert first.read(tree) == [b"the index", b"the head"]
    assert first.read(tree) == [b"the index", b"the head"]


@pytest.mark.parametrize("kept", ["old", "new", "neither"])
def test_a_root_that_old_and_new_keys_did_not_both_sign(
    client: Client, tree: TufTree, kept: str
) -> None:
    client.read(tree)
    old = tree.rekey("root")
    new = tree.signers["root"]
    tree.root.signed.version += 1
    tree.sign("root", {"old": old, "new": new, "neither": tree.signers["images"]}[kept])

    error = client.refused(tree)

    assert error.where.endswith("/metadata/2.root.json")
    assert client.version("root") == 1


def test_no_root_is_left_out(client: Client, tree: TufTree) -> None:
    """3.root.json under the name of 2.root.json, signed by all the right keys."""
    client.read(tree)
    tree.new_root()
    data = tree.new_root()
    tree.files["metadata/2.root.json"] = data

    assert client.refused(tree).where.endswith("/metadata/2.root.json")
    assert client.version("root") == 1


def test_a_stolen_key_is_recovered_from(client: Client, tree: TufTree) -> None:
    """Whoever had the online keys has counted so far ahead that no later state could be taken."""
    tree.timestamp.signed.version = tree.snapshot.signed.version = 2**31
    tree.lists["images"].signed.version = 2**31
    tree.publish("images")
    client.read(tree)
    assert client.version("images") == 2**31 + 1

    tree.rekey("timestamp")
    tree.rekey("snapshot")
    tree.new_root()
    tree.timestamp.signed.version = tree.snapshot.signed.version = 3
    tree.lists["images"].signed.version = 3
    tree.publish("images")

    assert client.read(tree) == [b"the index", b"the head"]
    assert client.version("images") == 4
    assert client.version("timestamp") == 4


def test_one_flipped_byte_anywhere_is_refused(tmp_path: Path, tree: TufTree) -> None:
    """And the message names the file. The trusted root is not among them: it is not fetched."""
    digest = Sha256(tree.version(b"a version's document"))
    tree.new_root(tree.signers["root"])
    used = [
        *(tree.place(role) for role in ("root", "timestamp", "snapshot", "targets")),
        *(tree.place(role) for role in ("images", "channel-stable")),
        tree.path(INDEX, b"the index"),
        tree.path(STABLE, b"the head"),
        f"versions/sha256/{digest[:2]}/{digest}.json",
    ]
    count = 0
    for path in used:
        data = tree.files[path]
        for at in {0, 1, len(data) // 3, len(data) // 2, len(data) - 2, len(data) - 1}:
            damaged = tree.copy()
            damaged.files[path] = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            client = Client(tmp_path / str(count), tree)
            count += 1
            with pytest.raises((CannotTell, Corrupt)) as caught:
                client.read_all(damaged, digest)
            assert caught.value.where == f"{client.mirror}/{path}", f"byte {at} of {path}"
            assert path in caught.value.what
    assert count > 40


@pytest.mark.parametrize("role", ["snapshot", "targets", "images", "channel-stable"])
def test_half_a_tree_is_waited_for(client: Client, tree: TufTree, role: str) -> None:
    """A mirror has the new timestamp, but not all of what it stands for."""
    client.read(tree)
    tree.put("images", INDEX, b"the index")
    tree.publish("targets", "images", "channel-stable")
    half = tree.copy()
    del half.files[half.place(role)]

    error = client.refused(half)

    assert isinstance(error, CannotTell)
    assert client.read(tree) == [b"the index", b"the head"]


def test_a_document_that_is_not_there_yet(client: Client, tree: TufTree) -> None:
    half = tree.copy()
    path = half.path(INDEX, b"the index")
    del half.files[path]

    error = client.refused(half)

    assert error.where == f"{client.mirror}/{path}"
    assert client.read(tree) == [b"the index", b"the head"]


def test_where_nothing_is_published(client: Client) -> None:
    client.mirror.mkdir()
    with pytest.raises(NotFound, match="there is no published catalog"):
        open_files(str(client.mirror), root=client.root, cache=client.cache, now=NOW)


@pytest.mark.parametrize(
    "root",
    [b"", b"{}", b"[" * 100_000, b'{"signed": {}, "signatures": []}', b"\xff\x00"],
    ids=["empty", "no root", "deep", "empty root", "no text"],
)
def test_a_root_that_is_none(client: Client, tree: TufTree, root: bytes) -> None:
    client.root = root
    with pytest.raises(CannotTell, match="says nothing that can be trusted"):
        client.look(tree)


def test_a_root_that_nobody_has_signed(client: Client, tree: TufTree) -> None:
    content = Metadata.from_bytes(client.root)
    content.signatures.clear()
    client.root = content.to_bytes()
    with pytest.raises(CannotTell, match="says nothing that can be trusted"):
        client.look(tree)


def test_another_catalog_is_not_taken_for_this_one(client: Client, tree: TufTree) -> None:
    client.read(tree)
    other = TufTree()
    other.publish("images")
    other.publish("images")

    assert "is not signed by those" in client.refused(other).what
    assert client.read(tree) == [b"the index", b"the head"]


def test_a_catalog_that_was_made_anew_is_read_with_its_own_root(
    client: Client, tree: TufTree
) -> None:
    """The cache is of the same address, and nothing in it counts for the new root."""
    client.read(tree)
    other = TufTree()
    other.put("images", INDEX, b"all new")
    other.publish("images")
    client.root = other.files["metadata/1.root.json"]

    assert client.read(other, INDEX) == [b"all new"]


@pytest.mark.parametrize(
    "longer",
    [
        lambda tree: "metadata/timestamp.json",
        lambda tree: tree.place("snapshot"),
        lambda tree: tree.place("images"),
        lambda tree: tree.path(INDEX, b"the index"),
    ],
    ids=["timestamp", "snapshot", "list", "document"],
)
def test_nothing_is_read_past_its_end(
    client: Client, tree: TufTree, longer: Callable[[TufTree], str]
) -> None:
    path = longer(tree)
    tree.files[path] += b" " * 1_000_000

    assert client.refused(tree).where == f"{client.mirror}/{path}"


def test_no_document_is_longer_than_documents_are(
    client: Client, tree: TufTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version's document has no length that was signed, only a digest."""
    monkeypatch.setattr(signed_tree, "DOCUMENT_BYTES", 1000)
    fits, longer = tree.version(b"x" * 1000), tree.version(b"x" * 1001)
    files = client.look(tree)

    assert files.document(Sha256(fits), as_bytes) == b"x" * 1000
    with pytest.raises(Corrupt) as caught:
        files.document(Sha256(longer), as_bytes)
    assert longer in caught.value.where
