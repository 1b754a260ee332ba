"""Adopt what is this catalog's by its own word, and whose bytes there are.

Promises: it is recorded as what it says only after its bytes were compared; a version that nobody
knows any more is recorded once, with all that any location says is of it, and held.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagectl.errors import Corrupt, ImagectlError, NotFound, Unsupported
from imagectl.model.change import HoldVersion, Operation, RecordVersion
from imagectl.model.names import Architecture, Format
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership
from imagectl.services.adopting import Adopting, Taken, day_of, ignore
from imagectl.services.ledger import Ledger, write_down
from imagectl.services.ports.locations import Location


def would_take_copies(run: Adopting) -> None:
    """What ``take_copies`` would take, and what would fail, as far as can be told without reading
    each thing."""
    would = [
        Taken(found, ref, True, True)
        for ref, those in run.sort.lost.items()
        for found, owner in those
        if owner.format is not Format.NATIVE
    ]
    would += (
        Taken(each.found, each.version, True, False)
        for each in run.sort.unrecorded
        if each.artifact.format is not Format.NATIVE
    )
    run.taken += (each for each in would if not run.would_fail(each.found))


def take_copies(run: Adopting) -> None:
    """All of them. What could not be taken is in *run* afterwards."""
    for ref, those in run.sort.lost.items():
        copies = [each for each in those if each[1].format is not Format.NATIVE]
        if copies and _record_lost(run, ref, copies):
            for found, owner in copies:
                _place(run, found, ref, owner.format, owner.architecture)
    for each in run.sort.unrecorded:
        if each.artifact.format is not Format.NATIVE:
            _place(run, each.found, each.version, each.artifact.format, each.artifact.architecture)


def _record_lost(run: Adopting, ref: VersionRef, copies: Sequence[tuple[Found, Ownership]]) -> bool:
    """Record a version that nobody knows any more, with all that says that it is of it."""
    try:
        everywhere = [(run.location, *each) for each in copies] + _elsewhere(run, ref)
        artifacts = _artifacts(run, ref, everywhere)
    except ImagectlError as error:
        run.failed += ((found, error) for found, _ in copies)
        return False
    locations = tuple(dict.fromkeys(location.name for location, _, _ in everywhere))
    oldest = min(copies, key=lambda each: each[0].created or day_of(ref))[0]
    version = run.version(ref, oldest, artifacts, locations)

    def operations(snapshot: Snapshot) -> list[Operation]:
        return [] if ref in snapshot.versions else [RecordVersion(version), HoldVersion(ref)]

    write_down(run.releasing, ref.image, "adopt", run.reason, operations)
    return True


def _elsewhere(run: Adopting, ref: VersionRef) -> list[tuple[Location, Found, Ownership]]:
    """What all other locations hold of it: a version is recorded once, complete."""
    return [
        (location, found, found.owner)
        for location, view in run.other_views
        for found in view.found
        if found.owner is not None
        and (found.owner.catalog, found.owner.version) == (run.snapshot.catalog_id, ref)
    ]


def _artifacts(
    run: Adopting, ref: VersionRef, those: Sequence[tuple[Location, Found, Ownership]]
) -> tuple[Artifact, ...]:
    artifacts: dict[tuple[Format, Architecture], Artifact] = {}
    for location, found, owner in those:
        key = (owner.format, owner.architecture)
        known = artifacts.get(key)
        if known is None:
            size = _bytes(run, location, found, owner).stat().st_size
            artifacts[key] = Artifact(*key, owner.sha256, size)
        elif known.sha256 != owner.sha256:
            raise Corrupt(
                f"there are two of {ref} in {owner.format.value}",
                where=f"{found.provider_id} in {location.name}",
                why=f"one has the sha256 {known.sha256}, the other {owner.sha256}",
            )
    return tuple(artifacts[key] for key in sorted(artifacts, key=lambda each: each[0].value))


def _bytes(run: Adopting, location: Location, found: Found, owner: Ownership) -> Path:
    """The artifact in the store, brought back from the location where it is not there."""
    try:
        return run.store.path(owner.sha256)
    except NotFound:
        run.progress.step(f"fetching {found.name} from {location.name}")
    copy = run.request.folder / owner.sha256
    placement = Placement(
        owner.version,
        owner.format,
        owner.architecture,
        location.name,
        found.provider_id,
        found.name,
        owner.sha256,
        found.size or 0,
        run.releasing.clock.now(),
    )
    try:
        location.fetch(placement, copy, ignore)
    except Unsupported as error:
        raise NotFound(
            f"the {owner.format.value} of {owner.version} is not in the artifact store",
            where=f"{found.provider_id} in {location.name}",
            why=f"and {error.what}",
            hint="bring the store back from a backup, then type it again",
        ) from None
    run.store.adopt(copy)
    return run.store.path(owner.sha256)


def _place(
    run: Adopting, found: Found, ref: VersionRef, disk_format: Format, architecture: Architecture
) -> None:
    """Record where a recorded version is. The location itself compares the bytes."""
    run.progress.step(f"{found.name} as {ref}")
    try:
        version = run.releasing.catalog.snapshot((ref.image,)).versions[ref]
        artifact = next(
            each
            for each in version.artifacts
            if (each.format, each.architecture) == (disk_format, architecture)
        )
        owner = found.owner
        assert owner is not None
        source = _bytes(run, run.location, found, owner)
        ledger = Ledger(run.releasing, ref)
        ledger.begin([(run.location, artifact)])
        now = run.releasing.clock.now()
        placement = run.location.put(ref, artifact, source, now, ignore)
        ledger.finish(run.location, [(artifact, placement)])
    except ImagectlError as error:
        run.failed.append((found, error))
    else:
        run.taken.append(Taken(found, ref, True, run.is_new(ref)))
