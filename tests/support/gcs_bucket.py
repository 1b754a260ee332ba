"""A bucket of Google Cloud Storage as obstore reaches it: its XML API, in this process.

``x-goog-if-generation-match``, ``ETag`` and listings are as Google documents them at
cloud.google.com/storage/docs/xml-api: reference-headers, put-object-upload, get-bucket-list. The
peer of the JSON API is ``peers.google``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from peers.serving import serving

KEPT = ("content-type", "cache-control")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    data: bytes
    generation: int
    headers: Mapping[str, str]
    at: datetime

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'  # what Google computes, too


class GcsServer:
    """The server; buckets are what was given."""

    def __init__(self, buckets: tuple[str, ...]) -> None:
        self.objects: dict[str, dict[str, Stored]] = {name: {} for name in buckets}
        self.generation = 1000
        self.lock = threading.Lock()
        server = self

        class Handler(_Handler):
            gcs = server

        self._server = _Server(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", int(self._server.server_address[1]))

    @contextmanager
    def running(self) -> Iterator[GcsServer]:
        with serving(self._server):
            yield self


def gcs_environment(endpoint: str, folder: Path) -> dict[str, str]:
    """What makes obstore ask that server, and nobody for a login."""
    key = folder / "gcs.json"
    key.write_text(
        json.dumps(
            {
                "gcs_base_url": endpoint,
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
        )
    )
    return {"GOOGLE_SERVICE_ACCOUNT": str(key), "GOOGLE_SKIP_SIGNATURE": "true"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a publisher makes many connections at once


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    gcs: GcsServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
        with self.gcs.lock:
            objects = self.gcs.objects.get(bucket)
            if objects is None:
                self._error(404, "NoSuchBucket")
            elif not name:
                query = {key: each[0] for key, each in parse_qs(parts.query).items()}
                self._list(objects, query)
            else:
                self._object(objects, name, body)

    do_GET = do_HEAD = do_PUT = do_DELETE = _serve

    def _object(self, objects: dict[str, Stored], name: str, body: bytes) -> None:
        there = objects.get(name)
        match self.command:
            case "PUT":
                wanted = self.headers.get("x-goog-if-generation-match")
                if wanted is not None and int(wanted) != (there.generation if there else 0):
                    self._error(412, "PreconditionFailed")
                    return
                self.gcs.generation += 1
                kept = {key: self.headers[key] for key in KEPT if key in self.headers}
                made = Stored(
                    body, self.gcs.generation, kept, datetime.now(UTC)
                )  # a server has a clock
                objects[name] = made
                self._send(200, b"", self._facts(made, length=False))
            case "DELETE" if there is not None:
                del objects[name]
                self._send(204, b"", {})
            case _ if there is None:
                self._error(404, "NoSuchKey")
            case _ if self.headers.get("If-None-Match") == there.etag:
                self._send(304, b"", {"ETag": there.etag})
            case _:
                self._send(200, there.data, self._facts(there, length=True))

    def _facts(self, stored: Stored, *, length: bool) -> dict[str, str]:
        found = {
            "ETag": stored.etag,
            "x-goog-generation": str(stored.generation),
            "Last-Modified": format_datetime(stored.at, usegmt=True),
        }
        return {**found, **stored.headers} if length else found

    def _list(self, objects: dict[str, Stored], query: Mapping[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after, limit = query.get("continuation-token", ""), int(query.get("max-keys", 1000))
        names = sorted(each for each in objects if each.startswith(prefix) and each > after)
        if delimiter:
            names = [each for each in names if delimiter not in each.removeprefix(prefix)]
        page, more = names[:limit], len(names) > limit
        contents = "".join(
            f"<Contents><Key>{escape(each)}</Key><Size>{len(objects[each].data)}</Size>"
            f"<ETag>{escape(objects[each].etag)}</ETag>"
            f"<LastModified>{objects[each].at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for each in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult>{contents}{token}</ListBucketResult>"
        self._send(200, text.encode(), {"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>"
        self._send(status, text.encode(), {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
