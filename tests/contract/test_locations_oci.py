"""What registries promise beyond the contract of all locations, on Debian's docker-registry."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from peers.faults import Action, Forward, Request, Response, answer, change_response
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import LOCAL, surroundings
from support.places.oci import LOGIN, InRegistry, opened, said
from support.places.place import ignore, some_artifact
from support.web import Fault, Handler, Page, Site, cut_off, site

from imagectl.adapters.inputs.authority import Authority
from imagectl.adapters.locations import oci_login
from imagectl.adapters.locations.oci import DISK, OciLocation
from imagectl.adapters.locations.oci_registry import INDEX
from imagectl.errors import CannotTell, Conflict, Denial, Denied, Failed, NotFound
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import Architecture
from imagectl.model.place import OciLocation as Settings
from imagectl.model.version import Placement

VERSION = ref("debian-ci@20261120.1")


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> InRegistry:
    return opened(request, tmp_path)


def index(place: InRegistry) -> dict[str, Any] | None:
    path = f"/v2/{place.prefix}/debian-ci/manifests/20261120.1"
    status, _, body = place.ask("GET", path)
    return json.loads(body) if status == 200 else None


def test_a_version_is_one_index_over_its_architectures(place: InRegistry, tmp_path: Path) -> None:
    amd, source = place.artifact(tmp_path)
    other, second = place.artifact(tmp_path, seed=1)
    arm = replace(other, architecture=Architecture.ARM64)
    one = place.location.put(VERSION, amd, source, NOW, ignore)
    two = place.location.put(VERSION, arm, second, NOW, ignore)
    found = index(place)
    assert found is not None
    assert found["mediaType"] == INDEX
    assert [
        (each["platform"]["architecture"], each["digest"], each["artifactType"])
        for each in found["manifests"]
    ] == [
        ("amd64", one.provider_id.partition("@")[2], DISK),
        ("arm64", two.provider_id.partition("@")[2], DISK),
    ]
    place.location.delete(one, at_once)
    found = index(place)
    assert found is not None
    assert [each["platform"]["architecture"] for each in found["manifests"]] == ["arm64"]
    assert place.location.verify(two, NOW) == two
    place.location.delete(two, at_once)
    assert index(place) is None


def test_a_version_tag_of_somebody_else_stops_before_anything_is_pushed(
    place: InRegistry, tmp_path: Path
) -> None:
    """P2."""
    artifact, source = place.artifact(tmp_path)
    state = place.foreign(f"{place.url}/debian-ci:20261120.1")
    before = state()
    with pytest.raises(Conflict, match="is not ours"):
        place.location.put(VERSION, artifact, source, NOW, ignore)
    assert state() == before
    assert not place.server.blob(artifact.sha256).exists()


@pytest.mark.parametrize("tag", ["20261120.1", "20261120.1-qcow2-amd64"])
def test_a_docker_image_under_a_tag_of_ours_is_not_overwritten(
    place: InRegistry, tmp_path: Path, tag: str
) -> None:
    """P2. Registries give it only to those who ask for Docker's types."""
    artifact, source = place.artifact(tmp_path)
    place.push_docker_list(f"{place.prefix}/debian-ci", tag)
    path = f"/v2/{place.prefix}/debian-ci/manifests/{tag}"
    before = place.ask("GET", path)[2]
    assert [(each.name, each.owner) for each in place.location.view(lambda: NOW).found] == [
        (f"debian-ci:{tag}", None)
    ]
    with pytest.raises(Conflict, match="is not ours"):
        place.location.put(VERSION, artifact, source, NOW, ignore)
    assert place.ask("GET", path)[2] == before
    assert not place.server.blob(artifact.sha256).exists()


