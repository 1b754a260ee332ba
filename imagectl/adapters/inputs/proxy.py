"""Speaks HTTP with the programs of a build. What they are answered is decided elsewhere.

Promises: it listens on this machine only; a body is handed on piece by piece; a reply is either
whole or visibly broken off, never short; nothing that a client does ends the proxy. GET and HEAD
are all that it knows. https is read by ending TLS here, with a certificate of the build's own
authority.

Conditions and ranges are not looked at: the whole file is always a right answer to those
(RFC 9110, 13.2.1 and 14.2), and an answer must not depend on what the client had before.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import re
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from imagectl.adapters.inputs.authority import Authority

CHUNK = 1 << 17
PATIENCE = 120
"""Seconds for which a client may be silent, or not read."""

_OF_THE_CONNECTION = frozenset({"connection", "content-length", "expect", "keep-alive", "te"})
_OF_THE_CONNECTION |= {"trailer", "transfer-encoding", "upgrade"}
"""RFC 9110, 7.6.1. A request with a body is not let through at all."""

_OURS = frozenset({"accept-encoding", "host"})
"""What is said to upstream by us."""

_NOT_LOOKED_AT = frozenset(
    {"range", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"}
)

_NOT_FORWARDED = _OF_THE_CONNECTION | _OURS | _NOT_LOOKED_AT

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}\Z")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for. ``headers`` are those that a server may see."""

    method: str
    url: str
    headers: Mapping[str, str]


