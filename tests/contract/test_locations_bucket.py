"""What buckets promise beyond the contract of all locations, on moto's S3."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from peers.faults import FaultProxy, Request, answer
from support.examples import NOW, ref
from support.places import surroundings
from support.places.place import LOCAL, ignore
from support.places.s3 import InBucket, moto
from support.places.session import for_session

from imagectl.adapters.locations.owners import Record, owner_of, record_of
from imagectl.adapters.locations.s3 import S3Location
from imagectl.errors import Conflict, Corrupt, Denied, NotFound
from imagectl.model.place import Bucket

VERSION = ref("debian-ci@20261120.1")
OTHER = ref("debian-ci@20261121.1")


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


def test_bytes_that_several_need_go_with_the_last_of_them(place: InBucket, tmp_path: Path) -> None:
    """P1, P2: two versions, and two catalogs."""
    artifact, source = place.artifact(tmp_path)
    one, two = of_catalog(place, "one"), of_catalog(place, "two")
    placed = [
        (location, location.put(version, artifact, source, NOW, ignore))
        for location, version in ((one, VERSION), (one, OTHER), (two, VERSION))
    ]
    for location, placement in placed:
        assert one.verify(placement, NOW)
        location.delete(placement)
    with pytest.raises(NotFound):
        one.verify(placed[0][1], NOW)
    assert names(place) == set()


def test_a_file_that_was_there_before_stays(place: InBucket, tmp_path: Path) -> None:
    """P2: the right bytes may be used, but they are not ours."""
    artifact, source = place.artifact(tmp_path)
    name = place.location.named(VERSION, artifact)
    place.client().put_object(**place.key(name), Body=source.read_bytes())
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    place.location.delete(placed)
    assert names(place) == {name.removeprefix(f"s3://{place.bucket}/disks/")}


def test_a_catalog_does_not_delete_what_only_another_placed(
    place: InBucket, tmp_path: Path
) -> None:
    artifact, source = place.artifact(tmp_path)
    placed = of_catalog(place, "one").put(VERSION, artifact, source, NOW, ignore)
    with pytest.raises(Conflict, match="not ours to delete"):
        of_catalog(place, "two").delete(placed)
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
        one.delete(placed)
    with pytest.raises(Conflict, match="just being deleted"):
        two.put(VERSION, artifact, source, NOW, ignore)
    one.delete(placed)
    assert two.put(VERSION, artifact, source, NOW, ignore) == placed


def test_a_record_that_comes_at_the_last_moment_saves_the_file(
    place: InBucket, tmp_path: Path
) -> None:
    """Who deletes looks once more, after having said so."""
    artifact, source = place.artifact(tmp_path)
    placed = place.location.put(VERSION, artifact, source, NOW, ignore)
    late = record_of(owner_of("another", VERSION, artifact))

    def says_so(request: Request) -> bool:
        if request.method == "PUT" and request.path.endswith("/deleting"):
            text = Record(owner_of("another", VERSION, artifact), False).text()
            place.client().put_object(Bucket=place.bucket, Key=f"disks/{late}", Body=text)
        return False

    with place.proxy.rule(says_so, answer(500)):
        place.location.delete(placed)
    assert names(place) == {f"sha256/{artifact.sha256[:2]}/{artifact.sha256}", late}


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
