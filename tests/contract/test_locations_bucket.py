"""What buckets promise beyond the contract of all locations, on moto's S3."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from botocore import exceptions
from peers.faults import FaultProxy, Request, answer
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import surroundings
from support.places.place import LOCAL, ignore, some_artifact
from support.places.s3 import InBucket, moto, said
from support.places.session import for_session

from imagectl.adapters.locations import s3_upload
from imagectl.adapters.locations.owners import Record, owner_of, record_of
from imagectl.adapters.locations.s3 import S3Location
from imagectl.adapters.locations.s3_answers import again
from imagectl.errors import CannotTell, Conflict, Corrupt, Denied, Interrupted, NotFound
from imagectl.model.place import Bucket
from imagectl.model.version import Placement

VERSION = ref("debian-ci@20261120.1")
OTHER = ref("debian-ci@20261121.1")
MIB = 1 << 20


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> FaultProxy:
    return for_session(request, moto)


@pytest.fixture
def place(proxy: FaultProxy, tmp_path: Path) -> InBucket:
    return InBucket(proxy, tmp_path)


def names(place: InBucket) -> set[str]:
    found = place.client().list_objects_v2(Bucket=place.bucket)
    return {each["Key"].removeprefix("disks/") for each in found.get("Contents", ())}


def of_catalog(place: InBucket, catalog: str) -> S3Location:
    return S3Location(LOCAL, place.settings, surroundings(place.folder, catalog=catalog))


def beside(place: InBucket, catalog: str) -> S3Location:
    """The same, past the proxy: for what happens while the proxy holds a request."""
    settings = replace(place.settings, endpoint=place.upstream)
    return S3Location(LOCAL, settings, surroundings(place.folder, catalog=catalog))


def test_bytes_that_several_need_go_with_the_last_of_them(place: InBucket, tmp_path: Path) -> None:
    """P1, P2: two versions, and two catalogs."""
    artifact, source = place.artifact(tmp_path)
    one, two = of_catalog(place, "one"), of_catalog(place, "two")
    placed = [
        (location, location.put(version, artifact, source, NOW, ignore))
        for location, version in ((one, VERSION), (one, OTHER), (two, VERSION))
    ]
    for location, placement in placed:
        assert location.verify(placement, NOW)
        location.delete(placement, at_once)
    with pytest.raises(NotFound):
        one.verify(placed[0][1], NOW)
    assert names(place) == set()


def test_a_file_that_was_there_before_stays(place: InBucket, tmp_path: Path) -> None:
    """P2: the right bytes may be used, but they are not ours."""
    artifact, source = place.artifact(tmp_path)
    name = place.location.named(VERSION, artifact)
    place.client().put_object(**place.key(name), Body=source.read_bytes())
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    place.location.delete(placed, at_once)
    assert names(place) == {name.removeprefix(f"s3://{place.bucket}/disks/")}


def test_a_catalog_does_not_delete_what_only_another_placed(
    place: InBucket, tmp_path: Path
) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = of_catalog(place, "one").put(VERSION, artifact, source, NOW, ignore)
    with pytest.raises(Conflict, match="not ours to delete"):
        of_catalog(place, "two").delete(placed, at_once)
    assert of_catalog(place, "one").verify(placed, NOW) == placed


def test_nobody_relies_on_a_file_that_is_just_being_deleted(
    place: InBucket, tmp_path: Path
) -> None:
    """Killed between saying so and deleting; the same again ends it."""
    artifact, source = place.artifact(tmp_path)
    one, two = of_catalog(place, "one"), of_catalog(place, "two")
    placed = one.put(VERSION, artifact, source, NOW, ignore)
    with (
        place.proxy.rule(lambda r: r.method == "DELETE", answer(403)),
        pytest.raises(Denied),
    ):
        one.delete(placed, at_once)
    with pytest.raises(Conflict, match="just being deleted"):
        two.put(VERSION, artifact, source, NOW, ignore)
    one.delete(placed, at_once)
    assert two.put(VERSION, artifact, source, NOW, ignore) == placed


def test_a_record_that_comes_at_the_last_moment_saves_the_file(
    place: InBucket, tmp_path: Path
) -> None:
    """Who deletes looks once more, after having said so."""
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    late = record_of(owner_of("another", VERSION, artifact))

    def says_so(request: Request) -> bool:
        if request.method == "PUT" and "/deleting/" in request.path:
            text = Record(owner_of("another", VERSION, artifact), False).text()
            place.client().put_object(Bucket=place.bucket, Key=f"disks/{late}", Body=text)
        return False

    with place.proxy.rule(says_so, answer(500)):
        place.location.delete(placed, at_once)
    assert names(place) == {f"sha256/{artifact.sha256[:2]}/{artifact.sha256}", late}


def test_who_gives_way_does_not_take_back_what_another_has_said(
    place: InBucket, tmp_path: Path
) -> None:
    """P1, P2: two catalogs delete, and a third one comes to need the file."""
    artifact, source = place.artifact(tmp_path)
    one, two, three = beside(place, "one"), of_catalog(place, "two"), beside(place, "three")
    of_one, of_two = (each.put(VERSION, artifact, source, NOW, ignore) for each in (one, two))
    seen: list[str] = []

    def meanwhile(request: Request) -> bool:
        if request.method == "PUT" and "/deleting" in request.path:
            seen.append("two deletes")
        elif request.method == "GET" and seen == ["two deletes"]:
            seen.append("one deletes")
            one.delete(of_one, at_once)
        elif request.method == "DELETE" and len(seen) == 2:
            seen.append("three puts")
            with pytest.raises(Conflict, match="just being deleted"):
                three.put(VERSION, artifact, source, NOW, ignore)
            seen.append("three gives way")
        return False

    with place.proxy.rule(meanwhile, answer(500)):
        two.delete(of_two, at_once)
    assert seen[2:] == ["three puts", "three gives way"]
    placed = three.put(VERSION, artifact, source, NOW, ignore)
    assert three.verify(placed, NOW) == placed
    assert len(names(place)) == 2


def test_a_record_that_is_missing_is_written_anew(place: InBucket, tmp_path: Path) -> None:
    """P1: without it, the file would go with another catalog's last record."""
    artifact, source = place.artifact(tmp_path)
    one, two = of_catalog(place, "one"), of_catalog(place, "two")
    placed, of_two = (each.put(VERSION, artifact, source, NOW, ignore) for each in (one, two))
    (record,) = (each for each in names(place) if each.startswith("owners/") and "/one." in each)
    place.client().delete_object(Bucket=place.bucket, Key=f"disks/{record}")
    with place.proxy.rule(lambda r: r.method == "PUT", said(403, "AccessDenied")):
        assert one.verify(placed, NOW) == placed
    assert record not in names(place)
    assert one.verify(placed, NOW) == placed
    assert record in names(place)
    two.delete(of_two, at_once)
    assert one.verify(placed, NOW) == placed
    one.delete(placed, at_once)
    assert names(place) == set()


