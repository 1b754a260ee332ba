"""What Compute Engine has beside the contract of all locations: families, marks, sharing, native
images, throw-away instances; and what it takes in requests."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from peers.google.calls import Call, Cut, FailOperation, LoseAnswer, Refuse, Stale, Wait, Warn
from peers.google.peer import google
from peers.sshd import ssh_server
from support.deleting import at_once
from support.examples import NOW, ref
from support.places import surroundings
from support.places.gce import BUCKET, PROJECT, OnGoogle
from support.places.place import LOCAL, artifact_of, filling, ignore
from support.systems import workspace

from imagectl.adapters import process
from imagectl.adapters.locations.gce_boot import Login
from imagectl.adapters.locations.gce_labels import to_labels
from imagectl.adapters.locations.gce_permissions import IN_PROJECT, ON_BUCKET, TO_SHARE
from imagectl.adapters.locations.google_account import log_in
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    GuestUnreachable,
    NoSpace,
    NotFound,
    Unsupported,
)
from imagectl.model.names import ChannelName, Format, ImageName
from imagectl.model.place import Ambient
from imagectl.model.version import Artifact, Placement
from imagectl.services.ports.locations import Mark
from imagectl.testing.build import RecordingProgress

VERSION = ref("debian-ci@20261120.1")
LATER_VERSION = ref("debian-ci@20261121.1")
STABLE = ChannelName("stable")
IMAGE = ImageName("debian-ci")
NAME = "debian-ci-20261120-1-amd64"
PATH = f"projects/{PROJECT}/global/images/{NAME}"


@contextmanager
def at_google(folder: Path, **settings: object) -> Iterator[OnGoogle]:
    with google((PROJECT,), (BUCKET,)) as peer:
        yield OnGoogle(peer, folder, **settings)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


@pytest.fixture
def made(place: OnGoogle, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


def put(place: OnGoogle, made: tuple[Artifact, Path], version: str = str(VERSION)) -> Placement:
    return place.location.put(ref(version), *made, NOW, ignore)


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
    place.location = place.opened()
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
    place.location = place.opened()
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
    moved = place.opened()
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


def test_the_family_shows_the_head_and_nothing_else(tmp_path: Path) -> None:
    with at_google(tmp_path, family_prefix="acme", family_channel=STABLE) as place:
        family = "acme-debian-ci-stable"

        def members() -> list[str]:
            return [
                name
                for name in place.peer.compute.names(f"projects/{PROJECT}/global/images")
                if place.peer.compute.resources[f"projects/{PROJECT}/global/images/{name}"].get(
                    "family"
                )
                == family
            ]

        old = put(place, place.artifact(tmp_path, 0))
        new = put(place, place.artifact(tmp_path, 1), str(LATER_VERSION))
        for head in (old, new, new, old):
            place.location.point(IMAGE, {STABLE: head, ChannelName("beta"): new})
            assert members() == [head.reference.rpartition("/")[2]]
        place.location.point(IMAGE, {ChannelName("beta"): new})
        assert members() == []


def test_a_family_with_a_foreign_image_is_a_conflict_and_nothing_changes(tmp_path: Path) -> None:
    """P2: consumers of the family would be given it."""
    with at_google(tmp_path, family_channel=STABLE) as place:
        placed = put(place, place.artifact(tmp_path))
        place.peer.compute.add_image(PROJECT, "theirs", family="debian-ci-stable")
        before = dict(place.peer.compute.resources)
        with pytest.raises(Conflict, match="debian-ci-stable"):
            place.location.point(IMAGE, {STABLE: placed})
        assert place.peer.compute.resources == before


@pytest.mark.parametrize("with_head", [True, False])
def test_a_family_that_is_listed_in_part_cannot_be_told_and_nothing_changes(
    tmp_path: Path, with_head: bool
) -> None:
    """P3: a newer image that the listing lacks would stay, and Google gives out the newest."""
    with at_google(tmp_path, family_channel=STABLE) as place:
        good = put(place, place.artifact(tmp_path, 0))
        bad = put(place, place.artifact(tmp_path, 1), str(LATER_VERSION))
        place.location.point(IMAGE, {STABLE: bad})
        before = deepcopy(place.peer.compute.resources)
        with (
            place.peer.during(Warn(), "compute.images.list") as rule,
            pytest.raises(CannotTell, match="debian-ci-stable") as told,
        ):
            place.location.point(IMAGE, {STABLE: good} if with_head else {})
        assert rule.hits
        assert "UNREACHABLE" in told.value.why
        assert place.peer.compute.resources == before
        place.location.point(IMAGE, {STABLE: good})
        assert place.peer.compute.resources[good.reference]["family"] == "debian-ci-stable"


def test_without_a_channel_there_are_no_families(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    placed = put(place, made)
    before = place.peer.count()
    place.location.point(IMAGE, {STABLE: placed})
    assert place.peer.count() == before


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


def native(place: OnGoogle, folder: Path) -> tuple[Artifact, Path]:
    """What a builder made, described."""
    place.peer.compute.add_image(PROJECT, "packer-1", labels={"team": "a"}, diskSizeGb="10")
    file = folder / "native" / "packer-1.json"
    place.location.describe("packer-1", file)
    data = file.read_bytes()
    return artifact_of(data, Format.NATIVE), file


def test_what_a_builder_made_becomes_ours_where_it_is(place: OnGoogle, tmp_path: Path) -> None:
    made = native(place, tmp_path)
    placed = put(place, made)
    said = json.loads(made[1].read_bytes())
    assert placed.provider_id == said["id"]
    assert placed.reference == said["link"] == f"projects/{PROJECT}/global/images/packer-1"
    assert said["size"] == 10 << 30
    assert place.peer.count("compute.images.insert") == 0
    labels = place.peer.compute.resources[placed.reference]["labels"]
    assert labels["team"] == "a"
    assert labels["imagectl-version"] == "20261120-1"
    assert place.location.verify(placed, NOW) == placed
    assert put(place, made) == placed
    place.location.delete(placed, at_once)
    with pytest.raises(NotFound):
        place.location.verify(placed, NOW)


def test_a_builders_image_that_is_described_otherwise_now_is_corrupt(
    place: OnGoogle, tmp_path: Path
) -> None:
    placed = put(place, native(place, tmp_path))
    place.peer.compute.resources[placed.reference]["diskSizeGb"] = "11"
    with pytest.raises(Corrupt, match="another image"):
        place.location.verify(placed, NOW)


def test_an_image_is_adopted_though_a_read_after_it_is_stale(
    place: OnGoogle, tmp_path: Path
) -> None:
    made = native(place, tmp_path)
    # It is read once before it is labelled.
    with place.peer.during(Stale(), "compute.images.get", times=3, skip=1) as rule:
        placed = put(place, made)
    assert rule.hits == 3
    assert place.location.verify(placed, NOW) == placed


def test_an_image_that_another_catalog_takes_first_is_theirs(
    place: OnGoogle, tmp_path: Path
) -> None:
    """P2: also in the moment between our look at it and our labels."""
    made = native(place, tmp_path)
    path = f"projects/{PROJECT}/global/images/packer-1"
    theirs = to_labels(
        replace(filling(1, made[0].sha256), catalog="00000000-0000-4000-8000-00000000000f")
    )

    def take(call: Call) -> bool:
        resource = place.peer.compute.resources[path]
        resource["labels"], resource["labelFingerprint"] = theirs, "theirs"
        return False

    with (
        place.peer.during(Wait(0), "compute.images.setLabels", when=take),
        pytest.raises(Conflict, match="is not ours"),
    ):
        put(place, made)
    assert place.peer.compute.resources[path]["labels"] == theirs


def test_what_a_builder_made_and_somebody_deleted_is_an_error(
    place: OnGoogle, tmp_path: Path
) -> None:
    made = native(place, tmp_path)
    place.peer.compute.remove(f"projects/{PROJECT}/global/images/packer-1")
    with pytest.raises(Failed, match="is gone"):
        put(place, made)
    with pytest.raises(NotFound):
        place.location.describe("packer-1", tmp_path / "again.json")
    assert not (tmp_path / "again.json").exists()


def test_an_image_of_one_version_does_not_become_another_version(
    place: OnGoogle, tmp_path: Path
) -> None:
    made = native(place, tmp_path)
    put(place, made)
    with pytest.raises(Corrupt):
        put(place, made, str(LATER_VERSION))


def test_an_import_that_is_no_disk_is_not_sent(place: OnGoogle, tmp_path: Path) -> None:
    path = tmp_path / "nonsense.tar.gz"
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(Corrupt, match="is not a disk for Compute Engine"):
        put(place, (artifact_of(path.read_bytes(), Format.GCE), path))
    assert place.peer.count("storage.objects.insert/start") == 0


@pytest.mark.parametrize("named", [True, False], ids=["a key that is named", "adc"])
def test_with_an_endpoint_no_call_goes_to_another_host(tmp_path: Path, named: bool) -> None:
    looked_up: set[object] = set()
    real = socket.getaddrinfo

    def watched(host: object, *rest: object, **more: object) -> object:
        looked_up.add(host)
        return real(host, *rest, **more)  # type: ignore[arg-type]  # as it was asked

    with at_google(tmp_path, **({} if named else {"credentials": Ambient.ADC})) as place:
        made = place.artifact(tmp_path)
        with (
            mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": str(place.key)}),
            mock.patch.object(socket, "getaddrinfo", watched),
        ):
            placed = put(place, made)
            assert place.location.probe().identity.startswith("imagectl@")
            place.location.verify(placed, NOW)
            place.location.delete(placed, at_once)
    assert looked_up == {"127.0.0.1"}


def test_with_an_endpoint_adc_is_no_login_that_asks_google(tmp_path: Path) -> None:
    login = tmp_path / "application_default_credentials.json"
    person = {"client_id": "1", "client_secret": "s3cret", "refresh_token": "1//refresh"}
    login.write_text(json.dumps({"type": "authorized_user", **person}))
    around = surroundings(tmp_path)
    with mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": str(login)}):
        log_in(LOCAL, Ambient.ADC, around, private=False)
        with pytest.raises(Denied) as told:
            log_in(LOCAL, Ambient.ADC, around, private=True)
    assert told.value.denial is Denial.WRONG
    assert str(login) in told.value.where
    with (
        mock.patch.dict(os.environ, {"GOOGLE_APPLICATION_CREDENTIALS": ""}),
        pytest.raises(Denied, match="with an `endpoint`") as told,
    ):
        log_in(LOCAL, Ambient.ADC, around, private=True)
    assert told.value.denial is Denial.MISSING


def test_an_upload_that_is_sent_elsewhere_is_not_followed(
    place: OnGoogle, made: tuple[Artifact, Path]
) -> None:
    begin = place.peer.handlers["storage.objects.insert/start"]

    def elsewhere(call: Call) -> object:
        return begin(replace(call, base="https://elsewhere.example"))

    place.peer.handlers["storage.objects.insert/start"] = elsewhere
    with pytest.raises(Failed, match="sends uploads elsewhere"):
        put(place, made)


def test_a_clock_that_is_wrong_is_told(place: OnGoogle, made: tuple[Artifact, Path]) -> None:
    """Google takes no login that is hours old, or of the future; nothing is harmed by it."""
    placed = put(place, made)
    place.peer.skew = timedelta(hours=2)
    with pytest.raises(Denied) as told:
        place.opened().verify(placed, NOW)
    assert "clock is 120 minutes behind Google's" in told.value.why
    place.peer.skew = timedelta()
    assert place.opened().verify(placed, NOW) == placed


def test_no_credentials_at_all_are_missing_ones(tmp_path: Path) -> None:
    with at_google(tmp_path, credentials=Ambient.ANONYMOUS) as place:
        place.peer.accounts.anonymous = ()
        with pytest.raises(Denied) as told:
            place.location.probe()
        assert told.value.denial is Denial.MISSING
    nowhere = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none"), "HOME": str(tmp_path)}
    with (
        mock.patch.dict(os.environ, nowhere),
        at_google(tmp_path, credentials=Ambient.ADC) as place,
        pytest.raises(Denied) as told,
    ):
        place.location.probe()
    assert told.value.denial is Denial.MISSING


def test_a_broken_key_is_never_shown(place: OnGoogle) -> None:
    secret = json.loads(place.key.read_text())["private_key"].splitlines()[5]
    for text in (
        place.key.read_text()[:-40],
        "[]",
        "{}",
        place.key.read_text().replace(secret, ""),
    ):
        place.key.write_text(text)
        with pytest.raises(Denied) as told:
            place.opened().probe()
        assert told.value.denial is Denial.WRONG
        assert secret not in repr(told.value) + told.value.why + told.value.hint


def test_nothing_secret_is_logged(
    place: OnGoogle, made: tuple[Artifact, Path], caplog: pytest.LogCaptureFixture
) -> None:
    secret = json.loads(place.key.read_text())["private_key"].splitlines()[5]
    with caplog.at_level(logging.DEBUG, logger="imagectl"):
        put(place, made)
    assert secret not in caplog.text
    assert "ya29." not in caplog.text
    assert repr(place.location.probe()).count("ya29.") == 0


def test_what_is_lacking_is_named(place: OnGoogle) -> None:
    with (
        place.peer.accounts.only("compute.*", "storage.objects.get", "storage.objects.create"),
        pytest.raises(Denied) as told,
    ):
        place.location.probe()
    assert (
        told.value.why
        == "it lacks storage.objects.delete, storage.objects.list, storage.objects.update"
    )


def test_the_service_that_is_asked_for_permissions_may_be_switched_off(place: OnGoogle) -> None:
    """Its hint switches on all that the how-to does."""
    off = Refuse(403, "accessNotConfigured", "Cloud Resource Manager API has not been used")
    asked = "cloudresourcemanager.projects.testIamPermissions"
    with place.peer.during(off, asked), pytest.raises(Failed, match="switched off") as told:
        place.location.probe()
    how_to = Path(__file__).parents[2].joinpath("docs/how-to/gce.md").read_text()
    (command,) = re.findall(r"gcloud services enable ([^-]+) --project", how_to)
    for service in command.replace("\\", "").split():
        assert service in told.value.hint


def test_what_the_how_to_lists_is_enough(tmp_path: Path) -> None:
    """Its permissions are those that are asked for, and with no others everything works."""
    with at_google(
        tmp_path, share=("user:a@acme.example",), family_channel=STABLE, zone=None
    ) as place:
        enough = IN_PROJECT | TO_SHARE | ON_BUCKET
        with place.peer.accounts.only(*enough):
            place.location.probe()
            placed = put(place, place.artifact(tmp_path))
            place.location.verify(placed, NOW)
            place.location.point(IMAGE, {STABLE: placed})
            place.location.mark(placed, Mark.OBSOLETE)
            assert place.location.view(lambda: NOW).complete
            place.location.delete(placed, at_once)


def instances(place: OnGoogle) -> list[str]:
    return place.peer.compute.names(f"projects/{PROJECT}/zones/{place.settings.zone}/instances")


def test_an_image_boots_in_an_instance_that_is_gone_afterwards(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    with ssh_server() as sshd:
        started: list[dict[str, object]] = []

        def let_in(instance: dict[str, object]) -> None:
            started.append(instance)
            items = instance["metadata"]["items"]  # type: ignore[index]  # its JSON
            keys = next(each["value"] for each in items if each["key"] == "ssh-keys")
            sshd.authorize(keys.partition(":")[2])

        place.peer.compute.started.append(let_in)
        place.location.login = Login(port=sshd.port)
        with place.location.boot(placed, workspace(tmp_path), RecordingProgress()) as machine:
            assert machine.user == "imagectl"
            assert len(instances(place)) == 1
            said = process.run(
                [
                    "ssh",
                    *("-i", str(machine.key), "-p", str(machine.port)),
                    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                    *("-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"),
                    f"{machine.user}@{machine.host}",
                    "echo booted",
                ],
                what="logging in",
            )
            assert said.output.strip() == "booted"
    assert instances(place) == []
    (instance,) = started
    scheduling = instance["scheduling"]
    assert scheduling["maxRunDuration"]["seconds"] == "3600"  # type: ignore[index]  # its JSON
    assert scheduling["instanceTerminationAction"] == "DELETE"  # type: ignore[index]  # its JSON


def test_an_instance_that_does_not_answer_is_told_with_its_console_and_removed(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    place.peer.compute.started.append(
        lambda instance: place.peer.compute.serial.update(
            {str(instance["name"]): "GRUB\r\nKernel panic - not syncing\r\n"}
        )
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place.location.login = Login(port=nobody.getsockname()[1], seconds=0.5)
        with (
            pytest.raises(GuestUnreachable) as told,
            place.location.boot(placed, workspace(tmp_path), RecordingProgress()),
        ):
            pytest.fail("it has not booted")
    assert told.value.tail.endswith("Kernel panic - not syncing")
    assert instances(place) == []


def test_an_instance_is_removed_whatever_happens_in_the_block(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    with ssh_server() as sshd:
        place.location.login = Login(port=sshd.port)
        with (
            pytest.raises(KeyboardInterrupt),
            place.location.boot(placed, workspace(tmp_path), RecordingProgress()),
        ):
            raise KeyboardInterrupt
    assert instances(place) == []


def test_an_instance_that_cannot_be_removed_is_told(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    told = RecordingProgress()
    denied = Refuse(403, "forbidden", "Required 'compute.instances.delete' permission")
    with ssh_server() as sshd, place.peer.during(denied, "compute.instances.delete"):
        place.location.login = Login(port=sshd.port)
        with place.location.boot(placed, workspace(tmp_path), told):
            pass
    assert "deletes it by itself within 60 minutes" in told.notes[0]
    assert instances(place)[0] in told.notes[0]


def test_what_is_corrupt_or_has_no_zone_is_not_booted(
    place: OnGoogle, made: tuple[Artifact, Path], tmp_path: Path
) -> None:
    placed = put(place, made)
    work = workspace(tmp_path)
    place.settings = replace(place.settings, zone=None)
    with (
        pytest.raises(Unsupported, match="boots nothing"),
        place.opened().boot(placed, work, RecordingProgress()),
    ):
        pass
    place.damage(placed)
    with pytest.raises(Corrupt), place.location.boot(placed, work, RecordingProgress()):
        pass
    assert place.peer.count("compute.instances.insert") == 0


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