def test_an_index_that_was_lost_is_made_again(place: InRegistry, tmp_path: Path) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    before = index(place)
    _, headers, _ = place.ask("GET", f"/v2/{place.prefix}/debian-ci/manifests/20261120.1")
    digest = headers["Docker-Content-Digest"]
    place.ask("DELETE", f"/v2/{place.prefix}/debian-ci/manifests/{digest}")
    assert index(place) is None
    assert place.location.put(VERSION, artifact, source, NOW, ignore) == placed
    assert index(place) == before


def test_what_another_catalog_pushed_is_not_deleted(place: InRegistry, tmp_path: Path) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    other = place.reopened(SecretRef(SecretKind.FILE, "password"), catalog="another")
    with pytest.raises(Conflict, match="is not ours"):
        other.delete(placed, at_once)
    with pytest.raises(Conflict, match="is not ours"):
        other.put(VERSION, artifact, source, NOW, ignore)
    assert place.location.verify(placed, NOW) == placed


def test_the_first_version_makes_the_repository(place: InRegistry, tmp_path: Path) -> None:
    """A registry may say of a tag that its repository is not there; Debian's does not."""
    artifact, source = place.artifact(tmp_path)
    made = Event()

    def unknown(request: Request) -> bool:
        if request.method == "PUT" and "/manifests/" in request.path:
            made.set()
        return request.method == "GET" and "/manifests/" in request.path and not made.is_set()

    with place.proxy.rule(unknown, said(404, "NAME_UNKNOWN")):
        placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    assert place.location.verify(placed, NOW) == placed
    assert index(place) is not None


def test_a_registry_that_deletes_nothing_says_so(place: InRegistry, tmp_path: Path) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    refuses = answer(405, b'{"errors": [{"code": "UNSUPPORTED"}]}')
    with (
        place.proxy.rule(lambda r: r.method == "DELETE", refuses),
        pytest.raises(Failed, match="the registry does not do that"),
    ):
        place.location.delete(placed, at_once)
    assert place.location.verify(placed, NOW) == placed


def test_what_was_placed_elsewhere_is_not_here(place: InRegistry, tmp_path: Path) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    moved = replace(placed, provider_id=placed.provider_id.replace(place.url, "other.example/x"))
    with pytest.raises(NotFound, match="not in what location local means now"):
        place.location.verify(moved, NOW)


def pages(names: list[str], key: str, broken: Response | None = None) -> Action:
    """A registry that gives one name at a time, as Debian's does not."""

    def act(request: Request, _: object) -> Response | None:
        at = int(request.path.partition("at=")[2] or 0)
        if broken is not None and at:
            return broken
        more = {"Link": f'<{request.path.partition("?")[0]}?at={at + 1}>; rel="next"'}
        body = json.dumps({key: [names[at]]}).encode()
        return Response(200, more if at + 1 < len(names) else {}, body)

    return act


def test_lists_are_read_to_their_last_page(place: InRegistry, tmp_path: Path) -> None:
    """P3."""
    tags = []
    for seed, serial in enumerate((1, 2, 3)):
        artifact, source = place.artifact(tmp_path, seed)
        version = ref(f"debian-ci@20261120.{serial}")
        place.location.put(version, artifact, source, NOW, ignore)
        tags.append(f"20261120.{serial}-qcow2-amd64")
    with place.proxy.rule(lambda r: "/tags/list" in r.path, pages(tags, "tags")):
        shown = place.location.view(lambda: NOW)
    assert shown.complete
    assert [each.name for each in shown.found] == [f"debian-ci:{tag}" for tag in tags]


