"""Where a consumer is told that things are, and by which proxy it gets there (P10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import web
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes, indexed
from support.web import Site

from imagectl.consumer.fetching import tree_url
from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.consumer.sources import WebSource
from imagectl.errors import BadUsage, CannotTell


@pytest.fixture
def tree() -> TufTree:
    return indexed()


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


@pytest.fixture
def proxy(server: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A proxy that knows a server that nobody else does."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with web.site() as made:
        for path, page in server.pages.items():
            made.pages[f"http://catalog.example{path}"] = page
        yield made


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "http://127.0.0.1:{}/", "127.0.0.1:{}"])
@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_where_one_is_set(
    proxy: Site,
    tree: TufTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    form: str,
) -> None:
    monkeypatch.setenv(name, form.format(proxy.port))
    files = look("http://catalog.example", tree, tmp_path)
    assert files.target(INDEX, as_bytes) == b"the index"
    files.close()


BAD_PROXIES = [
    ("http_proxy", "socks5://bob:s3cret@proxy.example:1080"),
    ("all_proxy", "socks5h://proxy.example"),
    ("ALL_PROXY", "http://proxy.example:many"),
    ("http_proxy", "http://"),
    ("http_proxy", "http://[::1"),
]


@pytest.mark.parametrize(("name", "value"), BAD_PROXIES)
def test_a_proxy_that_is_none_is_named(
    proxy: Site,
    tree: TufTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CannotTell, match="cannot be read") as resolving:
        look("http://catalog.example", tree, tmp_path)
    source = WebSource("http://catalog.example/disk")
    with pytest.raises(CannotTell, match="cannot be read") as pulling:
        source.read(0)
    for caught in (resolving, pulling):
        assert caught.value.why.startswith(f"{name} names ")
        assert "s3cret" not in caught.value.why
        assert "https_proxy=http://" in caught.value.hint
