"""Where a consumer is told that things are, and by which proxy it gets there (P10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import web
from support.tuf_trees import NOW, TufTree
from support.web import Site

from imagectl.consumer.fetching import tree_url
from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.consumer.sources import WebSource
from imagectl.errors import BadUsage

INDEX = "images/debian-ci/index.json"


def as_bytes(data: bytes, where: str) -> bytes:
    return data


@pytest.fixture
def tree() -> TufTree:
    made = TufTree()
    made.put("images", INDEX, b"the index")
    made.publish("images")
    return made


@pytest.fixture
def server(tree: TufTree) -> Iterator[Site]:
    with web.site() as made:
        tree.serve(made)
        yield made


def look(url: str, tree: TufTree, folder: Path) -> SignedFiles:
    root = tree.files["metadata/1.root.json"]
    return open_files(url, root=root, cache=folder / "cache", now=NOW)


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("https://images.example/public/", "https://images.example/public"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("file:///srv/a%20b/", "file:///srv/a%20b"),
        ("/srv/a b#c?", "file:///srv/a%20b%23c%3F"),
    ],
)
def test_addresses(said: str, url: str) -> None:
    assert tree_url(said) == url


@pytest.mark.parametrize("said", ["https://", "ftp://images.example/", "https://a.example/?x=1"])
def test_what_is_no_address(said: str) -> None:
    with pytest.raises(BadUsage):
        tree_url(said)


@pytest.mark.parametrize(
    "said",
    [
        "https://bob:s3cret@images.example/public",
        "http://bob:s3cr@t@images.example/",
        "ftp://bob:s3cret@images.example/",
        "s3://bob:s3cret@images/",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(said: str) -> None:
    with pytest.raises(BadUsage, match="has a user or a password in it") as caught:
        tree_url(said)
    words = caught.value.said + caught.value.where + caught.value.why + caught.value.hint
    assert "images" in words
    assert "s3cr" not in words


def test_an_artifact_with_a_password_in_its_address_is_named_without() -> None:
    assert WebSource("http://bob:s3cret@127.0.0.1:9/disk").where == "http://127.0.0.1:9/disk"


def test_a_folder_with_odd_characters(tree: TufTree, tmp_path: Path) -> None:
    folder = tmp_path / "odd #1? ö%20"
    tree.write(folder)
    files = look(str(folder), tree, tmp_path)
    assert files.target(INDEX, as_bytes) == b"the index"


def test_a_proxy_is_used_where_one_is_set(
    server: Site, tree: TufTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web.site() as proxy:
        proxy.pages = {f"http://catalog.example{path}": page for path, page in server.pages.items()}
        monkeypatch.setenv("http_proxy", proxy.url())
        monkeypatch.delenv("no_proxy", raising=False)
        files = look("http://catalog.example", tree, tmp_path)
        assert files.target(INDEX, as_bytes) == b"the index"
        files.close()
