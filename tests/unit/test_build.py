from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from imagectl.errors import BuildFailed, Conflict, NotFound, TestsFailed
from imagectl.model.channel import ChannelRule, ReleasePolicy
from imagectl.model.image import DebianBase, Image, ParentBase, Provision
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    VersionId,
    parse_image_ref,
)
from imagectl.services.build import (
    BuildRequest,
    Built,
    Delivered,
    Workbench,
    build,
    build_and_release,
    next_version_id,
)
from imagectl.services.release import Releasing
from imagectl.testing.build import (
    MemoryBases,
    MemoryChecks,
    MemoryDefinitions,
    MemoryDisks,
    MemoryProver,
    MemoryProvisioner,
    MemoryTimings,
    MemoryWorkspaces,
    RecordingProgress,
)
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.clock import FixedClock
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.store import MemoryStore

BETA = ChannelName("beta")
STABLE = ChannelName("stable")
LOCAL = LocationName("local")
NAME = ImageName("debian")
IMAGE = Image(
    name=NAME,
    summary="an image",
    base=DebianBase("bookworm"),
    architecture=Architecture.AMD64,
    disk_size=1 << 30,
    provision=Provision(roles=("baseline",)),
    suites=(PurePosixPath("tests/images/test_x.py"),),
    formats=(Format.QCOW2, Format.RAW),
    required_locations=(LOCAL,),
)
CHILD = replace(IMAGE, name=ImageName("child"), base=ParentBase(parse_image_ref("debian:stable")))
POLICY = ReleasePolicy((ChannelRule(BETA, entry=True), ChannelRule(STABLE, source=BETA)))
REQUEST = BuildRequest(actor="alice", tool="0.1.0")


@dataclass
class Shop:
    bench: Workbench
    releasing: Releasing
    bases: MemoryBases
    provisioner: MemoryProvisioner
    prover: MemoryProver
    workspaces: MemoryWorkspaces
    clock: FixedClock
    catalog: MemoryCatalog
    location: MemoryLocation
    progress: RecordingProgress

    def build(self, image: Image = IMAGE, request: BuildRequest = REQUEST) -> Built:
        return build(self.bench, image, request, self.progress)

    def deliver(self, image: Image = IMAGE) -> Delivered:
        return build_and_release(self.bench, self.releasing, POLICY, image, REQUEST, self.progress)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    clock = FixedClock(datetime(2026, 11, 20, 9, tzinfo=UTC))
    catalog = MemoryCatalog()
    bases, provisioner, prover = MemoryBases(), MemoryProvisioner(), MemoryProver()
    (tmp_path / "store").mkdir()
    store = MemoryStore(tmp_path / "store")
    workspaces = MemoryWorkspaces(tmp_path, int(clock.now().timestamp()))
    bench = Workbench(
        catalog,
        store,
        MemoryDefinitions(IMAGE, CHILD),
        MemoryChecks(),
        workspaces,
        bases,
        provisioner,
        MemoryDisks(),
        prover,
        MemoryTimings(),
        clock,
    )
    location = MemoryLocation(LOCAL)
    keys = itertools.count()
    releasing = Releasing(
        catalog, {LOCAL: location}, [MemoryPublisher()], clock, "alice", lambda: f"k{next(keys)}"
    )
    return Shop(
        bench,
        releasing,
        bases,
        provisioner,
        prover,
        workspaces,
        clock,
        catalog,
        location,
        RecordingProgress(),
    )


def test_a_version_holds_everything_of_its_build(shop: Shop) -> None:
    built = shop.build()
    version = built.version
    assert built.fresh
    assert str(version.ref) == "debian@20261120.1"
    assert [artifact.format for artifact in version.artifacts] == [Format.QCOW2, Format.RAW]
    assert version.tests.passed == 2
    assert version.tests.ok
    assert version.tree is not None
    for sha256 in (
        *(artifact.sha256 for artifact in version.artifacts),
        version.tree.stored,
        version.tests.report,
        version.tests.console,
        version.build_log,
    ):
        shop.bench.store.verify(sha256)
    assert shop.catalog.snapshot().versions[version.ref] == version
    assert shop.catalog.verify() == ()
    assert shop.progress.stages == ["inputs", "check", "base", "provision", "disk", "prove", "keep"]


def test_unchanged_inputs_build_nothing(shop: Shop) -> None:
    first = shop.build()
    shop.clock.advance(timedelta(days=1))
    again = shop.build()
    assert not again.fresh
    assert again.version == first.version
    assert shop.provisioner.runs == 1


