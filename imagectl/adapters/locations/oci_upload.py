"""Brings blobs into a registry: small ones at once, large ones in pieces, and on where the last
upload of the same broke off, in another process too.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pushing-blobs
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imagectl.adapters.durable import make_folder, write
from imagectl.adapters.locations.oci_answers import Answer
from imagectl.adapters.locations.oci_session import Session
from imagectl.errors import CannotTell, Failed, NotFound
from imagectl.model.names import Sha256
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    import requests

BYTES = "application/octet-stream"
CHUNK = 16 << 20
"""Bytes of one piece of an upload; in memory meanwhile."""


class Uploads:
    """To one registry. ``state`` is a private folder for what is remembered of uploads that broke
    off. Every method raises Denied, Throttled and CannotTell."""

    def __init__(self, session: Session, state: Path) -> None:
        self._session = session
        self._state = state

    def put_blob(self, repository: str, digest: str, data: bytes) -> None:
        """A small one. Idempotent."""
        if self._has_blob(repository, digest):
            return
        url = f"{repository}/blobs/uploads/"
        with self._session.call("POST", url, "beginning an upload", {202}) as said:
            where = self._session.location(said)
        self._finish(repository, digest, where, "uploading", data)

    def upload(self, repository: str, sha256: Sha256, source: Path, moved: Moved) -> None:
        """A large one, in pieces, on where the last upload of it broke off. Idempotent. Raises
        Corrupt where *source* is not that."""
        digest, size = f"sha256:{sha256}", source.stat().st_size
        if self._has_blob(repository, digest):
            moved(size)
            return
        what = f"uploading {source.name}"
        note = self._state / "uploads" / f"{self._session.name}-{sha256}.json"
        at, where = self._resumed(repository, note)
        with source.open("rb") as file:
            while where is None or at < size:
                if where is None:
                    url = f"{repository}/blobs/uploads/"
                    with self._session.call("POST", url, what, {202}) as said:
                        at, where = 0, self._session.location(said)
                    make_folder(note.parent)
                file.seek(at)
                data = file.read(CHUNK)
                # Where it is may hold a secret of the registry's: the folder is private.
                write(note.parent, note, json.dumps({"where": where}).encode(), 0o600)
                try:
                    at, where = self._piece(where, at, data, what)
                except (CannotTell, NotFound):
                    found, again_at = self._resumed(repository, note)
                    if again_at is None or found <= at:
                        raise
                    at, where = found, again_at
                moved(at)
        self._finish(repository, digest, where, what, b"")
        note.unlink(missing_ok=True)

    def probe(self, repository: str) -> None:
        """Log in, begin an upload and give it up."""
        url = f"{repository}/blobs/uploads/"
        with self._session.call("POST", url, "beginning an upload", {202}) as said:
            where = self._session.location(said)
        with contextlib.suppress(NotFound, Failed):  # not all registries can give one up
            self._session.call("DELETE", where, "giving it up", {204})

    def _piece(self, where: str, at: int, data: bytes, what: str) -> tuple[int, str]:
        """One piece of an upload; where the next begins. What came of a piece whose connection
        broke, the registry knows."""
        first = True

        def attempt() -> tuple[int, str]:
            nonlocal where, first
            done = 0
            if not first:
                status = self._session.send("GET", where, {}, None)
                if status.status_code not in (200, 204):
                    raise Answer(status)
                done, where = _received(status) - at, self._session.location(status)
            first = False
            if done < len(data):
                rest = data[done:]
                span = f"{at + done}-{at + len(data) - 1}"
                headers = {"Content-Type": BYTES, "Content-Range": span}
                said = self._session.send("PATCH", where, headers, rest)
                if said.status_code not in (202, 201, 204):
                    raise Answer(said)
                where = self._session.location(said)
            return at + len(data), where

        return self._session.run(f"{what} at byte {at:,}", attempt)

    def _resumed(self, repository: str, note: Path) -> tuple[int, str | None]:
        """How far the upload got that was broken off, and where it goes on."""
        try:
            where = str(json.loads(note.read_bytes())["where"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, None
        if urlsplit(where).netloc != self._session.host or f"/{repository}/" not in where:
            return 0, None
        try:
            with self._session.call(
                "GET", where, "looking for what was uploaded", {200, 204}
            ) as said:
                return _received(said), self._session.location(said)
        except (NotFound, Failed):
            return 0, None

    def _finish(self, repository: str, digest: str, where: str, what: str, data: bytes) -> None:
        url = f"{where}{'&' if '?' in where else '?'}digest={digest}"
        try:
            self._session.call("PUT", url, what, {201, 204}, {"Content-Type": BYTES}, data)
        except NotFound:
            # It was finished, and the answer lost; or somebody ended it.
            if not self._has_blob(repository, digest):
                raise CannotTell(
                    f"{what}: the upload is gone",
                    where=f"location {self._session.name}",
                    hint="type the command again",
                ) from None

    def _has_blob(self, repository: str, digest: str) -> bool:
        try:
            self._session.call(
                "HEAD", f"{repository}/blobs/{digest}", f"looking for {digest}", {200}
            )
        except NotFound:
            return False
        return True


def _received(said: requests.Response) -> int:
    """How many bytes of an upload have arrived: ``Range: 0-N`` names the last one."""
    end = int(said.headers.get("Range", "0-0").removeprefix("bytes=").partition("-")[2] or 0)
    return end + 1 if end else 0
