"""A consumer reads a published tree from a bucket, as from any web server (P10)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.buckets import ENVIRONMENT, make_bucket, s3_server
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes, indexed

from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.errors import CannotTell, NotFound


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture
def tree() -> TufTree:
    return indexed()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"bucket-{abs(hash(request.node.name))}"
    make_bucket(endpoint, name)
    for key, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(key, value)
    return f"s3://{name}"


def put(url: str, tree: TufTree) -> None:
    import obstore
    from obstore.store import from_url

    store = from_url(url)
    for path, data in tree.files.items():
        obstore.put(store, f"public/{path}", data)


def look(url: str, tree: TufTree, cache: Path) -> SignedFiles:
    root = tree.files["metadata/1.root.json"]
    return open_files(f"{url}/public", root=root, cache=cache, now=NOW)


def read(files: SignedFiles) -> bytes | None:
    return files.target(INDEX, as_bytes)


def test_a_tree_in_a_bucket(bucket: str, tree: TufTree, tmp_path: Path) -> None:
    put(bucket, tree)
    assert read(look(bucket, tree, tmp_path)) == b"the index"
    assert read(look(bucket, tree, tmp_path)) == b"the index"

    tree.put("images", INDEX, b"a newer index")
    tree.publish("images")
    put(bucket, tree)
    assert read(look(bucket, tree, tmp_path)) == b"a newer index"


def test_an_etag_of_a_bucket(bucket: str, tree: TufTree, tmp_path: Path) -> None:
    put(bucket, tree)
    look(bucket, tree, tmp_path)
    state = (tmp_path / "state.json").read_text()
    assert '"etag": "' in state
    files = look(bucket, tree, tmp_path)
    assert not files.offline
    assert (tmp_path / "state.json").read_text() == state


def test_a_bucket_without_a_catalog(bucket: str, tree: TufTree, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no published catalog at s3://"):
        look(bucket, tree, tmp_path)


def test_a_bucket_that_cannot_be_reached(
    bucket: str, tree: TufTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, tree)
    read(look(bucket, tree, tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("imagectl.consumer.fetching.BUCKET_SECONDS", 1)

    files = look(bucket, tree, tmp_path)
    assert files.offline
    assert read(files) == b"the index"
    with pytest.raises(CannotTell):
        look(bucket, tree, tmp_path / "another")
