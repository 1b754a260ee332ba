"""Images that a Packer template makes in a location: tested there, recorded, then like others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.workshop import IMAGE, POLICY, REQUEST, Workshop, open_workshop

from imagectl.errors import (
    BadUsage,
    BuildFailed,
    CannotTell,
    Conflict,
    Denial,
    Denied,
    Failed,
    Interrupted,
    NotFound,
    Refused,
    TestsFailed,
    Unsupported,
)
from imagectl.model.change import Change, RecordVersion
from imagectl.model.image import Image, PackerTemplate, ParentBase
from imagectl.model.names import (
    ChannelName,
    Format,
    ImageName,
    LocationName,
    VersionId,
    parse_image_ref,
)
from imagectl.model.version import Placement, Reproducible, Version
from imagectl.services.build import Delivered, build_and_release
from imagectl.services.lock import LockRequest, propose
from imagectl.services.ports.locations import Booted, Credential
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Leftover, Workspace
from imagectl.services.prove import prove_version
from imagectl.services.rebuild import RebuildRequest, rebuild
from imagectl.testing.build import MemoryProver, RecordingProgress
from imagectl.testing.workshops import MemoryWorkshop

CLOUD = LocationName("cloud")
BETA = ChannelName("beta")
TEMPLATE = PackerTemplate(PurePosixPath("images/ci/template.json"), builds=CLOUD)
NATIVE = replace(
    IMAGE,
    name=ImageName("ci"),
    base=TEMPLATE,
    formats=(Format.NATIVE,),
    required_locations=(CLOUD,),
)


class Cloud:
    """A workshop with a location in which its template makes images."""

    def __init__(self, folder: Path) -> None:
        self.shop: Workshop = open_workshop(folder)
        self.location = MemoryWorkshop(CLOUD)
        self.shop.releasing = replace(
            self.shop.releasing,
            locations={**self.shop.releasing.locations, CLOUD: self.location},
        )
        self.make("made-1")

    def make(self, built: str) -> None:
        """What the next run of the template makes."""
        self.location.make(built)
        self.shop.templates.made = built

    def build(
        self, image: Image = NATIVE, *, force: bool = False, offline: bool = False
    ) -> Delivered:
        self.shop.definitions.define(image)
        request = replace(REQUEST, force=force, offline=offline)
        shop = self.shop
        return build_and_release(shop.bench, shop.releasing, POLICY, image, request, shop.progress)

    def versions(self) -> list[str]:
        return [str(each.id) for each in self.shop.catalog.snapshot().of(NATIVE.name)]


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def test_it_is_tested_where_it_was_made_recorded_placed_and_enters_its_channel(
    cloud: Cloud,
) -> None:
    delivered = cloud.build()
    version = delivered.built.version
    assert cloud.shop.prover.machines == ["host-of-made-1#1"]
    assert cloud.location.running == 0
    (artifact,) = version.artifacts
    assert (artifact.format, version.tree, version.parent) == (Format.NATIVE, None, None)
    described = json.loads(cloud.shop.store.verify(artifact.sha256).read_text())
    assert (described["id"], described["provider"]) == ("made-1#1", "memory")
    (placement,) = cloud.shop.catalog.snapshot().placed(version.ref)
    assert (placement.location, placement.provider_id) == (CLOUD, "made-1#1")
    assert cloud.shop.catalog.snapshot().head(NATIVE.name, BETA) == version.id


def test_it_is_not_reproducible_and_says_why(cloud: Cloud) -> None:
    origin = cloud.build().built.version.origin
    assert origin is not None
    assert origin.reproducible is Reproducible.NO
    assert "images/ci/template.json" in origin.cause
    for kept in (origin.lock, origin.source):
        cloud.shop.store.verify(kept)


def test_an_unchanged_definition_makes_nothing(cloud: Cloud) -> None:
    first = cloud.build()
    again = cloud.build()
    assert not again.built.fresh
    assert again.built.version == first.built.version
    assert cloud.shop.templates.runs == 1


def test_a_changed_definition_or_force_makes_another_one(cloud: Cloud) -> None:
    cloud.build()
    cloud.make("made-2")
    cloud.build(force=True)
    cloud.make("made-3")
    cloud.build(replace(NATIVE, summary="another"))
    assert cloud.versions() == ["20261120.1", "20261120.2", "20261120.3"]


def test_failing_tests_record_nothing_and_say_what_is_left(cloud: Cloud) -> None:
    cloud.shop.prover.failing = {"test_up"}
    with pytest.raises(TestsFailed) as caught:
        cloud.build()
    assert "made-1 was made in cloud and is still there" in caught.value.why
    assert cloud.versions() == []
    assert cloud.location.running == 0


def test_what_is_gone_before_the_test_is_not_found(cloud: Cloud) -> None:
    cloud.location.remove("made-1")
    with pytest.raises(NotFound) as caught:
        cloud.build()
    assert "imagectl.yaml" in caught.value.hint
    assert cloud.versions() == []
    assert cloud.shop.prover.machines == []


def test_a_template_that_fails_records_nothing(cloud: Cloud) -> None:
    cloud.shop.templates.failure = BuildFailed("the Packer template failed", stage="template")
    with pytest.raises(BuildFailed):
        cloud.build()
    assert cloud.versions() == []


def test_what_cannot_be_booted_is_not_recorded(cloud: Cloud) -> None:
    cloud.location.boots = False
    with pytest.raises(Unsupported) as caught:
        cloud.build()
    assert "is still there" in caught.value.why
    assert cloud.versions() == []


class Stopped(MemoryProver):
    """Somebody presses Ctrl-C, or the machine loses power, while a machine is tested."""

    def __init__(self, by: BaseException) -> None:
        super().__init__()
        self._by = by

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        raise self._by


class Killed(BaseException):
    """After this nothing of a process runs."""


def stopped(cloud: Cloud, by: BaseException) -> None:
    """A build that ends when the image is made and marked."""
    before = cloud.shop.bench
    cloud.shop.bench = replace(before, prover=Stopped(by))
    with pytest.raises((Interrupted, type(by))):
        cloud.build()
    cloud.shop.bench = before


def test_an_interrupt_says_what_is_left(cloud: Cloud) -> None:
    cloud.shop.bench = replace(cloud.shop.bench, prover=Stopped(KeyboardInterrupt()))
    with pytest.raises(Interrupted) as caught:
        cloud.build()
    assert "made-1 was made in cloud and is still there" in caught.value.why
    assert "not all" in caught.value.what


def test_it_is_written_down_before_it_is_marked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: killed at any later moment, somebody knows of it."""
    seen: list[str] = []
    put = cloud.location.put

    def watched(*args: Any) -> Placement:
        seen.extend(each.built for each in cloud.shop.workspaces.leftovers(NATIVE.name))
        return put(*args)

    monkeypatch.setattr(cloud.location, "put", watched)
    cloud.build()
    assert seen[0] == "made-1"
    assert cloud.shop.workspaces.leftovers(NATIVE.name) == ()


