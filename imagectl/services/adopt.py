"""Take into the catalog what is in a location and nobody has recorded.

Promises: what somebody else made becomes a version of its own, held from the moment that the
catalog knows it, and dated as its provider does; it is written down before its marks are set (P7),
and is neither copied nor made again. What carries this catalog's marks is recorded as what they
say, after its bytes, or what stands for them, were compared. Everything is taken, or listed with
the reason; typed again, it goes on where it stopped. Nothing is decided on a view with gaps (P3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from pathlib import Path

from imagectl.errors import CannotTell, Corrupt, ImagectlError, NotFound, Unsupported
from imagectl.model.change import (
    EndIntent,
    HoldVersion,
    Operation,
    RecordIntent,
    RecordPlacement,
    RecordVersion,
)
from imagectl.model.digest import digest_of
from imagectl.model.names import Architecture, Format, ImageName, LocationName, Sha256, VersionId
from imagectl.model.proof import TestReport
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Intent, Placement, TestSummary, Version, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.policy.adoption import Left, Sorted, Wanted, images_of, sort_found
from imagectl.policy.wording import listed, nearest
from imagectl.services.keep import report_json
from imagectl.services.ledger import Ledger, write_down
from imagectl.services.pipeline import digest_of_file
from imagectl.services.ports.locations import Location, Workshop
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.releasing import Releasing

BATCH = 50
"""How many are written down at once, before their marks are set, and again afterwards."""


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


@dataclass(frozen=True, slots=True)
class Adoption:
    """What became of each thing that was asked for. ``known`` of them were recorded before;
    ``left`` are those that nothing was done to; ``failed`` could not be taken, and why."""

    scope: str
    taken: tuple[Taken, ...]
    known: int
    left: tuple[Left, ...]
    failed: tuple[tuple[Found, ImagectlError], ...]


def adopt(
    releasing: Releasing, store: ArtifactStore, request: AdoptRequest, progress: Progress
) -> Adoption:
    """Take what is *wanted* of a location, and say what became of each thing.

    Raises NotFound where there is no such location, or nothing there has such a name, CannotTell
    where not all of it could be seen, and what logging in raises; nothing is done then.
    """
    location = _find(releasing, request.location)
    progress.step(f"looking at {location.name}")
    location.probe()
    view = _complete(location, releasing)
    found = [each for each in view.found if request.wanted.means(each)]
    if not found and request.wanted.patterns:
        raise NotFound(
            f"nothing in {location.name} is called {listed(request.wanted.patterns)}",
            where=view.scope,
            hint=f"`imagectl adopt {location.name} --dry-run` lists what is there",
        )
    snapshot = releasing.catalog.snapshot(images_of(found, request.wanted))
    builds = isinstance(location, Workshop) and Format.NATIVE in location.takes
    sort = sort_found(found, snapshot, location.name, request.wanted, builds=builds)
    # An older catalog may learn what it has forgotten, although a published tree knows better: what
    # is shown stays as it is.
    writing = replace(releasing, publishers=())
    adopting = _Adopting(writing, store, location, request, progress, snapshot, sort)
    if request.dry_run:
        taken = tuple(adopting.would_take())
    else:
        adopting.run()
        taken = tuple(adopting.taken)
    return Adoption(view.scope, taken, sort.known, sort.left, tuple(adopting.failed))


@dataclass(frozen=True, slots=True)
class _Item:
    """A thing that is described, and not copied. ``said`` is the version that its marks name."""

    found: Found
    image: ImageName
    architecture: Architecture
    said: VersionRef | None = None
    sha256: Sha256 | None = None
    """What its marks say that its description has."""


@dataclass
class _Adopting:
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
    def _reason(self) -> str:
        said = f"adopted from {self.location.name}"
        return f"{said}: {self.request.reason}" if self.request.reason else said

    @cached_property
    def _items(self) -> tuple[_Item, ...]:
        """What is described, those that say what they are first: they keep their numbers."""
        return (
            *(
                _Item(found, ref.image, owner.architecture, ref, owner.sha256)
                for ref, those in self.sort.lost.items()
                for found, owner in those
                if owner.format is Format.NATIVE
            ),
            *(
                _Item(
                    each.found,
                    each.version.image,
                    each.artifact.architecture,
                    each.version,
                    each.artifact.sha256,
                )
                for each in self.sort.unrecorded
                if each.artifact.format is Format.NATIVE
            ),
            *(_Item(each.found, each.image, each.architecture) for each in self.sort.strange),
        )

    def would_take(self) -> Iterator[Taken]:
        """What ``run`` would begin with, as far as can be told without reading each thing."""
        numbers = _Numbers(self._spoken_for)
        for item in self._items:
            ref = item.said or numbers.next(self.snapshot, item)
            yield Taken(item.found, ref, item.said is not None, self._is_new(ref))
        for ref, those in self.sort.lost.items():
            yield from (
                Taken(found, ref, True, True)
                for found, owner in those
                if owner.format is not Format.NATIVE
            )
        for each in self.sort.unrecorded:
            if each.artifact.format is not Format.NATIVE:
                yield Taken(each.found, each.version, True, False)

    def run(self) -> None:
        """All of it, what says itself what it is first."""
        for ref, those in self.sort.lost.items():
            copies = [each for each in those if each[1].format is not Format.NATIVE]
            if copies and self._record_lost(ref, copies):
                for found, owner in copies:
                    self._place(found, ref, owner.format, owner.architecture)
        for each in self.sort.unrecorded:
            if each.artifact.format is not Format.NATIVE:
                self._place(
                    each.found, each.version, each.artifact.format, each.artifact.architecture
                )
        for image, items in groupby(
            sorted(self._items, key=lambda each: each.image), key=lambda each: each.image
        ):
            of_image = tuple(items)
            for start in range(0, len(of_image), BATCH):
                self._take(image, of_image[start : start + BATCH])

    # What others made, and what a builder made: it stays where it is, and is described.

    def _take(self, image: ImageName, items: Sequence[_Item]) -> None:
        """A batch: written down, then marked, then recorded where it is, whatever stops it."""
        described = [pair for each in items if (pair := self._described(each)) is not None]
        refs = self._write_down(image, described)
        placed: list[tuple[_Item, Placement]] = []
        try:
            for item, artifact in described:
                ref = refs.get(item.found.provider_id)
                if ref is None:
                    continue
                self.progress.step(f"{item.found.name} as {ref}")
                try:
                    placed.append((item, self._put(ref, artifact)))
                except ImagectlError as error:
                    self.failed.append((item.found, error))
        finally:
            self._finish(image, placed)
        self.taken += (
            Taken(item.found, each.version, item.said is not None, self._is_new(each.version))
            for item, each in placed
        )

    def _described(self, item: _Item) -> tuple[_Item, Artifact] | None:
        assert isinstance(self.location, Workshop)
        file = self.request.folder / f"{self.releasing.new_key()}.json"
        try:
            self.location.describe(item.found.name, file)
            sha256, size = digest_of_file(file), file.stat().st_size
            if item.sha256 not in (None, sha256):
                raise Corrupt(
                    f"{item.found.name} is another one than its marks say",
                    where=item.found.provider_id,
                    why=f"its description has the sha256 {sha256}; they say {item.sha256}",
                )
            self.store.adopt(file)
        except ImagectlError as error:
            self.failed.append((item.found, error))
            return None
        finally:
            file.unlink(missing_ok=True)
        return item, Artifact(Format.NATIVE, item.architecture, sha256, size)

    def _write_down(
        self, image: ImageName, described: Sequence[tuple[_Item, Artifact]]
    ) -> Mapping[str, VersionRef]:
        """Record the versions, held, and that they are about to be marked (P7). Which is which, by
        provider id."""
        refs: dict[str, VersionRef] = {}

        def operations(snapshot: Snapshot) -> list[Operation]:
            refs.clear()
            numbers, now = _Numbers(self._spoken_for), self.releasing.clock.now()
            known = {
                artifact.sha256: version.ref
                for version in snapshot.of(image)
                for artifact in version.artifacts
                if artifact.format is Format.NATIVE
            }
            said: list[Operation] = []
            for item, artifact in described:
                ref = known.get(artifact.sha256)
                if ref is None:
                    ref = item.said or numbers.next(snapshot, item)
                    version = self._version(ref, item.found, (artifact,), (self.location.name,))
                    said += [RecordVersion(version), HoldVersion(ref)]
                elif snapshot.stage(ref) is Stage.DELETED:
                    continue
                refs[item.found.provider_id] = ref
                intent = Intent(
                    ref,
                    Format.NATIVE,
                    artifact.architecture,
                    self.location.name,
                    item.found.name,
                    now,
                    self.releasing.actor,
                )
                if not any(
                    (each.key, each.named) == (intent.key, intent.named)
                    for each in snapshot.intended(ref)
                ):
                    said.append(RecordIntent(intent))
            return said

        write_down(self.releasing, image, "adopt", self._reason, operations)
        return refs

    def _put(self, ref: VersionRef, artifact: Artifact) -> Placement:
        return self.location.put(
            ref, artifact, self.store.path(artifact.sha256), self.releasing.clock.now(), _ignore
        )

    def _finish(self, image: ImageName, placed: Sequence[tuple[_Item, Placement]]) -> None:
        if not placed:
            return
        named = {(each.key, item.found.name) for item, each in placed}

        def operations(snapshot: Snapshot) -> list[Operation]:
            return [
                *(RecordPlacement(each) for _, each in placed),
                *(
                    EndIntent(intent)
                    for _, each in placed
                    for intent in snapshot.intended(each.version)
                    if (intent.key, intent.named) in named
                ),
            ]

        write_down(self.releasing, image, "adopt", self._reason, operations)

    # What is ours by its own word, and whose bytes there are.

    def _record_lost(self, ref: VersionRef, copies: Sequence[tuple[Found, Ownership]]) -> bool:
        """Record a version that nobody knows any more, with all that says that it is of it."""
        try:
            everywhere = [(self.location, *each) for each in copies] + self._elsewhere(ref)
            artifacts = self._artifacts(ref, everywhere)
        except ImagectlError as error:
            self.failed += ((found, error) for found, _ in copies)
            return False
        locations = tuple(dict.fromkeys(location.name for location, _, _ in everywhere))
        oldest = min(copies, key=lambda each: each[0].created or _day(ref))[0]
        version = self._version(ref, oldest, artifacts, locations)

        def operations(snapshot: Snapshot) -> list[Operation]:
            return [] if ref in snapshot.versions else [RecordVersion(version), HoldVersion(ref)]

        write_down(self.releasing, ref.image, "adopt", self._reason, operations)
        return True

    def _elsewhere(self, ref: VersionRef) -> list[tuple[Location, Found, Ownership]]:
        """What all other locations hold of it: a version is recorded once, complete."""
        return [
            (location, found, found.owner)
            for location, view in self._other_views
            for found in view.found
            if found.owner is not None
            and (found.owner.catalog, found.owner.version) == (self.snapshot.catalog_id, ref)
        ]

    @cached_property
    def _other_views(self) -> tuple[tuple[Location, View], ...]:
        return tuple(
            (location, _complete(location, self.releasing))
            for location in self.releasing.locations.values()
            if location.name != self.location.name
        )

    def _artifacts(
        self, ref: VersionRef, those: Sequence[tuple[Location, Found, Ownership]]
    ) -> tuple[Artifact, ...]:
        artifacts: dict[tuple[Format, Architecture], Artifact] = {}
        for location, found, owner in those:
            key = (owner.format, owner.architecture)
            known = artifacts.get(key)
            if known is None:
                size = self._bytes(location, found, owner).stat().st_size
                artifacts[key] = Artifact(*key, owner.sha256, size)
            elif known.sha256 != owner.sha256:
                raise Corrupt(
                    f"there are two of {ref} in {owner.format.value}",
                    where=f"{found.provider_id} in {location.name}",
                    why=f"one has the sha256 {known.sha256}, the other {owner.sha256}",
                )
        return tuple(artifacts[key] for key in sorted(artifacts, key=lambda each: each[0].value))

    def _bytes(self, location: Location, found: Found, owner: Ownership) -> Path:
        """The artifact in the store, brought back from the location where it is not there."""
        try:
            return self.store.path(owner.sha256)
        except NotFound:
            self.progress.step(f"fetching {found.name} from {location.name}")
        copy = self.request.folder / owner.sha256
        placement = Placement(
            owner.version,
            owner.format,
            owner.architecture,
            location.name,
            found.provider_id,
            found.name,
            owner.sha256,
            found.size or 0,
            self.releasing.clock.now(),
        )
        try:
            location.fetch(placement, copy, _ignore)
        except Unsupported as error:
            raise NotFound(
                f"the {owner.format.value} of {owner.version} is not in the artifact store",
                where=f"{found.provider_id} in {location.name}",
                why=f"and {error.what}",
                hint="bring the store back from a backup, then type it again",
            ) from None
        self.store.adopt(copy)
        return self.store.path(owner.sha256)

    def _place(
        self, found: Found, ref: VersionRef, disk_format: Format, architecture: Architecture
    ) -> None:
        """Record where a recorded version is. The location itself compares the bytes."""
        self.progress.step(f"{found.name} as {ref}")
        try:
            version = self.releasing.catalog.snapshot((ref.image,)).versions[ref]
            artifact = next(
                each
                for each in version.artifacts
                if (each.format, each.architecture) == (disk_format, architecture)
            )
            owner = found.owner
            assert owner is not None
            source = self._bytes(self.location, found, owner)
            ledger = Ledger(self.releasing, ref)
            ledger.begin([(self.location, artifact)])
            now = self.releasing.clock.now()
            placement = self.location.put(ref, artifact, source, now, _ignore)
            ledger.finish(self.location, [(artifact, placement)])
        except ImagectlError as error:
            self.failed.append((found, error))
        else:
            self.taken.append(Taken(found, ref, True, self._is_new(ref)))

    # Versions.

    def _spoken_for(self, image: ImageName) -> Collection[VersionId]:
        """Numbers that things carry which are not recorded, or not yet."""
        said = {ref.version for ref in self.sort.lost if ref.image == image}
        return said | set(self.request.reserved(image))

    def _is_new(self, ref: VersionRef) -> bool:
        return ref not in self.snapshot.versions

    def _version(
        self,
        ref: VersionRef,
        found: Found,
        artifacts: tuple[Artifact, ...],
        locations: tuple[LocationName, ...],
    ) -> Version:
        return Version(
            ref=ref,
            created=found.created or _day(ref),
            created_by=self.releasing.actor,
            summary=f"adopted from {self.location.name}: {found.name}",
            fingerprint=digest_of(("adopted", *(each.sha256 for each in artifacts))),
            parent=None,
            tree=None,
            artifacts=artifacts,
            tests=TestSummary(0, 0, 0.0, self._kept(report_json(TestReport(()))), self._note),
            required_locations=locations,
            tool=self.request.tool,
            build_log=self._note,
            seconds=0.0,
        )

    @cached_property
    def _note(self) -> Sha256:
        """In place of a log and of a console."""
        return self._kept("Adopted: imagectl has neither built it nor booted it.\n")

    def _kept(self, text: str) -> Sha256:
        file = self.request.folder / f"{self.releasing.new_key()}.txt"
        file.write_text(text)
        return self.store.adopt(file)


class _Numbers:
    """Gives each version the next free number of the day that it was made on."""

    def __init__(self, spoken_for: Callable[[ImageName], Collection[VersionId]]) -> None:
        self._spoken_for = spoken_for
        self._last: dict[tuple[ImageName, str], int] = {}

    def next(self, snapshot: Snapshot, item: _Item) -> VersionRef:
        """For the *item*. Those of one day get theirs in the order in which they are asked for."""
        assert item.found.created is not None
        day = item.found.created.strftime("%Y%m%d")
        if (item.image, day) not in self._last:
            taken = {each.id for each in snapshot.of(item.image)} | set(
                self._spoken_for(item.image)
            )
            serials = [each.serial for each in taken if each.day == day]
            self._last[item.image, day] = max(serials, default=0)
        self._last[item.image, day] += 1
        return VersionRef(item.image, VersionId(day, self._last[item.image, day]))


def _day(ref: VersionRef) -> datetime:
    """When it was made, as its number says."""
    return datetime.strptime(ref.version.day, "%Y%m%d").replace(tzinfo=UTC)


def _find(releasing: Releasing, name: LocationName) -> Location:
    location = releasing.locations.get(name)
    if location is None:
        raise NotFound(
            f"there is no location {name}",
            why=f"imagectl.yaml names {listed(releasing.locations)}",
            hint=nearest(name, releasing.locations),
        )
    return location


def _complete(location: Location, releasing: Releasing) -> View:
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


def _ignore(moved: int) -> None:
    """Hardly anything is moved: it is there already."""
