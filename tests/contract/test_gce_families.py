"""A channel's head as an image family of Compute Engine: shown there and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from peers.google.calls import Warn
from support.gce_images import LATER_VERSION, at_google, put
from support.places.gce import PROJECT, OnGoogle

from imagectl.errors import (
    CannotTell,
    Conflict,
)
from imagectl.model.names import ChannelName, ImageName
from imagectl.model.version import Artifact

STABLE = ChannelName("stable")
IMAGE = ImageName("debian-ci")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[OnGoogle]:
    with at_google(tmp_path) as opened:
        yield opened


@pytest.fixture
def made(place: OnGoogle, tmp_path: Path) -> tuple[Artifact, Path]:
    return place.artifact(tmp_path)


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
