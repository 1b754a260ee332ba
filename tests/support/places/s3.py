"""A bucket that speaks S3: moto's server, behind a proxy that makes it fail."""

from __future__ import annotations

import functools
import http.client
import itertools
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from peers.faults import (
    Action,
    FaultProxy,
    Request,
    Response,
    answer,
    change_body,
    change_response,
    lose_response,
)

from imagectl.adapters.locations.owners import Record, record_of
from imagectl.adapters.locations.s3 import S3Location
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.place import Bucket
from imagectl.model.place import S3Location as Settings
from imagectl.model.version import Artifact, Placement
from support.buckets import make_bucket, s3_server
from support.examples import digest
from support.places import surroundings
from support.places.place import LOCAL, Fault, filling, some_artifact
from support.places.session import for_session

_NUMBERS = itertools.count()


@contextmanager
def moto() -> Iterator[FaultProxy]:
    """One server for all tests; each has a bucket of its own."""
    with s3_server() as endpoint:
        where = urllib.parse.urlsplit(endpoint)
        assert where.hostname is not None
        assert where.port is not None
        with FaultProxy((where.hostname, where.port)).running() as proxy:
            yield proxy


def said(status: int, code: str) -> Action:
    """An error in S3's form."""
    body = f"<Error><Code>{code}</Code><Message>a fault of the test</Message></Error>"
    return answer(status, body.encode(), Content_Type="application/xml")


@functools.cache
def _client(endpoint: str) -> Any:
    import botocore.session

    return botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


