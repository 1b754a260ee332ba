"""Compute Engine's peer, seen by google-cloud-compute."""

from __future__ import annotations

import gzip
import uuid
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from peers.google.archives import GIB
from peers.google.clients import (
    BUCKET,
    IMAGES,
    PROJECT,
    ZONE,
    Connect,
    Done,
    archive,
    raw,
)
from peers.google.machines import ssh_keys
from peers.google.peer import Google


def test_an_image_is_made_of_the_archive_in_the_bucket(
    peer: Google, images: compute_v1.ImagesClient, bucket: Any, done: Done
) -> None:
    data = archive(3 * GIB)
    bucket.blob("disk.tar.gz").upload_from_string(data)
    begun = images.insert_unary(project=PROJECT, image_resource=raw("a-1", labels={"k": "v"}))
    assert begun.status == compute_v1.Operation.Status.RUNNING
    assert not done(begun).error.errors
    made = images.get(project=PROJECT, image="a-1")
    assert (made.status, made.disk_size_gb, made.archive_size_bytes) == ("READY", 3, len(data))
    assert dict(made.labels) == {"k": "v"}
    assert images.get(project=PROJECT, image=str(made.id)).name == "a-1"
    bucket.blob("disk.tar.gz").delete()
    assert images.get(project=PROJECT, image="a-1").status == "READY"


def otherwise_ending() -> bytes:
    """An archive whose tar is whole, and whose bytes are not those that were packed."""
    data = gzip.compress(gzip.decompress(archive()) + bytes(100_000), mtime=0)
    return data[:-8] + bytes(4) + data[-4:]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no archive", "not a valid image"),
        (archive()[:-4], "not a valid image"),
        (otherwise_ending(), "not a valid image"),
        (archive(GIB, "disk.img"), "must contain disk.raw"),
        (archive(GIB - 512), "not a whole number of GB"),
    ],
)
def test_other_archives_make_no_image(
    peer: Google,
    images: compute_v1.ImagesClient,
    bucket: Any,
    done: Done,
    data: bytes,
    said: str,
) -> None:
    bucket.blob("disk.tar.gz").upload_from_string(data)
    ended = done(images.insert_unary(project=PROJECT, image_resource=raw("a-1")))
    assert said in ended.error.errors[0].message
    assert ended.http_error_status_code == 400
    assert peer.compute.image(PROJECT, "a-1") is None


def test_no_archive_no_image(images: compute_v1.ImagesClient) -> None:
    with pytest.raises(exceptions.NotFound, match=r"disk\.tar\.gz"):
        images.insert_unary(project=PROJECT, image_resource=raw("a-1"))
    with pytest.raises(exceptions.BadRequest, match="must be of the form"):
        images.insert_unary(project=PROJECT, image_resource=raw("a-1", "file:///disk"))


def test_a_name_is_taken_once_and_a_request_id_acts_once(
    peer: Google, images: compute_v1.ImagesClient, done: Done
) -> None:
    peer.storage.put(BUCKET, "disk.tar.gz", archive())
    request = compute_v1.InsertImageRequest(
        project=PROJECT, image_resource=raw("a-1"), request_id=str(uuid.uuid4())
    )
    first = images.insert_unary(request)
    done(first)
    assert images.insert_unary(request).name == first.name
    with pytest.raises(exceptions.Conflict, match="already exists"):
        images.insert_unary(project=PROJECT, image_resource=raw("a-1"))
    delete = compute_v1.DeleteImageRequest(
        project=PROJECT, image="a-1", request_id=str(uuid.uuid4())
    )
    gone = images.delete_unary(delete)
    done(gone)
    assert images.delete_unary(delete).name == gone.name
    with pytest.raises(exceptions.NotFound):
        images.delete_unary(project=PROJECT, image="a-1")


def test_labels_change_only_with_the_present_fingerprint(
    peer: Google, images: compute_v1.ImagesClient, done: Done
) -> None:
    peer.compute.add_image(PROJECT, "a-1", labels={"k": "v"})

    def label(fingerprint: str, **labels: str) -> compute_v1.Operation:
        return images.set_labels_unary(
            project=PROJECT,
            resource="a-1",
            global_set_labels_request_resource=compute_v1.GlobalSetLabelsRequest(
                label_fingerprint=fingerprint, labels=labels
            ),
        )

    old = images.get(project=PROJECT, image="a-1").label_fingerprint
    done(label(old, k="w"))
    with pytest.raises(exceptions.PreconditionFailed):
        label(old, k="x")
    now = images.get(project=PROJECT, image="a-1")
    assert dict(now.labels) == {"k": "w"}
    for bad in ("Upper", "a.b", "x" * 64):
        with pytest.raises(exceptions.BadRequest, match="labels"):
            label(now.label_fingerprint, k=bad)


def test_a_family_shows_its_newest_image_that_is_not_deprecated(
    peer: Google, images: compute_v1.ImagesClient, done: Done
) -> None:
    for day in (1, 2, 3):
        at = f"2026-11-0{day}T00:00:00.000+00:00"
        peer.compute.add_image(PROJECT, f"a-{day}", family="f", creationTimestamp=at)

    def head() -> str:
        return images.get_from_family(project=PROJECT, family="f").name

    def mark(image: str, state: str) -> None:
        status = compute_v1.DeprecationStatus(state=state)
        done(
            images.deprecate_unary(project=PROJECT, image=image, deprecation_status_resource=status)
        )

    assert head() == "a-3"
    mark("a-3", "DEPRECATED")
    mark("a-2", "DELETED")
    assert head() == "a-1"
    assert images.get(project=PROJECT, image="a-2").deprecated.state == "DELETED"
    mark("a-2", "ACTIVE")
    assert head() == "a-2"
    done(
        images.patch_unary(
            project=PROJECT, image="a-1", image_resource=compute_v1.Image(family="g")
        )
    )
    assert images.get_from_family(project=PROJECT, family="g").name == "a-1"
    with pytest.raises(exceptions.BadRequest, match="cannot be patched"):
        images.patch_unary(
            project=PROJECT, image="a-1", image_resource=compute_v1.Image(labels={"a": "b"})
        )
    with pytest.raises(exceptions.NotFound):
        images.get_from_family(project=PROJECT, family="h")


