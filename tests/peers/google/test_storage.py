"""Cloud Storage's peer, seen by google-cloud-storage and by hand."""

from __future__ import annotations

import http.client
import io
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Client

from peers.google.calls import (
    Cut,
)
from peers.google.clients import (
    BUCKET,
    PROJECT,
    QUANTUM,
    Connect,
)
from peers.google.peer import Google


def test_objects_are_written_read_and_deleted_by_generation(peer: Google, bucket: Any) -> None:
    blob = bucket.blob("a b/ü")
    blob.upload_from_string(b"one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a b/ü").upload_from_string(b"two", if_generation_match=0)
    assert blob.download_as_bytes() == b"one"
    assert blob.download_as_bytes(start=1, end=1) == b"n"
    blob.metadata = {"k": "v"}
    blob.patch(if_metageneration_match=1)
    assert bucket.get_blob("a b/ü").metadata == {"k": "v"}
    first = blob.generation
    bucket.blob("a b/ü").upload_from_string(b"three", if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a b/ü").delete(if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a b/ü", generation=first).reload()
    bucket.blob("a b/ü").delete()
    assert not bucket.blob("a b/ü").exists()


def test_listings_of_objects_have_prefixes_and_pages(peer: Google, bucket: Any) -> None:
    for number in range(1001):
        peer.storage.put(BUCKET, f"x/{number:04}", b"")
    peer.storage.put(BUCKET, "y/a/b", b"")
    peer.storage.put(BUCKET, "y/c", b"")
    assert len(list(bucket.list_blobs(prefix="x/"))) == 1001
    assert peer.count("storage.objects.list") == 2
    listing = bucket.list_blobs(prefix="y/", delimiter="/")
    assert [each.name for each in listing] == ["y/c"]
    assert listing.prefixes == {"y/a/"}


def test_objects_are_composed_and_rewritten(peer: Google, bucket: Any) -> None:
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(name)
    whole = bucket.blob("ab")
    whole.compose([bucket.blob("a"), bucket.blob("b")])
    assert (whole.md5_hash, whole.component_count) == (None, 2)
    copy = bucket.blob("copy")
    copy.rewrite(whole)
    assert peer.storage.get(BUCKET, "copy") == b"ab"


def resumable(bucket: Any, name: str, data: bytes, **more: Any) -> Any:
    """Sent in chunks of the smallest size there is."""
    blob = bucket.blob(name, chunk_size=QUANTUM)
    blob.upload_from_file(io.BytesIO(data), size=None, **more)
    return blob


@pytest.mark.parametrize("size", [0, 1, QUANTUM, QUANTUM + 1, 3 * QUANTUM, 1_000_000])
def test_big_objects_come_in_chunks(peer: Google, bucket: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    resumable(bucket, "big", data[:size])
    assert peer.storage.get(BUCKET, "big") == data[:size]
    assert peer.count("storage.objects.insert/start") == 1
    assert peer.count("storage.objects.insert/bytes") >= size // QUANTUM


def upload(peer: Google, data: bytes) -> tuple[Callable[..., tuple[int, str | None]], str]:
    """A resumable upload by hand: what sends a part of it, and its name."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=30)
    connection.request(
        "POST",
        f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big",
        "{}",
        {"Content-Type": "application/json", "X-Upload-Content-Length": str(len(data))},
    )
    response = connection.getresponse()
    response.read()
    where = (response.headers["Location"] or "").removeprefix(peer.url)
    connection.close()

    def send(start: int | None, end: int = 0) -> tuple[int, str | None]:
        each = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=30)
        try:
            part = b"" if start is None else data[start:end]
            span = "*" if start is None else f"{start}-{end - 1}"
            each.request("PUT", where, part, {"Content-Range": f"bytes {span}/{len(data)}"})
            answer = each.getresponse()
            answer.read()
            return answer.status, answer.headers["Range"]
        finally:
            each.close()

    return send, where


def test_an_upload_goes_on_where_it_was_broken_off(peer: Google) -> None:
    data = os.urandom(1_000_000)
    send, where = upload(peer, data)
    assert send(None) == (308, None)
    with peer.during(Cut(0.7), "storage.objects.insert/bytes", times=1) as rule:
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            send(0, len(data))
        assert rule.hits == 1
    kept = 700_000 // QUANTUM * QUANTUM
    assert send(None) == (308, f"bytes=0-{kept - 1}")
    assert peer.storage.get(BUCKET, "big") is None
    assert send(kept, kept + 1000)[0] == 400
    assert send(kept, len(data)) == (200, None)
    assert send(None) == (200, None)
    assert peer.storage.get(BUCKET, "big") == data
    peer.storage.end_sessions()
    assert send(None) == (410, None)
    assert "upload_id=" in where


def test_bytes_that_are_not_what_the_client_said_are_refused(peer: Google, bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.md5_hash = "1B2M2Y8AsgTpgAmY7PhCfg=="  # of nothing
    with pytest.raises(exceptions.BadRequest, match="MD5"):
        blob.upload_from_string(b"something")
    assert not bucket.blob("a").exists()


def test_of_many_that_create_one_object_one_wins(peer: Google, connect: Connect) -> None:
    won: list[int] = []

    def write(number: int) -> None:
        client = connect(Client, project=PROJECT)
        try:
            client.bucket(BUCKET).blob("a").upload_from_string(f"{number}", if_generation_match=0)
        except exceptions.PreconditionFailed:
            return
        won.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert [f"{number}".encode() for number in won] == [peer.storage.get(BUCKET, "a")]
