"""Buckets that speak S3: Amazon's, MinIO, Ceph and others, through botocore.

What is created is created only where nothing has that name (``If-None-Match``). Uploads are signed
with the digest of what they carry, so that the store refuses what was broken on the way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.locations.bucket import BucketLocation, Page, Stored
from imagectl.adapters.locations.s3_answers import broken_streams
from imagectl.adapters.locations.s3_client import Client
from imagectl.adapters.locations.s3_upload import Uploads
from imagectl.adapters.locations.source import check_source
from imagectl.errors import CannotTell, NotFound
from imagectl.model.names import LocationName
from imagectl.model.place import S3Location as Settings
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Credential, Moved

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

CHUNK = 1 << 20


class S3Location(BucketLocation):
    """``services.ports.Location`` on a bucket that speaks S3."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        objects = S3Objects(name, settings, around)
        super().__init__(name, settings.bucket, settings.endpoint, objects, around)


class S3Objects:
    """``bucket.Objects`` through S3's API."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._bucket = settings.bucket.name
        self._prefix = f"{settings.bucket.prefix}/" if settings.bucket.prefix else ""
        self._expires = settings.credential_expires
        self._client = Client(name, settings, around)
        self._uploads = Uploads(self._client, around.state)

    def list(self, prefix: str) -> Iterator[Page]:
        more: dict[str, str] = {}
        while True:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **more}
            said = self._client.call("list_objects_v2", "listing", asked)
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
            said = self._client.ask("get_object", self._client.key(name))
            with contextlib.closing(said["Body"]) as body:
                data: bytes = body.read()
                return data

        try:
            return self._client.run(f"reading {name}", attempt)
        except NotFound:
            return None

    def stream(self, name: str) -> Iterator[bytes]:
        """A connection that breaks is taken up at the byte where it broke, of the same object."""
        at, tag, size = 0, "", None

        def attempt() -> Any:
            wanted = {"Range": f"bytes={at}-", "IfMatch": tag} if at else {}
            return self._client.ask("get_object", {**self._client.key(name), **wanted})

        while size is None or at < size:
            said = self._client.run(f"reading {name}", attempt)
            if size is None:
                size, tag = said["ContentLength"], said["ETag"]
            before = at
            with contextlib.closing(said["Body"]) as body, contextlib.suppress(*broken_streams()):
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
        self._client.call("put_object", f"writing {name}", {**self._client.key(name), "Body": data})

    def hashed(self, source: Path, artifact: Artifact) -> str:
        check_source(source, artifact)
        return ""

    def upload(
        self, name: str, source: Path, artifact: Artifact, hashed: str, moved: Moved
    ) -> None:
        self._uploads.upload(name, source, artifact, moved, self._is_there)

    def delete(self, name: str) -> None:
        self._client.call("delete_object", f"deleting {name}", self._client.key(name))

    def probe(self) -> Credential:
        for _ in self.list("owners/probe"):
            break
        # What may be begun and given up may be uploaded; what is not there may be deleted.
        given = self._client.key("owners/probe")
        begun = self._client.call("create_multipart_upload", "beginning an upload", given)
        given["UploadId"] = begun["UploadId"]
        self._client.call("abort_multipart_upload", "giving it up", given)
        self.delete("owners/probe")
        return Credential(self._client.identity, self._expires)

    def _is_there(self, name: str) -> bool:
        return any(each.name == name for page in self.list(name) for each in page.objects)