def test_a_policy_changes_only_with_the_present_etag(
    peer: Google, images: compute_v1.ImagesClient
) -> None:
    peer.compute.add_image(PROJECT, "a-1")
    before = images.get_iam_policy(project=PROJECT, resource="a-1")

    def share(member: str, etag: str) -> compute_v1.Policy:
        binding = compute_v1.Binding(role="roles/compute.imageUser", members=[member])
        policy = compute_v1.Policy(bindings=[binding], etag=etag)
        return images.set_iam_policy(
            project=PROJECT,
            resource="a-1",
            global_set_policy_request_resource=compute_v1.GlobalSetPolicyRequest(policy=policy),
        )

    share("user:a@acme.example", before.etag)
    with pytest.raises(exceptions.Conflict):
        share("user:b@acme.example", before.etag)
    (binding,) = images.get_iam_policy(project=PROJECT, resource="a-1").bindings
    assert list(binding.members) == ["user:a@acme.example"]


@pytest.mark.parametrize(
    ("count", "requests"), [(0, 1), (1, 1), (499, 1), (500, 1), (501, 2), (6003, 13)]
)
def test_listings_have_pages_of_500(
    peer: Google, images: compute_v1.ImagesClient, count: int, requests: int
) -> None:
    for number in range(count):
        peer.compute.add_image(PROJECT, f"a-{number}")
    request = compute_v1.ListImagesRequest(project=PROJECT, max_results=500)
    assert {each.name for each in images.list(request)} == {f"a-{n}" for n in range(count)}
    assert peer.count("compute.images.list") == peer.count() == requests


@pytest.mark.parametrize(
    ("filter_", "found"),
    [
        ("name=a-1", ["a-1"]),
        ("name != a-1", ["a-2", "b-1"]),
        ('labels.k = "1"', ["a-1"]),
        ("labels.k:*", ["a-1", "b-1"]),
        ("(labels.k:*) (family = f)", ["b-1"]),
        ("labels.k:* AND family=f", ["b-1"]),
        ("name eq 'a-.*'", ["a-1", "a-2"]),
        ("name ne a-.*", ["b-1"]),
    ],
)
def test_listings_are_filtered(
    peer: Google, images: compute_v1.ImagesClient, filter_: str, found: list[str]
) -> None:
    peer.compute.add_image(PROJECT, "a-1", labels={"k": "1"})
    peer.compute.add_image(PROJECT, "a-2")
    peer.compute.add_image(PROJECT, "b-1", labels={"k": "2"}, family="f")
    request = compute_v1.ListImagesRequest(project=PROJECT, filter=filter_)
    assert [each.name for each in images.list(request)] == found


def instance(name: str, image: str) -> compute_v1.Instance:
    disk = compute_v1.AttachedDiskInitializeParams(source_image=image)
    access = compute_v1.AccessConfig(name="External NAT", type_="ONE_TO_ONE_NAT")
    return compute_v1.Instance(
        name=name,
        machine_type=f"zones/{ZONE}/machineTypes/e2-small",
        disks=[compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
        network_interfaces=[compute_v1.NetworkInterface(access_configs=[access])],
        metadata=compute_v1.Metadata(
            items=[compute_v1.Items(key="ssh-keys", value="root:ssh-ed25519 AAAA me\n")]
        ),
        labels={"imagectl": "boot"},
    )


def test_an_instance_comes_up_with_its_keys_and_goes_with_its_disk(
    peer: Google, connect: Connect, done: Done
) -> None:
    instances = connect(compute_v1.InstancesClient)
    disks = connect(compute_v1.DisksClient)
    peer.compute.add_image(PROJECT, "a-1", diskSizeGb="3")
    let_in: list[str] = []
    peer.compute.started.append(lambda each: let_in.extend(ssh_keys(each)))
    where: dict[str, Any] = {"project": PROJECT, "zone": ZONE}
    begun = instances.insert_unary(instance_resource=instance("i", f"{IMAGES}/a-1"), **where)
    assert let_in == []
    assert not done(begun).error.errors
    assert let_in == ["ssh-ed25519 AAAA me"]
    running = instances.get(instance="i", **where)
    assert running.status == "RUNNING"
    assert running.network_interfaces[0].access_configs[0].nat_i_p == "127.0.0.1"
    disk = disks.get(disk="i", **where)
    assert disk.size_gb == 3
    with pytest.raises(exceptions.BadRequest, match="already being used"):
        disks.delete_unary(disk="i", **where)
    scopes = dict(instances.aggregated_list(project=PROJECT))
    assert [each.name for each in scopes[f"zones/{ZONE}"].instances] == ["i"]
    assert scopes["zones/europe-west1-c"].warning.code == "NO_RESULTS_ON_PAGE"
    done(instances.delete_unary(instance="i", **where))
    assert list(disks.list(**where)) == list(instances.list(**where)) == []
