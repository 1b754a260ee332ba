"""Brings a disk into the bucket from which Compute Engine imports it.

Cloud Storage keeps an MD5 of what it has stored, and refuses what does not match the one it was
told before. That MD5 is computed in the same pass as the sha256 which the catalog knows, so an
object with that MD5 is the artifact.

An upload is made to be thrown away: beside whose it is, its metadata say for how long it is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from imagectl.adapters.locations.calls import Again, Calls
from imagectl.adapters.locations.gce_labels import claim_of, claiming, from_labels
from imagectl.adapters.locations.gce_project import Told
from imagectl.adapters.locations.google_account import Account, again, answer_of, translated
from imagectl.adapters.locations.google_upload import Sender
from imagectl.adapters.locations.source import check_and_hash
from imagectl.errors import Conflict, Corrupt
from imagectl.model.names import LocationName
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import Claim
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Moved

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

T = TypeVar("T")

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
        self._sender = Sender(name, settings, account, calls, state, patience)

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
        md5 = check_and_hash(source, artifact)
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
        begin = partial(self._begin, name, marks, artifact, md5)
        self._sender.send(name, artifact, source, moved, begin)
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
        self._sender.forget(name)

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

    def _begin(self, name: str, marks: Mapping[str, str], artifact: Artifact, md5: str) -> str:
        blob = self._bucket.blob(name)
        blob.metadata = dict(marks)
        blob.md5_hash = md5
        return str(
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


class _NotSeen(Exception):
    pass


def upload_name(catalog: str, image: str) -> str:
    """The object that the image of that name is imported from."""
    return f"{OURS}{catalog}/{image}.tar.gz"