@pytest.mark.parametrize("what", ["definition", "upstream", "tool", "force"])
def test_whatever_changes_builds_again(shop: Shop, what: str) -> None:
    shop.build()
    image, request = IMAGE, REQUEST
    match what:
        case "definition":
            image = replace(IMAGE, provision=Provision(roles=("other",)))
        case "upstream":
            shop.bases.upstream = "two"
        case "tool":
            request = replace(REQUEST, tool="0.2.0")
        case _:
            request = replace(REQUEST, force=True)
    again = shop.build(image, request)
    assert again.fresh
    assert str(again.version.ref) == "debian@20261120.2"


def test_a_failing_test_records_and_releases_nothing(shop: Shop) -> None:
    shop.prover.failing = {"test_clean"}
    with pytest.raises(TestsFailed) as caught:
        shop.deliver()
    error = caught.value
    assert error.failures == (("suite::test_clean", "assert 1 == 2"),)
    assert "login of" in error.tail
    assert "imagectl test debian --failed --keep" in error.hint
    assert shop.workspaces.failed[NAME].startswith(b"qcow2 of")
    assert shop.catalog.snapshot().generation == 0


def test_a_failing_playbook_records_nothing(shop: Shop) -> None:
    shop.provisioner.failure = BuildFailed("task 7 failed", stage="provision")
    with pytest.raises(BuildFailed, match="task 7"):
        shop.build()
    assert shop.catalog.snapshot().generation == 0
    shop.provisioner.failure = None
    assert shop.build().fresh


def test_a_build_ends_in_the_entry_channel(shop: Shop) -> None:
    delivered = shop.deliver()
    snapshot = shop.catalog.snapshot()
    assert snapshot.head(NAME, BETA) == delivered.built.version.id
    assert snapshot.head(NAME, STABLE) is None
    assert len(snapshot.placed(delivered.built.version.ref)) == 2


def test_a_build_that_was_killed_before_its_release_is_released_by_the_next(shop: Shop) -> None:
    built = shop.build()
    assert shop.catalog.snapshot().head(NAME, BETA) is None
    again = shop.deliver()
    assert not again.built.fresh
    assert shop.catalog.snapshot().head(NAME, BETA) == built.version.id


def test_a_child_is_built_on_its_parents_channel(shop: Shop) -> None:
    with pytest.raises(NotFound, match="debian:stable does not exist yet") as caught:
        shop.build(CHILD)
    assert caught.value.hint == "imagectl build debian && imagectl promote stable debian"
    parent = shop.build().version
    pinned = replace(CHILD, base=ParentBase(parse_image_ref(str(parent.ref))))
    child = shop.build(pinned).version
    assert child.parent == parent.ref
    assert not shop.build(pinned).fresh
    newer = shop.build(request=replace(REQUEST, force=True)).version
    assert newer.tree == parent.tree, "the same definition gives the same tree"


def test_an_unknown_parent_version_is_told(shop: Shop) -> None:
    image = replace(CHILD, base=ParentBase(parse_image_ref("debian@20200101.1")))
    with pytest.raises(NotFound, match=r"debian@20200101\.1 does not exist"):
        shop.build(image)


def test_two_builds_of_one_image_at_once_are_refused(shop: Shop) -> None:
    with shop.workspaces.open(NAME, wait=False), pytest.raises(Conflict):
        shop.build()
    assert shop.build().fresh


def test_numbers_never_go_back_even_where_the_clock_does(shop: Shop) -> None:
    shop.build()
    earlier = replace(shop.bench, clock=FixedClock(shop.clock.now() - timedelta(days=3)))
    request = replace(REQUEST, force=True)
    assert str(build(earlier, IMAGE, request, shop.progress).version.ref) == "debian@20261120.2"
    snapshot = shop.catalog.snapshot()
    later = datetime(2026, 12, 1, tzinfo=UTC)
    assert next_version_id(snapshot, NAME, later) == VersionId("20261201", 1)


def test_a_build_is_recorded_although_others_are_recorded_meanwhile(shop: Shop) -> None:
    """Recording contradicts nothing; a conflict is decided again under the next number."""
    original = shop.catalog.snapshot
    calls = 0

    def snapshot(images: object = None) -> object:
        nonlocal calls
        calls += 1
        taken = original(None)
        if calls in (2, 3):
            other = replace(IMAGE, name=ImageName(f"other-{calls}"))
            build(
                replace(shop.bench, catalog=shop_catalog, definitions=MemoryDefinitions(other)),
                other,
                REQUEST,
                RecordingProgress(),
            )
        return taken

    shop_catalog = shop.catalog

    class Interfering:
        def __getattr__(self, name: str) -> object:
            return snapshot if name == "snapshot" else getattr(shop_catalog, name)

    bench = replace(shop.bench, catalog=Interfering())  # type: ignore[arg-type]
    built = build(bench, IMAGE, REQUEST, RecordingProgress())
    assert built.fresh
    assert shop.catalog.snapshot().versions.keys() >= {built.version.ref}
    assert len(shop.catalog.snapshot().versions) == 3
