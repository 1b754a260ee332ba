"""What Compute Engine's throw-away things have of their own, beside the contract of every place of
machines: disks, addresses, uploads; claims on all of them; requests; what a mark does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from peers.google.calls import FailOperation, Refuse, Warn
from peers.google.peer import google
from peers.sshd import ssh_server
from support.examples import ref
from support.machines.gce import InProject
from support.places import surroundings
from support.places.gce import BUCKET, PROJECT, OnGoogle
from support.places.place import CATALOG_ID, LOCAL, ignore
from support.systems import workspace

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.leasing import LedgerLeasing
from imagectl.adapters.locations import open_location
from imagectl.adapters.locations.gce import GceLocation
from imagectl.adapters.locations.gce_boot import Login
from imagectl.adapters.locations.gce_labels import claim_of, claiming
from imagectl.errors import Conflict, Corrupt, Denied, Failed
from imagectl.model.resource import Claim, FoundResource, ResourceKind, ResourceView
from imagectl.model.version import Placement
from imagectl.services.ports.locations import Mark
from imagectl.testing.build import RecordingProgress
from imagectl.testing.resources import MemoryResources

NOW = SystemClock().now().replace(microsecond=0)
OVER = Claim(CATALOG_ID, "1" * 32, NOW - timedelta(hours=1))
RUNNING = Claim(CATALOG_ID, "2" * 32, NOW + timedelta(hours=1))
VERSION = ref("debian-ci@20261120.1")
PATH = f"projects/{PROJECT}/global/images/debian-ci-20261120-1-amd64"
UPLOAD = f"imagectl/{CATALOG_ID}/debian-ci-20261120-1-amd64.tar.gz"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with google((PROJECT,), (BUCKET,)) as peer:
        yield OnGoogle(peer, tmp_path)


@pytest.fixture
def yard(place: OnGoogle) -> InProject:
    return InProject(place)


@pytest.fixture
def ledger(place: OnGoogle) -> MemoryResources:
    """Of the place's location, from now on."""
    kept = MemoryResources()
    around = surroundings(place.folder, patience=2.0, ledger=kept)
    opened = open_location(LOCAL, place.settings, around)
    assert isinstance(opened, GceLocation)
    place.location = opened
    return kept


def view(place: OnGoogle) -> ResourceView:
    return place.location.resources(lambda: NOW)


def only(place: OnGoogle, kind: ResourceKind) -> FoundResource:
    (one,) = (each for each in view(place).found if each.kind is kind)
    return one


def put(place: OnGoogle, folder: Path) -> Placement:
    return place.location.put(VERSION, *place.artifact(folder), NOW, ignore)


def zone(place: OnGoogle, collection: str) -> str:
    return f"projects/{PROJECT}/zones/{place.peer.compute.zones[0]}/{collection}"


def disk(place: OnGoogle, name: str, labels: dict[str, str], **facts: object) -> str:
    """Somebody has made a disk; its path."""
    path = f"{zone(place, 'disks')}/{name}"
    about = {"labels": labels, "status": "READY", "sizeGb": "10", **facts}
    place.peer.compute._make(path, "compute#disk", about)
    return path


def test_a_thousand_things_are_listed_in_bulk(place: OnGoogle, yard: InProject) -> None:
    """One request for each 500 of a kind, and one more for kinds of which there are none."""
    for number in range(600):
        yard.foreign(f"somebodys-{number}")
    yard.make("imagectl-boot-1", OVER)
    shown = view(place)
    assert shown.complete
    assert len(shown.found) == 2 * 600 + 1
    # The storage library looks at the bucket by itself, for traces.
    assert shown.requests == place.peer.count() - place.peer.count("storage.buckets.get")
    assert shown.requests == 2 + 2 + 1 + 1


def test_a_disk_goes_with_its_instance_and_is_no_thing_of_its_own(
    place: OnGoogle, yard: InProject
) -> None:
    yard.make("imagectl-boot-1", OVER)
    (found,) = view(place).found
    assert found.kind is ResourceKind.MACHINE
    place.location.collect(found, NOW)
    assert place.peer.compute.names(zone(place, "instances")) == []
    assert place.peer.compute.names(zone(place, "disks")) == []


def test_a_disk_that_was_left_goes(place: OnGoogle) -> None:
    path = disk(place, "imagectl-boot-1", claiming(OVER, "imagectl-boot-1"))
    found = only(place, ResourceKind.DISK)
    assert found.claim == OVER
    place.location.collect(found, NOW)
    assert path not in place.peer.compute.resources


