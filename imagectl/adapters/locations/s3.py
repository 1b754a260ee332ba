"""Buckets that speak S3: Amazon's, MinIO, Ceph and others, through botocore.

What is created is created only where nothing has that name (``If-None-Match``). Uploads are signed
with the digest of what they carry, so that the store refuses what was broken on the way; large ones
go in parts, and on with those that are there already, one process at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagectl.adapters.durable import make_folder, naming_failures, write
from imagectl.adapters.locations.bucket import BucketLocation, Page, Stored, calls_of
from imagectl.adapters.locations.calls import Again
from imagectl.adapters.locations.source import check_source
from imagectl.errors import CannotTell, Denial, Denied, Failed, ImagectlError, NoSpace, NotFound
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import Ambient
from imagectl.model.place import S3Location as Settings
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Credential, Moved

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

T = TypeVar("T")

PART = 16 << 20
"""Bytes of one part of an upload, and of the largest file that goes whole. In memory meanwhile."""
MOST_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
CHUNK = 1 << 20
WAIT = 0.5
"""Seconds between two looks whether another process is done with the same upload."""

_MISSING = {"NoSuchKey", "404"}
_PATIENCE = {
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
}
_PASSING = {
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
}
_WRONG = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidSecurity",
    "AuthorizationHeaderMalformed",
    "401",
}
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired", "RequestExpired"}
_FULL = {
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "InsufficientCapacity",
    "507",
}
# The codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the quotas are
# Ceph's and MinIO's.


class S3Location(BucketLocation):
    """``services.ports.Location`` on a bucket that speaks S3."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        objects = S3Objects(name, settings, around)
        super().__init__(name, settings.bucket, settings.endpoint, objects, around)


