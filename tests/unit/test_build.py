"""Builds: what is recorded of them, under which lock they run, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from support.workshop import (
    BETA,
    CHILD,
    IMAGE,
    LOCAL,
    NAME,
    OPAQUE,
    REQUEST,
    STABLE,
    Workshop,
    open_workshop,
    origin,
    tree_of,
)

from imagectl.errors import BadInput, BuildFailed, Conflict, Corrupt, NotFound, Refused, TestsFailed
from imagectl.model.image import DebianBase, DiskBase, Image, ParentBase, Provision
from imagectl.model.lock import Access, LockedParentBase
from imagectl.model.names import (
    Architecture,
    Format,
    ImageName,
    LocationName,
    Sha256,
    VersionId,
    parse_image_ref,
)
from imagectl.model.retention import Lease
from imagectl.model.version import Reproducible, VersionRef
from imagectl.services.build import PARENT_LEASE, build
from imagectl.services.keep import next_version_id
from imagectl.services.protect import revoke
from imagectl.testing.build import RecordingProgress
from imagectl.testing.clock import FixedClock
from imagectl.testing.locations import MemoryLocation

OTHER_ROLE = replace(IMAGE, provision=Provision(roles=("baseline", "docker")))
SAME_INPUTS = replace(IMAGE, provision=Provision(roles=("baseline",), variables={"a": 1}))


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


# --- the lock ----------------------------------------------------------------------------------


def test_the_first_build_makes_the_lock_and_says_so(shop: Workshop) -> None:
    built = shop.build()
    assert built.lock is not None
    assert built.lock.name == "image.lock"
    lock = shop.locked()
    assert [each.url.rpartition("/")[2] for each in lock.inputs.downloads] == [
        "baseline",
        "bookworm",
    ]
    assert lock.definition == shop.definitions.digests(IMAGE)
    assert {each.format: each.sha256 for each in built.version.artifacts} == lock.expected.formats
    assert any("commit it" in note for note in shop.progress.notes)
    assert shop.equipper.used[0].access is Access.RECORD
    assert origin(built.version).reproducible is Reproducible.UNPROVEN


def test_nothing_new_builds_nothing_and_needs_no_upstream(shop: Workshop) -> None:
    first = shop.build()
    shop.clock.advance(timedelta(days=90))
    shop.equipper.upstream.gone = True
    shop.equipper.kept.clear()
    again = shop.build()
    assert not again.fresh
    assert again.version == first.version
    assert shop.equipper.runs == 1


def test_a_lock_keeps_a_build_as_it_was_whatever_upstream_has_by_now(shop: Workshop) -> None:
    first = shop.build()
    shop.clock.advance(timedelta(days=90))
    shop.equipper.upstream.edition = "two"
    before = shop.locked()
    again = shop.build(force=True)
    assert again.fresh
    assert again.lock is None
    assert again.version.artifacts == first.version.artifacts
    assert again.version.tree == first.version.tree
    assert shop.locked() == before
    assert shop.equipper.used[-1].access is Access.LOCKED
    assert origin(again.version).reproducible is Reproducible.YES
    assert again.version.fingerprint == first.version.fingerprint


@pytest.mark.parametrize("what", ["definition", "playbooks", "tool", "force", "lock"])
def test_whatever_changes_builds_again(shop: Workshop, what: str) -> None:
    shop.build()
    shop.clock.advance(timedelta(hours=1))
    match what:
        case "definition":
            again = shop.build(SAME_INPUTS)
        case "playbooks":
            shop.definitions.playbooks = "two"
            again = shop.build()
        case "tool":
            again = shop.build(tool="0.2.0")
        case "lock":
            shop.lock(update=True)
            again = shop.build()
        case _:
            again = shop.build(force=True)
    assert again.fresh
    assert str(again.version.ref) == "debian@20261120.2"
    assert not shop.build(
        SAME_INPUTS if what == "definition" else IMAGE, tool=again.version.tool
    ).fresh


def test_a_changed_definition_is_built_from_the_inputs_that_are_locked(shop: Workshop) -> None:
    shop.build()
    before = shop.locked()
    shop.equipper.upstream.edition = "two"
    again = shop.build(SAME_INPUTS)
    after = shop.locked()
    assert (after.inputs, after.epoch, after.base) == (before.inputs, before.epoch, before.base)
    assert after.definition == shop.definitions.digests(SAME_INPUTS)
    assert after.expected != before.expected
    assert again.lock is not None
    assert origin(again.version).reproducible is Reproducible.UNPROVEN
    notes = "\n".join(shop.progress.notes)
    assert "definition of debian changed since its lock was made" in notes
    assert "with the inputs of before and another result: commit it" in notes
    assert shop.build(SAME_INPUTS, force=True).version.artifacts == again.version.artifacts


def test_other_tests_of_the_same_bytes_are_proof_too(shop: Workshop) -> None:
    first = shop.build().version
    suites = replace(IMAGE, suites=(PurePosixPath("tests/images/test_y.py"),))
    version = shop.build(suites).version
    assert version.artifacts == first.artifacts
    assert origin(version).reproducible is Reproducible.YES
    assert shop.locked().definition == shop.definitions.digests(suites)
    assert "with the inputs of before and the same result" in shop.progress.notes[-1]


def test_what_is_not_locked_is_not_fetched(shop: Workshop) -> None:
    """A build never changes its inputs: not even where a playbook asks for more of them."""
    shop.build()
    before = shop.locked()
    with pytest.raises(BuildFailed, match="docker is not locked") as caught:
        shop.build(OTHER_ROLE)
    assert caught.value.hint == "imagectl lock debian"
    assert shop.locked() == before
    shop.lock(OTHER_ROLE)
    assert shop.build(OTHER_ROLE).fresh


def test_an_upstream_that_serves_something_else_fails_the_build(shop: Workshop) -> None:
    shop.build()
    shop.equipper.kept.clear()
    shop.equipper.upstream.edition = "two"
    with pytest.raises(BuildFailed, match="is not what was locked"):
        shop.build(force=True)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (replace(IMAGE, base=DebianBase("trixie")), "Debian bookworm, and the image on trixie"),
        (replace(IMAGE, base=DiskBase("x", Sha256("b" * 64))), "another kind of base"),
        (replace(IMAGE, architecture=Architecture.ARM64), "for amd64, and the image for arm64"),
    ],
)
def test_a_lock_of_something_else_is_told_before_anything_is_built(
    shop: Workshop, image: Image, said: str
) -> None:
    shop.build()
    with pytest.raises(BadInput) as caught:
        shop.build(image)
    (problem,) = caught.value.problems
    assert said in problem.what
    assert problem.file == "images/debian/image.lock"
    assert problem.hint == "imagectl lock debian --update"
    assert shop.equipper.runs == 1


def test_a_lock_that_was_copied_from_another_image_is_told(shop: Workshop) -> None:
    shop.build()
    other = replace(IMAGE, name=ImageName("other"))
    folder = shop.definitions.project / "images"
    (folder / "other").mkdir()
    (folder / "other/image.lock").write_bytes((folder / "debian/image.lock").read_bytes())
    with pytest.raises(BadInput) as caught:
        shop.build(other)
    assert "it is the lock of debian" in caught.value.problems[0].what


# --- offline -----------------------------------------------------------------------------------


def test_offline_needs_a_lock(shop: Workshop) -> None:
    with pytest.raises(NotFound, match="debian has no lock") as caught:
        shop.build(offline=True)
    assert caught.value.hint == "imagectl lock debian"


def test_offline_needs_no_upstream(shop: Workshop) -> None:
    first = shop.build()
    shop.equipper.upstream.gone = True
    again = shop.build(offline=True, force=True)
    assert again.version.artifacts == first.version.artifacts
    assert shop.equipper.used[-1].access is Access.OFFLINE
    del shop.equipper.kept[shop.locked().inputs.downloads[0].sha256]
    with pytest.raises(NotFound, match=r"the input store lacks .*baseline"):
        shop.build(offline=True, force=True)


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


# --- parents -----------------------------------------------------------------------------------


def test_a_child_is_built_on_its_parents_channel(shop: Workshop) -> None:
    with pytest.raises(NotFound, match="debian:beta does not exist yet") as caught:
        shop.build(CHILD)
    assert caught.value.hint == "imagectl build debian && imagectl promote beta debian"
    parent = shop.deliver().built.version
    child = shop.build(CHILD).version
    assert child.parent == parent.ref
    assert parent.tree is not None
    assert shop.locked(CHILD).base == LockedParentBase(parent.ref, parent.tree.sha256)
    assert not shop.build(CHILD).fresh


def test_a_newer_parent_is_told_and_not_taken(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.build(CHILD)
    newer = shop.deliver(SAME_INPUTS).built.version
    shop.progress.notes.clear()
    assert not shop.build(CHILD).fresh
    (note,) = shop.progress.notes
    assert note == (
        f"debian:beta is {newer.id} by now, and the lock has {parent.id}: "
        "`imagectl lock child --update` takes it"
    )
    assert shop.build(CHILD, force=True).version.parent == parent.ref
    shop.lock(CHILD, update=True)
    assert shop.build(CHILD).version.parent == newer.ref


def test_an_unknown_parent_version_is_told(shop: Workshop) -> None:
    image = replace(CHILD, base=ParentBase(parse_image_ref("debian@20200101.1")))
    with pytest.raises(NotFound, match=r"debian@20200101\.1 does not exist"):
        shop.build(image)


def test_a_parent_whose_tree_is_gone_is_told_before_anything_is_built(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.lose(tree_of(parent))
    with pytest.raises(NotFound, match=r"the file tree of debian@20261120\.1 is not in") as caught:
        shop.build(CHILD)
    assert caught.value.hint == "imagectl rebuild debian@20261120.1"


def test_a_lock_that_names_another_catalogs_parent_is_told(shop: Workshop) -> None:
    shop.deliver()
    shop.build(CHILD)
    lock = shop.locked(CHILD)
    assert isinstance(lock.base, LockedParentBase)
    shop.definitions.write_lock(replace(lock, base=replace(lock.base, tree=Sha256("f" * 64))))
    with pytest.raises(Corrupt, match="is not the parent that child was locked with"):
        shop.build(CHILD)


class Watching(RecordingProgress):
    """Looks at each stage who has leased the parent."""

    def __init__(self, shop: Workshop, parent: VersionRef) -> None:
        super().__init__()
        self._shop = shop
        self._parent = parent
        self.seen: dict[str, tuple[Lease, ...]] = {}

    def stage(self, name: str, expected_seconds: float | None = None) -> None:
        super().stage(name, expected_seconds)
        self.seen[name] = self._shop.catalog.snapshot().leases.get(self._parent, ())


def test_a_parent_is_leased_while_it_is_built_on(shop: Workshop) -> None:
    """P1: until the child is recorded, nothing else keeps a cleanup away from its parent."""
    parent = shop.deliver().built.version
    watching = Watching(shop, parent.ref)
    shop.progress = watching
    shop.build(CHILD)
    for name in ("check", "provision", "prove", "keep"):
        (lease,) = watching.seen[name]
        assert lease.consumer.endswith(" of child")
        assert lease.until == shop.clock.now() + PARENT_LEASE
    assert shop.catalog.snapshot().leases == {}


def test_a_parent_is_free_again_also_when_the_build_fails(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.progress = watching = Watching(shop, parent.ref)
    shop.prover.failing.add("test_up")
    with pytest.raises(TestsFailed):
        shop.build(CHILD)
    assert watching.seen["prove"]
    assert shop.catalog.snapshot().leases == {}


def test_nothing_is_built_on_what_was_revoked(shop: Workshop) -> None:
    parent = shop.deliver().built.version
    shop.build(CHILD)
    revoke(shop.releasing, parent.ref, "a hole", even_if_released=True)
    with pytest.raises(Refused, match="child cannot be built on debian@") as caught:
        shop.build(CHILD, force=True)
    assert "was revoked on 2026-11-20 09:00 UTC by alice: a hole" in caught.value.reasons[0]
    assert "imagectl lock child --update" in caught.value.hint


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
