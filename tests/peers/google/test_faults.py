"""Each thing that can go wrong on purpose goes wrong that way, for Google's own clients."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from peers.google.calls import (
    Cut,
    Effect,
    FailOperation,
    HangUp,
    LoseAnswer,
    OtherBytes,
    Refuse,
    Stale,
    Warn,
    second_page,
)
from peers.google.clients import (
    BUCKET,
    PROJECT,
    ZONE,
    Connect,
    Done,
    archive,
    raw,
)
from peers.google.peer import Google


def test_a_lost_answer_was_done_and_a_lost_request_was_not(
    peer: Google, images: compute_v1.ImagesClient
) -> None:
    peer.storage.put(BUCKET, "disk.tar.gz", archive())
    for effect, made in ((HangUp(), False), (LoseAnswer(), True)):
        with (
            peer.during(effect, "compute.images.insert") as rule,
            pytest.raises((exceptions.GoogleAPICallError, OSError)),
        ):
            images.insert_unary(project=PROJECT, image_resource=raw("a-1"))
        assert rule.hits == 1
        assert (peer.compute.image(PROJECT, "a-1") is not None) is made


def test_an_operation_may_fail_after_it_was_taken(
    peer: Google, images: compute_v1.ImagesClient, done: Done
) -> None:
    peer.storage.put(BUCKET, "disk.tar.gz", archive())
    for leaves in (None, "FAILED"):
        with peer.during(FailOperation(leaves=leaves), "compute.images.insert"):
            ended = done(images.insert_unary(project=PROJECT, image_resource=raw("a-1")))
        assert ended.error.errors[0].code == "INTERNAL_ERROR"
        left = peer.compute.image(PROJECT, "a-1")
        assert (left and left["status"]) == leaves
    with peer.during(FailOperation(), "compute.images.delete"):
        ended = done(images.delete_unary(project=PROJECT, image="a-1"))
    assert ended.error.errors
    assert peer.compute.image(PROJECT, "a-1") is not None


def test_a_read_may_be_stale(peer: Google, images: compute_v1.ImagesClient, done: Done) -> None:
    peer.storage.put(BUCKET, "disk.tar.gz", archive())
    done(images.insert_unary(project=PROJECT, image_resource=raw("a-1")))
    with peer.during(Stale(), "compute.images.*"):
        assert list(images.list(project=PROJECT)) == []
        with pytest.raises(exceptions.NotFound):
            images.get(project=PROJECT, image="a-1")
    status = compute_v1.DeprecationStatus(state="OBSOLETE")
    done(images.deprecate_unary(project=PROJECT, image="a-1", deprecation_status_resource=status))
    with peer.during(Stale(), "compute.images.get"):
        assert not images.get(project=PROJECT, image="a-1").deprecated.state
    assert images.get(project=PROJECT, image="a-1").deprecated.state == "OBSOLETE"


def test_a_listing_may_say_that_it_is_not_complete(
    peer: Google, connect: Connect, images: compute_v1.ImagesClient
) -> None:
    for number in range(4):
        peer.compute.add_image(PROJECT, f"a-{number}")
    with peer.during(Warn(), "compute.images.list"):
        page: Any = next(images.list(project=PROJECT).pages)
        assert page.warning.code == "UNREACHABLE"
        assert len(page.items) == 2
    instances = connect(compute_v1.InstancesClient)
    with peer.during(Warn(scope=f"zones/{ZONE}"), "compute.instances.aggregatedList"):
        found: Any = next(instances.aggregated_list(project=PROJECT).pages)
        assert found.items[f"zones/{ZONE}"].warning.code == "UNREACHABLE"
        assert list(found.unreachables) == [f"zones/{ZONE}"]


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (Refuse(403, "rateLimitExceeded", retry_after=7), exceptions.Forbidden),
        (Refuse(429, "rateLimitExceeded"), exceptions.TooManyRequests),
        (Refuse(412, "conditionNotMet"), exceptions.PreconditionFailed),
    ],
)
def test_a_page_may_be_refused(
    peer: Google, images: compute_v1.ImagesClient, effect: Effect, error: type[Exception]
) -> None:
    for number in range(501):
        peer.compute.add_image(PROJECT, f"a-{number}")
    with (
        peer.during(effect, "compute.images.list", when=second_page) as rule,
        pytest.raises(error) as raised,
    ):
        list(images.list(project=PROJECT))
    assert rule.hits == 1
    assert peer.count("compute.images.list") == 2
    response = raised.value.response  # type: ignore[attr-defined]  # Google's errors have it
    assert response.headers.get("Retry-After") == ("7" if error is exceptions.Forbidden else None)


def test_what_is_stored_may_be_other_bytes(peer: Google, bucket: Any) -> None:
    with peer.during(OtherBytes(), "storage.objects.insert*"):
        blob = bucket.blob("a")
        blob.upload_from_string(b"something")
    assert peer.storage.get(BUCKET, "a") != b"something"
    assert blob.size == 9


def test_downloads_may_break(peer: Google, bucket: Any) -> None:
    peer.storage.put(BUCKET, "a", bytes(100_000))
    with peer.during(Cut(0.5), "storage.objects.get", times=1) as rule:
        assert len(bucket.blob("a").download_as_bytes()) == 100_000  # its client goes on
    assert rule.hits == 1
    assert peer.count("storage.objects.get") > 1


def test_a_project_or_a_bucket_may_be_gone(
    peer: Google, images: compute_v1.ImagesClient, bucket: Any
) -> None:
    peer.compute.add_image(PROJECT, "a-1")
    peer.compute.remove_project(PROJECT)
    peer.storage.remove_bucket(BUCKET)
    with pytest.raises(exceptions.NotFound, match=f"projects/{PROJECT}"):
        list(images.list(project=PROJECT))
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        list(bucket.list_blobs())
