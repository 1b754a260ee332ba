"""One run of adopting: what it works with, whatever it adopts, and how it records a version.

Promises: an adopted version says of itself that imagectl has neither built nor booted it, and is
dated as its provider does, or as its number says; no view with gaps is gone by (P3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.digest import digest_of
from imagectl.model.names import ImageName, LocationName, Sha256, VersionId
from imagectl.model.proof import TestReport
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, TestSummary, Version, VersionRef
from imagectl.model.view import Found, View
from imagectl.policy.adoption import Sorted, Wanted
from imagectl.services.keep import report_json
from imagectl.services.ports.locations import Location
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.releasing import Releasing


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """What is asked for. ``reserved``: numbers that builds of an image have given away already.
    ``tool`` is imagectl's version; ``folder`` a folder for files on their way into the store."""

    location: LocationName
    wanted: Wanted
    reason: str
    tool: str
    folder: Path
    reserved: Callable[[ImageName], Collection[VersionId]]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A thing that is in the catalog now, as what. ``again``: it is what it said of itself.
    ``held``: its version is new to the catalog, and so held."""

    found: Found
    version: VersionRef
    again: bool
    held: bool


@dataclass
class Adopting:
    """One run. What was taken and what failed grows as it goes on."""

    releasing: Releasing
    store: ArtifactStore
    location: Location
    request: AdoptRequest
    progress: Progress
    snapshot: Snapshot
    sort: Sorted
    taken: list[Taken] = field(default_factory=list)
    failed: list[tuple[Found, ImagectlError]] = field(default_factory=list)

    @cached_property
    def reason(self) -> str:
        said = f"adopted from {self.location.name}"
        return f"{said}: {self.request.reason}" if self.request.reason else said

    @cached_property
    def other_views(self) -> tuple[tuple[Location, View], ...]:
        return tuple(
            (location, complete(location, self.releasing))
            for location in self.releasing.locations.values()
            if location.name != self.location.name
        )

    def spoken_for(self, image: ImageName) -> Collection[VersionId]:
        """Numbers that things carry which are not recorded, or not yet."""
        said = {ref.version for ref in self.sort.lost if ref.image == image}
        return said | set(self.request.reserved(image))

    def would_fail(self, found: Found) -> bool:
        """Whether the listing itself says that it cannot be taken. Then why is in ``failed``."""
        if found.unusable is None:
            return False
        self.failed.append((found, found.unusable))
        return True

    def is_new(self, ref: VersionRef) -> bool:
        return ref not in self.snapshot.versions

    def version(
        self,
        ref: VersionRef,
        found: Found,
        artifacts: tuple[Artifact, ...],
        locations: tuple[LocationName, ...],
    ) -> Version:
        return Version(
            ref=ref,
            created=found.created or day_of(ref),
            created_by=self.releasing.actor,
            summary=f"adopted from {self.location.name}: {found.name}",
            fingerprint=digest_of(("adopted", *(each.sha256 for each in artifacts))),
            parent=None,
            tree=None,
            artifacts=artifacts,
            tests=TestSummary(0, 0, 0.0, self._kept(report_json(TestReport(()))), self.note),
            required_locations=locations,
            tool=self.request.tool,
            build_log=self.note,
            seconds=0.0,
        )

    @cached_property
    def note(self) -> Sha256:
        """In place of a log and of a console."""
        return self._kept("Adopted: imagectl has neither built it nor booted it.\n")

    def _kept(self, text: str) -> Sha256:
        file = self.request.folder / f"{self.releasing.new_key()}.txt"
        file.write_text(text)
        return self.store.adopt(file)


def day_of(ref: VersionRef) -> datetime:
    """When it was made, as its number says."""
    return datetime.strptime(ref.version.day, "%Y%m%d").replace(tzinfo=UTC)


def complete(location: Location, releasing: Releasing) -> View:
    """All that is there. Raises CannotTell where that was not to be seen (P3)."""
    view = location.view(releasing.clock.now)
    if not view.complete:
        raise CannotTell(
            f"not all of {location.name} could be seen, so it cannot be told what is there",
            where=view.scope,
            why="; ".join(view.gaps),
            hint="nothing was adopted; type it again later",
        )
    return view


def ignore(moved: int) -> None:
    """Hardly anything is moved: it is there already."""
