"""The pipeline: from a definition to a version that has passed its tests, in the entry channel.

A version is recorded only when everything of it exists: its tree, its disks in the artifact store,
and the evidence that the finished artifact was booted and passed its suites. Nothing is recorded of
a build that fails; its log stays, and where its tests failed also its disk, to look into.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagectl.errors import Conflict, NotFound, Refused, TestsFailed
from imagectl.model.catalog import Change, RecordVersion, Snapshot
from imagectl.model.channel import ReleasePolicy
from imagectl.model.image import Image, ParentBase
from imagectl.model.names import Format, ImageName, Sha256, VersionId
from imagectl.model.proof import Outcome, TestReport
from imagectl.model.version import Artifact, TestSummary, Tree, Version, VersionRef
from imagectl.services.ports import (
    ArtifactStore,
    Bases,
    CanonicalTree,
    Catalog,
    Checks,
    Clock,
    Definitions,
    Disks,
    Progress,
    Proof,
    Prover,
    Provisioner,
    Timings,
    Workspace,
    Workspaces,
)
from imagectl.services.publish import Placed, place
from imagectl.services.release import Released, Releasing, enter

RECORD_ATTEMPTS = 20
"""Recording a version contradicts nothing, so it alone is decided again after a conflict."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """The ports that a build needs."""

    catalog: Catalog
    store: ArtifactStore
    definitions: Definitions
    checks: Checks
    workspaces: Workspaces
    bases: Bases
    provisioner: Provisioner
    disks: Disks
    prover: Prover
    timings: Timings
    clock: Clock


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """How to build. ``force``: even where nothing has changed; ``wait``: for another build."""

    actor: str
    tool: str
    force: bool = False
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A version, freshly built or (``fresh`` false) found to be what a build would make again."""

    version: Version
    fresh: bool
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """A build that is placed, and what became of the entry channel."""

    built: Built
    placed: Placed
    entered: Released


def build_and_release(
    bench: Workbench,
    releasing: Releasing,
    policy: ReleasePolicy,
    image: Image,
    request: BuildRequest,
    progress: Progress,
) -> Delivered:
    """Build *image*, put it in the locations it requires, and let it enter its channel (P6).

    Each step goes on where a killed build stopped: an unchanged version that was recorded, but not
    placed or released, is placed and released now. Raises what the steps raise.
    """
    built = build(bench, image, request, progress)
    if built.fresh:
        progress.stage("release")
    placed = place(releasing, bench.store, built.version.ref, progress=progress)
    reason = f"built {built.version.ref}"
    return Delivered(built, placed, enter(releasing, policy, built.version.ref, reason=reason))


def build(bench: Workbench, image: Image, request: BuildRequest, progress: Progress) -> Built:
    """Build *image*, prove it and record it.

    Raises the errors of the ports, and TestsFailed where a suite fails.
    """
    with bench.workspaces.open(image.name, wait=request.wait) as work:
        stages = Stages(image.name, bench.timings, bench.clock, progress)
        started = bench.clock.monotonic()
        with stages("inputs"):
            snapshot = bench.catalog.snapshot([image.name, *_parent_names(image)])
            parent = find_parent(image, snapshot)
            fingerprint = fingerprint_of(bench, image, parent, request)
        known = unchanged(snapshot, image, fingerprint)
        if known is not None and not request.force:
            return Built(known, fresh=False)
        with stages("check"):
            bench.checks.check(image, progress)
        with stages("base"):
            base = bench.bases.make(image, parent, work, progress)
        with stages("provision"):
            tree = bench.provisioner.provision(image, base, work, progress)
            assert isinstance(tree, CanonicalTree)  # no base gives anything else yet
        with stages("disk"):
            written = bench.disks.write(image, tree, work, progress)
        with stages("prove"):
            proof = bench.prover.prove(image, *written.bootable, work, progress)
        if proof.report.failures:
            kept = bench.workspaces.keep_failed(image.name, written.bootable[0])
            raise tests_failed(image.name, proof, kept, work.log)
        with stages("keep"):
            stored = _keep(bench, image, tree, written.files, proof, work, progress)
        version = _record(
            bench,
            image,
            request,
            lambda version_id, now: Version(
                ref=VersionRef(image.name, version_id),
                created=now,
                created_by=request.actor,
                summary=image.summary,
                fingerprint=fingerprint,
                parent=parent.ref if parent else None,
                tree=stored.tree,
                artifacts=stored.artifacts,
                tests=stored.tests,
                required_locations=image.required_locations,
                tool=request.tool,
                build_log=stored.log,
                seconds=round(bench.clock.monotonic() - started, 3),
            ),
            key=f"build-{work.id}",
        )
        return Built(version, fresh=True, log=work.log)


class Stages:
    """Announces each stage with the time it took before, and keeps the time it takes now."""

    def __init__(
        self, image: ImageName, timings: Timings, clock: Clock, progress: Progress
    ) -> None:
        self._image = image
        self._timings = timings
        self._clock = clock
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._progress.stage(name, self._timings.expected(self._image, name))
        began = self._clock.monotonic()
        yield
        self._timings.record(self._image, name, self._clock.monotonic() - began)


def _parent_names(image: Image) -> tuple[ImageName, ...]:
    return (image.base.ref.image,) if isinstance(image.base, ParentBase) else ()