def test_a_disk_that_somebody_uses_stays(place: OnGoogle, yard: InProject) -> None:
    """It says that nobody needs it, but is attached to an instance that is not ours."""
    used = yard.foreign("somebodys").partition("#")[0]
    labels = claiming(OVER, "imagectl-boot-1")
    path = disk(place, "imagectl-boot-1", labels, users=[f"@/{used}"])
    (found,) = (each for each in view(place).found if each.claim is not None)
    with pytest.raises(Failed, match="deleting disk"):
        place.location.collect(found, NOW)
    assert path in place.peer.compute.resources


def test_an_address_that_says_so_goes(place: OnGoogle) -> None:
    """Such as one that a template reserves, with the labels of its instance."""
    path = f"projects/{PROJECT}/regions/{place.peer.compute.regions[0]}/addresses/imagectl-a"
    labels = claiming(OVER, "imagectl-a")
    place.peer.compute._make(path, "compute#address", {"labels": labels, "status": "RESERVED"})
    other = f"{path}-of-others"
    place.peer.compute._make(other, "compute#address", {"status": "RESERVED"})
    found = {each.name: each for each in view(place).found}
    place.location.collect(found["imagectl-a"], NOW)
    with pytest.raises(Conflict):
        place.location.collect(found["imagectl-a-of-others"], NOW)
    assert path not in place.peer.compute.resources
    assert other in place.peer.compute.resources


def test_a_copy_with_all_labels_makes_no_claim(place: OnGoogle, yard: InProject) -> None:
    """P2: "create similar" copies labels, and so does `gcloud storage cp` metadata."""
    place.peer.compute.add_instance(PROJECT, "somebodys-copy", claiming(OVER, "imagectl-boot-1"))
    place.peer.storage.put(BUCKET, "imagectl/copy.tar.gz", b"copy", claiming(OVER, UPLOAD))
    found = view(place).found
    assert {each.name for each in found} >= {"somebodys-copy", "imagectl/copy.tar.gz"}
    assert [each.claim for each in found] == [None] * len(found)
    assert [each.copied for each in found] == [OVER] * len(found)


@pytest.mark.parametrize("wrong", ["", "yesterday", "2026-11-21", "2026-13-21t00-00-00z"])
def test_a_lease_that_cannot_be_read_is_no_claim(wrong: str) -> None:
    labels = {**claiming(OVER, "a"), "imagectl-until": wrong}
    assert claim_of(claiming(OVER, "a"), "a") == OVER
    assert claim_of(labels, "a") is None


def test_another_instance_of_the_same_name_is_not_taken_for_it(
    place: OnGoogle, yard: InProject
) -> None:
    """Whatever it says of itself: it is the numeric id that was decided about."""
    made = yard.make("imagectl-boot-1", OVER)
    found = only(place, ResourceKind.MACHINE)
    place.peer.compute.remove(made.partition("#")[0])
    again = yard.make("imagectl-boot-1", OVER)
    place.location.collect(found, NOW)
    assert again in yard.there()


@pytest.mark.parametrize(
    "state", ["PROVISIONING", "STAGING", "STOPPING", "TERMINATED", "SUSPENDED", "REPAIRING"]
)
def test_it_goes_whatever_state_it_is_in(place: OnGoogle, yard: InProject, state: str) -> None:
    made = yard.make("imagectl-boot-1", OVER)
    place.peer.compute.resources[made.partition("#")[0]]["status"] = state
    found = only(place, ResourceKind.MACHINE)
    assert found.state == state
    place.location.collect(found, NOW)
    assert yard.there() == frozenset()


def test_a_deletion_that_fails_is_told(place: OnGoogle, yard: InProject) -> None:
    made = yard.make("imagectl-boot-1", OVER)
    found = only(place, ResourceKind.MACHINE)
    with (
        place.peer.during(FailOperation(), "compute.instances.delete") as rule,
        pytest.raises(Failed, match="did not work"),
    ):
        place.location.collect(found, NOW)
    assert rule.hits == 1
    assert made in yard.there()


def test_what_is_of_another_project_now_is_left_alone(place: OnGoogle, yard: InProject) -> None:
    made = yard.make("imagectl-boot-1", OVER)
    found = only(place, ResourceKind.MACHINE)
    for other in ({"project": "elsewhere"}, {"bucket": "elsewhere"}):
        place.settings = replace(place.settings, **other)  # type: ignore[arg-type]  # their names
    moved = place.reopened()
    upload = replace(found, kind=ResourceKind.UPLOAD, provider_id=f"gs://{BUCKET}/a#1")
    for each in (found, upload, replace(found, provider_id="nonsense")):
        with pytest.raises(Conflict, match="is not in location"):
            moved.collect(each, NOW)
    assert made in yard.there()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("compute.instances.aggregatedList", "instances"),
        ("compute.disks.aggregatedList", "disks"),
        ("compute.addresses.aggregatedList", "addresses"),
        ("storage.objects.list", "uploads"),
    ],
)
def test_what_we_may_not_list_is_a_gap(
    place: OnGoogle, yard: InProject, call: str, what: str
) -> None:
    """P3."""
    with yard.forbidden(call):
        shown = view(place)
    assert [gap.partition(":")[0] for gap in shown.gaps] == [what]


