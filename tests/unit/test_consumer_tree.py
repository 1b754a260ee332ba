"""What the publisher writes, a consumer reads: both ends, and the decision between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support import web
from support.examples import BASE, BETA, CI, NOW, STABLE
from support.releases import Book
from support.signed_trees import directory_publisher, trusted
from support.tuf_trees import TufTree
from support.web import Page, Site

import imagectl.consumer as consumer
from imagectl.consumer import ResolutionRequest, SignedTree, open_catalog, resolve
from imagectl.consumer.cache import cache_folder
from imagectl.errors import CannotTell, Corrupt, NotFound, Refused
from imagectl.model.names import ChannelName, ImageName, VersionId
from imagectl.model.published import PublishedHead, Warned

ONE = "debian-ci@20261120.1"
TWO = "debian-ci@20261120.2"
FIRST, SECOND = (VersionId("20261120", serial) for serial in (1, 2))
DAY = timedelta(days=1)


class Shop:
    """A catalog, its published tree, and a consumer of that."""

    def __init__(self, folder: Path) -> None:
        self.book = Book()
        self.folder = folder
        self.public = folder / "public"

    def publish(self) -> None:
        directory_publisher(self.public).publish(self.book.snapshot)

    def open(
        self,
        url: str = "",
        *,
        at: float = 0,
        min_generation: int = 0,
        max_stale: timedelta | None = None,
    ) -> SignedTree:
        return open_catalog(
            url or str(self.public),
            root=trusted(self.public).read_bytes(),
            cache=self.folder / "cache",
            now=NOW + at * DAY,
            min_generation=min_generation,
            max_stale=max_stale,
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.book.built(ONE)
    made.book.moved(STABLE, ONE)
    made.book.built(TWO)
    made.book.built("debian-base@20261120.1")
    made.publish()
    return made


@pytest.fixture
def server() -> Iterator[Site]:
    with web.site() as made:
        yield made


def serve(server: Site, folder: Path) -> str:
    server.clock = NOW.timestamp()
    server.pages = {
        f"/{path.relative_to(folder)}": Page(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
    return server.url()


def test_what_is_published_is_read(shop: Shop) -> None:
    tree = shop.open()

    assert tree.catalog().catalog_id == "id"
    assert tree.catalog().generation == shop.book.snapshot.generation
    assert set(tree.images()) == {CI, BASE}
    assert set(tree.channels(CI)) == {BETA, STABLE}
    assert set(tree.channels(BASE)) == {BETA}
    assert tree.channels(ImageName("nothing")) == set()
    head = tree.head(CI, STABLE)
    assert head is not None
    assert head.version == FIRST
    assert tree.head(BASE, STABLE) is None
    assert tree.head(CI, ChannelName("nothing")) is None
    index = tree.index(CI)
    assert index is not None
    assert set(index.versions) == {FIRST, SECOND}
    assert tree.index(ImageName("nothing")) is None
    assert tree.version(index.versions[SECOND]).ref.version == SECOND
    assert tree.warnings(CI) == {}
    assert tree.target("nothing.json") is None
    assert not tree.notices


def test_a_web_server_without_anything_else_is_enough(shop: Shop, server: Site) -> None:
    url = serve(server, shop.public)
    tree = shop.open(url)
    found = resolve(tree, ResolutionRequest(CI), NOW)
    assert found.ref.version == FIRST
    tree.close()
    asked = len(server.asked)

    again = shop.open(url)
    assert resolve(again, ResolutionRequest(CI), NOW) == found
    assert len(server.asked) - asked == 2  # a newer root; the timestamp
    again.close()


def test_a_move_is_seen(shop: Shop, server: Site) -> None:
    url = serve(server, shop.public)
    shop.open(url).close()
    shop.book.moved(STABLE, TWO)
    shop.publish()
    serve(server, shop.public)

    tree = shop.open(url)
    assert resolve(tree, ResolutionRequest(CI), NOW).ref.version == SECOND
    tree.close()


def test_a_revocation_is_seen(shop: Shop) -> None:
    shop.book.revoked(ONE, reason="bad ssh")
    shop.publish()
    tree = shop.open()

    assert tree.warnings(CI)[FIRST].warned is Warned.REVOKED
    with pytest.raises(Refused):
        resolve(tree, ResolutionRequest(CI), NOW)
    with pytest.raises(Refused):
        resolve(tree, ResolutionRequest(CI, version=FIRST), NOW)


def test_what_is_not_there_is_said(shop: Shop) -> None:
    tree = shop.open()
    with pytest.raises(NotFound, match="there is no image debian-cj"):
        resolve(tree, ResolutionRequest(ImageName("debian-cj")), NOW)
    with pytest.raises(NotFound, match="has nothing in channel stable"):
        resolve(tree, ResolutionRequest(BASE), NOW)
    with pytest.raises(NotFound, match="there is no image debian-cj"):
        resolve(tree, ResolutionRequest(ImageName("debian-cj"), version=FIRST), NOW)


def test_a_catalog_that_is_older_than_is_asked_for(shop: Shop) -> None:
    generation = shop.book.snapshot.generation
    shop.open(min_generation=generation)
    with pytest.raises(CannotTell, match="older than it has to be") as caught:
        shop.open(min_generation=generation + 1)
    assert f"min_generation asks for {generation + 1}" in caught.value.why


def test_one_flipped_byte_of_a_version_is_refused(shop: Shop) -> None:
    for path in (shop.public / "versions").rglob("*.json"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(Corrupt) as caught:
        resolve(shop.open(), ResolutionRequest(CI), NOW)
    assert str(shop.public / "versions") in caught.value.where


def test_it_resolves_while_nobody_answers(shop: Shop, server: Site) -> None:
    url = serve(server, shop.public)
    first = shop.open(url)
    found = resolve(first, ResolutionRequest(CI), NOW)
    first.close()
    server.close()

    tree = shop.open(url, at=2)
    assert tree.offline
    assert resolve(tree, ResolutionRequest(CI), NOW) == found
    assert "cannot be reached" in tree.notices[0]
    with pytest.raises(CannotTell):
        shop.open(url, at=2, max_stale=DAY)


def test_documents_of_somebody_else_are_not_mixed_in(shop: Shop) -> None:
    """What a channel's document says of itself has to be what was asked for."""

    class Mixed(SignedTree):
        def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None:
            return super().head(image, BETA)

    tree = shop.open()
    tree.__class__ = Mixed
    with pytest.raises(Corrupt, match="beta of debian-ci for stable of debian-ci"):
        resolve(tree, ResolutionRequest(CI), NOW)


