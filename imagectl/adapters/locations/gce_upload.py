"""Brings a disk into the bucket from which Compute Engine imports it.

The upload is one resumable session of Cloud Storage, whose address is kept between commands: what
was broken off goes on where it was, however the process ended. Nothing is held in memory.
Cloud Storage keeps an MD5 of what it has stored, and refuses what does not match the one it was
told before. That MD5 is computed in the same pass as the sha256 which the catalog knows, so an
object with that MD5 is the artifact.

An upload is made to be thrown away: beside whose it is, its metadata say for how long it is needed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import urlsplit

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.durable import write
from imagectl.adapters.locations.calls import Again, Calls, pause_before
from imagectl.adapters.locations.gce_labels import claim_of, claiming, from_labels
from imagectl.adapters.locations.gce_project import Told
from imagectl.adapters.locations.google_account import (
    Account,
    again,
    answer_of,
    meaning,
    passing,
    read_answer,
    translated,
)
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, Throttled
from imagectl.model.names import LocationName
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import Claim
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket
    from requests import Response, Session

T = TypeVar("T")

CHUNK = 1 << 20
CALL_SECONDS = 60.0


OURS = "imagectl/"
"""What the names of uploads begin with; a catalog's go on with its id."""
_FAILED = "imagectl-failed"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An object in the bucket. ``state`` changes whenever its bytes do, and with each ``touch``."""

    url: str
    state: str


class Uploads:
    """The bucket that the settings name. ``state`` is a private folder for sessions."""

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

    @cached_property
    def _bucket(self) -> Bucket:
        from google.api_core.client_options import ClientOptions
        from google.cloud.storage import Client

        client = Client(
            project=self._settings.project,
            credentials=self._account.credentials,
            client_options=ClientOptions(api_endpoint=self._settings.storage_endpoint),
        )
        return client.bucket(self._settings.bucket)

    @cached_property
    def _session(self) -> Session:
        """For the address of an upload, which needs no credentials: it is one."""
        from requests import Session

        return Session()

    def bring(
        self,
        name: str,
        marks: Mapping[str, str],
        artifact: Artifact,
        source: Path,
        moved: Moved,
    ) -> Uploaded:
        """The artifact as the object *name*, with those marks. One that is there already is not
        sent again. Raises Corrupt, Conflict, Told (404, 412: somebody else has just made it, or
        changed it)."""
        md5 = check_source(source, artifact)
        there = self.read(name)
        if there is not None:
            self._check_ours(there)
            if self._holds(there, artifact, md5):
                moved(artifact.size)
                self._mark(there, marks)
                return self._uploaded(there)
            self._remove(there)
        return self._uploaded(self.create(name, marks, artifact, md5, source, moved))

    def create(
        self,
        name: str,
        marks: Mapping[str, str],
        artifact: Artifact,
        md5: str,
        source: Path,
        moved: Moved,
    ) -> Blob:
        """The artifact, which has that MD5, as a new object. Raises Corrupt, and Told (412) where
        something has that name, which stays as it is."""
        self._send(name, marks, artifact, md5, source, moved)
        made = self._arrived(name)
        if not self._holds(made, artifact, md5):
            self._remove(made)
            raise Corrupt(
                "Cloud Storage has stored other bytes than were sent",
                where=f"location {self._name}: gs://{self._settings.bucket}/{name}",
                why=f"its MD5 is {made.md5_hash}, with {made.size} bytes; sent was {md5}, with "
                f"{artifact.size}",
                hint="it has been removed there; type the command again",
            )
        return made

    def touch(self, name: str) -> None:
        """Make the object's ``state`` another one, for a new request id: one that has failed would
        be answered with its failure again."""
        there = self.read(name)
        if there is not None:
            there.metadata = {**(there.metadata or {}), _FAILED: str(there.metageneration)}
            self._call(
                "writing to the upload", lambda: there.patch(timeout=CALL_SECONDS, retry=None)
            )

    def remove(self, name: str) -> None:
        """Delete the object *name* if it is ours; nothing where it is not there."""
        there = self.read(name)
        if there is not None:
            self._check_ours(there)
            self._remove(there)
        self._forget(name)

    def renew(self, name: str, claim: Claim) -> None:
        """Show the claim on the object *name* while it is what carries it. Nothing where it is not
        there yet, or any more."""
        there = self.read(name)
        said = None if there is None else claim_of(there.metadata or {}, name)
        if there is not None and said is not None and said.resource == claim.resource:
            self._mark(there, claiming(claim, name))

    def pages(self) -> Iterator[tuple[Blob, ...]]:
        """All uploads of all catalogs, page by page."""
        token: str | None = None
        while True:
            page, token = self._call("listing uploads", partial(self._page, token))
            yield page
            if token is None:
                return

    def _page(self, token: str | None) -> tuple[tuple[Blob, ...], str | None]:
        listing = self._bucket.list_blobs(
            prefix=OURS, page_token=token, page_size=1000, timeout=CALL_SECONDS, retry=None
        )
        # The iterator would fetch the pages after it by itself, without our limits.
        return tuple(next(listing.pages, ())), listing.next_page_token or None

    def read(self, name: str) -> Blob | None:
        """The object as it is now; None where it is not there."""
        return self._call(
            "reading the bucket",
            lambda: self._bucket.get_blob(name, timeout=CALL_SECONDS, retry=None),
        )

    def throw_away(self, blob: Blob) -> None:
        """Delete the object if it is as it was when it was read. Nothing where it is gone. Raises
        Told (412) where it has changed."""
        try:
            self._call(
                "deleting an upload",
                lambda: blob.delete(
                    if_generation_match=blob.generation,
                    if_metageneration_match=blob.metageneration,
                    timeout=CALL_SECONDS,
                    retry=None,
                ),
                told=(404, 412),
            )
        except Told as told:
            if told.answer.status == 412:
                raise

    def permitted(self, permissions: Sequence[str]) -> frozenset[str]:
        """Those of the permissions that we have on the bucket."""
        found: list[str] = self._call(
            "asking what we may do with the bucket",
            lambda: self._bucket.test_iam_permissions(
                list(permissions), timeout=CALL_SECONDS, retry=None
            ),
        )
        return frozenset(found)

    def _call(
        self,
        what: str,
        attempt: Callable[[], T],
        told: tuple[int, ...] = (),
        patient: Callable[[Exception], Again | None] = again,
    ) -> T:
        from google.api_core.exceptions import GoogleAPICallError

        with translated(what, self._name, self._account.identity):
            try:
                return self._calls.run(what, attempt, patient)
            except GoogleAPICallError as error:
                if error.code in told:
                    raise Told(answer_of(error)) from None
                raise

    def _arrived(self, name: str) -> Blob:
        """What has just been written: it may take a moment to be seen."""

        def seen() -> Blob:
            found = self._bucket.get_blob(name, timeout=CALL_SECONDS, retry=None)
            if found is None:
                raise _NotSeen
            return found

        def patient(error: Exception) -> Again | None:
            if isinstance(error, _NotSeen):
                return Again(None, False, "the object that was just uploaded is not to be seen")
            return again(error)

        return self._call("reading the upload", seen, patient=patient)

    def _holds(self, blob: Blob, artifact: Artifact, md5: str) -> bool:
        return (blob.md5_hash, blob.size) == (md5, artifact.size)

    def _check_ours(self, blob: Blob) -> None:
        if from_labels(blob.metadata or {}) is None:
            raise Conflict(
                "an object in the bucket has the name that an upload of ours would have",
                where=f"location {self._name}: gs://{self._settings.bucket}/{blob.name}",
                why="it does not carry imagectl's marks, so it is somebody else's",
                hint="move it away, or give this location another `bucket`",
            )

    def _mark(self, blob: Blob, marks: Mapping[str, str]) -> None:
        """Let the object say those too. Raises Told (404, 412) where it was changed meanwhile."""
        blob.metadata = {**(blob.metadata or {}), **marks}
        self._call(
            "writing to the upload",
            lambda: blob.patch(
                if_metageneration_match=blob.metageneration, timeout=CALL_SECONDS, retry=None
            ),
            told=(404, 412),
        )

    def _remove(self, blob: Blob) -> None:
        """Only those bytes that were looked at."""
        with contextlib.suppress(Told):
            self._call(
                "deleting the upload",
                lambda: blob.delete(
                    if_generation_match=blob.generation, timeout=CALL_SECONDS, retry=None
                ),
                told=(404, 412),
            )

    def _uploaded(self, blob: Blob) -> Uploaded:
        return Uploaded(
            f"https://storage.googleapis.com/{self._settings.bucket}/{blob.name}",
            f"{blob.generation}.{(blob.metadata or {}).get(_FAILED, '')}",
        )

    def _send(
        self,
        name: str,
        marks: Mapping[str, str],
        artifact: Artifact,
        md5: str,
        source: Path,
        moved: Moved,
    ) -> None:
        """Send all that is not there yet, until it is there or nothing has moved for as long as
        our patience lasts."""
        address = self._known(name, artifact)
        have = None if address is None else self._have(address, artifact.size)
        if address is None or have is None:  # after a week, such addresses are forgotten
            address, have = self._begin(name, marks, artifact, md5), 0
        last, stalls = self._clock.monotonic(), 0
        with source.open("rb") as data:
            while have is not None and have < artifact.size:
                before = have
                moved(have)
                broken = self._send_rest(address, name, data, have, artifact.size, moved)
                have = self._have(address, artifact.size)
                if have is None:
                    self._forget(name)
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
        self._forget(name)

    def _begin(self, name: str, marks: Mapping[str, str], artifact: Artifact, md5: str) -> str:
        blob = self._bucket.blob(name)
        blob.metadata = dict(marks)
        blob.md5_hash = md5
        address = str(
            self._call(
                "beginning an upload",
                lambda: blob.create_resumable_upload_session(
                    content_type="application/gzip",
                    size=artifact.size,
                    if_generation_match=0,
                    timeout=CALL_SECONDS,
                    retry=None,
                ),
                told=(412,),
            )
        )
        self._check_address(address)
        kept = {"address": address, "sha256": artifact.sha256}
        file = self._file(name)
        write(self._state, file, json.dumps(kept).encode(), 0o600)  # the address is a key
        return address

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

    def _forget(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

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
            self._forget(name)
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


class _NotSeen(Exception):
    pass


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


def check_source(source: Path, artifact: Artifact) -> str:
    """Hash the file. Returns its MD5 as Cloud Storage writes it; raises Corrupt where it is not the
    artifact."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with source.open("rb", buffering=0) as data:
        while piece := data.read(CHUNK):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    if (sha256.hexdigest(), size) != (artifact.sha256, artifact.size):
        raise Corrupt(
            f"{source.name} is not what was recorded",
            where=str(source),
            why=f"it has the sha256 {sha256.hexdigest()} and {size:,} bytes; recorded are "
            f"{artifact.sha256} and {artifact.size:,}",
            hint="`imagectl rebuild --verify` makes the same bytes again",
        )
    return base64.b64encode(md5.digest()).decode()
