"""What Compute Engine has beside the contract of all locations: uploads, marks, sharing; and what
it takes in requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from peers.google.calls import Call, Cut, FailOperation, LoseAnswer, Refuse, Wait
from support.deleting import at_once
from support.examples import NOW
from support.gce_images import at_google, put
from support.places.gce import BUCKET, PROJECT, OnGoogle
from support.places.place import artifact_of

from imagectl.adapters import process
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Failed,
    NoSpace,
    NotFound,
)
from imagectl.model.names import Format
from imagectl.model.version import Artifact
from imagectl.services.ports.locations import Mark

NAME = "debian-ci-20261120-1-amd64"
PATH = f"projects/{PROJECT}/global/images/{NAME}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


@pytest.fixture
def made(place: OnGoogle, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


def asked(place: OnGoogle, since: int = 0) -> list[str]:
    """What the adapter asked for. The storage library looks at the bucket by itself, for traces."""
    ids = [each.id for each in place.peer.calls[since:]]
    return [each for each in ids if each != "storage.buckets.get"]


def test_an_image_says_all_that_consumers_and_google_need(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    image = place.peer.compute.image(PROJECT, NAME)
    assert image is not None
    assert placed.provider_id == f"{PATH}#{image['id']}"
    assert placed.reference == PATH
    assert image["architecture"] == "X86_64"
    assert image["guestOsFeatures"] == [{"type": "VIRTIO_SCSI_MULTIQUEUE"}, {"type": "GVNIC"}]
    assert made[0].sha256 in image["description"]
    assert "family" not in image


def test_what_was_uploaded_is_removed_and_the_image_is_made_of_it(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    put(place, made)
    assert place.peer.storage.names(BUCKET) == []
    assert place.peer.compute.resources[PATH]["_archive"] == made[0].sha256


def test_google_keeps_images_where_it_is_told(tmp_path: Path) -> None:
    with at_google(tmp_path, storage_location="us") as place:
        put(place, place.artifact(tmp_path))
        image = place.peer.compute.image(PROJECT, NAME)
        assert image is not None
        assert image["storageLocations"] == ["us"]


def test_what_a_version_takes_in_requests(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    assert asked(place) == [
        "compute.images.get",
        "storage.objects.get",
        "storage.objects.insert/start",
        "storage.objects.insert/bytes",
        "storage.objects.insert/status",
        "storage.objects.get",
        "compute.images.insert",
        "compute.globalOperations.wait",
        "compute.images.get",
        "storage.objects.get",
        "storage.objects.delete",
    ]
    before = len(place.peer.calls)
    place.location.verify(placed, NOW)
    assert asked(place, before) == ["compute.images.get"]
    before = len(place.peer.calls)
    assert put(place, made) == placed
    assert asked(place, before) == [
        "compute.images.get",
        "compute.images.get",
        "storage.objects.get",
    ]


def test_6003_images_take_13_requests(place: OnGoogle) -> None:
    place.fill(6003)
    place.peer.calls.clear()
    shown = place.location.view(lambda: NOW)
    assert shown.complete
    assert len(shown.found) == 6003
    assert shown.requests == place.peer.count() == 13


def test_a_page_that_names_itself_as_its_next_does_not_go_on_for_ever(place: OnGoogle) -> None:
    place.fill(600)
    listed = place.peer.handlers["compute.images.list"]

    def the_first_page(call: Call) -> dict[str, object]:
        query = {key: each for key, each in call.query.items() if key != "pageToken"}
        page: dict[str, object] = listed(replace(call, query=query))
        return page

    place.peer.handlers["compute.images.list"] = the_first_page
    shown = place.location.view(lambda: NOW)
    assert not shown.complete
    assert "does not come to an end" in shown.gaps[0]


def test_an_upload_goes_on_in_the_next_process(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """What has arrived is not sent again."""
    down = Refuse(503, "backendError", "Backend Error")
    with (
        place.peer.during(Cut(0.7), "storage.objects.insert/bytes", times=1) as cut,
        place.peer.during(down, "storage.objects.insert/status"),
        pytest.raises(CannotTell),
    ):
        put(place, made)
    assert cut.hits == 1
    sent = place.peer.storage.uploaded
    kept = sent // (256 * 1024) * 256 * 1024
    assert 0 < kept < made[0].size
    place.location = place.reopened()
    put(place, made)
    assert place.peer.count("storage.objects.insert/start") == 1
    assert place.peer.storage.uploaded == sent + made[0].size - kept


def test_the_address_of_an_upload_is_private(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    """It is a key: who has it may write."""
    down = Refuse(503, "backendError", "Backend Error")
    with place.peer.during(down, "storage.objects.insert/bytes"), pytest.raises(CannotTell) as told:
        put(place, made)
    (file,) = (place.folder / "state" / "uploads").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    key = json.loads(file.read_text())["address"].rpartition("upload_id=")[2]
    assert key
    assert key not in f"{told.value}{told.value.why}{told.value.where}{told.value.hint}"


def test_an_upload_that_google_has_forgotten_begins_anew(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    down = Refuse(503, "backendError", "Backend Error")
    with place.peer.during(down, "storage.objects.insert/bytes"), pytest.raises(CannotTell):
        put(place, made)
    place.peer.storage.end_sessions()
    assert put(place, made).sha256 == made[0].sha256


def test_somebody_elses_object_of_that_name_is_not_touched(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """P2."""
    with place.peer.during(FailOperation(), "compute.images.insert"), pytest.raises(Failed):
        put(place, made)
    (name,) = place.peer.storage.names(BUCKET)
    place.peer.storage.put(BUCKET, name, b"somebody else's")
    before = place.peer.storage.state(BUCKET, name)
    with pytest.raises(Conflict):
        put(place, made)
    assert place.peer.storage.state(BUCKET, name) == before


def test_a_failed_import_is_asked_for_anew_and_not_answered_from_memory(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """The same request id would get the same failed operation back; the upload is not repeated."""
    with (
        place.peer.during(FailOperation(), "compute.images.insert", times=1),
        pytest.raises(Failed, match="did not work") as told,
    ):
        put(place, made)
    assert "INTERNAL_ERROR" in told.value.why
    put(place, made)
    first, second = (
        call.query["requestId"] for call in place.peer.calls if call.id == "compute.images.insert"
    )
    assert first != second
    assert place.peer.count("storage.objects.insert/start") == 1


def test_a_lost_answer_is_asked_for_with_the_same_id(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    with place.peer.during(LoseAnswer(), "compute.images.insert", times=1):
        put(place, made)
    ids = {
        call.query["requestId"] for call in place.peer.calls if call.id == "compute.images.insert"
    }
    assert len(ids) == 1
    assert place.peer.count("compute.images.insert") == 2
    assert len(place.peer.compute.names(f"projects/{PROJECT}/global/images")) == 1


def test_the_next_process_asks_with_the_same_id(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """One that was killed may have been heard: what it asked for is not done a second time."""
    down = Refuse(503, "backendError", "Backend Error")
    with place.peer.during(down, "compute.images.insert"), pytest.raises(CannotTell):
        put(place, made)
    place.location = place.reopened()
    put(place, made)
    ids = [
        call.query["requestId"] for call in place.peer.calls if call.id == "compute.images.insert"
    ]
    assert len(ids) > 1
    assert len(set(ids)) == 1


@pytest.mark.parametrize("status", [400, 403])
def test_a_quota_that_is_used_up_is_no_space(
    place: OnGoogle, made: tuple[Artifact, Path], status: int
) -> None:
    full = (
        Refuse(403, "quotaExceeded", "Quota 'IMAGES' exceeded.")
        if status == 403
        else FailOperation("QUOTA_EXCEEDED", "Quota 'IMAGES' exceeded.", 403)
    )
    with place.peer.during(full, "compute.images.insert"), pytest.raises(NoSpace, match="quota"):
        put(place, made)


def test_an_image_whose_import_failed_is_made_again(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    failed = FailOperation(leaves="FAILED")
    with place.peer.during(failed, "compute.images.insert", times=1), pytest.raises(Failed):
        put(place, made)
    image = place.peer.compute.image(PROJECT, NAME)
    assert image is not None
    assert image["status"] == "FAILED"
    placed = put(place, made)
    assert placed.provider_id != f"{PATH}#{image['id']}"
    assert place.location.verify(placed, NOW) == placed


def test_what_somebody_else_is_just_making_is_waited_for(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """A process that was killed while Google imports: the next one finds it, and makes none."""
    placed = put(place, made)
    image = place.peer.compute.resources[PATH]
    image["status"] = "PENDING"
    looks: list[str] = []

    def until_the_third_look(call: Call) -> bool:
        looks.append(call.id)
        if len(looks) == 3:
            image["status"] = "READY"
        return False

    with place.peer.during(Wait(0), "compute.images.get", when=until_the_third_look):
        assert put(place, made) == placed
    assert place.peer.count("compute.images.insert") == 1


def test_another_catalogs_image_of_that_name_is_a_conflict(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """P2."""
    placed = put(place, made)
    other = "00000000-0000-4000-8000-00000000000f"
    place.peer.compute.resources[PATH]["labels"]["imagectl-catalog"] = other
    before = place.peer.compute.image(PROJECT, NAME)
    with pytest.raises(Conflict, match="is not ours"):
        put(place, made)
    with pytest.raises(Conflict, match="is not ours"):
        place.location.delete(placed, at_once)
    with pytest.raises(Corrupt):
        place.location.verify(placed, NOW)
    assert place.peer.compute.image(PROJECT, NAME) == before


def test_another_image_under_the_same_name_is_not_the_one_that_was_placed(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """P2: an id is never given twice. What has the name now stays, though its labels say ours."""
    placed = put(place, made)
    place.lose(placed)
    again = put(place, made)
    assert again.provider_id != placed.provider_id
    with pytest.raises(NotFound):
        place.location.verify(placed, NOW)
    place.location.delete(placed, at_once)
    assert place.location.verify(again, NOW) == again


def test_a_location_that_means_another_project_now_says_so(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    place.peer.compute.add_project("acme-other")
    place.settings = replace(place.settings, project="acme-other")
    moved = place.reopened()
    with pytest.raises(NotFound) as told:
        moved.verify(placed, NOW)
    assert told.value.why == (
        "it was placed in the project acme-images, and the location now means acme-other"
    )
    with pytest.raises(NotFound):
        moved.delete(placed, at_once)


def test_what_names_no_image_cannot_be_told(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    for wrong in ("", NAME, PATH, f"{PATH}#", f"{PATH}#1/../2", f"{PATH}#12\n"):
        with pytest.raises(CannotTell, match="does not name an image"):
            place.location.verify(replace(placed, provider_id=wrong), NOW)


def test_what_somebody_marked_obsolete_does_not_verify(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    """P6: nobody can use it. What imagectl has marked itself is known to the catalog."""
    placed = put(place, made)
    place.peer.compute.resources[PATH]["deprecated"] = {"state": "OBSOLETE"}
    with pytest.raises(Corrupt, match="somebody has marked it OBSOLETE"):
        place.location.verify(placed, NOW)
    place.location.mark(placed, Mark.OBSOLETE)
    assert place.location.verify(placed, NOW) == placed
    place.location.mark(placed, Mark.ACTIVE)
    image = place.peer.compute.image(PROJECT, NAME)
    assert image is not None
    assert "deprecated" not in image
    assert "imagectl-mark" not in image["labels"]


def test_marks_are_googles_own(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    place.location.mark(placed, Mark.DEPRECATED)
    assert place.peer.compute.resources[PATH]["deprecated"]["state"] == "DEPRECATED"
    assert place.location.view(lambda: NOW).found[0].state == "DEPRECATED"


def test_labels_that_others_set_stay(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    placed = put(place, made)
    labels = {**place.peer.compute.resources[PATH]["labels"], "cost-centre": "42"}
    place.peer.compute.resources[PATH]["labels"] = labels
    changed = Refuse(412, "conditionNotMet", "Labels fingerprint either invalid or changed")
    with place.peer.during(changed, "compute.images.setLabels", times=1) as rule:
        place.location.mark(placed, Mark.OBSOLETE)
    assert rule.hits == 1
    now = place.peer.compute.resources[PATH]["labels"]
    assert now == {**labels, "imagectl-mark": "obsolete"}


def test_an_image_is_shared_with_those_in_the_settings(tmp_path: Path) -> None:
    ci, auditor = "serviceAccount:ci@acme.example", "user:auditor@acme.example"
    with at_google(tmp_path, share=(ci,)) as place:
        changed = Refuse(409, "aborted", "The policy was changed since it was read.")
        with place.peer.during(changed, "compute.images.setIamPolicy", times=1) as rule:
            placed = put(place, place.artifact(tmp_path))
        assert rule.hits == 1
        role = "roles/compute.imageUser"
        assert place.peer.compute.policy(PATH)["bindings"] == [{"role": role, "members": [ci]}]
        # What others have granted stays.
        place.peer.compute.policies[PATH]["bindings"] = [{"role": role, "members": [auditor]}]
        assert put(place, place.artifact(tmp_path)) == placed
        members = {
            member
            for each in place.peer.compute.policy(PATH)["bindings"]
            for member in each["members"]
        }
        assert members == {ci, auditor}
        assert len(place.location.unproven) == 2


def test_an_import_that_is_no_disk_is_not_sent(place: OnGoogle, tmp_path: Path) -> None:
    path = tmp_path / "nonsense.tar.gz"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(Corrupt, match="is not a disk for Compute Engine"):
        put(place, (artifact_of(path.read_bytes(), Format.GCE), path))
    assert place.peer.count("storage.objects.insert/start") == 0


def test_opening_the_location_imports_no_library_of_googles() -> None:
    code = (
        "import sys; import imagectl.adapters.locations.gce as g; "
        "assert not [m for m in sys.modules if m.startswith(('google', 'requests'))]"
    )
    process.run([sys.executable, "-c", code], what="importing")


def test_a_slow_operation_is_waited_for(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    place.peer.compute.looks = 4
    with place.peer.during(Wait(0.01), "compute.globalOperations.wait") as rule:
        assert put(place, made).sha256 == made[0].sha256
    assert rule.hits >= 2
