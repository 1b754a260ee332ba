"""A web server for tests, on this machine, that can be told to misbehave; and a client for it."""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import ssl
import threading
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate


@dataclass(frozen=True)
class Page:
    """What a path is answered with. ``chunked`` says nothing of the length beforehand."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]


Fault = Callable[["Handler", Page], Page | None]
"""Answers in place of the server, and returns None; or returns what to answer instead."""


class Site:
    """The server. ``pages`` may be changed at any time; ``faults`` of a path come before its page,
    each once. ``conditional``: it answers 304 to whoever has the page already."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.clock: float | None = None
        self.ranges = True
        self.conditional = False
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.site = self  # type: ignore[attr-defined]  # for the handler
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls is not None else "http"
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def url(self, path: str = "") -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    def put(self, path: str, body: bytes, **headers: str) -> str:
        """Answer *path* with *body* from now on. Its URL."""
        self.pages[path] = Page(
            body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        return self.url(path)

    def count(self, path: str) -> int:
        """How many requests there were for it."""
        return sum(each.path == path for each in self.asked)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client of a site."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 30

    def do_GET(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]  # set by Site
        path = urllib.parse.unquote(self.path)
        site.asked.append(Asked(self.command, path, dict(self.headers)))
        page: Page | None = site.pages.get(path, Page(b"no such page", 404))
        if site.faults[path] and page is not None:
            page = site.faults[path].pop(0)(self, page)
        if page is not None:
            self.reply(page, site.clock)

    do_HEAD = do_POST = do_GET

    def reply(
        self,
        page: Page,
        clock: float | None = None,
        cut: int | None = None,
        before_hanging_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Send the page, or as much of its body as *cut* says, and hang up."""
        body, status = page.body, page.status
        headers = {"ETag": f'"{hash(body):x}"', **page.headers}
        start = re.match(r"bytes=(\d+)-\Z", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]
        if start and same and self.server.site.ranges and status == 200:  # type: ignore[attr-defined]
            at, status = int(start[1]), 206
            headers["Content-Range"] = f"bytes {at}-{len(body) - 1}/{len(body)}"
            body = body[at:]
        if (
            self.server.site.conditional  # type: ignore[attr-defined]  # set by Site
            and self.headers.get("If-None-Match") == headers["ETag"]
        ):
            body, status = b"", 304
        self.send_response_only(status)
        self.send_header("Date", formatdate(clock, usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(
                b"%x\r\n%b\r\n" % (len(part), part)
                for part in (body[at : at + 1000] for at in range(0, len(body), 1000))
            )
            body += b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        self.wfile.flush()
        if cut is not None:
            before_hanging_up()
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


def cut_off(at: int) -> Fault:
    """The connection ends after so many bytes of the body."""

    def fault(handler: Handler, page: Page) -> None:
        handler.reply(page, cut=at)

    return fault


def hang_up(handler: Handler, page: Page) -> None:
    """The connection ends without an answer."""
    handler.hang_up()


def answer(page: Page) -> Fault:
    """This answer for once."""
    return lambda handler, _: page


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    """A server for as long as the block runs."""
    made = Site(tls)
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True)
class Got:
    """What a client was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(
    url: str,
    proxy: int,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    trust: ssl.SSLContext | None = None,
) -> Got:
    """Ask through the proxy at that port. Raises what ``http.client`` does where it is cut off."""
    parts = urllib.parse.urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection("127.0.0.1", proxy, timeout=30, context=trust)
        connection.set_tunnel(parts.hostname or "", parts.port or 443)
        url = parts.path
    else:
        connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=30)
    try:
        connection.request(method, url, headers=dict(headers or {}))
        response = connection.getresponse()
        body = response.read()
        return Got(response.status, dict(response.getheaders()), body)
    finally:
        connection.close()
