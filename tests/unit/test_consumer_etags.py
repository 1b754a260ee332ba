"""What a server calls the state of a file never keeps a newer state from a consumer (P10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support import web
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes
from support.web import Handler, Page, Site

from imagectl.consumer.signed_tree import open_files

TIMESTAMP = "/metadata/timestamp.json"
DAY = timedelta(days=1)


@pytest.fixture
def server() -> Iterator[Site]:
    with web.site() as made:
        made.conditional = True
        yield made


class Client:
    def __init__(self, server: Site, cache: Path) -> None:
        self.server = server
        self.tree = TufTree(now=NOW)
        self.cache = cache
        self.says("first")

    def says(self, index: str) -> None:
        """The server has a newer state from now on, that lasts for two weeks."""
        self.tree.put("images", INDEX, index.encode())
        self.tree.publish("images")
        self.tree.serve(self.server)

    def calls_it(self, etag: str) -> None:
        """The server says that ETag with the timestamp that it has now."""
        pages = self.server.pages
        pages[TIMESTAMP] = replace(pages[TIMESTAMP], headers={"ETag": etag})

    def read(self, days: int = 0) -> str:
        self.server.asked.clear()
        files = open_files(
            self.server.url(),
            root=self.tree.files["metadata/1.root.json"],
            cache=self.cache,
            now=NOW + days * DAY,
        )
        try:
            assert not files.notices
            return (files.target(INDEX, as_bytes) or b"").decode()
        finally:
            files.close()

    def sent(self) -> set[str | None]:
        return {each.headers.get("If-None-Match") for each in self.server.asked}


@pytest.fixture
def client(server: Site, tmp_path: Path) -> Client:
    return Client(server, tmp_path / "cache")


def nothing_new(handler: Handler, page: Page) -> Page:
    """What every server answers to ``If-None-Match: *``."""
    return Page(b"", 304) if handler.headers.get("If-None-Match") else page


NOT_REPEATED = [
    "*",
    "x",
    '"a", "b"',
    '"' + "a" * 60_000 + '"',
    '"a',
    'w/"a"',
]


@pytest.mark.parametrize("etag", NOT_REPEATED, ids=[each[:8] for each in NOT_REPEATED])
def test_what_is_no_etag_is_not_repeated(client: Client, etag: str) -> None:
    client.calls_it(etag)
    assert client.read() == "first"
    client.says("second")
    client.server.faults[TIMESTAMP] = [nothing_new]
    assert client.read() == "second"
    assert client.sent() == {None}


def test_a_cache_that_has_one_from_before_is_mended(client: Client) -> None:
    client.read()
    file = client.cache / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "etag": "*"}))
    client.says("second")
    client.server.faults[TIMESTAMP] = [nothing_new]
    assert client.read() == "second"


@pytest.mark.parametrize("etag", ['"a"', 'W/"5f-1700000000"', '""'])
def test_an_etag_is_repeated(client: Client, etag: str) -> None:
    client.calls_it(etag)
    client.read()
    assert client.read() == "first"
    assert client.sent() == {None, etag}


def test_what_has_run_out_is_asked_for_without_what_was_known(client: Client) -> None:
    """An ETag made of time and size may be that of two states."""
    client.calls_it('"same"')
    client.read()
    later = NOW + 40 * DAY
    client.tree.root.signed.expires = client.tree.timestamp.signed.expires = later
    client.tree.snapshot.signed.expires = later
    for each in client.tree.lists.values():
        each.signed.expires = later
    client.tree.new_root()
    client.tree.publish(*client.tree.lists)
    client.says("second")
    client.calls_it('"same"')
    assert client.read(days=1) == "first", "it is believed while it lasts"
    assert client.read(days=15) == "second"


def test_a_server_that_takes_no_etag_is_asked_without(client: Client) -> None:
    client.read()

    def too_long(handler: Handler, page: Page) -> Page:
        return Page(b"", 431) if handler.headers.get("If-None-Match") else page

    client.server.faults[TIMESTAMP] = [too_long]
    client.says("second")
    assert client.read() == "second"
