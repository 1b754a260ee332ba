"""Buckets of Google Cloud Storage, through google-cloud-storage.

What is created is created only where nothing has that name (``ifGenerationMatch=0``). Cloud Storage
checks each upload against an MD5 that is computed together with the sha256; an upload that breaks
off goes on where it was. An object's generation is its tag: its bytes never change.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagectl.adapters.locations.bucket import CALLS_PER_SECOND, BucketLocation, Page, Stored
from imagectl.adapters.locations.calls import calls_of
from imagectl.adapters.locations.gce_project import Told
from imagectl.adapters.locations.gce_upload import Uploads
from imagectl.adapters.locations.google_account import Account, again, log_in, translated
from imagectl.adapters.locations.source import check_and_hash
from imagectl.errors import Denial, Denied, NotFound
from imagectl.model.names import LocationName
from imagectl.model.place import GceLocation as UploadSettings
from imagectl.model.place import GcsLocation as Settings
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Credential, Moved

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

PIECE = 8 << 20
"""Bytes of one request while a large object is read. In memory meanwhile."""
CALL_SECONDS = 60.0

PERMISSIONS = (
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
)


class GcsLocation(BucketLocation):
    """``services.ports.Location`` on a bucket of Cloud Storage."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        objects = GcsObjects(name, settings, around)
        super().__init__(name, settings.bucket, settings.endpoint, objects, around)


@dataclass(frozen=True, slots=True)
class _Opened:
    account: Account
    bucket: Any  # google.cloud.storage.Bucket, which has no types
    uploads: Uploads


class GcsObjects:
    """``bucket.Objects`` through Cloud Storage's JSON API."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._prefix = f"{settings.bucket.prefix}/" if settings.bucket.prefix else ""
        self._around = around
        self._calls = calls_of(name, around, CALLS_PER_SECOND)
        self._opening = threading.Lock()
        self._opened: _Opened | None = None

    def list(self, prefix: str) -> Iterator[Page]:
        token: str | None = None
        while True:
            found, token = self._run("listing", partial(self._page, prefix, token))
            yield Page(found)
            if token is None:
                return

    def _page(self, prefix: str, token: str | None) -> tuple[tuple[Stored, ...], str | None]:
        listing = self._bucket().list_blobs(
            prefix=self._prefix + prefix,
            page_token=token,
            page_size=1000,
            timeout=CALL_SECONDS,
            retry=None,
        )
        page = next(listing.pages, ())
        found = tuple(
            Stored(
                each.name.removeprefix(self._prefix),
                each.size,
                str(each.generation),
                each.time_created,
            )
            for each in page
        )
        return found, listing.next_page_token or None

    def read(self, name: str) -> bytes | None:
        def attempt() -> bytes:
            data: bytes = self._blob(name).download_as_bytes(
                raw_download=True, timeout=CALL_SECONDS, retry=None
            )
            return data

        try:
            return self._run(f"reading {name}", attempt, told=(404,))
        except Told:
            self._look()  # it is the object that is not there, and not the bucket
            return None

    def stream(self, name: str) -> Iterator[bytes]:
        for page in self.list(name):
            for each in page.objects:
                if each.name == name:
                    yield from self._pieces(each)
                    return
        raise NotFound(f"{name} is not in {self._settings.bucket}")

    def _pieces(self, stored: Stored) -> Iterator[bytes]:
        def attempt(start: int) -> bytes:
            data: bytes = self._blob(stored.name).download_as_bytes(
                start=start,
                end=min(start + PIECE, stored.size) - 1,
                if_generation_match=int(stored.tag),
                raw_download=True,
                checksum=None,  # of the whole object; whoever reads all of it hashes
                timeout=CALL_SECONDS,
                retry=None,
            )
            return data

        for start in range(0, stored.size, PIECE):
            what = f"reading {stored.name} at byte {start:,}"
            try:
                yield self._run(what, partial(attempt, start), told=(404, 412))
            except Told as told:
                raise NotFound(
                    f"{stored.name} was removed from {self._settings.bucket} while it was read",
                    why=str(told),
                ) from None

    def write(self, name: str, data: bytes) -> None:
        self._run(
            f"writing {name}",
            lambda: self._blob(name).upload_from_string(
                data, content_type="application/json", timeout=CALL_SECONDS, retry=None
            ),
        )

    def hashed(self, source: Path, artifact: Artifact) -> str:
        return check_and_hash(source, artifact)

    def upload(
        self, name: str, source: Path, artifact: Artifact, hashed: str, moved: Moved
    ) -> None:
        marks = {"imagectl-sha256": artifact.sha256}
        # Told: somebody else has just made it; what, is found out by reading it.
        with contextlib.suppress(Told):
            self._open().uploads.create(self._prefix + name, marks, artifact, hashed, source, moved)

    def delete(self, name: str) -> None:
        try:
            self._run(
                f"deleting {name}",
                lambda: self._blob(name).delete(timeout=CALL_SECONDS, retry=None),
                told=(404,),
            )
        except Told:
            self._look()

    def probe(self) -> Credential:
        opened = self._open()
        missing = sorted(set(PERMISSIONS) - opened.uploads.permitted(PERMISSIONS))
        if missing:
            raise Denied(
                f"{opened.account.identity} may not do all that is needed in "
                f"{self._settings.bucket}",
                denial=Denial.TOO_NARROW,
                where=f"location {self._name}",
                why=f"without {', '.join(missing)}",
                hint="docs/how-to/buckets.md says which role has them",
            )
        self._look()
        return Credential(opened.account.identity, self._settings.credential_expires)

    def _look(self) -> None:
        """Raises what a bucket raises that is not there, or not to be read."""
        for _ in self.list("owners/nothing"):
            return

    def _bucket(self) -> Any:
        return self._open().bucket

    def _blob(self, name: str) -> Any:
        return self._bucket().blob(self._prefix + name)

    def _run(self, what: str, attempt: Callable[[], T], told: tuple[int, ...] = ()) -> T:
        from google.api_core.exceptions import GoogleAPICallError

        from imagectl.adapters.locations.google_account import answer_of

        what = f"{what} in {self._settings.bucket}"
        with translated(what, self._name, self._open().account.identity):
            try:
                return self._calls.run(what, attempt, again)
            except GoogleAPICallError as error:
                if error.code in told:
                    raise Told(answer_of(error)) from None
                raise

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened

    def _connect(self) -> _Opened:
        from google.api_core.client_options import ClientOptions
        from google.cloud.storage import Client

        settings, name = self._settings, self._name
        account = log_in(
            name, settings.credentials, self._around, private=settings.endpoint is not None
        )
        client = Client(
            project="-",  # of none: only the bucket is asked
            credentials=account.credentials,
            client_options=ClientOptions(api_endpoint=settings.endpoint),
        )
        uploads = Uploads(
            name,
            UploadSettings(
                project="-", bucket=settings.bucket.name, storage_endpoint=settings.endpoint
            ),
            account,
            self._calls,
            self._around.state,
            self._around.patience,
        )
        return _Opened(account, client.bucket(settings.bucket.name), uploads)