@pytest.mark.parametrize(
    "broken",
    [Response(503), Response(404), Response(403), Response(400), Response(200, {}, b"<html>")],
    ids=lambda said: f"{said.status}",
)
@pytest.mark.parametrize("key", ["tags", "repositories"])
def test_a_page_that_is_missing_is_a_gap(
    place: InRegistry, tmp_path: Path, key: str, broken: Response
) -> None:
    """P3."""
    artifact, source = place.artifact(tmp_path)
    place.location.put(VERSION, artifact, source, NOW, ignore)
    names, path = {
        "tags": (["20261120.1-qcow2-amd64", "x"], "/tags/list"),
        "repositories": ([f"{place.prefix}/debian-ci", "x"], "_catalog"),
    }[key]
    with place.proxy.rule(lambda r: path in r.path, pages(names, key, broken)):
        shown = place.location.view(lambda: NOW)
    assert not shown.complete
    assert [each.name for each in shown.found] == ["debian-ci:20261120.1-qcow2-amd64"]


def test_an_index_does_not_shrink_where_a_page_of_tags_is_missing(
    place: InRegistry, tmp_path: Path
) -> None:
    """P2, P3."""
    amd, source = place.artifact(tmp_path)
    other, second = place.artifact(tmp_path, seed=1)
    place.location.put(VERSION, amd, source, NOW, ignore)
    arm = replace(other, architecture=Architecture.ARM64)
    place.location.put(VERSION, arm, second, NOW, ignore)
    before = index(place)
    tags = ["20261120.1-qcow2-amd64", "20261120.1-qcow2-arm64"]
    gone = pages(tags, "tags", Response(404))
    with place.proxy.rule(lambda r: "/tags/list" in r.path, gone), pytest.raises(CannotTell):
        place.location.put(VERSION, amd, source, NOW, ignore)
    assert index(place) == before


@pytest.mark.parametrize(
    "said",
    [
        Response(404, {}, b"page not found"),
        Response(405),
        Response(200, {}, b"<html>"),
        Response(200, {}, b"[]"),
        Response(200, {}, b'{"repositories": 1}'),
    ],
    ids=lambda said: f"{said.status}-{said.body.decode()}",
)
def test_a_registry_that_lists_no_repositories_cannot_be_seen(
    place: InRegistry, said: Response
) -> None:
    """P3."""
    with (
        place.proxy.rule(lambda r: "_catalog" in r.path, lambda *_: said),
        pytest.raises(CannotTell) as raised,
    ):
        place.location.view(lambda: NOW)
    assert raised.value.why


