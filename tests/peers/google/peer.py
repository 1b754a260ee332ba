"""The server: one port of 127.0.0.1 for Compute Engine, Cloud Storage, tokens, and a proxy.

The proxy is for clients that know no other addresses than Google's: a CONNECT to any of Google's
hosts is answered by the peer itself, over TLS, with a certificate of its own authority (``ca``);
one to any other host is refused, and remembered in ``strays``.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.server
import io
import json
import socket
import ssl
import tempfile
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from peers.google.accounts import Accounts
from peers.google.calls import (
    Call,
    Effect,
    Faults,
    HangUp,
    LoseAnswer,
    Refuse,
    Trouble,
    Wait,
    not_modelled,
)
from peers.google.certificates import HOSTS, Authority, authority
from peers.google.compute import Compute
from peers.google.discovery import Api, Json, Matched, api, select
from peers.google.storage import Broken, Bytes, Plain, Storage


@dataclass
class Google:
    """The peer. Its parts may be looked into and changed at any time."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    """All calls of methods, in order; those that were refused too."""
    violations: list[str] = field(default_factory=list)
    """Answers of ours that the discovery document does not allow: the peer is wrong there."""
    strays: list[str] = field(default_factory=list)
    """Hosts other than Google's that the proxy was asked for."""
    skew: timedelta = timedelta()
    """How far the peer's clock is ahead."""

    def __post_init__(self) -> None:
        (self.folder / "objects").mkdir()
        self.accounts = Accounts(self.now, lambda: self.url)
        self.storage = Storage(self.folder / "objects", self.now)
        self.compute = Compute(
            self.now,
            storage=self.storage,
            granted=lambda call, permission: self.accounts.may(
                call.headers.get("Authorization"), permission
            ),
        )
        self.handlers: dict[str, Callable[[Call], Any]] = {
            **self.compute.handlers(),
            **self.storage.handlers(),
            "storage.buckets.testIamPermissions": self._bucket_permissions,
            "cloudresourcemanager.projects.testIamPermissions": self._project_permissions,
        }
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The endpoint of all of it, and the address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def authority(self) -> Authority:
        return authority(self.folder)

    @property
    def ca(self) -> Path:
        """The PEM file of the authority that clients of the proxy are to trust."""
        return self.authority.certificate

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skew

    def count(self, *ids: str) -> int:
        """How many calls there were, of those ids or, where none is given, in all."""
        return sum(not ids or call.id in ids for call in self.calls)

    def during(
        self,
        effect: Effect,
        *on: str,
        times: int | None = None,
        skip: int = 0,
        when: Callable[[Call], bool] = lambda call: True,
    ) -> Any:
        """See :meth:`peers.google.calls.Faults.during`."""
        return self.faults.during(effect, *on, times=times, skip=skip, when=when)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _bucket_permissions(self, call: Call) -> Json:
        self.handlers["storage.buckets.get"](call)
        return {
            "kind": "storage#testIamPermissionsResponse",
            "permissions": self._held(call, call.queries["permissions"]),
        }

    def _project_permissions(self, call: Call) -> Json:
        if call.path["resource"] not in self.compute.projects:
            raise Trouble(403, "forbidden", "The caller does not have permission")
        held = self._held(call, call.body.get("permissions", []))
        return {"permissions": held} if held else {}

    def _held(self, call: Call, asked: Iterable[str]) -> list[str]:
        given = call.headers.get("Authorization")
        return [each for each in asked if self.accounts.may(given, each)]


