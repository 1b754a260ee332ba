"""Roll back, but for the moving: what a rollback would give consumers is taken from each location
that they pull from, booted, and tested with the suites that it was built with.

Promises: nothing is moved or recorded; machines and copies are gone afterwards; where a location
neither runs machines nor gives bytes back, that is said, and is not taken for a success (P8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from imagectl.errors import (
    CannotTell,
    ImagectlError,
    NotFound,
    TestsFailed,
    Unsupported,
)
from imagectl.model.channel import ReleasePolicy
from imagectl.model.image import Image
from imagectl.model.names import Format, LocationName, bootable_format
from imagectl.model.proof import TestReport
from imagectl.model.release import RollbackRequest
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, Version, VersionRef
from imagectl.policy.readiness import required_placements
from imagectl.services.live import takes_of
from imagectl.services.ports.locations import Location
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.prove import failed
from imagectl.services.release import Released, rollback
from imagectl.services.releasing import Releasing
from imagectl.services.workbench import Workbench

_BY_HAND = (Format.OVA, Format.GCE)
"""Formats that hold a disk which has to be taken out before QEMU boots it."""


@dataclass(frozen=True, slots=True)
class Drilled:
    """One version of one location. ``how`` says where it ran; ``report`` is None where it did not,
    and ``error`` says why; where its suites failed, there are both."""

    version: VersionRef
    location: LocationName
    how: str
    report: TestReport | None
    error: ImagectlError | None


def drill(
    bench: Workbench,
    releasing: Releasing,
    policy: ReleasePolicy,
    request: RollbackRequest,
    progress: Progress,
) -> tuple[Released, tuple[Drilled, ...]]:
    """Boot and test what that rollback would go to, from each location that is required. Also what
    the rollback would do.

    Raises what ``rollback`` does, where it would not work at all. What fails in one location keeps
    no other from being tried.
    """
    would = rollback(releasing, policy, request, dry_run=True)
    snapshot = releasing.catalog.snapshot([each.image for each in would.plan.moves])
    return would, tuple(
        _drill_one(bench, releasing.locations, snapshot, move.target, name, progress)
        for move in would.plan.moves
        for name in move.required
    )


def _drill_one(
    bench: Workbench,
    locations: Mapping[LocationName, Location],
    snapshot: Snapshot,
    ref: VersionRef,
    name: LocationName,
    progress: Progress,
) -> Drilled:
    location = locations[name]
    placements = required_placements(snapshot, ref, (name,), takes_of(locations))
    how = ""
    try:
        with bench.workspaces.open(ref.image, wait=True) as work:
            progress.stage(f"drill {ref} from {name}")
            image = _as_it_was(bench, snapshot.versions[ref], work, progress)
            how, proof = _prove(bench, image, location, placements, work, progress)
            broken = failed(f"{ref} from {name}", proof, work) if proof.report.failures else None
            if broken is not None:
                broken.hint = f"imagectl test {ref} --keep"
            return Drilled(ref, name, how, proof.report, broken)
    except ImagectlError as error:
        return Drilled(ref, name, how, None, error)


def _as_it_was(bench: Workbench, version: Version, work: Workspace, progress: Progress) -> Image:
    """The definition that the version was built from, with the suites of that day; where that is
    not kept, the definition as it is now."""
    origin = version.origin
    if origin is not None and not _native(version):
        try:
            archive = bench.store.verify(origin.source)
        except NotFound:
            progress.note(f"the suites of {version.ref} are not kept any more: today's are run")
        else:
            sources = bench.definitions.unpack(archive, version.image, work)
            suites = tuple(PurePosixPath(sources.project / each) for each in sources.image.suites)
            return replace(sources.image, suites=suites)
    (image,) = bench.definitions.load([version.image])
    return image


def _native(version: Version) -> bool:
    return any(each.format is Format.NATIVE for each in version.artifacts)


def _prove(
    bench: Workbench,
    image: Image,
    location: Location,
    placements: Sequence[Placement],
    work: Workspace,
    progress: Progress,
) -> tuple[str, Proof]:
    """Where it ran, and what the suites said. Raises CannotTell where it can run nowhere."""
    said: list[str] = []
    for placement in placements:
        try:
            with location.boot(placement, work, progress) as machine:
                proof = bench.prover.prove_machine(image, machine, work, progress)
                return f"booted in {location.name}", proof
        except Unsupported as error:
            said.append(error.what)
    by_format = {each.format: each for each in placements}
    chosen = bootable_format(by_format)
    for disk_format in (*([chosen] if chosen else []), *_BY_HAND):
        if disk_format not in by_format:
            continue
        disk = work.folder / f"fetched.{disk_format.value}"
        progress.step(f"fetching {disk_format.value} from {location.name}")
        try:
            location.fetch(by_format[disk_format], disk, lambda _: None)
        except Unsupported as error:
            said.append(error.what)
            continue
        proof = bench.prover.prove(image, disk, disk_format, work, progress)
        return f"fetched from {location.name}, booted here", proof
    raise CannotTell(
        f"{location.name} neither runs machines nor gives back a disk that boots",
        where=str(placements[0].version),
        why="; ".join(dict.fromkeys(said)),
        hint="`imagectl test` boots the same version from the artifact store",
    )


def worst(drilled: Sequence[Drilled]) -> ImagectlError | None:
    """The error to end with: suites that failed come first, what could not be told last."""
    errors = [each.error for each in drilled if each.error is not None]
    errors.sort(
        key=lambda error: (isinstance(error, CannotTell), not isinstance(error, TestsFailed))
    )
    return errors[0] if errors else None