def test_a_zone_that_does_not_answer_is_named(place: OnGoogle) -> None:
    lost = f"zones/{place.peer.compute.zones[1]}"
    with place.peer.during(Warn(scope=lost), "compute.disks.aggregatedList"):
        gaps = view(place).gaps
    assert f"{lost} could not be reached" in gaps
    assert f"disks in {lost}: UNREACHABLE: A scope could not be reached" in gaps


def claims_while_booted(place: OnGoogle, placed: Placement, folder: Path) -> list[Any]:
    """The labels of the instance and the disk, as they were when it began to run."""
    seen: list[Any] = []
    place.peer.compute.started.append(
        lambda instance: seen.extend(
            (
                instance["labels"],
                place.peer.compute.resources[instance["disks"][0]["source"][2:]]["labels"],
            )
        )
    )
    with ssh_server() as sshd:
        place.location.login = Login(port=sshd.port)
        with place.location.boot(placed, workspace(folder), RecordingProgress()):
            pass
    return seen


def test_an_instance_and_its_disk_say_whose_they_are_from_the_first_moment(
    place: OnGoogle, ledger: MemoryResources, tmp_path: Path
) -> None:
    """P7: and the ledger knew before."""
    placed = put(place, tmp_path)
    begun: list[tuple[str, ...]] = []
    place.peer.compute.started.append(
        lambda instance: begun.append(tuple(each.name for each in ledger.all()))
    )
    labels, of_disk = claims_while_booted(place, placed, tmp_path)
    claim = claim_of(labels, labels["imagectl-name"])
    assert claim is not None
    assert claim == claim_of(of_disk, labels["imagectl-name"])
    assert claim.catalog == CATALOG_ID
    assert claim.until > SystemClock().now()
    assert begun == [(labels["imagectl-name"],)]
    assert ledger.all() == ()


def test_an_instance_that_could_not_be_removed_stays_in_the_ledger(
    place: OnGoogle, ledger: MemoryResources, tmp_path: Path
) -> None:
    placed = put(place, tmp_path)
    denied = Refuse(403, "forbidden", "Required 'compute.instances.delete' permission")
    with place.peer.during(denied, "compute.instances.delete"):
        claims_while_booted(place, placed, tmp_path)
    (left,) = ledger.all()
    found = only(place, ResourceKind.MACHINE)
    assert found.claim is not None
    assert (left.id, left.name, left.place) == (found.claim.resource, found.name, LOCAL)


def test_a_lease_that_goes_on_is_shown_at_the_provider(place: OnGoogle, tmp_path: Path) -> None:
    """On the instance, on its disk, and on an upload."""
    ledger, shown = MemoryResources(), threading.Event()
    now = SystemClock().now
    quick = LedgerLeasing(
        ledger, lambda: CATALOG_ID, "somebody", now, every=timedelta(seconds=0.05)
    )
    around = replace(surroundings(tmp_path, patience=2.0), leasing=lambda: quick)
    opened = open_location(LOCAL, place.settings, around)
    assert isinstance(opened, GceLocation)
    place.location = opened
    placed = put(place, tmp_path)
    with ExitStack() as stack:
        sshd = stack.enter_context(ssh_server())
        place.location.login = Login(port=sshd.port)
        machine = place.location.boot(placed, workspace(tmp_path), RecordingProgress())
        stack.enter_context(machine)
        name = ledger.all()[0].name
        paths = [f"{zone(place, each)}/{name}" for each in ("instances", "disks")]
        first = [place.peer.compute.resources[each]["labels"]["imagectl-until"] for each in paths]
        labels: list[dict[str, str]] = []
        for _ in range(100):
            labels = [place.peer.compute.resources[each]["labels"] for each in paths]
            if all(each["imagectl-until"] > was for each, was in zip(labels, first, strict=True)):
                shown.set()
                break
            shown.wait(0.1)
        assert shown.is_set()
        assert labels[0]["imagectl-purpose"] == "boot-test"
    place.peer.storage.put(BUCKET, UPLOAD, b"upload", claiming(OVER, UPLOAD))
    place.location._uploads.renew(UPLOAD, replace(OVER, until=RUNNING.until))
    assert only(place, ResourceKind.UPLOAD).claim == replace(OVER, until=RUNNING.until)
    place.location._uploads.renew(UPLOAD, RUNNING)  # somebody else's lease
    assert only(place, ResourceKind.UPLOAD).claim == replace(OVER, until=RUNNING.until)


