"""Connections to web servers: through the proxy that the environment names, and never for long.

Promises: an answer has to be here by the time that was given for it, whichever part of it a server
sends slowly: the line that it begins with, a header, its body, or the lengths in between. Nothing
is asked of a server again that has no time left.

Imported where a server is asked: a tree in a folder needs none of this.
"""

from __future__ import annotations

import http.client
import io
import math
import os
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadError, SlowRetrievalError
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from imagectl.consumer.fetching import BadProxy, without_login

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 20.0
"""How long a server may say nothing in the middle of an answer."""

RETRIED = (429, 500, 502, 503, 504)
"""What a server says that may answer when it is asked again."""


class Connections:
    """Asks servers, one request at a time."""

    def __init__(self) -> None:
        self._time = _Time()
        self._pools: dict[str, urllib3.PoolManager] = {}

    def get(self, url: str, headers: Mapping[str, str], seconds: float) -> urllib3.BaseHTTPResponse:
        """The answer, whose body is still to be read, all within so many *seconds*.

        Raises urllib3's HTTPError, here and while the body is read, and BadProxy.
        """
        proxy = _proxy(url)
        if proxy not in self._pools:
            self._pools[proxy] = _pools(proxy, self._time)
        self.allow(seconds)
        return self._pools[proxy].request("GET", url, headers=headers, preload_content=False)

    def allow(self, seconds: float) -> None:
        """Let what is read now take so long, from now on."""
        self._time.ends = time.monotonic() + seconds

    def failure(self, error: HTTPError, late: str) -> DownloadError:
        """That error in the system's words; *late* where there was no time left."""
        return SlowRetrievalError(late) if self._time.left() <= 0 else _unanswered(error)

    def close(self) -> None:
        """Close connections that are kept open."""
        for pools in self._pools.values():
            pools.clear()


class _Time:
    def __init__(self) -> None:
        self.ends = math.inf

    def left(self) -> float:
        return self.ends - time.monotonic()


class _InTime(io.RawIOBase):
    """What a socket receives, until there is no time left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, allowed: _Time) -> None:
        self._raw = raw
        self._sock = sock
        self._allowed = allowed
        self._silent = sock.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._allowed.left()
        if left <= 0:
            raise TimeoutError("there is no time left")
        self._sock.settimeout(min(left, self._silent))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools(proxy: str, allowed: _Time) -> urllib3.PoolManager:
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENT_SECONDS),
        "retries": urllib3.Retry(
            connect=1,
            read=1,
            status=2,
            redirect=5,
            backoff_factor=0.2,
            backoff_max=5,
            status_forcelist=RETRIED,
            respect_retry_after_header=False,  # a build does not wait for an hour
            raise_on_status=False,
        ),
    }
    made = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)
    made.pool_classes_by_scheme = _classes(allowed)
    return made


def _classes(allowed: _Time) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """What urllib3 makes connections of, but that all they read has to come in time."""

    class Answer(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
            super().__init__(sock, *arguments, **named)
            self.fp = io.BufferedReader(_InTime(self.fp.detach(), sock, allowed))

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _proxy(url: str) -> str:
    """Empty where there is none for it. Raises BadProxy, naming the variable."""
    scheme, server, *_ = urlsplit(url)
    proxies = getproxies()
    kind = scheme if proxies.get(scheme) else "all"
    proxy = proxies.get(kind, "")
    if not proxy or proxy_bypass(server):
        return ""
    address = proxy if "://" in proxy else f"http://{proxy}"  # as curl takes it
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        names = (f"{kind}_proxy", f"{kind}_proxy".upper())
        name = next((each for each in names if os.environ.get(each) == proxy), names[0])
        raise BadProxy(f"{name} names {without_login(proxy)}, and only http: and https: are known")
    return address


def _unanswered(error: HTTPError) -> DownloadError:
    """The last cause, in the system's words: urllib3 wraps it several times."""
    cause: BaseException = error
    if isinstance(cause, exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    refused = isinstance(cause, exceptions.NewConnectionError)
    if isinstance(cause, exceptions.TimeoutError) and not refused:
        return SlowRetrievalError("it does not answer in time")
    deepest: BaseException = cause
    while deepest.__cause__ is not None or deepest.__context__ is not None:
        inner = deepest.__cause__ or deepest.__context__
        assert inner is not None
        deepest = inner
    said = deepest.strerror if isinstance(deepest, OSError) else None
    return DownloadError(said or str(cause))