def test_verifying_reads_the_bytes_only_where_the_store_has_others(
    place: InBucket, tmp_path: Path
) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    read: list[str] = []

    def reads(request: Request) -> bool:
        if request.method == "GET" and "/sha256/" in request.path.partition("?")[0]:
            read.append(request.path)
        return False

    with place.proxy.rule(reads, answer(500)):
        before = place.requests()
        place.location.verify(placed, NOW)
        assert (place.requests() - before, read) == (2, [])
        client, key = place.client(), place.key(placed.provider_id)
        client.put_object(**key, Body=b"?" * artifact.size)
        with pytest.raises(Corrupt):
            place.location.verify(placed, NOW)
        assert len(read) == 1


def test_what_was_placed_elsewhere_is_not_here(place: InBucket, tmp_path: Path) -> None:
    """The settings were switched to another bucket, which has it too by chance."""
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    here = place.reopened(bucket=Bucket("s3", place.bucket, "elsewhere"))
    with pytest.raises(NotFound, match="not in what location local means now"):
        here.verify(placed, NOW)
    with pytest.raises(NotFound):
        here.verify(replace(placed, provider_id="s3://other/x"), NOW)


def test_the_same_name_at_another_server_is_another_place(place: InBucket) -> None:
    """So that nothing is concluded there from a plan that was made here."""
    scope = place.reopened().view(lambda: NOW).scope
    assert place.settings.endpoint is not None
    assert place.settings.endpoint in scope
    assert scope.replace(place.settings.endpoint, place.upstream) == (
        place.reopened(endpoint=place.upstream).view(lambda: NOW).scope
    )


