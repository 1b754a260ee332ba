"""What a builder made in Compute Engine becomes a version's, where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from peers.google.calls import Call, Stale, Wait
from support.deleting import at_once
from support.examples import NOW
from support.gce_images import LATER_VERSION, at_google, put
from support.places.gce import PROJECT, OnGoogle
from support.places.place import artifact_of, filling

from imagectl.adapters.locations.gce_labels import to_labels
from imagectl.errors import (
    Conflict,
    Corrupt,
    Failed,
    NotFound,
)
from imagectl.model.names import Format
from imagectl.model.version import Artifact


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


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
