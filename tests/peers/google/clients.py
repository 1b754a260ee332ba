"""Google's own clients of the peer, as the tests use them."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1
from google.oauth2 import service_account

from peers.google.archives import GIB
from peers.google.peer import Google

PROJECT, BUCKET, ZONE = "acme-images", "acme-upload", "europe-west1-b"
IMAGES = f"projects/{PROJECT}/global/images"
QUANTUM = 256 * 1024


def options(peer: Google) -> dict[str, Any]:
    return {
        "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]  # it has no types
        "client_options": ClientOptions(api_endpoint=peer.url),
    }


Connect = Callable[..., Any]
"""Makes a client of that class, with those options in place of the usual ones, and closes it when
the test is over."""


class Done:
    """Waits for operations, as their clients do."""

    def __init__(self, connect: Connect) -> None:
        self._global = connect(compute_v1.GlobalOperationsClient)
        self._zone = connect(compute_v1.ZoneOperationsClient)

    def __call__(self, operation: compute_v1.Operation) -> compute_v1.Operation:
        where: dict[str, Any] = {"project": PROJECT, "operation": operation.name}
        for _ in range(10):
            if operation.status == compute_v1.Operation.Status.DONE:
                break
            if operation.zone:
                operation = self._zone.wait(zone=ZONE, **where)
            else:
                operation = self._global.wait(**where)
        assert operation.status == compute_v1.Operation.Status.DONE
        return operation


@lru_cache
def archive(size: int = GIB, name: str = "disk.raw") -> bytes:
    """A sparse disk in an archive: a real one is as small, where nothing is in it."""
    out = io.BytesIO()
    head = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    head[156:157] = b"S"
    head[386:410] = b"%011o\0%011o\0" % (size, 0)  # one hole, up to the end
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped:
        zipped.write(bytes(head) + bytes(1024))
    return out.getvalue()


def raw(
    name: str, source: str = f"https://storage.googleapis.com/{BUCKET}/disk.tar.gz", **more: Any
) -> compute_v1.Image:
    return compute_v1.Image(
        name=name, raw_disk=compute_v1.RawDisk(source=source, container_type="TAR"), **more
    )


def ask(peer: Google, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """A request by hand."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(verb, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if data else None
    finally:
        connection.close()


def account(key: Path) -> dict[str, Any]:
    return {"credentials": service_account.Credentials.from_service_account_file(str(key))}  # type: ignore[no-untyped-call]  # it has no types
