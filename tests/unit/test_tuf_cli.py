"""The command line that the TUF project's conformance suite drives, on what that suite tries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from securesystemslib.signer import CryptoSigner
from support import web
from support.tuf_trees import TufTree
from support.web import Site

from imagectl.adapters.clock import SystemClock
from imagectl.consumer import tuf_cli

TOP = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]


class Client:
    """The command line, a server that shows it a tree, and its two folders."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.folder = folder
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()

    def init(self, root: bytes) -> int:
        trusted = self.folder / "root.json"
        trusted.write_bytes(root)
        return tuf_cli.main(["--metadata-dir", str(self.metadata), "init", str(trusted)])

    def start(self, tree: TufTree) -> None:
        assert self.init(tree.files["metadata/1.root.json"]) == 0
        assert self.site.asked == []

    def refresh(self, tree: TufTree) -> int:
        url = self._serve(tree)
        arguments = ["--metadata-dir", str(self.metadata), "--metadata-url", f"{url}/metadata"]
        return tuf_cli.main([*arguments, "refresh"])

    def download(self, tree: TufTree, name: str) -> int:
        url = self._serve(tree)
        return tuf_cli.main(
            [
                *("--metadata-dir", str(self.metadata)),
                *("--metadata-url", f"{url}/metadata"),
                *("--target-name", name),
                *("--target-dir", str(self.targets)),
                *("--target-base-url", url),
                "download",
            ]
        )

    def _serve(self, tree: TufTree) -> str:
        self.site.asked.clear()
        url = tree.serve(self.site)
        # The server sees addresses decoded.
        self.site.pages.update({unquote(path): page for path, page in self.site.pages.items()})
        return url

    @property
    def asked(self) -> list[str]:
        return [each.path.removeprefix("/metadata/") for each in self.site.asked]

    @property
    def trusted(self) -> dict[str, int]:
        """The version of each role that is trusted."""
        return {
            path.name.removesuffix(".json"): json.loads(path.read_bytes())["signed"]["version"]
            for path in self.metadata.glob("*.json")
        }

    @property
    def downloaded(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.targets.rglob("*")) if path.is_file()]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with web.site() as site:
        yield Client(site, tmp_path)


@pytest.fixture
def tree() -> TufTree:
    return TufTree({}, now=SystemClock().now())


def test_init_and_refresh(client: Client, tree: TufTree) -> None:
    client.start(tree)
    assert client.refresh(tree) == 0
    assert client.asked == TOP
    assert client.trusted == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    assert client.refresh(tree) == 0
    assert client.asked == TOP[:2]


def test_a_download_refreshes_first(client: Client, tree: TufTree) -> None:
    client.start(tree)
    assert client.download(tree, "nothing of that name") == 1
    assert client.asked == TOP
    assert client.trusted == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    assert client.downloaded == []


def test_init_again(client: Client, tree: TufTree) -> None:
    client.start(tree)
    assert client.refresh(tree) == 0
    client.site.asked.clear()
    client.start(tree)
    assert client.refresh(tree) == 0
    assert client.trusted["root"] == 1


@pytest.mark.parametrize("damage", ["version", "signature"])
def test_a_bad_root_asks_for_nothing(client: Client, tree: TufTree, damage: str) -> None:
    content = json.loads(tree.files["metadata/1.root.json"])
    if damage == "version":
        del content["signed"]["version"]
    else:
        content["signatures"][0]["sig"] = "00" * 64
    client.init(json.dumps(content).encode())
    assert client.refresh(tree) == 1
    assert client.asked == []


def test_a_root_that_is_not_there(client: Client) -> None:
    assert tuf_cli.main(["--metadata-dir", str(client.metadata), "init", "nowhere"]) == 1


def test_no_init(client: Client, tree: TufTree) -> None:
    assert client.refresh(tree) == 1
    assert client.asked == []


@pytest.mark.parametrize("missing", ["refresh", "download"])
def test_what_is_missing_is_said(
    client: Client, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tuf_cli.main(["--metadata-dir", str(client.metadata), missing])
    assert f"{missing} needs --metadata-url" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["file.txt", "path/to a/file.txt", "ö/ü.txt", "a%20b", "..a"])