def test_the_next_build_says_what_is_left_and_gives_its_version_to_nothing_else(
    cloud: Cloud,
) -> None:
    stopped(cloud, Killed())
    cloud.make("made-2")
    cloud.build()
    assert [note for note in cloud.shop.progress.notes if "has left" in note] == [
        "a build of 2026-11-20 09:00 UTC has left made-1 in cloud, perhaps with the marks of "
        "ci@20261120.1: remove it by hand"
    ]
    assert cloud.versions() == ["20261120.2"]
    cloud.shop.progress.notes.clear()
    cloud.location.remove("made-1")
    cloud.make("made-3")
    cloud.build(force=True)
    assert not any("has left" in note for note in cloud.shop.progress.notes)
    assert cloud.versions() == ["20261120.2", "20261120.3"]


def test_not_even_a_build_that_is_made_otherwise_has_its_version(cloud: Cloud) -> None:
    stopped(cloud, Killed())
    image = replace(IMAGE, name=NATIVE.name)
    assert str(cloud.shop.build(image).version.id) == "20261120.2"


def test_what_was_recorded_in_the_last_moment_is_not_left(cloud: Cloud) -> None:
    """Killed after the catalog had it, and before the note of it was removed."""
    version = cloud.build().built.version
    (artifact,) = version.artifacts
    left = Leftover(version.ref, CLOUD, "made-1", version.created, artifact.sha256)
    cloud.shop.workspaces.keep_leftovers(NATIVE.name, [left])
    cloud.make("made-2")
    cloud.build(force=True)
    assert not any("has left" in note for note in cloud.shop.progress.notes)
    assert cloud.shop.workspaces.leftovers(NATIVE.name) == ()