class S3Objects:
    """``bucket.Objects`` through S3's API."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._bucket = settings.bucket.name
        self._prefix = f"{settings.bucket.prefix}/" if settings.bucket.prefix else ""
        self._around = around
        self._calls = calls_of(name, around)
        self._opening = threading.Lock()
        self._opened: Any = None  # botocore makes its clients' classes while it runs
        self._identity = "nobody"

    def list(self, prefix: str) -> Iterator[Page]:
        more: dict[str, str] = {}
        while True:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **more}
            said = self._call("list_objects_v2", "listing", asked)
            found = tuple(
                Stored(
                    each["Key"].removeprefix(self._prefix),
                    each["Size"],
                    each["ETag"],
                    each["LastModified"].astimezone(UTC),
                )
                for each in said.get("Contents", ())
            )
            token = said.get("NextContinuationToken")
            doubt = ""
            if said.get("KeyCount", len(found)) != len(found):
                doubt = f"a page has {len(found)} names, and says {said['KeyCount']}"
            elif said.get("IsTruncated") and not token:
                doubt = "a page says that there are more, but not where"
            yield Page(found, doubt)
            if not token:
                return
            more = {"ContinuationToken": token}

    def read(self, name: str) -> bytes | None:
        def attempt() -> bytes:
            with contextlib.closing(self._opened.get_object(**self._key(name))["Body"]) as body:
                data: bytes = body.read()
                return data

        try:
            return self._run(f"reading {name}", attempt)
        except NotFound:
            return None

    def stream(self, name: str) -> Iterator[bytes]:
        """A connection that breaks is taken up at the byte where it broke, of the same object."""
        at, tag, size = 0, "", None

        def attempt() -> Any:
            wanted = {"Range": f"bytes={at}-", "IfMatch": tag} if at else {}
            return self._opened.get_object(**self._key(name), **wanted)

        while size is None or at < size:
            said = self._run(f"reading {name}", attempt)
            if size is None:
                size, tag = said["ContentLength"], said["ETag"]
            before = at
            with contextlib.closing(said["Body"]) as body, contextlib.suppress(*_broken_streams()):
                for data in body.iter_chunks(CHUNK):
                    at += len(data)
                    yield data
            if at == before and at < size:
                raise CannotTell(
                    f"{name} could not be read to its end",
                    where=f"location {self._name}",
                    why=f"the connection broke at byte {at:,} of {size:,}, twice",
                )

    def write(self, name: str, data: bytes) -> None:
        self._call("put_object", f"writing {name}", {**self._key(name), "Body": data})

    def hashed(self, source: Path, artifact: Artifact) -> str:
        check_source(source, artifact)
        return ""

    def upload(
        self, name: str, source: Path, artifact: Artifact, hashed: str, moved: Moved
    ) -> None:
        if artifact.size > PART:
            self._upload_parts(name, source, artifact, moved)
            return
        given = {**self._key(name), "Body": source.read_bytes(), "IfNoneMatch": "*"}
        with contextlib.suppress(_There):
            self._call("put_object", f"uploading {source.name}", given)

    def _upload_parts(self, name: str, source: Path, artifact: Artifact, moved: Moved) -> None:
        note = self._around.state / "uploads" / f"{self._name}-{artifact.sha256}.json"
        with _alone(note.with_suffix(".lock"), moved):
            why = ""
            for _ in range(2):
                if self._is_there(name):  # another process has made it meanwhile
                    return
                try:
                    self._send_parts(name, source, artifact, note, moved)
                    return
                except _UploadGone as error:
                    why = error.why
                    note.unlink(missing_ok=True)
            if not self._is_there(name):
                raise CannotTell(
                    f"uploading {source.name} did not work",
                    where=f"location {self._name}",
                    why=f"the store has given the upload up, twice: {why}",
                    hint="type the command again later",
                )

    def _is_there(self, name: str) -> bool:
        return any(each.name == name for page in self.list(name) for each in page.objects)

    def _send_parts(
        self, name: str, source: Path, artifact: Artifact, note: Path, moved: Moved
    ) -> None:
        """Raises _UploadGone where it was given up, or was completed and the answer lost."""
        what = f"uploading {source.name}"
        part = max(PART, -(-artifact.size // MOST_PARTS))
        upload, done = self._resumed(name, note, part)
        if upload is None:
            upload = self._call("create_multipart_upload", what, self._key(name))["UploadId"]
            make_folder(note.parent)
            write(note.parent, note, json.dumps({"upload": upload, "part": part}).encode(), 0o600)
        parts = []
        with source.open("rb") as file:
            for number in range(1, -(-artifact.size // part) + 1):
                data = file.read(part)
                tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
                if done.get(number) != tag:
                    given = {**self._key(name), "UploadId": upload, "PartNumber": number}
                    said = self._call("upload_part", what, {**given, "Body": data})
                    tag = said["ETag"]
                parts.append({"PartNumber": number, "ETag": tag})
                moved(min(number * part, artifact.size))
        try:
            given = {**self._key(name), "UploadId": upload, "MultipartUpload": {"Parts": parts}}
            self._call("complete_multipart_upload", what, {**given, "IfNoneMatch": "*"})
        except _There:
            given = {**self._key(name), "UploadId": upload}
            with contextlib.suppress(NotFound):
                self._call("abort_multipart_upload", what, given)
        note.unlink(missing_ok=True)

    def _resumed(self, name: str, note: Path, part: int) -> tuple[str | None, dict[int, str]]:
        """The upload that was broken off, and the tags of its parts that are there."""
        try:
            noted = json.loads(note.read_bytes())
            upload, same = str(noted["upload"]), noted["part"] == part
        except (OSError, ValueError, KeyError, TypeError):
            return None, {}
        given: dict[str, Any] = {**self._key(name), "UploadId": upload}
        done: dict[int, str] = {}
        try:
            while same:
                said = self._call("list_parts", "looking for what was uploaded", given)
                done |= {each["PartNumber"]: each["ETag"] for each in said.get("Parts", ())}
                if not said.get("IsTruncated"):
                    return upload, done
                given["PartNumberMarker"] = said["NextPartNumberMarker"]
            self._call("abort_multipart_upload", "starting an upload anew", given)
        except NotFound:
            pass  # completed or given up meanwhile
        return None, {}

    def delete(self, name: str) -> None:
        self._call("delete_object", f"deleting {name}", self._key(name))

    def probe(self) -> Credential:
        for _ in self.list("owners/probe"):
            break
        # What may be begun and given up may be uploaded; what is not there may be deleted.
        given = self._key("owners/probe")
        upload = self._call("create_multipart_upload", "beginning an upload", given)["UploadId"]
        self._call("abort_multipart_upload", "giving it up", {**given, "UploadId": upload})
        self.delete("owners/probe")
        return Credential(self._identity, self._settings.credential_expires)

    def _key(self, name: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _call(self, method: str, what: str, given: dict[str, Any]) -> Any:
        return self._run(what, lambda: getattr(self._opened, method)(**given))

    def _run(self, what: str, attempt: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        what = f"{what} in {self._settings.bucket}"
        self._open()
        try:
            return self._calls.run(what, attempt, again)
        except ClientError as error:
            raise self._meaning(what, error) from None
        except BotoCoreError as error:
            raise self._denied_or_failed(what, error) from None

    def _open(self) -> None:
        with self._opening:
            if self._opened is None:
                self._opened = self._client()
                weakref.finalize(self, self._opened.close)

    def _client(self) -> Any:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        settings = self._settings
        anonymous = settings.access_key is None and settings.credentials is Ambient.ANONYMOUS
        session = botocore.session.get_session()
        session.register_component("data_loader", _loader())
        key: dict[str, str] = {}
        if settings.access_key is not None and settings.secret_key is not None:
            key = {
                "aws_access_key_id": self._secret(settings.access_key),
                "aws_secret_access_key": self._secret(settings.secret_key),
            }
            self._identity = _shown(key["aws_access_key_id"])
        elif anonymous:
            self._identity = "anonymous"
        elif (found := session.get_credentials()) is not None:
            self._identity = _shown(found.access_key)
        return session.create_client(
            "s3",
            region_name=settings.region or session.get_config_variable("region") or "us-east-1",
            endpoint_url=settings.endpoint,
            config=Config(
                signature_version=UNSIGNED if anonymous else "s3v4",
                s3={
                    "addressing_style": "path" if settings.endpoint else "auto",
                    "payload_signing_enabled": True,
                },
                # Tried again by Calls, which counts, limits, and knows the deadline.
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=10,
                read_timeout=60,
            ),
            **key,
        )

    def _secret(self, ref: SecretRef) -> str:
        try:
            return self._around.secret(ref)
        except NotFound as error:
            raise Denied(
                f"there is no key for {self._settings.bucket}",
                denial=Denial.MISSING,
                where=f"location {self._name}: {ref}",
                why=error.why or error.what,
                hint=error.hint,
            ) from None

    def _denied(self, what: str, denial: Denial, why: str) -> Denied:
        words = {
            Denial.MISSING: (
                "no credentials were found",
                "`access_key` and `secret_key` in "
                "imagectl.yaml name them, or the environment AWS_ACCESS_KEY_ID",
            ),
            Denial.WRONG: (f"{self._identity} is not accepted", "check both halves of the key"),
            Denial.EXPIRED: (f"the session of {self._identity} has expired", "log in again"),
            Denial.TOO_NARROW: (
                f"{self._identity} may not do that",
                "docs/how-to/buckets.md lists what it must be allowed",
            ),
        }
        said, hint = words[denial]
        return Denied(
            f"{what}: {said}", denial=denial, where=f"location {self._name}", why=why, hint=hint
        )

    def _denied_or_failed(self, what: str, error: Exception) -> ImagectlError:
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError

        if isinstance(error, NoCredentialsError):
            return self._denied(what, Denial.MISSING, str(error))
        if isinstance(error, PartialCredentialsError):
            return self._denied(what, Denial.WRONG, str(error))
        return CannotTell(f"{what} did not work", where=f"location {self._name}", why=_line(error))

    def _meaning(self, what: str, error: Any) -> ImagectlError:
        code, status, why = _code(error), _status(error), _line(error)
        where = f"location {self._name}"
        if code in {"PreconditionFailed", "412"}:
            return _There(f"{what}: there is something of that name", where=where, why=why)
        if code in _FULL:
            return NoSpace(
                f"{what}: no space left",
                where=where,
                why=why,
                hint="make room, or raise the quota, and type the command again",
            )
        if code == "NoSuchUpload":
            return _UploadGone(f"{what}: the upload is not there", where=where, why=why)
        if code in _MISSING:
            return NotFound(f"{what}: it is not there", where=where, why=why)
        if status == 404:
            return CannotTell(
                f"{what}: the bucket is not there",
                where=where,
                why=why,
                hint="`url` and `endpoint` in imagectl.yaml say what is meant",
            )
        if code == "RequestTimeTooSkewed":
            return CannotTell(
                f"{what}: its clock and ours differ by too much",
                where=where,
                why=why,
                hint="`timedatectl` shows whether this machine's is right",
            )
        if code in _EXPIRED:
            return self._denied(what, Denial.EXPIRED, why)
        if code in _WRONG or status == 401:
            return self._denied(what, Denial.WRONG, why)
        if status == 403:
            nobody = self._identity == "anonymous"
            return self._denied(what, Denial.MISSING if nobody else Denial.TOO_NARROW, why)
        return Failed(f"{what} did not work", where=where, why=why)


class _There(CannotTell):
    """Something has the name already; what, is found out by reading it."""


class _UploadGone(NotFound):
    """An upload in parts that has ended, one way or the other."""


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


@functools.cache
def _loader() -> Any:
    """S3's description, which botocore reads for seconds: once for all locations."""
    from botocore.loaders import create_loader

    return create_loader()


def again(error: Exception) -> Again | None:
    """For ``Calls.run``: answers that pass, and connections that break or are not made. A
    certificate that is not accepted stays so."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, SSLError

    if isinstance(error, ClientError):
        code, status = _code(error), _status(error)
        if code in _PATIENCE or status == 429:
            return Again(_after(error), True, _line(error))
        if code in _PASSING or (status >= 500 and code not in _FULL and status != 501):
            return Again(_after(error), _after(error) is not None, _line(error))
        return None
    if isinstance(error, SSLError):
        return None
    if isinstance(error, (ConnectionError, HTTPClientError, *_broken_streams())):
        return Again(None, False, f"the connection failed ({type(error).__name__})")
    return None


def _broken_streams() -> tuple[type[Exception], ...]:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError
    from urllib3.exceptions import HTTPError

    return (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, HTTPError)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _after(error: Any) -> float | None:
    said = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(said) if said.isdigit() else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _shown(access_key: str) -> str:
    """Enough of an access key's id to know it again."""
    return f"access key ...{access_key[-4:]}"