def test_a_download(client: Client, tree: TufTree, name: str) -> None:
    client.start(tree)
    tree.put("targets", name, b"content")
    tree.publish("targets")

    assert client.download(tree, name) == 0
    [file] = client.targets.iterdir()
    assert file.name == quote(name, "")
    assert file.read_bytes() == b"content"

    assert client.download(tree, name) == 0
    assert client.asked == ["2.root.json", "timestamp.json"]


def test_a_file_that_changes(client: Client, tree: TufTree) -> None:
    client.start(tree)
    for content in (b"one", b"two", b"three"):
        tree.put("targets", "file", content)
        tree.publish("targets")
        assert client.download(tree, "file") == 0
        assert client.downloaded == [content]

        path = tree.path("file", content)
        tree.files[path] = b"something else"
        client.download(tree, "file")
        assert client.downloaded == [content]
        tree.files[path] = content


@pytest.mark.parametrize("other", [b"oth", b"longer than what was signed for", b""])
def test_no_part_of_a_wrong_file_stays(client: Client, tree: TufTree, other: bytes) -> None:
    client.start(tree)
    tree.files[tree.put("targets", "file", b"one")] = other
    tree.publish("targets")
    assert client.download(tree, "file") == 1
    assert client.downloaded == []
    assert list(client.targets.iterdir()) == []


def test_an_equal_version_is_not_taken_anew(client: Client, tree: TufTree) -> None:
    client.start(tree)
    client.refresh(tree)
    tree.timestamp.signed.snapshot_meta.version = 100
    tree.sign("timestamp")
    assert client.refresh(tree) == 0
    kept = json.loads((client.metadata / "timestamp.json").read_bytes())
    assert kept["signed"]["meta"]["snapshot.json"]["version"] == 1


@pytest.mark.parametrize("hashes", [True, False])
def test_snapshots_with_and_without_lengths_and_hashes(client: Client, hashes: bool) -> None:
    tree = TufTree(now=SystemClock().now(), hashes=hashes)
    client.start(tree)
    assert client.refresh(tree) == 0
    tree.publish("targets", "images")
    assert client.refresh(tree) == 0
    assert client.trusted["targets"] == 2

    tree.snapshot.signed.meta["targets.json"].version = 1
    tree.snapshot.signed.version += 1
    tree.timestamp.signed.version += 1
    tree.sign("snapshot")
    tree.sign_timestamp()
    assert client.refresh(tree) == 1
    assert client.trusted["targets"] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_has_run_out(client: Client, tree: TufTree, role: str) -> None:
    client.start(tree)
    assert client.refresh(tree) == 0
    tree.metadata(role).signed.expires -= timedelta(days=30)
    if role == "targets":
        tree.publish("targets")
    else:
        tree.publish()
    assert client.refresh(tree) == 1
    if role != "timestamp":
        assert client.trusted[role] == 1


def test_a_root_that_has_run_out_is_kept_and_nothing_else(client: Client, tree: TufTree) -> None:
    client.start(tree)
    assert client.refresh(tree) == 0
    tree.root.signed.expires -= timedelta(days=30)
    tree.new_root()
    tree.publish("targets")
    assert client.refresh(tree) == 1
    assert client.trusted == {"root": 2, "timestamp": 1, "snapshot": 1, "targets": 1}


def test_what_has_run_out_here_is_renewed(client: Client, tree: TufTree) -> None:
    """An old timestamp that was kept does not stand in the way of a new one."""
    tree.timestamp.signed.expires = SystemClock().now().replace(microsecond=0) - timedelta(days=1)
    tree.sign("timestamp")
    client.start(tree)
    assert client.refresh(tree) == 1
    tree.timestamp.signed.expires += timedelta(days=14)
    tree.publish("targets")
    assert client.refresh(tree) == 0
    assert client.trusted["timestamp"] == 2