def test_what_cannot_be_looked_at_is_not_forgotten(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3."""
    stopped(cloud, Killed())

    def describe(*_: object) -> None:
        raise CannotTell("no answer")

    monkeypatch.setattr(cloud.location, "describe", describe)
    with pytest.raises(CannotTell):
        cloud.build()
    versions = [str(each.version) for each in cloud.shop.workspaces.leftovers(NATIVE.name)]
    assert versions == ["ci@20261120.1", "ci@20261120.2"]


class Rival(MemoryProver):
    """While a machine is tested, somebody else records the next version."""

    def __init__(self, shop: Workshop, like: Version) -> None:
        super().__init__()
        self._catalog = shop.catalog
        self._version = replace(like, ref=replace(like.ref, version=VersionId("20261120", 2)))

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        now = self._version.created
        generation = self._catalog.snapshot(()).generation
        operations = (RecordVersion(self._version),)
        self._catalog.commit(Change("rival", generation, "bob", "build", "", now, operations))
        return super().prove_machine(image, machine, work, progress)


def test_a_version_that_somebody_else_records_meanwhile_is_a_conflict(cloud: Cloud) -> None:
    """What was made has the marks of a version that is another one by now."""
    first = cloud.build().built.version
    cloud.make("made-2")
    cloud.shop.bench = replace(cloud.shop.bench, prover=Rival(cloud.shop, first))
    with pytest.raises(Conflict, match=r"somebody else recorded ci@20261120\.2") as caught:
        cloud.build(force=True)
    assert "made-2 was made in cloud and is still there" in caught.value.why
    assert cloud.versions() == ["20261120.1", "20261120.2"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda cloud: cloud.build(offline=True),
        lambda cloud: propose(cloud.shop.bench, NATIVE, LockRequest(), RecordingProgress()),
    ],
    ids=["offline", "lock"],
)
def test_what_nothing_can_lock_is_refused_before_anything_is_made(
    cloud: Cloud, ask: Callable[[Cloud], object]
) -> None:
    with pytest.raises(BadUsage) as caught:
        ask(cloud)
    assert "template" in caught.value.why
    assert cloud.shop.templates.runs == 0


def test_a_location_in_which_nothing_is_built_is_refused(cloud: Cloud) -> None:
    elsewhere = PackerTemplate(
        PurePosixPath("images/ci/template.json"), builds=LocationName("local")
    )
    with pytest.raises(Unsupported):
        cloud.build(replace(NATIVE, base=elsewhere))
    nowhere = replace(elsewhere, builds=LocationName("clout"))
    with pytest.raises(NotFound) as caught:
        cloud.build(replace(NATIVE, base=nowhere))
    assert "cloud" in caught.value.hint
    assert cloud.shop.templates.runs == 0


class Locked(MemoryWorkshop):
    """A location that lets nobody in."""

    def probe(self) -> Credential:
        raise Denied("nobody is let in", denial=Denial.EXPIRED)


def test_a_location_that_lets_us_not_in_is_known_before_the_template_runs(cloud: Cloud) -> None:
    """An image that cannot be marked and tested would only be left behind."""
    locked = {CLOUD: Locked(CLOUD)}
    cloud.shop.releasing = replace(cloud.shop.releasing, locations=locked)
    with pytest.raises(Denied):
        cloud.build()
    assert cloud.shop.templates.runs == 0


def test_it_can_be_tested_again_where_it_is(cloud: Cloud) -> None:
    ref = cloud.build().built.version.ref
    shop = cloud.shop
    proved = prove_version(shop.bench, shop.releasing.locations, ref, shop.progress)
    assert len(shop.prover.machines) == 2
    assert not proved.report.failures
    shop.prover.failing = {"test_up"}
    with pytest.raises(TestsFailed, match=f"{ref} in cloud"):
        prove_version(shop.bench, shop.releasing.locations, ref, shop.progress)


def test_it_cannot_be_rebuilt_and_says_why(cloud: Cloud) -> None:
    version = cloud.build().built.version
    with pytest.raises(Failed, match="cannot be made again") as caught:
        rebuild(cloud.shop.bench, version.ref, RebuildRequest("0.1.0"), cloud.shop.progress)
    assert "Packer template" in caught.value.why


def test_no_image_is_built_on_it(cloud: Cloud) -> None:
    cloud.build()
    child = replace(IMAGE, name=ImageName("child"), base=ParentBase(parse_image_ref("ci:beta")))
    with pytest.raises(Refused) as caught:
        cloud.shop.build(child)
    assert "no file tree" in caught.value.why