def find_parent(image: Image, snapshot: Snapshot) -> Version | None:
    """The version that *image* is built on; None where its base is no image.

    Raises NotFound, and Refused where that version has no tree.
    """
    if not isinstance(image.base, ParentBase):
        return None
    ref = image.base.ref
    version_id = ref.version
    if version_id is None and ref.channel is not None:
        version_id = snapshot.head(ref.image, ref.channel)
        if version_id is None:
            raise NotFound(
                f"{ref} does not exist yet",
                where=f"images/{image.name}/image.yaml",
                why=f"{image.name} is built on it",
                hint=f"imagectl build {ref.image} && imagectl promote {ref.channel} {ref.image}",
            )
    assert version_id is not None  # a bare parent is refused when the definition is read
    parent = snapshot.versions.get(VersionRef(ref.image, version_id))
    if parent is None:
        raise NotFound(
            f"{ref} does not exist",
            where=f"images/{image.name}/image.yaml",
            why=f"{image.name} is built on it, and the catalog has no such version",
            hint=f"imagectl list {ref.image}",
        )
    if parent.tree is None:
        raise Refused(
            f"{image.name} cannot be built on {parent.ref}",
            reasons=[f"{parent.ref} has no file tree: its disk is kept as Packer left it"],
            where=f"images/{image.name}/image.yaml",
            hint="base it on an image whose disk has an ext4 or xfs file system",
        )
    return parent


def fingerprint_of(
    bench: Workbench, image: Image, parent: Version | None, request: BuildRequest
) -> Sha256:
    """The digest of all that decides what a build of *image* gives."""
    made_from = {
        "definition": bench.definitions.digest(image),
        "base": parent.tree.sha256 if parent and parent.tree else bench.bases.inputs(image),
        "tool": request.tool,
    }
    return Sha256(hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest())


def unchanged(snapshot: Snapshot, image: Image, fingerprint: Sha256) -> Version | None:
    """The latest version, where it was made from the same as a build would be now."""
    versions = snapshot.of(image.name)
    if versions and versions[-1].fingerprint == fingerprint:
        return versions[-1]
    return None


def tests_failed(image: ImageName, proof: Proof, kept: Path, log: Path) -> TestsFailed:
    """The error for a booted artifact whose suites failed, with the way into it."""
    failures = proof.report.failures
    count = len(failures)
    return TestsFailed(
        f"{count} test{'s' if count != 1 else ''} of {image} failed; nothing was released",
        failures=[(f"{each.suite}::{each.name}", each.said) for each in failures],
        tail=proof.console_tail,
        where=f"disk kept in {kept}, build log in {log}",
        hint=f"get into that VM: imagectl test {image} --failed --keep",
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    tree: Tree
    artifacts: tuple[Artifact, ...]
    tests: TestSummary
    log: Sha256


def _keep(
    bench: Workbench,
    image: Image,
    tree: CanonicalTree,
    disks: Mapping[Format, Path],
    proof: Proof,
    work: Workspace,
    progress: Progress,
) -> _Stored:
    """Put everything of the version into the artifact store."""
    artifacts = tuple(
        Artifact(
            disk_format,
            image.architecture,
            size=disks[disk_format].stat().st_size,
            sha256=bench.store.adopt(disks[disk_format]),
        )
        for disk_format in image.formats
    )
    return _Stored(
        Tree(
            tree.sha256,
            tree.size,
            stored=bench.store.adopt(bench.disks.compress(tree, work, progress)),
        ),
        artifacts,
        summarise(bench.store, proof, work),
        bench.store.add(work.log),
    )


def summarise(store: ArtifactStore, proof: Proof, work: Workspace) -> TestSummary:
    """Keep the evidence of a proof in the store, and say what it comes to."""
    report = work.folder / "report.json"
    report.write_text(report_json(proof.report))
    return TestSummary(
        passed=proof.report.count(Outcome.PASSED),
        failed=proof.report.count(Outcome.FAILED),
        seconds=round(proof.report.seconds, 3),
        report=store.add(report),
        console=store.add(proof.console),
    )


def report_json(report: TestReport) -> str:
    """A test report as the JSON text that is kept as evidence."""
    results = [
        {
            "suite": each.suite,
            "test": each.name,
            "outcome": each.outcome.value,
            "seconds": each.seconds,
            "said": each.said,
            "output": each.output,
        }
        for each in report.results
    ]
    return json.dumps({"v": 1, "results": results}, indent=1, ensure_ascii=False) + "\n"


def _record(
    bench: Workbench,
    image: Image,
    request: BuildRequest,
    make: Callable[[VersionId, datetime], Version],
    *,
    key: str,
) -> Version:
    """Record the version under the day's next free number."""
    for _ in range(RECORD_ATTEMPTS):
        snapshot = bench.catalog.snapshot([image.name])
        now = bench.clock.now()
        version = make(next_version_id(snapshot, image.name, now), now)
        change = Change(
            key=key,
            based_on=snapshot.generation,
            actor=request.actor,
            action="build",
            reason=f"built {version.ref}",
            at=now,
            operations=(RecordVersion(version),),
        )
        try:
            bench.catalog.commit(change)
        except Conflict:
            continue
        return version
    raise Conflict(
        f"{image.name} could not be recorded",
        why=f"other changes came in between {RECORD_ATTEMPTS} times",
        hint=f"imagectl build {image.name}",
    )


def next_version_id(snapshot: Snapshot, image: ImageName, now: datetime) -> VersionId:
    """The day's next free number, and never one that sorts before an existing version."""
    day = now.strftime("%Y%m%d")
    versions = snapshot.of(image)
    if versions and versions[-1].id.day >= day:
        return VersionId(versions[-1].id.day, versions[-1].id.serial + 1)
    return VersionId(day, 1)