ROOTS = {
    "one key to another": [([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])],
    "signatures of nobody": [([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])],
    "three of five": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 2, 3, 4], 3, [0, 4, 1])],
    "one of five is new": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])],
    "all are new": [
        ([0, 1, 2, 3, 4], 3, [0, 2, 4]),
        ([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]),
        ([5, 6, 7, 8, 9], 3, [5, 6, 7]),
    ],
    "a higher threshold": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])],
    "a lower threshold": [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])],
    "REFUSED: not by the old key": [([1], 1, [1]), ([2], 1, [2, 3, 4])],
    "REFUSED: not by the new key": [([1], 1, [1]), ([2], 1, [1, 3, 4])],
    "REFUSED: two of the new": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])],
    "REFUSED: two of the old": [([0, 1, 2, 3, 4], 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])],
    "REFUSED: new threshold": [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])],
    "REFUSED: old threshold": [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])],
}
SIGNERS = [CryptoSigner.generate_ed25519() for _ in range(10)]


@pytest.mark.parametrize("case", ROOTS)
def test_roots_that_follow_each_other(client: Client, tree: TufTree, case: str) -> None:
    roots = []
    tree.root.signed.version = 0
    for keys, threshold, signing in ROOTS[case]:
        role = tree.root.signed.roles["root"]
        role.keyids.clear()
        role.threshold = threshold
        for key in keys:
            tree.root.signed.add_key(SIGNERS[key].public_key, "root")
        tree.root.signed.version += 1
        roots.append(tree.sign("root", [SIGNERS[each] for each in signing]))
    assert client.init(roots[0]) == 0

    refused = case.startswith("REFUSED")
    assert client.refresh(tree) == int(refused)
    assert (client.metadata / "root.json").read_bytes() == roots[-2 if refused else -1]


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize(
    ("keys", "threshold", "signing", "result"),
    [
        ([2], 1, [2], 0),
        ([1], 1, [3, 1, 4], 0),
        ([2], 1, [1, 3, 4], 1),
        ([0, 1, 3, 4, 5], 3, [0, 2, 4], 1),
        ([0, 1, 3, 4, 5], 3, [0, 4], 1),
        ([0, 1, 2, 3, 4], 3, [4, 0, 2], 0),
    ],
)
def test_keys_of_other_roles(
    client: Client,
    tree: TufTree,
    role: str,
    keys: list[int],
    threshold: int,
    signing: list[int],
    result: int,
) -> None:
    client.start(tree)
    tree.rekey(role, count=0, threshold=threshold)
    for key in keys:
        tree.root.signed.add_key(SIGNERS[key].public_key, role)
    tree.signers[role] = [SIGNERS[key] for key in signing]
    tree.new_root()
    tree.publish("targets")

    assert client.refresh(tree) == result
    if not result:
        assert (client.metadata / f"{role}.json").read_bytes() == tree.files[tree.place(role)]