class Answering(Protocol):
    """Decides what clients are answered. Called from any number of threads."""

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer a GET or HEAD. Never raises for what the client or a server did."""
        ...

    def refuse(self, url: str, why: str, hint: str) -> None:
        """Remember that a client was turned away here."""
        ...

    def mistake(self, problem: BaseException) -> None:
        """Remember what nobody expected."""
        ...


class Reply:
    """The answer to one request: ``begin``, then ``send`` any number of times, then ``finish``.

    A client that has gone is no error: what it asked for is still wanted.
    """

    def __init__(
        self, connection: socket.socket, *, body: bool, chunks: bool, last: bool = False
    ) -> None:
        self._connection = connection
        self._body = body
        self._chunks = chunks
        self._chunked = False
        self._last = last
        self.can_stream = chunks
        """Whether a body of unknown length can be sent."""
        self.begun = False
        self.gone = False
        self.keep_open = True

    def begin(
        self, status: int, headers: Mapping[str, str], length: int | None, reason: str = ""
    ) -> None:
        """Send the head. ``length`` of the body in bytes; None where it is not known yet."""
        self.begun = True
        lines = [f"HTTP/1.1 {status} {reason or _phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value]
        if self._last:
            lines.append("Connection: close")
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self._chunks:
            self._chunked = True
            lines.append("Transfer-Encoding: chunked")
        else:
            raise AssertionError("this client understands no body of unknown length")
        self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        if self._body and data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def send_file(self, path: Path) -> None:
        """Send a whole file as the body."""
        if not self._body or self.gone:
            return
        with path.open("rb") as file:
            if isinstance(self._connection, ssl.SSLSocket):
                while (data := file.read(CHUNK)) and not self.gone:
                    self._write(data)
                return
            try:
                self._connection.sendfile(file)
            except OSError:
                self._lose()

    def finish(self) -> None:
        """The body is whole."""
        if self._chunked and self._body:
            self._write(b"0\r\n\r\n")

    def fail(self, status: int, text: str) -> None:
        """Answer with an error; one that comes too late breaks the reply off, visibly."""
        if self.begun:
            self.keep_open = False
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            return
        data = (text + "\n").encode()
        reason = re.sub(r"[^\x20-\x7e]", "?", text.partition("\n")[0])[:200]
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        self.begin(status, headers, len(data), reason)
        self.send(data)
        self.finish()

    def _write(self, data: bytes) -> None:
        if not self.gone:
            try:
                self._connection.sendall(data)
            except OSError:
                self._lose()

    def _lose(self) -> None:
        self.gone = True
        self.keep_open = False


class Proxy:
    """Listens on 127.0.0.1, at ``port``, until ``close``."""

    def __init__(self, answering: Answering, authority: Authority) -> None:
        self._server = _Server(answering, authority)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="proxy"
        )
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """Stop listening, end every conversation, and wait for the threads that held them."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.end_conversations()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answering: Answering, authority: Authority) -> None:
        self.answering = answering
        self.authority = authority
        self._conversations: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Conversation)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.hold(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._conversations[threading.current_thread()]

    def hold(self, connection: socket.socket) -> None:
        """What the conversation of this thread goes over."""
        with self._lock:
            self._conversations[threading.current_thread()] = connection

    def end_conversations(self) -> None:
        with self._lock:
            open_ones = dict(self._conversations)
        for connection in open_ones.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in open_ones:
            thread.join(timeout=5)

    def handle_error(self, request: Any, client_address: Any) -> None:
        problem = sys.exc_info()[1]
        if problem is not None and not isinstance(problem, OSError):
            self.answering.mistake(problem)


class _Conversation(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._origin = ""
        self.command = self.path = ""  # until a request was read
        self._talking: socket.socket = self.connection

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        if self._talking is not self.connection:
            self._talking.close()

    def do_GET(self) -> None:
        empty = self.headers.get("Content-Length", "0").strip() == "0"
        if not empty or "Transfer-Encoding" in self.headers:
            self._turn_away("a GET with a body", HTTPStatus.BAD_REQUEST)
            return
        url = self._origin + self.path if self.path.startswith("/") else self.path
        if not re.match("https?://", url):
            self._turn_away("a request that names no http or https URL", HTTPStatus.BAD_REQUEST)
            return
        if self.request_version < "HTTP/1.1":
            self.close_connection = True
        named = {name.strip().lower() for name in self.headers.get("Connection", "").split(",")}
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _NOT_FORWARDED | named and not name.lower().startswith("proxy-")
        }
        reply = self._reply(last=self.close_connection)
        self.server.answering.answer(Request(self.command, url, headers), reply)
        if not reply.keep_open:
            self.close_connection = True

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        host, colon, port = self.path.rpartition(":")
        host = host.removeprefix("[").removesuffix("]").lower()
        if not colon or not port.isdecimal() or not _is_host(host):
            self._turn_away("a CONNECT to no host", HTTPStatus.BAD_REQUEST)
            return
        self._origin = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        context = self.server.authority.context(host)
        self._talking.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            self._talking = context.wrap_socket(self.connection, server_side=True)
        except (OSError, ValueError) as problem:
            self._untrusted(problem)
            self.close_connection = True
            return
        self.server.hold(self._talking)
        self.rfile = self._talking.makefile("rb", -1)
        self.close_connection = False

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError as problem:
            self._untrusted(problem)
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser of requests and lines calls: another method, or no HTTP at all."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            self._turn_away(f"the method {self.command}", HTTPStatus.METHOD_NOT_ALLOWED)
        else:
            self._turn_away(message or status.phrase, status)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is remembered by whoever answers."""

    def _reply(self, *, last: bool) -> Reply:
        new = self.request_version >= "HTTP/1.1"
        return Reply(self._talking, body=self.command != "HEAD", chunks=new, last=last)

    def _turn_away(self, what: str, status: HTTPStatus) -> None:
        url = self._origin + self.path if self.path.startswith("/") else self.path
        self.server.answering.refuse(
            url or "a connection to the proxy",
            f"{what} is not let through: a build may only read (GET and HEAD)",
            "have the task fetch files only; what talks to a service, such as an audit, a "
            "telemetry or an upload, must be switched off while building",
        )
        # There may be a body, which nobody reads: the connection ends here.
        self._reply(last=True).fail(status, f"imagectl: {what} is not let through")
        self.close_connection = True

    def _untrusted(self, problem: Exception) -> None:
        """A client that hangs up is nobody's fault; one that does not trust us must be told of."""
        if not self._origin or not isinstance(problem, ssl.SSLError):
            return
        if isinstance(problem, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return
        reason = problem.reason or str(problem)
        if "ALERT" in reason:
            why = "the program does not trust the authority of the build, so it fetched nothing"
            hint = "point the program at /etc/ssl/certs, or at the file in SSL_CERT_FILE"
        else:
            why = "what came through CONNECT was not https, and is not let through"
            hint = "use https:// or http:// addresses; git and others by ssh cannot be recorded"
        self.server.answering.refuse(self._origin, f"{why} ({reason})", hint)


def _is_host(text: str) -> bool:
    if ":" not in text:
        return _HOST.match(text) is not None
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
