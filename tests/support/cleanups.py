"""A small project in memory that is cleaned up: short words for planning, applying and taking back.

One image, ``debian-ci``, in two locations; its versions are a day old each when cleanups begin, and
go down by a stage a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from imagectl.adapters.inputs.store import InputStore
from imagectl.errors import Conflict
from imagectl.model.change import Change, Operation, RecordVersion, StepVersion
from imagectl.model.channel import ReleasePolicy
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256
from imagectl.model.retention import RetentionPolicy, RetentionRule, Stage
from imagectl.model.signature import SignedPlan
from imagectl.model.version import Artifact, Origin, Reproducible, Tree, Version, VersionRef
from imagectl.services.apply_cleanup import Applied, apply
from imagectl.services.cleanup import Cleaning, planned, scope_of
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.locations import Location
from imagectl.services.undelete import Remake, Undeleted, undelete
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.locations import MemoryLocation
from imagectl.testing.plans import signed
from imagectl.testing.published import MemoryPublisher
from imagectl.testing.receipts import MemoryReceipts
from imagectl.testing.store import MemoryStore
from support.examples import ref, version
from support.locks import keep_inputs, lock_of, read_lock
from support.releases import DC1, LOCAL, POLICY
from support.world import World

DAY = timedelta(days=1)
CATALOG_ID = "00000000-0000-4000-8000-000000000000"

RETENTION = RetentionPolicy(
    RetentionRule(keep_last=1, min_age=DAY, unused=DAY, grace=DAY), max_count=10, max_share=1.0
)
CLEANING: ReleasePolicy = replace(POLICY, retention=RETENTION)
"""Keeps what channels point to or go back to; the rest goes down by a stage a day, all at once."""


class Cleanups:
    """See ``open_cleanups``."""

    def __init__(
        self, folder: Path, locations: Collection[Location], catalog: Catalog | None = None
    ) -> None:
        stored = folder / "store"
        stored.mkdir()
        self.folder = folder
        self.stored = MemoryStore(stored)
        self.inputs = InputStore(folder / "inputs")
        self.published = MemoryPublisher()
        self.receipts = MemoryReceipts()
        self.world = World(
            catalog or MemoryCatalog(CATALOG_ID),
            list(locations),
            [self.published],
            self.stored,
            folder,
            CLEANING,
        )
        self.building: set[ImageName] = set()
        self.cleaning = Cleaning(
            self.world.releasing,
            self.stored,
            {"memory": self.published.tree()},
            self.receipts,
            self._undisturbed,
            self.inputs,
            read_lock,
        )
        self.policy = CLEANING

    @property
    def catalog(self) -> Catalog:
        return self.world.catalog

    def add(
        self,
        text: str,
        *to: LocationName,
        parent: str | None = None,
        remakeable: bool = True,
        reproducible: Reproducible = Reproducible.YES,
        disk: str | None = None,
        artifact: Artifact | None = None,
        lock: str | None = None,
    ) -> Version:
        """A version in those locations, and in no channel. *disk* is what its bytes are, where it
        is not *artifact*, which is in the store."""
        made = version(text, parent=ref(parent) if parent else None)
        if artifact is None:
            data = disk or f"disk of {text}"
            size = len(data.encode())
            artifact = Artifact(Format.QCOW2, Architecture.AMD64, self._stored(data), size)
        keep_inputs(self.inputs, text)
        origin = Origin(
            epoch=0,
            lock=self._stored(lock or lock_of(text)),
            source=self._stored(f"source of {text}"),
            raw=Sha256("a" * 64),
            reproducible=reproducible,
        )
        stored = self._stored(f"tree of {text}")
        made = replace(
            made,
            created=self.world.clock.now(),
            required_locations=to,
            artifacts=(artifact,),
            tree=Tree(stored, 1, stored) if remakeable else None,
            origin=origin if remakeable else replace(origin, cause="it is btrfs"),
        )
        self.commit(RecordVersion(made))
        self.world.place(made.ref, *to)
        return made

    def commit(self, *operations: Operation, actor: str = "bob", reason: str = "") -> None:
        """Somebody else's change."""
        self.catalog.commit(
            Change(
                self.world.releasing.new_key(),
                self.catalog.snapshot(()).generation,
                actor,
                "test",
                reason,
                self.world.clock.now(),
                operations,
            )
        )

    def plan(self, *locations: LocationName, images: Collection[ImageName] = ()) -> SignedPlan:
        """The plan of now, signed."""
        scope = scope_of(self.world.releasing, images, locations)
        with planned(self.cleaning, self.policy, scope) as made:
            return signed(made)

    def apply(self, plan: SignedPlan, *, dry_run: bool = False) -> Applied:
        return apply(self.cleaning, self.policy, plan, dry_run=dry_run)

    def undelete(self, version: VersionRef, remake: Remake) -> Undeleted:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return undelete(
            self.world.releasing,
            self.stored,
            version,
            "needed",
            scratch,
            remake,
            self.cleaning.undisturbed,
        )

    def pass_days(self, days: float = 1) -> None:
        self.world.clock.advance(days * DAY)

    def bring_down(self, *refs: VersionRef, to: Stage) -> None:
        """Plan and apply, a day after the other, until they are at that stage."""
        while any(self.stage(each) is not to for each in refs):
            self.pass_days(1.01)
            applied = self.apply(self.plan())
            if applied.surprise is not None:
                raise applied.surprise
            assert applied.done

    def commit_deleted(self, version: VersionRef) -> None:
        """As if a cleanup had been killed right after its decision."""
        self.commit(StepVersion(version, Stage.DELETED))

    def without(self, location: LocationName) -> None:
        """imagectl.yaml has that location no more."""
        releasing = self.world.releasing
        rest = {name: each for name, each in releasing.locations.items() if name != location}
        self.world.releasing = replace(releasing, locations=rest)

    def stage(self, version: VersionRef) -> Stage:
        return self.catalog.snapshot((version.image,)).stage(version)

    def files(self) -> frozenset[str]:
        """What is in the artifact store."""
        return frozenset(path.name for path in (self.folder / "store").iterdir())

    def _stored(self, text: str) -> Sha256:
        self.stored.add_bytes(text.encode())
        return digest_of(text)

    @contextmanager
    def _undisturbed(self, image: ImageName) -> Iterator[None]:
        if image in self.building:
            raise Conflict(f"another build of {image} is running")
        yield


def digest_of(text: str) -> Sha256:
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def open_cleanups(
    folder: Path, local: MemoryLocation | None = None, catalog: Catalog | None = None
) -> tuple[Cleanups, MemoryLocation, MemoryLocation]:
    """A project without versions, and its locations *local* and *dc1*."""
    one = local or MemoryLocation(LOCAL, catalog=CATALOG_ID)
    other = MemoryLocation(DC1, catalog=CATALOG_ID)
    return Cleanups(folder, (one, other), catalog), one, other
