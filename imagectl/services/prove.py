"""Boot an artifact again and run its image's suites on it. Nothing is recorded or moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagectl.errors import NotFound, TestsFailed
from imagectl.model.image import Image
from imagectl.model.names import Format, LocationName, bootable_format
from imagectl.model.proof import TestReport
from imagectl.model.version import Artifact, Placement, Version, VersionRef
from imagectl.policy.wording import listed
from imagectl.services.ports.locations import Location
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Proved:
    """What the suites said. ``what`` names the disk: ``IMAGE@VERSION``, or the kept one."""

    what: str
    report: TestReport
    log: Path


def prove_version(
    bench: Workbench,
    locations: Mapping[LocationName, Location],
    ref: VersionRef,
    progress: Progress,
    *,
    keep: bool = False,
) -> Proved:
    """Boot *ref* from the artifact store, after hashing it, and run the suites of its definition.
    What a cloud builder made is booted where it is.

    ``keep`` leaves the VM running until the user stops it. Raises NotFound for an unknown version
    or a lost artifact, Corrupt for a changed one, and TestsFailed.
    """
    (image,) = bench.definitions.load([ref.image])
    snapshot = bench.catalog.snapshot([ref.image])
    version = snapshot.versions.get(ref)
    if version is None:
        raise NotFound(
            f"there is no version {ref}", where="the catalog", hint=f"imagectl list {ref.image}"
        )
    for placement in snapshot.placed(ref):
        if placement.format is Format.NATIVE and placement.location in locations:
            return _prove_there(bench, image, locations[placement.location], placement, progress)
    artifact = _bootable(version)
    with bench.workspaces.open(ref.image, wait=True) as work:
        progress.stage("verify")
        disk = bench.store.verify(artifact.sha256)
        return _prove(bench, image, str(ref), disk, artifact.format, work, progress, keep=keep)


def _prove_there(
    bench: Workbench, image: Image, location: Location, placement: Placement, progress: Progress
) -> Proved:
    what = f"{placement.version} in {location.name}"
    with bench.workspaces.open(image.name, wait=True) as work:
        progress.stage("prove", bench.timings.expected(image.name, "prove"))
        with location.boot(placement, work, progress) as machine:
            proof = bench.prover.prove_machine(image, machine, work, progress)
        if proof.report.failures:
            raise failed(what, proof, work)
        return Proved(what, proof.report, work.log)


def _bootable(version: Version) -> Artifact:
    """The artifact of *version* that QEMU boots as it is. Raises NotFound."""
    artifacts = {each.format: each for each in version.artifacts}
    disk_format = bootable_format(artifacts)
    if disk_format is None:
        raise NotFound(
            f"{version.ref} has no disk that can be booted here",
            where="the catalog",
            why=f"it was delivered as {listed(each.value for each in artifacts)}; its build has "
            "tested the disk that these were made from",
            hint=f"add qcow2 to `formats` in images/{version.image}/image.yaml, and build again",
        )
    return artifacts[disk_format]


def prove_failed(
    bench: Workbench, image: Image, progress: Progress, *, keep: bool = False
) -> Proved:
    """The same for the disk that a build left whose tests failed."""
    kept = bench.workspaces.failed_disk(image.name)
    if kept is None:
        raise NotFound(
            f"no build of {image.name} whose tests failed is kept",
            hint=f"imagectl build {image.name}",
        )
    what = f"the last build of {image.name} whose tests failed"
    with bench.workspaces.open(image.name, wait=True) as work:
        return _prove(bench, image, what, *kept, work, progress, keep=keep)


def _prove(
    bench: Workbench,
    image: Image,
    what: str,
    disk: Path,
    disk_format: Format,
    work: Workspace,
    progress: Progress,
    *,
    keep: bool,
) -> Proved:
    progress.stage("prove", bench.timings.expected(image.name, "prove"))
    proof = bench.prover.prove(image, disk, disk_format, work, progress, keep=keep)
    if proof.report.failures:
        raise failed(what, proof, work)
    return Proved(what, proof.report, work.log)


def failed(what: str, proof: Proof, work: Workspace) -> TestsFailed:
    """The error for suites that failed on an artifact."""
    failures = proof.report.failures
    count = len(failures)
    return TestsFailed(
        f"{count} test{'s' if count != 1 else ''} failed on {what}",
        failures=[(f"{each.suite}::{each.name}", each.said) for each in failures],
        tail=proof.console_tail,
        where=str(work.log),
        hint="type the same command with --keep to get into that VM",
    )
