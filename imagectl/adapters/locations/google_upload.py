"""Sends a file to Cloud Storage in one resumable session, and on where the last one broke off.

The session's address is kept between commands: what was broken off goes on where it was, however
the process ended. Nothing is held in memory.
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.durable import write
from imagectl.adapters.locations.calls import Again, Calls, pause_before
from imagectl.adapters.locations.gce_project import Told
from imagectl.adapters.locations.google_account import (
    Account,
    again,
    meaning,
    passing,
    read_answer,
)
from imagectl.errors import CannotTell, Corrupt, Failed, Throttled
from imagectl.model.names import LocationName
from imagectl.model.place import GceLocation as Settings
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    from requests import Response, Session

CALL_SECONDS = 60.0


class Sender:
    """To the bucket that the settings name. ``state`` is a private folder for addresses;
    ``patience``, in seconds: for how long nothing may move."""

    def __init__(
        self,
        name: LocationName,
        settings: Settings,
        account: Account,
        calls: Calls,
        state: Path,
        patience: float,
    ) -> None:
        self._name = name
        self._settings = settings
        self._account = account
        self._calls = calls
        self._state = state
        self._patience = patience
        self._clock = SystemClock()

    def send(
        self, name: str, artifact: Artifact, source: Path, moved: Moved, begin: Callable[[], str]
    ) -> None:
        """Send all that is not there yet, until it is there or nothing has moved for as long as
        our patience lasts. *begin* makes a session, and returns its address. Raises Told (412)
        where something has that name."""
        address = self._known(name, artifact)
        have = None if address is None else self._have(address, artifact.size)
        if address is None or have is None:  # after a week, such addresses are forgotten
            address, have = begin(), 0
            self._keep(address, name, artifact)
        last, stalls = self._clock.monotonic(), 0
        with source.open("rb") as data:
            while have is not None and have < artifact.size:
                before = have
                moved(have)
                broken = self._send_rest(address, name, data, have, artifact.size, moved)
                have = self._have(address, artifact.size)
                if have is None:
                    self.forget(name)
                    raise Failed(
                        "the upload has been forgotten by Cloud Storage",
                        where=f"location {self._name}: gs://{self._settings.bucket}/{name}",
                        hint="type the command again: it begins anew",
                    )
                if have > before:
                    last, stalls = self._clock.monotonic(), 0
                    continue
                stalls += 1
                pause = pause_before(stalls + 1, broken.after if broken else None)
                if self._clock.monotonic() - last + pause > self._patience:
                    kind = Throttled if broken is not None and broken.throttled else CannotTell
                    raise kind(
                        "the upload does not get on",
                        where=f"location {self._name}: gs://{self._settings.bucket}/{name}",
                        why=broken.why if broken else "no more bytes have been kept",
                        hint="type the command again: it goes on where it stopped",
                    )
                time.sleep(pause)
        moved(artifact.size)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Forget what is known of a session that was broken off."""
        self._file(name).unlink(missing_ok=True)

    @cached_property
    def _session(self) -> Session:
        """For the address of an upload, which needs no credentials: it is one."""
        from requests import Session

        return Session()

    def _keep(self, address: str, name: str, artifact: Artifact) -> None:
        self._check_address(address)
        kept = {"address": address, "sha256": artifact.sha256}
        file = self._file(name)
        write(self._state, file, json.dumps(kept).encode(), 0o600)  # the address is a key

    def _check_address(self, address: str) -> None:
        """With an endpoint of our own, no byte may go elsewhere."""
        endpoint = self._settings.storage_endpoint
        if endpoint is not None and urlsplit(address)[:2] != urlsplit(endpoint)[:2]:
            raise Failed(
                "the storage endpoint sends uploads elsewhere",
                where=f"location {self._name}: {endpoint}",
                why=f"it wants them at {urlsplit(address).netloc}",
                hint="let it name itself in its answers",
            )

    def _file(self, name: str) -> Path:
        place = f"{self._settings.storage_endpoint} {self._settings.bucket} {name}"
        return self._state / "uploads" / f"{hashlib.sha256(place.encode()).hexdigest()}.json"

    def _known(self, name: str, artifact: Artifact) -> str | None:
        """The address of a session that was broken off; None where there is none for the bytes."""
        try:
            kept = json.loads(self._file(name).read_bytes())
            if kept["sha256"] == artifact.sha256:
                self._check_address(address := str(kept["address"]))
                return address
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _have(self, address: str, size: int) -> int | None:
        """How many bytes have arrived for good; None where nobody knows the session any more
        (cloud.google.com/storage/docs/performing-resumable-uploads#status-check)."""

        def ask() -> int | None:
            answer = self._session.put(
                address,
                data=b"",
                headers={"Content-Range": f"bytes */{size}"},
                timeout=CALL_SECONDS,
                allow_redirects=False,
            )
            if answer.status_code == 308:
                held = answer.headers.get("Range", "")
                return int(held.rpartition("-")[2]) + 1 if held else 0
            if answer.status_code in (200, 201):
                return size
            if answer.status_code in (404, 410):
                return None
            raise _Refused(answer)

        return self._put("asking how far the upload is", ask)

    def _send_rest(
        self, address: str, name: str, data: BinaryIO, start: int, size: int, moved: Moved
    ) -> Again | None:
        """Send from *start* on. Returns why it was broken off; None where all may be there."""
        data.seek(start)

        def send() -> None:
            answer = self._session.put(
                address,
                data=Telling(data, size - start, lambda sent: moved(start + sent)),
                headers={"Content-Range": f"bytes {start}-{size - 1}/{size}"},
                timeout=CALL_SECONDS,
                allow_redirects=False,
            )
            if answer.status_code not in (200, 201, 308):
                raise _Refused(answer)

        broken: Again | None = None

        def never(error: Exception) -> None:
            nonlocal broken
            broken = patient(error)

        try:
            self._put("uploading", send, never)
        except _Broken:
            return broken
        except Told:
            self.forget(name)
            raise
        return None

    def _put(
        self,
        what: str,
        attempt: Callable[[], int | None] | Callable[[], None],
        retry: Callable[[Exception], Again | None] | None = None,
    ) -> int | None:
        """One exchange with a session. Where *retry* sees to it, what passes raises _Broken."""
        from requests.exceptions import RequestException

        try:
            return self._calls.run(what, attempt, retry or patient)
        except _Refused as refused:
            if retry is not None and passing(refused.answer):
                raise _Broken from None
            if refused.answer.status == 412:
                raise Told(refused.answer) from None
            if refused.answer.status == 400:
                raise Corrupt(
                    f"{what}: Cloud Storage does not take what was sent",
                    where=f"location {self._name}: bucket {self._settings.bucket}",
                    why=str(refused.answer),
                ) from None
            raise meaning(refused.answer, what, self._name, self._account.identity) from None
        except RequestException as error:
            if retry is not None and patient(error):
                raise _Broken from None
            raise


class _Broken(Exception):
    """What was being sent was broken off, and can go on."""


class _Refused(Exception):
    """An answer to an upload that is no success. Its address stays out of the message."""

    def __init__(self, response: Response) -> None:
        self.answer = read_answer(response.status_code, response.text, dict(response.headers))
        super().__init__(str(self.answer))


def patient(error: Exception) -> Again | None:
    """For ``Calls.run``: like ``google_account.again``, for our own requests."""
    return passing(error.answer) if isinstance(error, _Refused) else again(error)


class Telling:
    """The rest of a file as the body of a request, which tells how much of it has been read."""

    def __init__(self, data: BinaryIO, length: int, moved: Moved) -> None:
        self._data = data
        self._length = length
        self._moved = moved
        self._sent = 0

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """Larger pieces than http.client asks for would be read twice; it gets what it wants."""
        left = self._length - self._sent
        piece = self._data.read(left if size < 0 else min(size, left))
        self._sent += len(piece)
        self._moved(self._sent)
        return piece