def test_an_upload_says_whose_it_is_and_goes_with_its_lease(
    place: OnGoogle, ledger: MemoryResources, tmp_path: Path
) -> None:
    """Left by an import that failed. The image's own marks stay with it, too."""
    with place.peer.during(FailOperation(), "compute.images.insert"), pytest.raises(Failed):
        put(place, tmp_path)
    found, (entry,) = only(place, ResourceKind.UPLOAD), ledger.all()
    assert (found.name, entry.name) == (UPLOAD, UPLOAD)
    assert found.claim is not None
    assert (found.claim.resource, entry.kind) == (entry.id, ResourceKind.UPLOAD)
    with pytest.raises(Conflict):
        place.location.collect(found, NOW)
    place.location.collect(found, found.claim.until + timedelta(minutes=6))
    assert place.peer.storage.names(BUCKET) == []
    placed = put(place, tmp_path)
    assert place.location.verify(placed, NOW) == placed


def test_an_upload_that_is_used_again_is_needed_again(
    place: OnGoogle, ledger: MemoryResources, tmp_path: Path
) -> None:
    """Found from before, it is not sent again; and what was decided about it does not hold."""
    with place.peer.during(FailOperation(), "compute.images.insert"), pytest.raises(Failed):
        put(place, tmp_path)
    before = only(place, ResourceKind.UPLOAD)
    with place.peer.during(FailOperation(), "compute.images.insert"), pytest.raises(Failed):
        put(place, tmp_path)
    after = only(place, ResourceKind.UPLOAD)
    assert before.claim is not None
    assert after.claim is not None
    assert after.claim.resource == ledger.all()[1].id != before.claim.resource
    assert place.peer.count("storage.objects.insert/start") == 1
    with pytest.raises(Conflict):
        place.location.collect(before, NOW + timedelta(days=1))
    assert place.peer.storage.names(BUCKET) == [UPLOAD]


def test_an_upload_that_is_changed_while_it_goes_stays(place: OnGoogle) -> None:
    """Between the look at it and the deletion, somebody takes it over."""
    place.peer.storage.put(BUCKET, UPLOAD, b"upload", claiming(OVER, UPLOAD))
    found = only(place, ResourceKind.UPLOAD)
    changed = Refuse(412, "conditionNotMet", "Precondition Failed")
    with (
        place.peer.during(changed, "storage.objects.delete") as rule,
        pytest.raises(Conflict, match="was changed just now"),
    ):
        place.location.collect(found, NOW)
    assert rule.hits == 1
    call = next(each for each in place.peer.calls if each.id == "storage.objects.delete")
    assert {"ifGenerationMatch", "ifMetagenerationMatch"} <= set(call.query)
    place.peer.storage.put(BUCKET, UPLOAD, b"another", claiming(OVER, UPLOAD))
    place.location.collect(found, NOW)
    assert place.peer.storage.names(BUCKET) == [UPLOAD]


def test_quarantine_is_googles_deleted_which_deletes_nothing(
    place: OnGoogle, tmp_path: Path
) -> None:
    """And can be taken back; on its way the image is ours at any moment."""
    placed = put(place, tmp_path)
    path = place.peer.compute.resources
    for mark in (Mark.OBSOLETE, Mark.QUARANTINED, Mark.OBSOLETE, Mark.QUARANTINED, Mark.ACTIVE):
        fails, hits = Refuse(403, "forbidden", "Required permission"), 0
        for call in ("compute.images.deprecate", "compute.images.setLabels"):
            with place.peer.during(fails, call) as rule, suppress(Denied):
                place.location.mark(placed, mark)
            hits += rule.hits
            assert place.location.verify(placed, NOW) == placed
        assert hits
        place.location.mark(placed, mark)
        assert place.location.verify(placed, NOW) == placed
        state = path[PATH].get("deprecated", {}).get("state", "ACTIVE")
        assert state == {"obsolete": "OBSOLETE", "quarantined": "DELETED"}.get(mark.value, "ACTIVE")
    assert "imagectl-mark" not in path[PATH]["labels"]


def test_what_somebody_else_marked_deleted_does_not_verify(place: OnGoogle, tmp_path: Path) -> None:
    """P6: also where our own mark says less."""
    placed = put(place, tmp_path)
    place.location.mark(placed, Mark.OBSOLETE)
    place.peer.compute.resources[PATH]["deprecated"] = {"state": "DELETED"}
    with pytest.raises(Corrupt, match="somebody has marked it DELETED"):
        place.location.verify(placed, NOW)