def test_an_image_that_its_signer_may_not_sign_is_not_there(tmp_path: Path) -> None:
    tree = TufTree({"images": ("images/debian-base/index.json",)})
    for image in (BASE, CI):
        tree.put("images", f"images/{image}/index.json", b"{}")
    tree.publish("images")
    tree.write(tmp_path / "public")
    root = tree.files["metadata/1.root.json"]
    found = open_catalog(str(tmp_path / "public"), root=root, cache=tmp_path / "cache", now=NOW)
    assert found.images() == {BASE}


def test_the_cache_has_a_place_of_its_own_for_each_catalog() -> None:
    one = cache_folder("https://a.example", {"HOME": "/home/ci"})
    two = cache_folder("https://b.example", {"HOME": "/home/ci"})
    assert one.parent == two.parent == Path("/home/ci/.cache/imagectl")
    assert one != two
    assert cache_folder("x", {"XDG_CACHE_HOME": "/c"}).parent == Path("/c/imagectl")
    assert cache_folder("x", {"IMAGECTL_CACHE": "/d", "HOME": "/h"}).parent == Path("/d")


def test_the_public_names_are_there() -> None:
    for name in consumer.__all__:
        assert getattr(consumer, name).__name__ == name
    with pytest.raises(AttributeError):
        consumer.nothing  # noqa: B018


def test_what_is_said_of_itself_is_json(shop: Shop) -> None:
    data = shop.open().target("catalog.json")
    assert data is not None
    assert json.loads(data)["generation"] == shop.book.snapshot.generation
