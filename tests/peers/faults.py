"""A proxy in front of a real server, that makes it fail in the ways that servers and networks do.

It counts the requests that arrive. Each rule says which of them it is about, what happens to those,
and how often; what no rule is about goes through unchanged, either way.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from peers.serving import serving

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived. ``path`` has the query too."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Forward = Callable[[Request], Response]
Action = Callable[[Request, Forward], "Response | None"]
"""What happens to a request. None: the connection is closed without an answer."""


def answer(status: int, body: bytes = b"", **headers: str) -> Action:
    """It never arrives, and that is the answer. ``content_type`` is written Content-Type."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, forward: Response(status, named, body)


def lose_response(request: Request, forward: Forward) -> None:
    """It arrives and is done; the connection breaks before the answer."""
    forward(request)


def lose_request(request: Request, forward: Forward) -> None:
    """It never arrives, and the connection breaks."""


def change_body(change: Callable[[bytes], bytes]) -> Action:
    """Other bytes arrive, and nobody notices on the way."""

    def act(request: Request, forward: Forward) -> Response:
        changed = Request(request.method, request.path, request.headers, change(request.body))
        return forward(changed)

    return act


def change_response(change: Callable[[Response], Response]) -> Action:
    """Another answer than the server's own comes back."""
    return lambda request, forward: change(forward(request))


class FaultProxy:
    """``endpoint`` stands in for the server at ``upstream`` (host and port)."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.requests = 0
        self.broken_at: float | None = None
        """See ``breaking_upload``."""
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            faults = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """``HOST:PORT``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}"

    @contextlib.contextmanager
    def breaking_upload(self, share: float) -> Iterator[None]:
        """The next large upload breaks, after that share of its bytes; there must be one."""
        self.broken_at = share
        yield
        assert self.broken_at is None, "nothing large was uploaded"

    @contextlib.contextmanager
    def running(self) -> Iterator[FaultProxy]:
        with serving(self._server):
            yield self

    @contextlib.contextmanager
    def rule(
        self, matches: Callable[[Request], bool], action: Action, times: int | None = None
    ) -> Iterator[None]:
        """While the block runs, that happens to the requests it is about: to each, or to the first
        so many."""
        rule = _Rule(matches, action, times)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def action_for(self, request: Request) -> Action | None:
        with self._lock:
            for rule in self._rules:
                if rule.left != 0 and rule.matches(request):
                    if rule.left is not None:
                        rule.left -= 1
                    return rule.action
        return None

    def count(self) -> None:
        with self._lock:
            self.requests += 1

    def forward(self, request: Request) -> Response:
        connection = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            headers.pop("Expect", None)
            if request.body or request.method in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = str(len(request.body))
            connection.request(request.method, request.path, request.body, headers)
            said = connection.getresponse()
            back = {k: v for k, v in said.getheaders() if k.lower() not in HOP_BY_HOP}
            return Response(said.status, back, said.read())
        finally:
            connection.close()


@dataclass(slots=True)
class _Rule:
    matches: Callable[[Request], bool]
    action: Action
    left: int | None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # clients make many connections at once


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    faults: FaultProxy

    def handle_one_request(self) -> None:
        # A client that goes away in the middle is no news here.
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()  # else botocore waits a second for it
        return True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        proxy = self.faults
        proxy.count()
        body = self._body()
        if body is None:
            self._break()
            return
        headers = dict(self.headers.items())
        request = Request(self.command, self.path, headers, body)
        action = proxy.action_for(request)
        said = proxy.forward(request) if action is None else action(request, proxy.forward)
        if said is None:
            self._break()
            return
        self.send_response_only(said.status)
        own = {name.lower() for name in said.headers}
        for name, value in said.headers.items():
            self.send_header(name, value)
        if "content-length" not in own:
            self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _body(self) -> bytes | None:
        """What the client sends; None where this is the upload that breaks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        size = int(self.headers.get("Content-Length") or 0)
        share = self.faults.broken_at
        if share is not None and size > 50_000:
            self.faults.broken_at = None
            self.rfile.read(int(size * share))
            return None
        return self.rfile.read(size)

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