def test_docker_login_is_used(
    place: InRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    config = tmp_path / ".docker" / "config.json"
    config.write_text(json.dumps({"auths": {place.proxy.address: {"auth": LOGIN}}}))
    assert place.reopened(None).probe().identity == "who `docker login` was typed for"
    config.unlink()
    with pytest.raises(Denied) as raised:
        place.reopened(None).probe()
    assert raised.value.denial is Denial.MISSING


@contextmanager
def by_token(place: InRegistry, act: Action) -> Iterator[None]:
    """A registry whose logins are tokens, from a server that does *act*."""

    def unknown(request: Request) -> bool:
        return request.headers.get("Authorization") != "Bearer good"

    def with_password(request: Request, forward: Forward) -> Response:
        headers = {**request.headers, "Authorization": f"Basic {LOGIN}"}
        return forward(replace(request, headers=headers))

    realm = f'Bearer realm="{place.proxy.endpoint}/token",service="tests",scope="repository:x:pull"'
    with (
        place.proxy.rule(lambda r: r.path.startswith("/token"), act),
        place.proxy.rule(unknown, answer(401, WWW_Authenticate=realm)),
        place.proxy.rule(lambda _: True, with_password),
    ):
        yield


def test_a_token_server_is_asked(place: InRegistry, tmp_path: Path) -> None:
    """Tokens are each for one repository."""
    artifact, source = place.artifact(tmp_path)
    asked: list[tuple[str, str | None]] = []

    def token(request: Request, _: object) -> Response:
        asked.append((request.path, request.headers.get("Authorization")))
        return Response(200, {}, b'{"token": "good"}')

    with by_token(place, token):
        placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    assert asked == [("/token?service=tests&scope=repository%3Ax%3Apull", f"Basic {LOGIN}")]
    assert place.location.verify(placed, NOW) == placed


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_login_is_for_the_registry_alone(place: InRegistry, tmp_path: Path, scheme: str) -> None:
    """Another host, where an upload goes on, is not given the password, nor may it say who is."""
    artifact, source = place.artifact(tmp_path)
    other = place.proxy.endpoint.replace("127.0.0.1", "localhost")
    asked: list[Request] = []

    def elsewhere(said: Response) -> Response:
        return replace(said, headers={**said.headers, "Location": f"{other}/elsewhere"})

    def there(request: Request, _: object) -> Response:
        asked.append(request)
        realm = f'{scheme} realm="{other}/elsewhere/token",service="tests"'
        return Response(401, {"WWW-Authenticate": realm})

    with (
        place.proxy.rule(lambda r: r.path.startswith("/elsewhere"), there),
        place.proxy.rule(lambda r: r.method == "POST", change_response(elsewhere)),
        pytest.raises(Denied),
    ):
        place.location.put(VERSION, artifact, source, NOW, ignore)
    assert {each.path.partition("?")[0] for each in asked} == {"/elsewhere"}
    assert not any("Authorization" in each.headers for each in asked)


@pytest.mark.parametrize("where", ["", "http://["])
def test_an_upload_without_an_address_is_refused(place: InRegistry, where: str) -> None:
    nowhere = answer(202, Location=where)
    with (
        place.proxy.rule(lambda r: r.method == "POST", nowhere),
        pytest.raises(Failed, match="does not say where it goes on"),
    ):
        place.location.probe()


@pytest.mark.parametrize("named", ["Location", "realm", "Link"])
def test_nothing_is_sent_unencrypted_to_where_a_registry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    today = datetime.now(UTC)  # what certificates are checked against
    authority = Authority(tmp_path, int(today.timestamp()), today)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    for name in ("user", "password"):
        (tmp_path / name).write_text("x")
    user, password = (SecretRef(SecretKind.FILE, name) for name in ("user", "password"))
    with site(authority.context("127.0.0.1")) as web, site() as plain:
        settings = Settings(f"127.0.0.1:{web.port}/images", username=user, password=password)
        location = OciLocation(LOCAL, settings, surroundings(tmp_path))
        headers, status = {
            "Location": ({"Location": plain.url("/upload")}, 202),
            "realm": ({"WWW-Authenticate": f'Bearer realm="{plain.url("/token")}"'}, 401),
            "Link": ({"Link": f'<{plain.url("/more")}>; rel="next"'}, 200),
        }[named]
        web.pages["/v2/images/probe/blobs/uploads/"] = Page(b"", status, headers)
        web.pages["/v2/_catalog?n=1000"] = Page(b'{"repositories": []}', status, headers)
        with pytest.raises((Failed, CannotTell)) as raised:
            location.view(lambda: NOW) if named == "Link" else location.probe()
        assert not plain.asked
    assert "is not of https" in f"{raised.value} {raised.value.why}"


def test_a_token_server_that_says_nothing_is_given_up(
    place: InRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_login, "TIMEOUT", (1.0, 1.0))
    ended = Event()

    def silent(request: Request, _: object) -> None:
        ended.wait(20)

    with by_token(place, silent):
        began = time.monotonic()
        with pytest.raises(CannotTell, match="logging in to"):
            place.location.probe()
        ended.set()
    assert time.monotonic() - began < 10


def test_requests_to_a_token_server_are_tried_again_and_counted(
    place: InRegistry, tmp_path: Path
) -> None:
    artifact, source = place.artifact(tmp_path)
    place.location.put(VERSION, artifact, source, NOW, ignore)
    answers = [Response(200, {}, b'{"access_token": "good"}'), Response(503)]
    before = place.proxy.requests
    with by_token(place, lambda *_: answers.pop()):
        shown = place.location.view(lambda: NOW)
    assert shown.complete
    assert len(shown.found) == 1
    # The first request is made again when there is a token: both are one call.
    assert shown.requests == place.proxy.requests - before - 1


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
def test_a_token_server_that_gives_nothing_is_a_login_that_failed(
    place: InRegistry, status: int
) -> None:
    """P3: never that something is not there."""
    with by_token(place, answer(status, b"[]")), pytest.raises(Denied) as raised:
        place.location.view(lambda: NOW)
    assert raised.value.denial is Denial.WRONG


@dataclass(frozen=True, slots=True)
class Served:
    """A disk in a registry that a site of the test plays."""

    location: OciLocation
    placement: Placement
    web: Site
    blob: str


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    artifact, source = some_artifact(tmp_path, 1, size=3 << 20)
    with site() as web:
        url = f"{web.address[0]}:{web.port}/images"
        location = OciLocation(LOCAL, Settings(url, insecure=True), surroundings(tmp_path))
        layer = {"digest": f"sha256:{artifact.sha256}", "size": artifact.size}
        data = json.dumps({"layers": [layer]}).encode()
        reference = f"{url}/debian-ci@sha256:{hashlib.sha256(data).hexdigest()}"
        placement = Placement(
            VERSION,
            artifact.format,
            artifact.architecture,
            LOCAL,
            reference,
            reference,
            artifact.sha256,
            artifact.size,
            NOW,
        )
        web.put(f"/v2/images/debian-ci/manifests/{reference.partition('@')[2]}", data)
        blob = f"/v2/images/debian-ci/blobs/sha256:{artifact.sha256}"
        web.put(blob, source.read_bytes())
        yield Served(location, placement, web, blob)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cuts", [(150_000,), (2_500_000, 500_000), (0, 0, 2_000_000, 0, 0)])
def test_a_disk_is_read_on_where_its_connection_broke(
    served: Served, tmp_path: Path, cuts: tuple[int, ...], ranges: bool
) -> None:
    served.web.ranges = ranges
    served.web.faults[served.blob] = [cut_off(at) for at in cuts]
    served.location.fetch(served.placement, tmp_path / "back", ignore)
    assert (tmp_path / "back").read_bytes() == served.web.pages[served.blob].body
    asked = [each.headers.get("Range") for each in served.web.asked if each.path == served.blob]
    assert len(asked) == len(cuts) + 1
    if cuts == (150_000,):
        assert asked == [None, "bytes=150000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_disk_whose_connection_always_breaks_is_given_up(served: Served, ranges: bool) -> None:
    served.web.ranges = ranges
    served.web.faults[served.blob] = [cut_off(1_500_000), *[cut_off(0)] * 20]
    with pytest.raises(CannotTell) as raised:
        served.location.verify(served.placement, NOW)
    assert "at byte 1,500,000 of 3,145,728, 3 times in a row" in raised.value.why
    assert served.web.count(served.blob) == 4


def without_a_length(cut: int | None) -> Fault:
    """An answer that ends where its connection does."""

    def act(handler: Handler, page: Page) -> None:
        handler.send_response_only(200)
        handler.end_headers()
        handler.wfile.write(page.body[:cut])
        handler.wfile.flush()
        handler.hang_up()

    return act


@pytest.mark.parametrize("cut", [None, 1_000_000])
def test_a_disk_may_come_without_its_length(served: Served, cut: int | None) -> None:
    """A connection that ended early is no proof that other bytes are there."""
    served.web.faults[served.blob] = [without_a_length(cut)]
    assert served.location.verify(served.placement, NOW) == served.placement
    assert served.web.count(served.blob) == (1 if cut is None else 2)


def test_a_disk_may_come_in_chunks(served: Served) -> None:
    served.web.pages[served.blob] = replace(served.web.pages[served.blob], chunked=True)
    served.web.faults[served.blob] = [cut_off(1_000_000)]
    assert served.location.verify(served.placement, NOW) == served.placement
