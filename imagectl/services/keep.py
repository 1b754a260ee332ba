"""Put a finished build into the artifact store, and record its version.

Killed in between, the store holds files that nothing refers to, and the catalog is as it was (P7).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import Conflict
from imagectl.model.change import Change, RecordVersion
from imagectl.model.image import Image
from imagectl.model.lock import Lock
from imagectl.model.names import ImageName, Sha256, VersionId
from imagectl.model.proof import Outcome, TestReport
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import (
    Artifact,
    Inside,
    Origin,
    Reproducible,
    TestSummary,
    Tree,
    Version,
)
from imagectl.services.pipeline import Product
from imagectl.services.ports.building import Equipment, Made
from imagectl.services.ports.looking_inside import Findings
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Leftover, Workspace
from imagectl.services.workbench import Workbench

RECORD_ATTEMPTS = 20
"""Recording a version contradicts nothing, so it alone is decided again after a conflict."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a version is in the artifact store."""

    tree: Tree | None
    artifacts: tuple[Artifact, ...]
    tests: TestSummary
    log: Sha256
    origin: Origin
    inside: Inside | None


def keep(
    bench: Workbench,
    equipment: Equipment,
    image: Image,
    lock: Lock,
    product: Product,
    proof: Proof,
    verdict: tuple[Reproducible, str],
    made: tuple[datetime, str],
    work: Workspace,
    progress: Progress,
) -> Kept:
    """Put everything of the version into the artifact store.

    *made*: when the build began, and imagectl's version. Raises BuildFailed where the definition is
    not the one that was built any more: nothing is kept then.
    """
    source = bench.store.adopt(bench.definitions.archive(image, lock.definition, lock, work))
    lock_file = work.folder / "image.lock"
    lock_file.write_text(bench.definitions.lock_text(lock))
    origin = Origin(
        epoch=lock.epoch,
        lock=bench.store.adopt(lock_file),
        source=source,
        raw=product.expected.raw,
        reproducible=verdict[0],
        cause=verdict[1],
    )
    findings = None
    if product.tree is not None:
        progress.step("looking into the file tree")
        findings = bench.inspector.inspect(image, product.tree, proof.ports, work)
    progress.step("putting everything into the artifact store")
    tests = summarise(bench.store, proof, work)
    artifacts = keep_artifacts(bench.store, image, product)
    inside = None
    if findings is not None:
        facts = Made(made[0], bench.clock.now(), made[1], source, tests.report)
        statement = bench.inspector.attest(image, lock, artifacts, facts, work)
        inside = _keep_findings(bench.store, findings, bench.store.adopt(statement))
    return Kept(
        keep_tree(bench.store, equipment, product, work, progress),
        artifacts,
        tests,
        bench.store.add(work.log),
        origin,
        inside,
    )


def keep_artifacts(store: ArtifactStore, image: Image, product: Product) -> tuple[Artifact, ...]:
    """The disks, moved into the store, in the order of the definition."""
    return tuple(
        Artifact(
            disk_format,
            image.architecture,
            size=product.written.files[disk_format].stat().st_size,
            sha256=store.adopt(product.written.files[disk_format]),
        )
        for disk_format in image.formats
    )


def keep_tree(
    store: ArtifactStore,
    equipment: Equipment,
    product: Product,
    work: Workspace,
    progress: Progress,
) -> Tree | None:
    """The file tree, compressed and moved into the store; None where there is none."""
    if product.tree is None:
        return None
    compressed = equipment.disks.compress(product.tree, work, progress)
    return Tree(product.tree.sha256, product.tree.size, stored=store.adopt(compressed))


def _keep_findings(store: ArtifactStore, findings: Findings, provenance: Sha256) -> Inside:
    return Inside(
        contents=store.adopt(findings.contents),
        manifest=store.adopt(findings.manifest),
        spdx=store.adopt(findings.spdx),
        cyclonedx=store.adopt(findings.cyclonedx),
        provenance=provenance,
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


def record(
    bench: Workbench,
    image: ImageName,
    actor: str,
    make: Callable[[VersionId, datetime], Version],
    *,
    key: str,
    id: VersionId | None = None,
) -> Version:
    """Record the version under the day's next free number, or under *id* alone: Conflict where that
    is not free any more."""
    leftovers = bench.workspaces.leftovers(image)
    for _ in range(RECORD_ATTEMPTS):
        snapshot = bench.catalog.snapshot([image])
        now = bench.clock.now()
        if id is not None and any(each.id >= id for each in snapshot.of(image)):
            raise Conflict(
                f"somebody else recorded {snapshot.of(image)[-1].ref} meanwhile",
                why=f"what was made carries the marks of {image}@{id} already",
                hint=f"imagectl build {image}",
            )
        version = make(id or next_version_id(snapshot, image, now, leftovers), now)
        change = Change(
            key=key,
            based_on=snapshot.generation,
            actor=actor,
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
        f"{image} could not be recorded",
        why=f"other changes came in between {RECORD_ATTEMPTS} times",
        hint=f"imagectl build {image}",
    )


def next_version_id(
    snapshot: Snapshot, image: ImageName, now: datetime, leftovers: Sequence[Leftover] = ()
) -> VersionId:
    """The day's next free number, and never one that sorts before an existing version, or one whose
    marks something that was left in a location may carry."""
    day = now.strftime("%Y%m%d")
    taken = {each.id for each in snapshot.of(image)} | {each.version.version for each in leftovers}
    newest = max(taken, default=None)
    if newest is not None and newest.day >= day:
        return VersionId(newest.day, newest.serial + 1)
    return VersionId(day, 1)