class InBucket:
    """Implements ``support.places.Place``."""

    def __init__(self, proxy: FaultProxy, folder: Path) -> None:
        self.proxy = proxy
        self.folder = folder
        self.bucket = f"images-{next(_NUMBERS)}"
        self.upstream = f"http://{proxy.upstream[0]}:{proxy.upstream[1]}"
        make_bucket(self.upstream, self.bucket)
        (folder / "key").write_text("AKIAEXAMPLE")
        (folder / "secret").write_text("not-to-be-shown")
        self.settings = Settings(
            Bucket("s3", self.bucket, "disks"),
            endpoint=proxy.endpoint,
            region="us-east-1",
            access_key=SecretRef(SecretKind.FILE, "key"),
            secret_key=SecretRef(SecretKind.FILE, "secret"),
        )
        self.location = self.reopened()

    def reopened(self, **changed: Any) -> S3Location:
        around = surroundings(self.folder, patience=1.5)
        return S3Location(LOCAL, replace(self.settings, **changed), around)

    def client(self) -> Any:
        """The server itself, with nothing in between."""
        return _client(self.upstream)

    def key(self, url: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": url.removeprefix(f"s3://{self.bucket}/")}

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        return some_artifact(folder, seed)

    def lose(self, placement: Placement) -> None:
        self.client().delete_object(**self.key(placement.provider_id))

    def damage(self, placement: Placement) -> None:
        data = b"?" * placement.size
        self.client().put_object(**self.key(placement.provider_id), Body=data)

    def unreadable(self) -> AbstractContextManager[None]:
        return self.proxy.rule(self.mine, said(503, "ServiceUnavailable"))

    def mine(self, request: Request) -> bool:
        return f"/{self.bucket}" in request.path

    def foreign(self, name: str) -> Callable[[], object]:
        client, key = self.client(), self.key(name)
        client.put_object(**key, Body=b"somebody else's", Metadata={"owner": "somebody"})

        def state() -> object:
            found = client.get_object(**key)
            return found["Body"].read(), found["Metadata"], found["LastModified"], found["ETag"]

        return state

    def fill(self, count: int) -> str | None:
        if count > 501:
            return "moto takes seconds for each thousand objects"
        connection = http.client.HTTPConnection(*self.proxy.upstream)
        for number in range(count):
            owner = filling(number, digest(f"{number}"))
            for name, data in (
                (f"sha256/{owner.sha256[:2]}/{owner.sha256}", b"."),
                (record_of(owner), Record(owner, False).text()),
            ):
                connection.request("PUT", f"/{self.bucket}/disks/{name}", data)
                answered = connection.getresponse()
                answered.read()
                assert answered.status == 200
        connection.close()
        return None

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        rule = self.proxy.rule
        match fault:
            case Fault.QUOTA:
                return rule(self._writes, said(403, "QuotaExceeded"))
            case Fault.UNAVAILABLE_PAGE_2:
                return rule(
                    lambda r: self.mine(r) and "continuation-token" in r.path,
                    said(503, "SlowDown"),
                )
            case Fault.UNAVAILABLE_ONCE:
                return rule(self.mine, said(503, "SlowDown"), times=1)
            case Fault.UNAVAILABLE_ALWAYS:
                return rule(self.mine, said(503, "ServiceUnavailable"))
            case Fault.PRECONDITION:
                return rule(self._uploads, said(412, "PreconditionFailed"), times=1)
            case Fault.LOST_RESPONSE:
                return rule(self._uploads, lose_response, times=1)
            case Fault.STALE_READ:
                empty = re.compile(rb"<Contents>.*</Contents>", re.DOTALL)
                return self._after_upload(
                    change_response(lambda r: changed(r, body=empty.sub(b"", r.body)))
                )
            case Fault.BROKEN_UPLOAD:
                return self.proxy.breaking_upload(0.7)
            case Fault.WRONG_DIGEST:
                return rule(self._uploads, change_body(lambda data: data[:-1] + b"?"))
            case Fault.CONTAINER_GONE:
                return rule(self.mine, said(404, "NoSuchBucket"))
            case Fault.CLOCK_SKEW:
                return rule(self.mine, change_response(two_hours_ahead))
            case Fault.CREDENTIAL_MISSING:
                return self._without_key()
            case Fault.CREDENTIAL_WRONG:
                return rule(self.mine, said(403, "SignatureDoesNotMatch"))
            case Fault.CREDENTIAL_EXPIRED:
                return rule(self.mine, said(400, "ExpiredToken"))
            case Fault.CREDENTIAL_NARROW:
                return rule(lambda r: self.mine(r) and r.method != "GET", said(403, "AccessDenied"))
            case Fault.FAILED_OPERATION | Fault.SESSION_ENDED | Fault.PART_UNREACHABLE:
                return "S3 has no operations, no sessions and no parts"

    def _writes(self, request: Request) -> bool:
        return self.mine(request) and request.method in ("PUT", "POST")

    def _uploads(self, request: Request) -> bool:
        return self._writes(request) and "/sha256/" in request.path

    @contextmanager
    def _after_upload(self, action: Action) -> Iterator[None]:
        """That happens to the first listing after the file was put."""
        put = False

        def matches(request: Request) -> bool:
            nonlocal put
            put = put or self._uploads(request)
            return put and self.mine(request) and "list-type" in request.path

        with self.proxy.rule(matches, action, times=1):
            yield

    @contextmanager
    def _without_key(self) -> Iterator[None]:
        with ExitStack() as stack:
            before = self.location
            stack.callback(lambda: setattr(self, "location", before))
            (self.folder / "secret").rename(self.folder / "away")
            stack.callback(lambda: (self.folder / "away").rename(self.folder / "secret"))
            self.location = self.reopened()
            yield

    def requests(self) -> int:
        return self.proxy.requests


def changed(response: Response, body: bytes) -> Response:
    headers = {k: v for k, v in response.headers.items() if k.lower() != "content-length"}
    return Response(response.status, headers, body)


def two_hours_ahead(response: Response) -> Response:
    def later(value: str) -> str:
        return format_datetime(parsedate_to_datetime(value) + timedelta(hours=2), usegmt=True)

    dates = {"date", "last-modified"}
    headers = {k: later(v) if k.lower() in dates else v for k, v in response.headers.items()}
    return Response(response.status, headers, response.body)


def opened(request: pytest.FixtureRequest, folder: Path) -> InBucket:
    return InBucket(for_session(request, moto), folder)
