"""A registry: Debian's docker-registry, behind a proxy that makes it fail."""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers.faults import (
    Action,
    FaultProxy,
    Request,
    answer,
    change_body,
    lose_response,
)
from peers.registry import PASSWORD, USER, DockerRegistry, docker_registry

from imagectl.adapters.locations.oci import DISK, OciLocation
from imagectl.adapters.locations.oci_registry import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST
from imagectl.adapters.locations.oci_upload import BYTES
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.place import OciLocation as Settings
from imagectl.model.version import Artifact, Placement
from support.examples import digest
from support.places import surroundings
from support.places.place import CATALOG_ID, LOCAL, Fault, filling, some_artifact
from support.places.s3 import two_hours_ahead
from support.places.session import for_session

_NUMBERS = itertools.count()
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextmanager
def registry() -> Iterator[tuple[DockerRegistry, FaultProxy]]:
    """One for all tests; each has a path of its own in it."""
    with docker_registry() as server, FaultProxy(server.address).running() as proxy:
        yield server, proxy


def said(status: int, code: str) -> Action:
    """An error in a registry's form."""
    body = json.dumps({"errors": [{"code": code, "message": "a fault of the test"}]})
    return answer(status, body.encode(), Content_Type="application/json")


class InRegistry:
    """Implements ``support.places.Place``."""

    def __init__(self, server: DockerRegistry, proxy: FaultProxy, folder: Path) -> None:
        self.server = server
        self.proxy = proxy
        self.folder = folder
        self.number = next(_NUMBERS)
        self.prefix = f"images-{self.number}"
        (folder / "user").write_text(USER)
        (folder / "password").write_text(PASSWORD)
        self.url = f"{proxy.address}/{self.prefix}"
        self.location = self.reopened(SecretRef(SecretKind.FILE, "password"))

    def reopened(self, password: SecretRef | None, catalog: str = CATALOG_ID) -> OciLocation:
        user = SecretRef(SecretKind.FILE, "user") if password else None
        settings = Settings(self.url, insecure=True, username=user, password=password)
        return OciLocation(
            LOCAL, settings, surroundings(self.folder, catalog=catalog, patience=1.5)
        )

    def ask(
        self, method: str, path: str, data: bytes = b"", kind: str = MANIFEST
    ) -> tuple[int, dict[str, str], bytes]:
        """The server itself, with nothing in between."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=30)
        headers = {
            "Authorization": f"Basic {LOGIN}",
            "Accept": f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}",
            "Content-Type": kind,
        }
        connection.request(method, path, data, headers)
        found = connection.getresponse()
        back = found.status, dict(found.getheaders()), found.read()
        connection.close()
        return back

    def push(self, repository: str, tag: str, document: dict[str, Any]) -> None:
        config = b"{}"
        digest_of = self._push_blob(repository, config)
        whole = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": DISK,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": digest_of,
                "size": len(config),
            },
            "layers": [],
            **document,
        }
        data = json.dumps(whole).encode()
        status, _, body = self.ask("PUT", f"/v2/{repository}/manifests/{tag}", data)
        assert status == 201, body

    def push_docker_list(self, repository: str, tag: str) -> None:
        """What ``docker manifest push`` makes: an image of arm64 in a list of Docker's own type."""
        config = b'{"architecture": "arm64", "os": "linux"}'
        image = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": self._push_blob(repository, config),
                "size": len(config),
            },
            "layers": [],
        }
        data = json.dumps(image).encode()
        digest_of = f"sha256:{hashlib.sha256(data).hexdigest()}"
        entry = {
            "mediaType": DOCKER_MANIFEST,
            "digest": digest_of,
            "size": len(data),
            "platform": {"architecture": "arm64", "os": "linux"},
        }
        whole = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry]}
        for reference, body, kind in (
            (digest_of, data, DOCKER_MANIFEST),
            (tag, json.dumps(whole).encode(), DOCKER_LIST),
        ):
            path = f"/v2/{repository}/manifests/{reference}"
            status, _, answered = self.ask("PUT", path, body, kind)
            assert status == 201, answered

    def _push_blob(self, repository: str, data: bytes) -> str:
        digest_of = f"sha256:{hashlib.sha256(data).hexdigest()}"
        _, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        where = headers["Location"].removeprefix(
            f"http://{':'.join(map(str, self.server.address))}"
        )
        self.ask("PUT", f"{where}&digest={digest_of}", data, BYTES)
        return digest_of

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        # Repositories share what they hold: a disk that another test has damaged must not be ours.
        return some_artifact(folder, seed + 100 * self.number)

    def lose(self, placement: Placement) -> None:
        repository, _, digest_of = placement.provider_id.partition("/")[2].partition("@")
        status, _, body = self.ask("DELETE", f"/v2/{repository}/manifests/{digest_of}")
        assert status == 202, body

    def damage(self, placement: Placement) -> None:
        self.server.blob(placement.sha256).write_bytes(b"?" * placement.size)

    def unreadable(self) -> AbstractContextManager[None]:
        return self.proxy.rule(lambda _: True, said(503, "UNAVAILABLE"))

    def foreign(self, name: str) -> Callable[[], object]:
        repository, _, tag = name.partition("/")[2].rpartition(":")
        self.push(repository, tag, {"annotations": {"owner": "somebody"}})
        return lambda: self.ask("GET", f"/v2/{repository}/manifests/{tag}")[2]

    def fill(self, count: int) -> str | None:
        if count > 101:
            return "each takes several requests; a registry's pages are of 1,000 tags and tested so"
        for number in range(count):
            owner = filling(number, digest(f"{number}"))
            marks = {
                "imagectl-catalog": owner.catalog,
                "imagectl-image": owner.version.image,
                "imagectl-version": str(owner.version.version),
                "imagectl-format": owner.format.value,
                "imagectl-architecture": owner.architecture.value,
                "imagectl-sha256": owner.sha256,
            }
            tag = f"{owner.version.version}-{owner.format.value}-{owner.architecture.value}"
            self.push(f"{self.prefix}/filling", tag, {"annotations": marks})
        return None

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        rule = self.proxy.rule
        match fault:
            case Fault.QUOTA:
                return rule(self._writes, said(403, "QUOTA_EXCEEDED"))
            case Fault.UNAVAILABLE_ONCE:
                return rule(lambda _: True, said(503, "UNAVAILABLE"), times=1)
            case Fault.UNAVAILABLE_ALWAYS:
                return self.unreadable()
            case Fault.LOST_RESPONSE:
                return rule(lambda r: r.method == "PUT", lose_response, times=3)
            case Fault.STALE_READ:
                return self._stale()
            case Fault.BROKEN_UPLOAD:
                return self.proxy.breaking_upload(0.7)
            case Fault.WRONG_DIGEST:
                return rule(
                    lambda r: r.method == "PATCH", change_body(lambda data: data[:-1] + b"?")
                )
            case Fault.PART_UNREACHABLE:
                return rule(lambda r: "/tags/list" in r.path, said(503, "UNAVAILABLE"))
            case Fault.CONTAINER_GONE:
                return rule(lambda _: True, said(404, "NAME_UNKNOWN"))
            case Fault.CLOCK_SKEW:
                return rule(
                    lambda _: True, lambda request, forward: two_hours_ahead(forward(request))
                )
            case Fault.CREDENTIAL_MISSING:
                return self._login(None)
            case Fault.CREDENTIAL_WRONG:
                (self.folder / "wrong").write_text("wrong")
                return self._login(SecretRef(SecretKind.FILE, "wrong"))
            case Fault.CREDENTIAL_NARROW:
                return rule(self._writes, said(403, "DENIED"))
            case Fault.CREDENTIAL_EXPIRED:
                return "a registry does not tell a password that has expired from a wrong one"
            case Fault.UNAVAILABLE_PAGE_2:
                return "Debian's registry has one page; test_locations_oci.py breaks others'"
            case Fault.PRECONDITION | Fault.FAILED_OPERATION | Fault.SESSION_ENDED:
                return "a registry has no conditions, no operations and no sessions"

    def _writes(self, request: Request) -> bool:
        return request.method not in ("GET", "HEAD")

    @contextmanager
    def _stale(self) -> Iterator[None]:
        """The first read of a manifest after it was put does not find it."""
        put = False

        def matches(request: Request) -> bool:
            nonlocal put
            put = put or (request.method == "PUT" and "/manifests/" in request.path)
            return put and request.method == "GET" and "/manifests/" in request.path

        with self.proxy.rule(matches, said(404, "MANIFEST_UNKNOWN"), times=1):
            yield

    @contextmanager
    def _login(self, password: SecretRef | None) -> Iterator[None]:
        before = self.location
        self.location = self.reopened(password)
        yield
        self.location = before

    def requests(self) -> int:
        return self.proxy.requests


def opened(request: pytest.FixtureRequest, folder: Path) -> InRegistry:
    server, proxy = for_session(request, registry)
    return InRegistry(server, proxy, folder)
