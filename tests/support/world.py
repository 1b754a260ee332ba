"""A small project wired by hand: what the services are given, and short words for using them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

from imagectl.model.change import Change, RecordVersion, StepVersion
from imagectl.model.channel import Channel, ReleasePolicy
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    LocationName,
    VersionId,
    parse_image_ref,
)
from imagectl.model.release import PromotionRequest, RollbackRequest
from imagectl.model.retention import Stage
from imagectl.model.version import Artifact, Version, VersionRef
from imagectl.services import backfill, publish, release
from imagectl.services.backfill import Backfilled
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.locations import Location
from imagectl.services.ports.published import Publisher
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.release import Released
from imagectl.services.releasing import Releasing
from imagectl.testing.clock import FixedClock
from support.examples import NOW, version
from support.releases import LOCAL, POLICY


class World:
    """Artifacts are small texts, kept in *sources* until they are in the store."""

    def __init__(
        self,
        catalog: Catalog,
        locations: Sequence[Location],
        publishers: Sequence[Publisher],
        store: ArtifactStore,
        sources: Path,
        policy: ReleasePolicy = POLICY,
        new_key: Callable[[], str] | None = None,
    ) -> None:
        self.clock = FixedClock(NOW)
        self.store = store
        self.policy = policy
        self._sources = sources
        keys = count(1)
        self.releasing = Releasing(
            catalog,
            {each.name: each for each in locations},
            publishers,
            self.clock,
            "alice",
            new_key or (lambda: f"key-{next(keys)}"),
        )

    @property
    def catalog(self) -> Catalog:
        return self.releasing.catalog

    def recorded(
        self,
        text: str,
        *,
        failed: int = 0,
        needs: Collection[LocationName] = (LOCAL,),
        formats: Collection[Format] = (Format.QCOW2,),
        of: Callable[[str], Version] = version,
    ) -> Version:
        """A build that has ended: its artifacts are in the store, its version in the catalog."""
        made = of(text)
        made = replace(
            made,
            created=self.clock.now(),
            required_locations=tuple(needs),
            artifacts=tuple(self._stored(text, each) for each in formats),
            tests=replace(made.tests, failed=failed),
        )
        change = Change(
            self.releasing.new_key(),
            self.catalog.snapshot(()).generation,
            "alice",
            "build",
            "",
            self.clock.now(),
            (RecordVersion(made),),
        )
        self.catalog.commit(change)
        return made

    def _stored(self, text: str, form: Format) -> Artifact:
        data = f"the {form.value} disk of {text}".encode()
        source = self._sources / hashlib.sha256(data).hexdigest()
        source.write_bytes(data)
        return Artifact(form, Architecture.AMD64, self.store.add(source), len(data))

    def place(self, made: VersionRef, *to: LocationName) -> publish.Placed:
        return publish.place(self.releasing, self.store, made, to)

    def enter(self, made: VersionRef) -> Released:
        return release.enter(self.releasing, self.policy, made)

    def built(self, text: str, *, needs: Collection[LocationName] = (LOCAL,)) -> Version:
        """A whole build: recorded, placed, and in the entry channel; what one would roll back to is
        put where it has to be now."""
        made = self.recorded(text, needs=needs)
        self.place(made.ref)
        self.arrive(made.ref)
        return made

    def backfill(self, *images: ImageName, scratch: Path | None = None) -> Backfilled:
        return backfill.backfill(self.releasing, self.store, self.policy, images, scratch)

    def arrive(self, made: VersionRef) -> Released:
        """Like ``enter``, after what one would roll back to was put where it has to be."""
        return backfill.enter_with_way_back(
            self.releasing, self.store, self.policy, made, lambda: nullcontext(self._sources)
        )

    def promote(
        self, channel: str, *targets: str, reason: str = "", dry_run: bool = False
    ) -> Released:
        request = PromotionRequest(ChannelName(channel), tuple(map(parse_image_ref, targets)))
        return release.promote(self.releasing, self.policy, request, reason=reason, dry_run=dry_run)

    def rollback(
        self, channel: str, *images: ImageName, to: VersionId | None = None, dry_run: bool = False
    ) -> Released:
        request = RollbackRequest(ChannelName(channel), images, to)
        return release.rollback(self.releasing, self.policy, request, dry_run=dry_run)

    def check(self, channel: str, *images: ImageName) -> Released:
        request = RollbackRequest(ChannelName(channel), images)
        return release.check_rollback(self.releasing, self.policy, request)

    def step(self, version: VersionRef, *stages: Stage) -> None:
        """Take it from one stage to the next, with nobody's leave."""
        for stage in stages:
            change = Change(
                self.releasing.new_key(),
                self.catalog.snapshot(()).generation,
                "alice",
                "test",
                "",
                self.clock.now(),
                (StepVersion(version, stage),),
            )
            self.catalog.commit(change)

    def channel(self, image: ImageName, channel: ChannelName) -> Channel | None:
        return self.catalog.snapshot().channel(image, channel)