@contextmanager
def google(
    projects: Iterable[str] = ("acme-images",), buckets: Iterable[str] = ("acme-upload",)
) -> Iterator[Google]:
    """A peer with those projects and buckets, for as long as the block runs."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="google-"))
        peer = Google(Path(folder))
        stack.callback(peer.close)
        for project in projects:
            peer.compute.add_project(project)
        for bucket in buckets:
            peer.storage.add_bucket(bucket)
        yield peer
    assert not peer.violations, peer.violations


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, peer: Google) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.peer = peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 60
    tunnelled = ""

    @property
    def peer(self) -> Google:
        return cast(_Server, self.server).peer

    def do_CONNECT(self) -> None:
        host = self.path.rsplit(":", 1)[0]
        if not any(fnmatch.fnmatchcase(host, each) for each in HOSTS):
            self.peer.strays.append(host)
            self.send_error(403, "Only Google is here")
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        context = self.peer.authority.context
        try:
            self.connection = context.wrap_socket(self.connection, server_side=True)
        except (OSError, ssl.SSLError):
            self.close_connection = True
            return
        self.request = self.connection
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", self.wbufsize)
        self.tunnelled = host
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self.tunnelled:
            self.connection.close()

    def do_GET(self) -> None:
        try:
            self._answer()
        except Trouble as trouble:
            self._trouble(trouble)
        except Broken:
            self._hang_up()
        except OSError:
            self.close_connection = True
        except Exception:  # a fault of the peer, which its user is to see
            self.peer.violations.append(traceback.format_exc())
            self._trouble(Trouble(500, "backendError", "The peer itself has failed"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        path = parts.path
        self._stream = _Stream(self.rfile, self.headers)
        if path in ("/token", "/o/oauth2/token", "/oauth2/v4/token"):
            self._token()
            return
        api_, matched = _match(self.command, path)
        queries = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        call = self._call(matched, queries)
        peer = self.peer
        peer.calls.append(call)
        for effect in call.effects:
            match effect:
                case Wait(seconds):
                    time.sleep(seconds)
                case HangUp():
                    raise Broken
                case Refuse(status, reason, message, retry_after):
                    raise Trouble(
                        status,
                        reason,
                        message,
                        headers={} if retry_after is None else {"Retry-After": f"{retry_after:g}"},
                    )
                case _:
                    pass  # for the method itself
        peer.accounts.check(self.headers.get("Authorization"), matched.method)
        wrong = api_.check_parameters(matched, queries)
        if not matched.upload:
            wrong += api_.check_request(matched.method, call.body or None)
        if wrong:
            raise Trouble(400, "invalid", "; ".join(wrong))
        handler = peer.handlers.get(call.id)
        if handler is None:
            raise not_modelled(call.id)
        result = handler(call)
        if call.effect(LoseAnswer):
            raise Broken
        match result:
            case Plain(status, headers):
                self._send(status, b"", headers)
            case Bytes():
                self._bytes(result)
            case None:
                self._send(204, b"", {})
            case _:
                schema = matched.method.response
                if schema is None or (problems := api_.check(schema, result)):
                    peer.violations.append(f"{call.id}: {problems if schema else 'an answer'}")
                    raise Trouble(500, "backendError", "The peer's answer was wrong")
                if "fields" in call.query:
                    result = select(call.query["fields"], result)
                self._send(200, json.dumps(result).encode(), _JSON)

    def _call(self, matched: Matched, queries: Mapping[str, list[str]]) -> Call:
        query = {name: values[0] for name, values in queries.items()}
        id, stream, body = matched.method.id, self._stream, Json()
        if matched.upload:
            id += _step(self.command, query, self.headers.get("Content-Range", ""))
        if not matched.upload or id.endswith("/start"):
            text = stream.read()
            try:
                body = json.loads(text) if text.strip() else {}
            except ValueError:
                raise Trouble(400, "parseError", "Parse Error") from None
        call = Call(
            id=id,
            path=matched.path,
            query=query,
            queries=queries,
            body=body,
            headers=cast(Any, self.headers),
            stream=cast(BinaryIO, stream),
            base=f"https://{self.tunnelled}" if self.tunnelled else self.peer.url,
        )
        return call.with_effects(self.peer.faults.of(call))

    def _token(self) -> None:
        form = urllib.parse.parse_qs(self._stream.read().decode())
        try:
            answer = self.peer.accounts.token({name: each[0] for name, each in form.items()})
            self._send(200, json.dumps(answer).encode(), _JSON)
        except Trouble as trouble:
            body = {"error": trouble.reason, "error_description": trouble.message}
            self._send(trouble.status, json.dumps(body).encode(), _JSON)

    def _bytes(self, found: Bytes) -> None:
        length = found.end - found.start
        headers = dict(found.headers)
        status = 200
        if length != found.size:
            status = 206
            headers["Content-Range"] = f"bytes {found.start}-{found.end - 1}/{found.size}"
        self._head(status, headers | {"Content-Length": str(length)})
        limit = length if found.cut is None else int(length * found.cut)
        if self.command != "HEAD":
            with found.file.open("rb") as data:
                data.seek(found.start)
                left = limit
                while left and (piece := data.read(min(left, 1 << 16))):
                    self.wfile.write(piece)
                    left -= len(piece)
        self.wfile.flush()
        if limit < length:
            raise Broken

    def _trouble(self, trouble: Trouble) -> None:
        self._send(trouble.status, json.dumps(trouble.json()).encode(), _JSON | trouble.headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        if not self._stream.drain():
            self.close_connection = True
            headers = {**headers, "Connection": "close"}
        if status in (204, 304):
            body, length = b"", {}
        else:
            length = {"Content-Length": str(len(body))}
        self._head(status, {**headers, **length})
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Date", format_datetime(self.peer.now(), usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client was first
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


_JSON = {"Content-Type": "application/json; charset=UTF-8"}


def _match(verb: str, path: str) -> tuple[Api, Matched]:
    plain = path.removeprefix("/download")
    for name in ("compute", "storage", "cloudresourcemanager"):
        found = api(name)
        if matched := found.match(verb, plain):
            return found, matched
    raise Trouble(404, "notFound", f"Not Found: {verb} {path}")


def _step(verb: str, query: Mapping[str, str], content_range: str) -> str:
    """Which part of a resumable upload a request is; empty for uploads of one request."""
    if query.get("uploadType") != "resumable" and "upload_id" not in query:
        return ""
    if verb == "DELETE":
        return "/cancel"
    if "upload_id" not in query:
        return "/start"
    return "/status" if content_range.startswith("bytes */") else "/bytes"


class _Stream(io.RawIOBase):
    """The body of a request, whichever way its end is marked."""

    def __init__(self, source: Any, headers: Any) -> None:
        self._source = source
        self._chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        self._left = int(headers.get("Content-Length") or 0)
        self._over = False

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        if self._chunked and not self._left and not self._over:
            self._left = int(self._source.readline().split(b";")[0].strip() or b"0", 16)
            if not self._left:
                while self._source.readline().strip():
                    pass
                self._over = True
        data: bytes = self._source.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        if self._chunked and not self._left and not self._over:
            self._source.readline()
        if not data:
            self._left = 0
        return data

    def drain(self, most: int = 1 << 20) -> bool:
        """Read what is left, so that the connection can be used again. False where it is much."""
        while most > 0:
            data = self.read(1 << 16)
            if not data:
                return True
            most -= len(data)
        return False
