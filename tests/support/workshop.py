"""A workbench with nothing slow on it, and short words for building, locking and rebuilding."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from imagectl.model.channel import ChannelRule, ReleasePolicy
from imagectl.model.image import DebianBase, DiskBase, Image, ParentBase, Provision
from imagectl.model.lock import Lock
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    Sha256,
    parse_image_ref,
)
from imagectl.model.version import Origin, Version, VersionRef
from imagectl.services.build import BuildRequest, Built, Delivered, build, build_and_release
from imagectl.services.lock import LockRequest, Proposal, accept, propose
from imagectl.services.rebuild import RebuildRequest, Rebuilt, rebuild
from imagectl.services.releasing import Releasing
from imagectl.services.workbench import Workbench
from imagectl.testing.build import (
    MemoryChecks,
    MemoryProver,
    MemoryTemplates,
    MemoryTimings,
    MemoryWorkspaces,
    RecordingProgress,
)
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.clock import FixedClock
from imagectl.testing.definitions import MemoryDefinitions
from imagectl.testing.equipment import MemoryEquipper
from imagectl.testing.inside import MemoryComparer, MemoryInspector
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
CHILD = replace(IMAGE, name=ImageName("child"), base=ParentBase(parse_image_ref("debian:beta")))
OTHER_ROLE = replace(IMAGE, provision=Provision(roles=("baseline", "docker")))
SAME_INPUTS = replace(IMAGE, provision=Provision(roles=("baseline",), variables={"a": 1}))
OPAQUE = replace(IMAGE, name=ImageName("vendor"), base=DiskBase("vendor.img", Sha256("a" * 64)))
POLICY = ReleasePolicy((ChannelRule(BETA, entry=True), ChannelRule(STABLE, source=BETA)))
REQUEST = BuildRequest(actor="alice", tool="0.1.0")
START = datetime(2026, 11, 20, 9, tzinfo=UTC)


@dataclass
class Workshop:
    """See ``open_workshop``."""

    bench: Workbench
    releasing: Releasing
    definitions: MemoryDefinitions
    equipper: MemoryEquipper
    prover: MemoryProver
    templates: MemoryTemplates
    workspaces: MemoryWorkspaces
    clock: FixedClock
    catalog: MemoryCatalog
    store: MemoryStore
    stored: Path
    location: MemoryLocation
    progress: RecordingProgress

    def build(self, image: Image = IMAGE, **changes: object) -> Built:
        """Build as the definition is now; *changes* are to the request."""
        self.definitions.define(image)
        return build(self.bench, image, replace(REQUEST, **changes), self.progress)  # type: ignore[arg-type]  # checked by the dataclass

    def deliver(self, image: Image = IMAGE) -> Delivered:
        self.definitions.define(image)
        return build_and_release(self.bench, self.releasing, POLICY, image, REQUEST, self.progress)

    def propose(self, image: Image = IMAGE, *, update: bool = False) -> Proposal:
        self.definitions.define(image)
        return propose(self.bench, image, LockRequest(update=update), self.progress)

    def lock(self, image: Image = IMAGE, *, update: bool = False) -> Lock:
        """Make, extend or update the lock."""
        proposal = self.propose(image, update=update)
        if proposal.access is not None:
            accept(self.bench, proposal)
        return self.locked(image)

    def locked(self, image: Image = IMAGE) -> Lock:
        """The lock that there is."""
        lock = self.definitions.lock(image.name)
        assert lock is not None
        return lock

    def rebuild(
        self, ref: VersionRef, *, verify: bool = False, offline: bool = False, tool: str = "0.1.0"
    ) -> tuple[Rebuilt, ...]:
        request = RebuildRequest(tool, verify=verify, offline=offline)
        return rebuild(self.bench, ref, request, self.progress)

    def lose(self, *digests: Sha256) -> None:
        """Somebody deletes files of the artifact store."""
        for sha256 in digests:
            (self.stored / sha256).unlink()

    def files(self) -> frozenset[str]:
        """What is in the artifact store."""
        return frozenset(path.name for path in self.stored.iterdir())


def origin(version: Version) -> Origin:
    """How *version* was made."""
    assert version.origin is not None
    return version.origin


def tree_of(version: Version) -> Sha256:
    """The digest that the store keeps the tree of *version* under."""
    assert version.tree is not None
    return version.tree.stored


def open_workshop(folder: Path) -> Workshop:
    """A workshop in *folder*, with a parent, its child, and a vendor's disk defined."""
    clock = FixedClock(START)
    catalog = MemoryCatalog()
    stored = folder / "store"
    stored.mkdir()
    store = MemoryStore(stored)
    definitions = MemoryDefinitions(folder, IMAGE, CHILD, OPAQUE)
    equipper, prover = MemoryEquipper(store), MemoryProver()
    templates = MemoryTemplates()
    workspaces = MemoryWorkspaces(folder, clock)
    bench = Workbench(
        catalog=catalog,
        store=store,
        definitions=definitions,
        checks=MemoryChecks(),
        workspaces=workspaces,
        equipper=equipper,
        prover=prover,
        comparer=MemoryComparer(),
        inspector=MemoryInspector(),
        templates=templates,
        timings=MemoryTimings(),
        clock=clock,
    )
    location = MemoryLocation(LOCAL)
    keys = itertools.count()
    releasing = Releasing(
        catalog, {LOCAL: location}, [MemoryPublisher()], clock, "alice", lambda: f"k{next(keys)}"
    )
    return Workshop(
        bench,
        releasing,
        definitions,
        equipper,
        prover,
        templates,
        workspaces,
        clock,
        catalog,
        store,
        stored,
        location,
        RecordingProgress(),
    )
