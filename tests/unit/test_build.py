"""Builds: what is recorded and released of them, whether they give the same bytes, and failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.workshop import (
    BETA,
    CHILD,
    IMAGE,
    LOCAL,
    NAME,
    OPAQUE,
    REQUEST,
    SAME_INPUTS,
    STABLE,
    Workshop,
    open_workshop,
    origin,
    tree_of,
)

from imagectl.errors import BuildFailed, Conflict, Refused, TestsFailed
from imagectl.model.image import ParentBase
from imagectl.model.lock import Access
from imagectl.model.names import (
    Format,
    ImageName,
    LocationName,
    VersionId,
    parse_image_ref,
)
from imagectl.model.version import Reproducible
from imagectl.services.build import build
from imagectl.services.keep import next_version_id
from imagectl.testing.build import RecordingProgress
from imagectl.testing.clock import FixedClock
from imagectl.testing.locations import MemoryLocation


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return open_workshop(tmp_path)


def test_a_version_holds_everything_of_its_build(shop: Workshop) -> None:
    built = shop.build()
    version = built.version
    assert built.fresh
    assert str(version.ref) == "debian@20261120.1"
    assert [artifact.format for artifact in version.artifacts] == [Format.QCOW2, Format.RAW]
    assert version.tests.passed == 2
    assert version.tests.ok
    assert version.inside is not None
    made = origin(version)
    for sha256 in (
        *(artifact.sha256 for artifact in version.artifacts),
        tree_of(version),
        version.tests.report,
        version.tests.console,
        version.build_log,
        made.lock,
        made.source,
        version.inside.contents,
        version.inside.manifest,
        version.inside.spdx,
        version.inside.cyclonedx,
        version.inside.provenance,
    ):
        shop.store.verify(sha256)
    lock = shop.locked()
    assert made.epoch == lock.epoch == int(shop.clock.now().timestamp())
    assert made.raw == lock.expected.raw
    assert shop.store.verify(made.lock).read_text() == shop.definitions.lock_text(lock)
    assert shop.catalog.snapshot().versions[version.ref] == version
    assert shop.catalog.verify() == ()
    assert shop.progress.stages == [
        "inputs",
        "check",
        "tools",
        "base",
        "provision",
        "disk",
        "prove",
        "keep",
    ]


# --- the same bytes? ---------------------------------------------------------------------------


def test_twice_the_same_is_reproducible(shop: Workshop) -> None:
    version = shop.build(twice=True).version
    assert origin(version).reproducible is Reproducible.YES
    first, second = shop.equipper.used
    assert (first.access, second.access) == (Access.RECORD, Access.LOCKED)
    assert second.fresh
    assert second.lock == shop.locked()
    assert shop.equipper.runs == 2
    assert shop.progress.stages[-5:] == [
        "tools again",
        "base again",
        "provision again",
        "disk again",
        "keep",
    ]


def test_twice_not_the_same_is_recorded_with_the_cause(shop: Workshop) -> None:
    shop.equipper.noise = ["var/id: 1", "var/id: 2"]
    built = shop.build(twice=True)
    made = origin(built.version)
    assert made.reproducible is Reproducible.NO
    assert made.cause == "1 path differs between two builds: var/id: content differs"
    assert "not reproducible: 1 path differs" in "\n".join(shop.progress.notes)
    assert "add var/id to `volatile`" in "\n".join(shop.progress.notes)
    assert built.log is not None
    assert "var/id: content differs: add var/id" in built.log.read_text()


def test_twice_builds_what_is_unchanged_only_where_it_was_not_proven(shop: Workshop) -> None:
    assert shop.build().fresh
    proven = shop.build(twice=True)
    assert proven.fresh
    assert origin(proven.version).reproducible is Reproducible.YES
    assert not shop.build(twice=True).fresh


def test_twice_offline_asks_no_upstream_either_time(shop: Workshop) -> None:
    shop.build()
    shop.equipper.upstream.gone = True
    assert shop.build(twice=True, offline=True).fresh
    assert [each.access for each in shop.equipper.used[1:]] == [Access.OFFLINE] * 2


def test_a_build_that_drifts_is_recorded_with_the_paths(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    shop.equipper.noise = ["var/id: 2"]
    version = shop.build(force=True).version
    assert origin(version).reproducible is Reproducible.NO
    assert "var/id: content differs" in origin(version).cause
    assert shop.locked() == before, "a build never changes what is locked"


def test_a_drift_is_told_where_the_old_tree_is_gone(shop: Workshop) -> None:
    first = shop.build().version
    shop.lose(tree_of(first))
    shop.equipper.noise = ["var/id: 2"]
    made = origin(shop.build(force=True).version)
    assert made.reproducible is Reproducible.NO
    assert made.cause == (
        "two builds from the same inputs differ (of the earlier build only digests are left)"
    )


def test_other_bytes_of_another_imagectl_are_not_held_against_the_image(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    shop.equipper.noise = ["usr/newer: 1", "usr/newer: 1"]
    newer = shop.build(tool="0.2.0")
    assert origin(newer.version).reproducible is Reproducible.UNPROVEN
    assert "imagectl 0.2.0 gives other bytes than 0.1.0 did" in "\n".join(shop.progress.notes)
    after = shop.locked()
    assert after.inputs == before.inputs
    assert after.expected.raw == origin(newer.version).raw
    again = shop.build(tool="0.2.0", force=True)
    assert origin(again.version).reproducible is Reproducible.YES


def test_the_same_bytes_of_another_imagectl_are_proof(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    assert origin(shop.build(tool="0.2.0").version).reproducible is Reproducible.YES
    assert shop.locked() == before


def test_a_disk_that_is_kept_as_it_is_says_why_it_is_not_reproducible(shop: Workshop) -> None:
    version = shop.build(OPAQUE, twice=True).version
    assert version.tree is None
    assert version.inside is None
    made = origin(version)
    assert made.reproducible is Reproducible.NO
    assert made.cause == "the disk is kept as Packer left it: its partitions are LVM"
    assert shop.equipper.runs == 1
    assert not shop.build(OPAQUE).fresh
    assert shop.locked(OPAQUE).expected.tree is None
    child = replace(CHILD, base=ParentBase(parse_image_ref(str(version.ref))))
    with pytest.raises(Refused, match="child cannot be built on vendor@") as caught:
        shop.build(child)
    assert "LVM" in caught.value.why


# --- failures ----------------------------------------------------------------------------------


def test_a_failing_test_records_and_releases_nothing(shop: Workshop) -> None:
    shop.prover.failing = {"test_clean"}
    with pytest.raises(TestsFailed) as caught:
        shop.deliver()
    error = caught.value
    assert error.failures == (("suite::test_clean", "assert 1 == 2"),)
    assert "login of" in error.tail
    assert "imagectl test debian --failed --keep" in error.hint
    disk, disk_format = shop.workspaces.failed[NAME]
    assert disk_format is Format.QCOW2
    assert disk.read_text().startswith("qcow2 of")
    assert shop.catalog.snapshot().generation == 0


def test_a_failing_test_keeps_the_inputs_that_were_recorded(shop: Workshop) -> None:
    """While a test is being mended, the image it is about stays the same."""
    shop.prover.failing = {"test_clean"}
    with pytest.raises(TestsFailed):
        shop.build()
    shop.equipper.upstream.edition = "two"
    shop.prover.failing = set()
    assert origin(shop.build().version).reproducible is Reproducible.YES


def test_a_failing_test_leaves_the_lock_of_a_changed_definition(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    shop.prover.failing = {"test_clean"}
    with pytest.raises(TestsFailed):
        shop.build(SAME_INPUTS)
    assert shop.locked() == before


def test_a_failing_playbook_records_nothing(shop: Workshop) -> None:
    shop.equipper.failure = BuildFailed("task 7 failed", stage="provision")
    with pytest.raises(BuildFailed, match="task 7"):
        shop.build()
    assert shop.catalog.snapshot().generation == 0
    assert shop.definitions.lock(NAME) is None
    shop.equipper.failure = None
    assert shop.build().fresh


def test_a_definition_that_changes_while_it_is_built_is_not_recorded(shop: Workshop) -> None:
    """Else its sources would not be what it was made from."""
    shop.build()

    class Editing(RecordingProgress):
        def stage(self, name: str, expected_seconds: float | None = None) -> None:
            if name == "prove":
                shop.definitions.playbooks = "edited meanwhile"

    with pytest.raises(BuildFailed, match="changed while it was being built"):
        build(shop.bench, IMAGE, replace(REQUEST, force=True), Editing())
    assert len(shop.catalog.snapshot().versions) == 1


def test_a_lock_that_somebody_changed_meanwhile_is_left_alone(shop: Workshop) -> None:
    shop.build()
    theirs = replace(shop.locked(), epoch=7)

    class Meddling(RecordingProgress):
        def stage(self, name: str, expected_seconds: float | None = None) -> None:
            if name == "keep":
                shop.definitions.write_lock(theirs)

    shop.definitions.define(SAME_INPUTS)
    with pytest.raises(Conflict, match="somebody else changed the lock"):
        build(shop.bench, SAME_INPUTS, REQUEST, Meddling())
    assert shop.locked() == theirs
    assert len(shop.catalog.snapshot().versions) == 1


@pytest.mark.parametrize("stage", ["tools", "base", "provision", "disk", "prove", "keep"])
def test_killed_at_any_stage_the_next_build_ends_in_the_same_bytes(
    shop: Workshop, stage: str
) -> None:
    """P7, P9: no version, or one; never a lock that does not fit what comes next."""

    class Killing(RecordingProgress):
        def stage(self, name: str, expected_seconds: float | None = None) -> None:
            if name == stage:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(shop.bench, IMAGE, REQUEST, Killing())
    assert shop.catalog.snapshot().versions == {}
    locked = shop.definitions.lock(NAME) is not None
    assert locked is (stage in ("prove", "keep"))
    version = shop.build().version
    assert origin(version).reproducible is (Reproducible.YES if locked else Reproducible.UNPROVEN)
    assert shop.catalog.verify() == ()


# --- releasing and recording -------------------------------------------------------------------


def test_a_build_ends_in_the_entry_channel(shop: Workshop) -> None:
    delivered = shop.deliver()
    snapshot = shop.catalog.snapshot()
    assert snapshot.head(NAME, BETA) == delivered.built.version.id
    assert snapshot.head(NAME, STABLE) is None
    assert len(snapshot.placed(delivered.built.version.ref)) == 2


def test_a_build_that_was_killed_before_its_release_is_released_by_the_next(
    shop: Workshop,
) -> None:
    built = shop.build()
    assert shop.catalog.snapshot().head(NAME, BETA) is None
    again = shop.deliver()
    assert not again.built.fresh
    assert shop.catalog.snapshot().head(NAME, BETA) == built.version.id


def test_two_builds_of_one_image_at_once_are_refused(shop: Workshop) -> None:
    with shop.workspaces.open(NAME, wait=False), pytest.raises(Conflict):
        shop.build()
    assert shop.build().fresh


def test_numbers_never_go_back_even_where_the_clock_does(shop: Workshop) -> None:
    shop.build()
    earlier = replace(shop.bench, clock=FixedClock(shop.clock.now() - timedelta(days=3)))
    request = replace(REQUEST, force=True)
    assert str(build(earlier, IMAGE, request, shop.progress).version.ref) == "debian@20261120.2"
    snapshot = shop.catalog.snapshot()
    later = datetime(2026, 12, 1, tzinfo=UTC)
    assert next_version_id(snapshot, NAME, later) == VersionId("20261201", 1)


def test_a_build_is_recorded_although_others_are_recorded_meanwhile(shop: Workshop) -> None:
    """Recording contradicts nothing; a conflict is decided again under the next number."""
    original = shop.catalog.snapshot
    calls = 0

    def snapshot(images: object = None) -> object:
        nonlocal calls
        calls += 1
        taken = original(None)
        if calls in (2, 3):
            other = replace(IMAGE, name=ImageName(f"other-{calls}"))
            shop.definitions.define(other)
            build(replace(shop.bench, catalog=catalog), other, REQUEST, RecordingProgress())
        return taken

    catalog = shop.catalog

    class Interfering:
        def __getattr__(self, name: str) -> object:
            return snapshot if name == "snapshot" else getattr(catalog, name)

    bench = replace(shop.bench, catalog=Interfering())  # type: ignore[arg-type]
    built = build(bench, IMAGE, REQUEST, RecordingProgress())
    assert built.fresh
    assert shop.catalog.snapshot().versions.keys() >= {built.version.ref}
    assert len(shop.catalog.snapshot().versions) == 3


def test_a_build_for_a_new_location_puts_there_what_one_would_roll_back_to(shop: Workshop) -> None:
    """P6. What the store has lost meanwhile comes from where it still is."""
    first = shop.deliver().built.version
    cloud = MemoryLocation(LocationName("cloud"))
    locations = {LOCAL: shop.location, cloud.name: cloud}
    shop.releasing = replace(shop.releasing, locations=locations)
    shop.lose(first.artifacts[0].sha256)
    image = replace(IMAGE, summary="more places", required_locations=(LOCAL, cloud.name))
    delivered = shop.deliver(image)
    assert delivered.entered.plan.moves[0].way_back == (first.id,)
    placed = shop.catalog.snapshot().placed(first.ref)
    assert {each.location for each in placed} == {LOCAL, cloud.name}
    assert any("one would roll back to" in each for each in shop.progress.notes)
