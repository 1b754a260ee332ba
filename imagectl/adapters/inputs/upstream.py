"""Fetches from the network what no store has.

Promises: a body is handed on piece by piece and is never whole in memory; one that ends early is
taken up where it ended, or begun again where the server cannot do that, a bounded number of times;
one that is still short then is an error, never an answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from imagectl.adapters.inputs.connections import (
    Connections,
    Exchange,
    Unreachable,
    address_of,
    said,
)
from imagectl.errors import CannotTell

CHUNK = 1 << 17

PAUSES = (0.5, 2.0, 5.0)
"""Seconds between attempts; one more attempt than pauses is made."""

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that say that a later attempt may work (RFC 9110, RFC 8470, RFC 6585)."""

_SMALL = 1 << 16
"""A body that nobody needs is read to its end up to this size, so that the connection is kept."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a server says before the body. ``length`` in bytes, None where it does not say;
    ``date`` is its clock, allowing for the time that a cache has kept the answer."""

    status: int
    content_type: str
    location: str
    encoding: str
    length: int | None
    date: datetime | None


class Upstream:
    """The network, as far as builds may use it. Any number of threads may use one."""

    def __init__(self, connections: Connections, pauses: Sequence[float] = PAUSES) -> None:
        self._connections = connections
        self._pauses = tuple(pauses)
        self._closing = threading.Event()

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Response]:
        """The answer to a GET of *url*, an http or https URL.

        Raises CannotTell where there is none, BuildFailed where the address is refused.
        """
        for attempt in self.attempts(url):
            with attempt:
                response = Response(self, url, headers)
                break
        else:
            raise AssertionError("the last attempt raises")
        try:
            yield response
        finally:
            response.close()

    def close(self) -> None:
        """What is being fetched ends with CannotTell."""
        self._closing.set()
        self._connections.close()

    def attempts(self, url: str) -> Iterator[Attempt]:
        """Tries, with pauses in between. The failure of the last one is raised as CannotTell."""
        for pause in (*self._pauses, None):
            attempt = Attempt()
            yield attempt
            if attempt.failure is None:
                return
            if pause is None or self._closing.wait(pause):
                host, port = address_of(url)
                raise CannotTell(
                    f"{host}:{port} does not give what was asked for",
                    where=url,
                    why=str(attempt.failure),
                    hint="check the network and that server, and type the command again: what was "
                    "fetched is kept",
                ) from attempt.failure

    def exchange(self, url: str, headers: Mapping[str, str]) -> Exchange:
        """One attempt. Raises Unreachable, BuildFailed."""
        self.go_on()
        exchange = self._connections.get(url, headers)
        if exchange.answer.status in _AGAIN:
            exchange.connection.close()
            raise Unreachable(f"the answer was {exchange.answer.status} {exchange.answer.reason}")
        return exchange

    def go_on(self) -> None:
        """Raises Unreachable where this is being closed."""
        if self._closing.is_set():
            raise Unreachable("the build is ending")

    def give_back(self, exchange: Exchange) -> None:
        """Keep a connection, whose answer was read to its end, for the next request."""
        self._connections.give_back(exchange)


class Attempt:
    """One try: its block may be left by Unreachable, which is kept as its failure."""

    def __init__(self) -> None:
        self.failure: Unreachable | None = None

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> bool:
        if isinstance(problem, Unreachable):
            self.failure = problem
            return True
        return False


class Response:
    """An answer that is being read: its ``head``, then its body by ``pieces``."""

    def __init__(self, upstream: Upstream, url: str, headers: Mapping[str, str]) -> None:
        self._upstream = upstream
        self.url = url
        self._headers = headers
        self._exchange = upstream.exchange(url, headers)
        self._whole = False
        answer = self._exchange.answer
        self.head = Head(
            status=answer.status,
            content_type=_clean(answer.getheader("Content-Type"), 1000),
            location=_clean(answer.getheader("Location"), 8000),
            encoding=_clean(answer.getheader("Content-Encoding"), 100).lower(),
            length=answer.length,
            date=_date(answer),
        )
        self._validator = _validator(answer)

    def pieces(self) -> Iterator[bytes]:
        """The body, once. Raises CannotTell where it cannot be had whole."""
        digest = hashlib.sha256()
        size = 0
        again = False
        for attempt in self._upstream.attempts(self.url):
            with attempt:
                if again:
                    self._ask_again(size, digest.hexdigest())
                again = True
                for piece in self._read():
                    digest.update(piece)
                    size += len(piece)
                    yield piece
                if self.head.length is not None and size != self.head.length:
                    raise Unreachable(f"{size:,} bytes came, {self.head.length:,} were announced")
                self._whole = True

    def close(self) -> None:
        """Keep the connection for the next request; close it where the body was not read."""
        answer = self._exchange.answer
        if not self._whole and answer.length is not None and answer.length <= _SMALL:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer.read()
                self._whole = True
        if self._whole and not answer.will_close:
            answer.close()
            self._upstream.give_back(self._exchange)
        else:
            self._exchange.connection.close()

    def _read(self) -> Iterator[bytes]:
        while True:
            self._upstream.go_on()
            try:
                piece = self._exchange.answer.read1(CHUNK)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Unreachable(said(error)) from error
            if not piece:
                return
            yield piece

    def _ask_again(self, size: int, sha256: str) -> None:
        """Go on after *size* bytes, whose digest is *sha256*. Raises Unreachable."""
        self._exchange.connection.close()
        headers = dict(self._headers)
        if size and self._validator:
            headers |= {"Range": f"bytes={size}-", "If-Range": self._validator}
        self._exchange = self._upstream.exchange(self.url, headers)
        answer = self._exchange.answer
        if "Range" in headers and answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = re.match(r"bytes (\d+)-", answer.getheader("Content-Range") or "")
            if found is None or int(found[1]) != size:
                raise Unreachable("the server went on at another place of the file")
            return
        if answer.status != self.head.status:
            raise Unreachable(f"the answer is now {answer.status} {answer.reason}")
        self._skip(size, sha256)

    def _skip(self, size: int, sha256: str) -> None:
        """The server began at the beginning: what was handed on already must come again."""
        digest = hashlib.sha256()
        while size:
            try:
                piece = self._exchange.answer.read(min(size, CHUNK))
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Unreachable(said(error)) from error
            if not piece:
                raise Unreachable("the answer is now shorter than before")
            digest.update(piece)
            size -= len(piece)
        if digest.hexdigest() != sha256:
            raise Unreachable("the file changed while it was being fetched")


def _clean(value: str | None, longest: int) -> str:
    """A header's value, fit to be written down in one line."""
    return re.sub(r"[^\x20-\x7e]", "", value or "").strip()[:longest]


def _validator(answer: http.client.HTTPResponse) -> str:
    """What tells a file from its next version (RFC 9110, 13.1.5): a strong entity tag."""
    tag = answer.getheader("ETag") or ""
    return "" if tag.startswith("W/") else tag


def _date(answer: http.client.HTTPResponse) -> datetime | None:
    """The server's clock now: ``Date``, and ``Age`` where a cache has kept the answer since."""
    try:
        date = parsedate_to_datetime(answer.getheader("Date") or "")
        age = timedelta(seconds=int(answer.getheader("Age") or 0))
        return date + age if date.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
