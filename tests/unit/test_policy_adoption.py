"""What becomes of things that nobody recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import NOW, digest, ref, version

from imagectl.model.change import Change, Operation, RecordPlacement, RecordVersion, StepVersion
from imagectl.model.fold import apply_change
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement
from imagectl.model.view import Found, Ownership
from imagectl.policy.adoption import Sorted, Wanted, images_of, sort_found

CATALOG, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-00000000000f"
GCE = LocationName("gce-prod")
KNOWN, NEW = ref("debian-ci@20261120.1"), ref("debian-ci@20261121.1")
SHA = digest("disk")


def owned(
    name: str = "ours",
    *,
    catalog: str = CATALOG,
    sha256: Sha256 = SHA,
    version: str = str(KNOWN),
    disk_format: Format = Format.QCOW2,
) -> Found:
    owner = Ownership(catalog, ref(version), disk_format, Architecture.AMD64, sha256)
    return Found(f"id of {name}", name, owner, created=NOW)


def foreign(name: str, **facts: object) -> Found:
    return replace(Found(f"id of {name}", name, None, created=NOW), **facts)  # type: ignore[arg-type]  # its fields


def snapshot(*more: Operation) -> Snapshot:
    """``KNOWN`` is recorded, and nowhere."""
    made = replace(version(str(KNOWN)))
    artifacts = tuple(replace(each, sha256=SHA) for each in made.artifacts)
    assert [each.format for each in artifacts] == [Format.QCOW2]
    made = replace(made, artifacts=artifacts)
    empty = Snapshot(CATALOG, 0)
    operations = (RecordVersion(made), *more)
    return apply_change(empty, Change("k", 0, "alice", "build", "", NOW, operations))


def placement(provider_id: str) -> RecordPlacement:
    architecture = Architecture.AMD64
    return RecordPlacement(
        Placement(KNOWN, Format.QCOW2, architecture, GCE, provider_id, "at", SHA, 1, NOW)
    )


def sort(*found: Found, known: Snapshot | None = None, builds: bool = True) -> Sorted:
    return sort_found(found, known or snapshot(), GCE, Wanted(), builds=builds)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("ci-20170301", "ci"),
        ("ci-20170301-2-amd64", "ci"),
        ("travis-ci-trusty-1503417006", "travis-ci-trusty"),
        ("debian-12-bookworm-v20260101", "debian-12-bookworm"),
        ("debian-12", "debian-12"),
        ("ci-2017-03-01-3", "ci"),
        ("Ubuntu_Trusty 2015-11-02", "ubuntu-trusty"),
        ("ci-arm64", "ci"),
        ("ci", "ci"),
    ],
)
def test_a_name_without_its_date_is_the_images(name: str, image: str) -> None:
    (strange,) = sort(foreign(name)).strange
    assert strange.image == image


@pytest.mark.parametrize("name", ["20170301", "12-monkeys", "x" * 41, "___", "é"])
def test_a_name_that_gives_none_asks_for_one(name: str) -> None:
    (left,) = sort(foreign(name)).left
    assert "--image" in left.hint
    wanted = Wanted(image=ImageName("legacy"))
    (strange,) = sort_found([foreign(name)], snapshot(), GCE, wanted, builds=True).strange
    assert strange.image == "legacy"


def test_the_architecture_is_the_providers_word_then_the_names_then_ours() -> None:
    names = [
        foreign("a-amd64", architecture=Architecture.ARM64),
        foreign("b-arm64"),
        foreign("c-x86_64"),
        foreign("d"),
    ]
    assert [each.architecture for each in sort(*names).strange] == [
        Architecture.ARM64,
        Architecture.ARM64,
        Architecture.AMD64,
        Architecture.AMD64,
    ]


def test_the_oldest_comes_first() -> None:
    times = {"b": 2, "a": 2, "c": 1}
    made = [foreign(name, created=NOW + timedelta(days=at)) for name, at in times.items()]
    assert [each.found.name for each in sort(*made).strange] == ["c", "a", "b"]


def test_what_has_no_age_has_no_place_among_versions() -> None:
    (left,) = sort(foreign("ci", created=None)).left
    assert "when it was made" in left.why


def test_where_nothing_can_be_described_strangers_are_left() -> None:
    assert len(sort(foreign("ci"), builds=False).left) == 1


def test_another_catalogs_is_left_alone() -> None:
    """P2: whatever else it says."""
    (left,) = sort(owned(catalog=OTHER), owned("b", catalog=CATALOG)).left
    assert OTHER in left.why


def test_what_is_recorded_is_known() -> None:
    assert sort(owned(), known=snapshot(placement("id of ours"))).known == 1
    (left,) = sort(owned(), known=snapshot(placement("another"))).left
    assert "another" in left.why


def test_what_is_recorded_elsewhere_is_not_known_here() -> None:
    (one,) = sort(owned()).unrecorded
    assert (one.version, one.artifact.sha256) == (KNOWN, SHA)


def test_another_artifact_than_recorded_is_left() -> None:
    found = [owned("a", sha256=digest("b")), owned("b", disk_format=Format.GCE)]
    assert len(sort(*found).left) == 2


def test_what_was_deleted_is_not_adopted_behind_its_back() -> None:
    down = [StepVersion(KNOWN, stage) for stage in tuple(Stage)[1:]]
    (left,) = sort(owned(), known=snapshot(*down)).left
    assert "undelete" in left.hint


def test_things_of_a_version_that_nobody_knows_belong_together() -> None:
    found = [owned("a", version=str(NEW)), owned("b", version=str(NEW), disk_format=Format.GCE)]
    (those,) = sort(*found).lost.values()
    assert [each.name for each, _ in those] == ["a", "b"]


def test_patterns_choose_by_name() -> None:
    wanted = Wanted(("ci-2017*", "legacy"))
    names = ["ci-20170301", "ci-2018", "legacy", "legacy2", "CI-2017"]
    assert [each for each in names if wanted.means(foreign(each))] == ["ci-20170301", "legacy"]
    assert Wanted().means(foreign("anything"))


NAMES = st.text("abAB01-_. é", min_size=1, max_size=50)


@given(
    st.lists(
        st.one_of(
            st.builds(foreign, NAMES),
            st.builds(
                owned,
                NAMES,
                catalog=st.sampled_from([CATALOG, OTHER]),
                sha256=st.sampled_from([SHA, digest("b")]),
                version=st.sampled_from([str(KNOWN), str(NEW)]),
            ),
        )
    ),
    st.booleans(),
)
def test_each_thing_is_in_exactly_one_list(found: list[Found], builds: bool) -> None:
    wanted = Wanted()
    every = sort_found(found, snapshot(), GCE, wanted, builds=builds)
    said = [
        *(each.found.provider_id for each in every.strange),
        *(each.found.provider_id for each in every.unrecorded),
        *(each.provider_id for those in every.lost.values() for each, _ in those),
        *(each.provider_id for each in every.left),
    ]
    assert every.known == 0
    assert sorted(said) == sorted(each.provider_id for each in found)
    assert {each.image for each in every.strange} <= images_of(found, wanted)
    assert all(each.found.owner is None for each in every.strange)