GRAPHS = {
    "one": ([("targets", "A")], ["A"]),
    "two": ([("targets", "A"), ("targets", "B")], ["A", "B"]),
    "two levels": ([("targets", "A"), ("targets", "B"), ("B", "C")], ["A", "B", "C"]),
    "depth first": (
        [("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D")],
        ["A", "C", "D", "B"],
    ),
    "three levels": (
        [("targets", "A"), ("targets", "B"), ("A", "C"), ("C", "D")],
        ["A", "C", "D", "B"],
    ),
    "a circle": (
        [("targets", "A"), ("targets", "B"), ("B", "C"), ("C", "D"), ("D", "B")],
        ["A", "B", "C", "D"],
    ),
    "two ways": (
        [("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C")],
        ["A", "C", "B"],
    ),
    "a final one": (
        [("targets", "A"), ("targets", "B"), ("A", "C!"), ("A", "D")],
        ["A", "C"],
    ),
    "a final one with children": (
        [("targets", "A"), ("targets", "B"), ("A", "C!"), ("C", "D")],
        ["A", "C", "D"],
    ),
    "others' names": ([("targets", "A*.py"), ("targets", "B"), ("A", "C")], ["B"]),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_the_order_in_which_roles_are_asked(client: Client, tree: TufTree, case: str) -> None:
    delegations, order = GRAPHS[case]
    client.start(tree)
    for by, role in delegations:
        tree.delegate(
            role[0],
            (role[1:],) if role[1:].startswith("*") else ("*",),
            by=by,
            terminating=role.endswith("!"),
        )
    tree.publish(*tree.lists)
    client.refresh(tree)

    assert client.download(tree, "missing") == 1
    found = [name.split(".")[1] for name in client.asked if name.split(".")[1] in tree.lists]
    assert found == order


@pytest.mark.parametrize(
    ("name", "order", "result"),
    [
        ("file", [], 0),
        ("README.md", ["A"], 0),
        ("releases/x/v1", ["B", "C"], 0),
        ("releases/y/v1.zip", ["B", "D"], 0),
        ("releases/z/v1.zip", ["B"], 1),
    ],
)
def test_who_may_sign_what(
    client: Client, tree: TufTree, name: str, order: list[str], result: int
) -> None:
    client.start(tree)
    tree.delegate("A", ("*.doc", "*.md"), terminating=False)
    tree.delegate("B", ("releases/*/*",), terminating=False)
    tree.delegate("C", ("releases/x/*",), by="B", terminating=False)
    tree.delegate("D", ("releases/y/*.zip",), by="B", terminating=False)
    tree.put("targets", "file", b"by targets")
    tree.put("A", "README.md", b"by A")
    tree.put("C", "releases/x/v1", b"by C")
    tree.put("D", "releases/y/v1.zip", b"by D")
    tree.put("D", "releases/z/v1.zip", b"by D too")
    tree.publish(*tree.lists)
    client.refresh(tree)

    assert client.download(tree, name) == result
    assert [part[1] for each in client.asked if (part := each.split("."))[1] in "ABCD"] == order


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole", "a b", "ö"])
def test_odd_names_of_roles(client: Client, tree: TufTree, role: str) -> None:
    """They stay within addresses and folders."""
    client.start(tree)
    tree.delegate(role, ("*",))
    tree.put(role, "file", b"content")
    tree.publish("targets", role)

    assert client.download(tree, "file") == 0
    assert f"{tree.lists[role].signed.version}.{role}.json" in client.asked
    assert client.trusted[quote(role, "")] == 2
    assert {path.parent for path in client.folder.rglob("*.json")} == {
        client.folder,
        client.metadata,
        client.metadata / "root_history",
    }


def test_roles_by_prefixes_of_hashes(client: Client, tree: TufTree) -> None:
    client.start(tree)
    for digit in "0123456789abcdef":
        tree.delegate(f"bin-{digit}", (), prefixes=(digit,), terminating=False)
    tree.put("bin-c", "file", b"not by whom it belongs to")
    tree.put("bin-3", "file", b"by whom it belongs to")  # sha256("file") begins with 3b9c
    tree.publish(*tree.lists)

    assert client.download(tree, "file") == 0
    assert client.downloaded == [b"by whom it belongs to"]
    assert "2.bin-3.json" in client.asked
    assert "2.bin-c.json" not in client.asked


def test_many_roles_said_in_short(client: Client, tree: TufTree) -> None:
    client.start(tree)
    tree.spread(4, "bin")
    tree.put("bin-3", "file", b"by whom it belongs to")
    tree.publish(*tree.lists)

    assert client.download(tree, "file") == 0
    assert client.downloaded == [b"by whom it belongs to"]
    assert [each for each in client.asked if "bin" in each] == ["2.bin-3.json"]


def test_fields_that_are_not_known_are_signed_too(client: Client, tree: TufTree) -> None:
    client.start(tree)
    tree.root.signed.unrecognized_fields["custom"] = {"a": 1}
    tree.new_root()
    assert client.refresh(tree) == 0
    assert client.trusted["root"] == 2


def test_a_process_of_its_own(tmp_path: Path, tree: TufTree) -> None:
    """As the suite starts it."""
    tree.put("targets", "file", b"content")
    tree.publish("targets")
    tree.write(tmp_path / "tree")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "targets").mkdir()
    command = [sys.executable, "-m", "imagectl.consumer.tuf_cli", "--metadata-dir", "metadata"]
    url = (tmp_path / "tree").as_uri()
    fetch = [
        *("--metadata-url", f"{url}/metadata"),
        *("--target-dir", "targets", "--target-base-url", url),
    ]
    for arguments, code, said in (
        (["init", "tree/metadata/1.root.json"], 0, ""),
        ([*fetch, "refresh"], 0, ""),
        ([*fetch, "--target-name", "file", "download"], 0, ""),
        (
            [*fetch, "--target-name", "nothing", "download"],
            1,
            "download: nobody has signed a file nothing\n",
        ),
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (code, said)
    assert (tmp_path / "targets" / "file").read_bytes() == b"content"
