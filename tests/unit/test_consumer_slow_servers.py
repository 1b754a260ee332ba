"""A server that sends slowly holds nobody up, nor those who wait for the cache (P10)."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import web
from support.tuf_trees import INDEX, NOW, TufTree, as_bytes
from support.web import Handler, Page, Site

from imagectl.consumer import connecting, fetching, pulling, signed_tree, sources
from imagectl.consumer.connecting import Connections
from imagectl.consumer.pulling import fetch
from imagectl.consumer.signed_tree import SignedFiles, open_files
from imagectl.consumer.sources import WebSource
from imagectl.errors import CannotTell
from imagectl.model.names import Sha256

TIMESTAMP = "/metadata/timestamp.json"
PATIENCE = 0.3
"""Seconds that a server gets here."""

BOUND = 6.0
"""Within so many it has to be over, also on a machine that has much to do."""

DRIPPING = 12.0
"""For so many it goes on dripping: longer than ``BOUND``, or nobody would see who waits for it."""


@pytest.fixture
def server() -> Iterator[Site]:
    with web.site() as made:
        yield made


@pytest.fixture
def tree(server: Site) -> TufTree:
    made = TufTree()
    made.serve(server)
    return made


def look(server: Site, tree: TufTree, cache: Path) -> SignedFiles:
    root = tree.files["metadata/1.root.json"]
    return open_files(server.url(), root=root, cache=cache, now=NOW)


class Drip:
    """An answer of which everything after *head* comes a byte now and then."""

    def __init__(self, head: bytes, body: bytes = b"x" * 1000) -> None:
        self.head = head
        self.body = body

    def __call__(self, handler: Handler, page: Page) -> None:
        handler.wfile.write(self.head)
        handler.wfile.flush()
        until = time.monotonic() + DRIPPING
        try:
            for at in range(len(self.body)):
                if time.monotonic() > until:
                    break
                handler.wfile.write(self.body[at : at + 1])
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            handler.wfile = io.BytesIO()  # the rest of it is for nobody
        handler.close_connection = True


OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "its first line": Drip(b"HTTP/1.1 ", b"2" * 1000),
    "a header": Drip(OK + b"X-Long: "),
    "headers": Drip(OK, b"A: b\r\n" * 500),
    "a body of known length": Drip(OK + b"Content-Length: 1000\r\n\r\n"),
    "a body of any length": Drip(OK + b"Connection: close\r\n\r\n"),
    "a chunk": Drip(OK + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"),
    "chunks": Drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 500),
    "the length of a chunk": Drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
    "what follows the chunks": Drip(
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"A: b\r\n" * 500
    ),
    "an error": Drip(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n"),
}


@pytest.mark.parametrize("part", DRIPS)
def test_a_file_of_the_catalog_that_drips(
    server: Site,
    tree: TufTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    monkeypatch.setattr(fetching, "FILE_SECONDS", PATIENCE)
    server.faults[TIMESTAMP] = [DRIPS[part]] * 9
    began = time.monotonic()
    with pytest.raises(CannotTell) as caught:
        look(server, tree, tmp_path / "cache")
    assert time.monotonic() - began < BOUND
    assert caught.value.why in ("it took more than 0.3 s", "the server answers 403 Forbidden")


def test_a_server_that_drips_in_each_file_does_not_hold_the_cache(
    server: Site, tree: TufTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file in time, but all of them not."""
    monkeypatch.setattr(signed_tree, "LIST_SECONDS", 1.0)

    def late(handler: Handler, page: Page) -> Page:
        time.sleep(0.6)
        return page

    for path in server.pages:
        server.faults[path] = [late]
    began = time.monotonic()
    with pytest.raises(CannotTell, match="cannot be reached") as caught:
        look(server, tree, tmp_path / "cache")
    assert "it took more than" in caught.value.why
    assert time.monotonic() - began < BOUND


def test_what_is_asked_for_later_has_its_own_time(
    server: Site, tree: TufTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a server of pages, which keeps a state open for minutes."""
    monkeypatch.setattr(signed_tree, "LIST_SECONDS", 3.0)
    tree.put("images", INDEX, b"the index")
    tree.publish("images")
    tree.serve(server)
    files = look(server, tree, tmp_path / "cache")
    time.sleep(3.1)
    assert files.target(INDEX, as_bytes) == b"the index"
    files.close()


def test_a_server_that_says_nothing(
    server: Site, tree: TufTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "SILENT_SECONDS", 0.1)

    def silent(handler: Handler, page: Page) -> None:
        time.sleep(0.5)
        handler.hang_up()

    server.faults[TIMESTAMP] = [silent, silent]
    with pytest.raises(CannotTell) as caught:
        look(server, tree, tmp_path / "cache")
    assert caught.value.why == "it does not answer in time"


@pytest.mark.parametrize("part", [part for part in DRIPS if part != "an error"])
def test_an_artifact_that_drips(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(sources, "CHUNK_SECONDS", PATIENCE)
    monkeypatch.setattr(pulling, "TRIES", 1)
    server.put("/disk", b"x" * 1000)
    server.faults["/disk"] = [DRIPS[part]] * 9
    digest = Sha256(hashlib.sha256(b"y" * 1000).hexdigest())
    began = time.monotonic()
    with pytest.raises(CannotTell) as caught:
        fetch(WebSource(server.url("/disk")), digest, 1000, tmp_path / "disk", lambda *_: None)
    assert time.monotonic() - began < BOUND
    assert "less than 1,048,576 bytes came in 0.3 s" in caught.value.why


def test_a_long_download_is_no_slow_one(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK_SECONDS", 0.5)
    monkeypatch.setattr(sources, "CHUNK", 1000)
    disk = b"x" * 20_000

    def steady(handler: Handler, page: Page) -> None:
        handler.wfile.write(OK + b"Content-Length: 20000\r\n\r\n")
        for at in range(0, len(disk), 1000):
            handler.wfile.write(disk[at : at + 1000])
            handler.wfile.flush()
            time.sleep(0.05)

    server.put("/disk", disk)
    server.faults["/disk"] = [steady]
    digest = Sha256(hashlib.sha256(disk).hexdigest())
    done = fetch(WebSource(server.url("/disk")), digest, 20_000, tmp_path / "disk", lambda *_: None)
    assert done.fetched == 20_000
    assert server.count("/disk") == 1


def test_a_connection_is_kept_open_and_closed(server: Site) -> None:
    server.put("/a", b"a")
    connections = Connections()
    for _ in range(3):
        answer = connections.get(server.url("/a"), {}, 10)
        assert answer.read() == b"a"
    [pool] = connections._pools[""].pools._container.values()
    assert pool.num_connections == 1
    connections.close()