def test_two_processes_that_put_the_same_upload_it_once(
    place: InBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)  # the least that S3 takes
    artifact, source = some_artifact(tmp_path, 5, 12 * MIB)
    parts: list[str] = []
    others: list[Placement] = []

    def put_too() -> None:
        others.append(place.reopened().put(VERSION, artifact, source, NOW, ignore))

    other = threading.Thread(target=put_too)

    def moved(done: int) -> None:
        if 0 < done < artifact.size and other.ident is None:
            other.start()
            time.sleep(1)

    def sees(request: Request) -> bool:
        if "partNumber" in request.path:
            parts.append(request.path)
        return False

    with place.proxy.rule(sees, answer(500)):
        placed = place.location.put(VERSION, artifact, source, NOW, moved)
        other.join()
    assert others == [placed]
    assert len(parts) == 3
    assert place.location.verify(placed, NOW) == placed
    assert not list((place.folder / "state" / "uploads").glob(f"*{artifact.sha256}*"))


def test_who_waits_for_an_upload_can_be_stopped(
    place: InBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)
    artifact, source = some_artifact(tmp_path, 6, 12 * MIB)

    def stop(done: int) -> None:
        raise Interrupted("stopped")

    def moved(done: int) -> None:
        if done:
            with pytest.raises(Interrupted):
                place.reopened().put(VERSION, artifact, source, NOW, stop)

    place.location.put(VERSION, artifact, source, NOW, moved)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_upload_that_is_given_up_in_the_middle_begins_anew(
    place: InBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, times: int
) -> None:
    """By a lifecycle rule, or by somebody who cleans up. Never: "it is not there" (P3)."""
    monkeypatch.setattr(s3_upload, "PART", 5 * MIB)
    artifact, source = some_artifact(tmp_path, 7, 12 * MIB)

    def of_upload(request: Request) -> bool:
        return request.method == method and "uploadId=" in request.path

    with place.proxy.rule(of_upload, said(404, "NoSuchUpload"), times=times):
        if times > 1:
            with pytest.raises(CannotTell, match="did not work"):
                place.location.put(VERSION, artifact, source, NOW, ignore)
        placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    assert place.location.verify(placed, NOW) == placed


def test_a_connection_that_is_not_made_is_tried_again(place: InBucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused = place.reopened(endpoint=f"http://127.0.0.1:{port}")
    with pytest.raises(CannotTell) as raised:
        refused.view(lambda: NOW)
    assert re.search(r"tried \d+ times .*\(EndpointConnectionError\)", raised.value.why)


def test_which_connections_are_tried_again() -> None:
    where = "https://user:hidden@proxy.example"
    for error in (
        exceptions.ConnectTimeoutError(endpoint_url=where),
        exceptions.ProxyConnectionError(proxy_url=where, error="refused"),
        exceptions.ReadTimeoutError(endpoint_url=where),
    ):
        found = again(error)
        assert found is not None
        assert "hidden" not in found.why
    assert again(exceptions.SSLError(endpoint_url=where, error="self-signed")) is None


def test_secrets_are_never_shown(place: InBucket, tmp_path: Path) -> None:
    with (
        place.proxy.rule(
            place.mine, answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        ),
        pytest.raises(Denied) as raised,
    ):
        place.location.probe()
    error = raised.value
    shown = f"{error!r} {error.what} {error.where} {error.why} {error.hint} {place.location!r}"
    assert "not-to-be-shown" not in shown
    assert "AKIAEXAMPLE" not in shown
    assert "...MPLE" in shown
