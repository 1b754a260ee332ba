"""Brings a file into a bucket that speaks S3, under a name that nothing has.

A large one goes in parts, and on with those that are there already, one process at a time. What is
created is created only where nothing has that name (``If-None-Match``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imagectl.adapters.durable import make_folder, naming_failures, write
from imagectl.adapters.locations.s3_answers import There, UploadGone
from imagectl.adapters.locations.s3_client import Client
from imagectl.errors import CannotTell, NotFound
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Moved

PART = 16 << 20
"""Bytes of one part of an upload, and of the largest file that goes whole. In memory meanwhile."""
MOST_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
WAIT = 0.5
"""Seconds between two looks whether another process is done with the same upload."""


class Uploads:
    """To one bucket. ``state`` is a private folder for what is remembered of uploads that broke
    off."""

    def __init__(self, client: Client, state: Path) -> None:
        self._client = client
        self._state = state

    def upload(
        self,
        name: str,
        source: Path,
        artifact: Artifact,
        moved: Moved,
        is_there: Callable[[str], bool],
    ) -> None:
        """Nothing where something has the name already; what, is found out by reading it.
        *is_there* says whether the bucket has an object of that name."""
        if artifact.size > PART:
            self._upload_parts(name, source, artifact, moved, is_there)
            return
        given = {**self._client.key(name), "Body": source.read_bytes(), "IfNoneMatch": "*"}
        with contextlib.suppress(There):
            self._client.call("put_object", f"uploading {source.name}", given)

    def _upload_parts(
        self,
        name: str,
        source: Path,
        artifact: Artifact,
        moved: Moved,
        is_there: Callable[[str], bool],
    ) -> None:
        note = self._state / "uploads" / f"{self._client.name}-{artifact.sha256}.json"
        with _alone(note.with_suffix(".lock"), moved):
            why = ""
            for _ in range(2):
                if is_there(name):  # another process has made it meanwhile
                    return
                try:
                    self._send_parts(name, source, artifact, note, moved)
                    return
                except UploadGone as error:
                    why = error.why
                    note.unlink(missing_ok=True)
            if not is_there(name):
                raise CannotTell(
                    f"uploading {source.name} did not work",
                    where=f"location {self._client.name}",
                    why=f"the store has given the upload up, twice: {why}",
                    hint="type the command again later",
                )

    def _send_parts(
        self, name: str, source: Path, artifact: Artifact, note: Path, moved: Moved
    ) -> None:
        """Raises UploadGone where it was given up, or was completed and the answer lost."""
        what = f"uploading {source.name}"
        part = max(PART, -(-artifact.size // MOST_PARTS))
        upload, done = self._resumed(name, note, part)
        if upload is None:
            said = self._client.call("create_multipart_upload", what, self._client.key(name))
            upload = said["UploadId"]
            make_folder(note.parent)
            write(note.parent, note, json.dumps({"upload": upload, "part": part}).encode(), 0o600)
        parts = []
        with source.open("rb") as file:
            for number in range(1, -(-artifact.size // part) + 1):
                data = file.read(part)
                tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
                if done.get(number) != tag:
                    given = {**self._client.key(name), "UploadId": upload, "PartNumber": number}
                    said = self._client.call("upload_part", what, {**given, "Body": data})
                    tag = said["ETag"]
                parts.append({"PartNumber": number, "ETag": tag})
                moved(min(number * part, artifact.size))
        try:
            given = {
                **self._client.key(name),
                "UploadId": upload,
                "MultipartUpload": {"Parts": parts},
            }
            self._client.call("complete_multipart_upload", what, {**given, "IfNoneMatch": "*"})
        except There:
            given = {**self._client.key(name), "UploadId": upload}
            with contextlib.suppress(NotFound):
                self._client.call("abort_multipart_upload", what, given)
        note.unlink(missing_ok=True)

    def _resumed(self, name: str, note: Path, part: int) -> tuple[str | None, dict[int, str]]:
        """The upload that was broken off, and the tags of its parts that are there."""
        try:
            noted = json.loads(note.read_bytes())
            upload, same = str(noted["upload"]), noted["part"] == part
        except (OSError, ValueError, KeyError, TypeError):
            return None, {}
        given: dict[str, Any] = {**self._client.key(name), "UploadId": upload}
        done: dict[int, str] = {}
        try:
            while same:
                said = self._client.call("list_parts", "looking for what was uploaded", given)
                done |= {each["PartNumber"]: each["ETag"] for each in said.get("Parts", ())}
                if not said.get("IsTruncated"):
                    return upload, done
                given["PartNumberMarker"] = said["NextPartNumberMarker"]
            self._client.call("abort_multipart_upload", "starting an upload anew", given)
        except NotFound:
            pass  # completed or given up meanwhile
        return None, {}


@contextlib.contextmanager
def _alone(lock: Path, moved: Moved) -> Iterator[None]:
    """No other process, and no other thread, goes on with that upload meanwhile."""
    with naming_failures("locking an upload", lock.parent):
        make_folder(lock.parent)
        fd = _locked(lock)
    while fd is None:
        moved(0)  # one may want to stop while one waits
        time.sleep(WAIT)
        with naming_failures("locking an upload", lock.parent):
            fd = _locked(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(fd)


def _locked(path: Path) -> int | None:
    """The file, which is there and locked; None while somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None
