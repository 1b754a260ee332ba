"""The pipeline: from a definition to a version that has passed its tests, in the entry channel.

A version is recorded only when everything of it exists: its tree, its disks in the artifact store,
what it was made from, and the evidence that the finished artifact was booted and passed its suites.
Nothing is recorded of a build that fails; its log stays, and where its tests failed also its disk,
to look into.

What a build reads is settled by the image's lock (P9). Where there is none, the first build makes
it. No build ever changes the inputs of a lock: ``services.lock`` alone does, when it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

from imagectl.errors import TestsFailed
from imagectl.model.channel import ReleasePolicy
from imagectl.model.image import Image
from imagectl.model.lock import Lock
from imagectl.model.names import ImageName
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Reproducible, Version, VersionRef
from imagectl.policy.locking import access_to_build, fingerprint, renewed
from imagectl.policy.reproduction import deviations, judge
from imagectl.services.backfill import enter_with_way_back
from imagectl.services.conditions import Plan, plan
from imagectl.services.current import check_newest
from imagectl.services.keep import keep, record
from imagectl.services.lock import keep_lock
from imagectl.services.native import NativeRequest, build_native, made_in
from imagectl.services.pipeline import Product, equipped, locked_epoch, new_lock, produce
from imagectl.services.ports.building import Conditions, Equipment
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.published import Publisher
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.protect import leased
from imagectl.services.publish import Placed, place
from imagectl.services.release import Released
from imagectl.services.releasing import Releasing
from imagectl.services.reproduce import Comparison, build_again, compare, stored_tree
from imagectl.services.workbench import Stages, Workbench, stages_of

PARENT_LEASE = timedelta(days=1)
"""How long a killed build keeps its parent; one that ends gives it free by itself. A whole build
was measured at 148 s emulated, on a busy machine at a few times that."""

MAX_SHOWN = 10
"""How many paths that differ are shown with what to do about them; the build log has them all."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """How to build. ``force``: even where nothing has changed; ``wait``: for another build;
    ``twice``: a second time, to see whether the bytes are the same; ``offline``: only from what the
    lock lists and the input store has."""

    actor: str
    tool: str
    force: bool = False
    wait: bool = False
    twice: bool = False
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A version, freshly built or (``fresh`` false) found to be what a build would make again.

    ``lock``: the image's lock, where this build has written it.
    """

    version: Version
    fresh: bool
    log: Path | None = None
    lock: Path | None = None


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

    Earlier versions that one would roll back to are put there first, where they are not yet. Each
    step goes on where a killed build stopped: an unchanged version that was recorded, but not
    placed or released, is placed and released now. Raises what the steps raise.
    """
    check_newest(releasing.catalog, releasing.publishers)
    built = _built(bench, releasing, image, request, progress)
    if built.fresh:
        progress.stage("release")
    placed = place(
        releasing,
        bench.store,
        built.version.ref,
        progress=progress,
        optional=image.optional_locations,
    )

    @contextmanager
    def scratch() -> Iterator[Path]:
        with bench.workspaces.open(image.name, wait=True) as work:
            yield work.folder

    entered = enter_with_way_back(
        releasing,
        bench.store,
        policy,
        built.version.ref,
        scratch,
        progress,
        reason=f"built {built.version.ref}",
    )
    return Delivered(built, placed, entered)


def _built(
    bench: Workbench,
    releasing: Releasing,
    image: Image,
    request: BuildRequest,
    progress: Progress,
) -> Built:
    if made_in(image) is None:
        return build(bench, image, request, progress)
    if request.twice:
        progress.note("it is not built twice: what a Packer template makes never repeats")
    how = NativeRequest(request.actor, request.tool, request.force, request.wait, request.offline)
    native = build_native(bench, releasing.locations, image, how, progress)
    return Built(native.version, fresh=native.log is not None, log=native.log)


def build(bench: Workbench, image: Image, request: BuildRequest, progress: Progress) -> Built:
    """Build *image*, prove it and record it.

    Raises the errors of the ports, and TestsFailed where a suite fails.
    """
    with bench.workspaces.open(image.name, wait=request.wait) as work:
        stages = stages_of(bench, image.name, progress)
        with stages("inputs"):
            digests = bench.definitions.digests(image)
            lock = bench.definitions.lock(image.name)
            access = access_to_build(lock, offline=request.offline)
            planned = plan(bench, image, lock, access, digests)
            for note in planned.notes:
                progress.note(note)
        known = planned.made_before(request.tool)
        if known is not None and not (request.force or (request.twice and _unproven(known))):
            return Built(known, fresh=False)
        with _kept(bench, planned.parent, image, request, work):
            return _Build(bench, planned, request, work, stages, progress).run()


@contextmanager
def _kept(
    bench: Workbench,
    parent: Version | None,
    image: Image,
    request: BuildRequest,
    work: Workspace,
) -> Iterator[None]:
    """No cleanup takes the parent away while it is built on: from when the version is recorded, it
    protects its parent itself (P1)."""
    if parent is None:
        yield
        return
    numbers = count(1)
    author = _Author(
        bench.catalog, bench.clock, request.actor, lambda: f"parent-{work.id}-{next(numbers)}"
    )
    with leased(author, parent.ref, f"build {work.id} of {image.name}", PARENT_LEASE):
        yield


@dataclass(frozen=True, slots=True)
class _Author:
    catalog: Catalog
    clock: Clock
    actor: str
    new_key: Callable[[], str]
    publishers: tuple[Publisher, ...] = ()
    """None: they were looked at before the build began."""


def _unproven(version: Version) -> bool:
    return version.origin is None or version.origin.reproducible is Reproducible.UNPROVEN


class _Build:
    """One build of one image, in one workspace."""

    def __init__(
        self,
        bench: Workbench,
        planned: Plan,
        request: BuildRequest,
        work: Workspace,
        stages: Stages,
        progress: Progress,
    ) -> None:
        self._bench = bench
        self._plan = planned
        self._image = planned.image
        self._request = request
        self._work = locked_epoch(work, planned.lock)
        self._stages = stages
        self._progress = progress
        self._lock_file: Path | None = None

    def run(self) -> Built:
        bench, planned = self._bench, self._plan
        began, started = bench.clock.monotonic(), bench.clock.now()
        with self._stages("check"):
            bench.checks.check(self._image, self._progress)
        with self._equipped(planned.conditions) as equipment:
            product = produce(
                equipment, self._image, planned.parent, self._work, self._stages, self._progress
            )
            lock = planned.lock or self._first_lock(equipment, product)
            proof = self._prove(product)
            lock, verdict = self._judge(equipment, lock, product)
            with self._stages("keep"):
                made = (started, self._request.tool)
                kept = keep(
                    bench,
                    equipment,
                    self._image,
                    lock,
                    product,
                    proof,
                    verdict,
                    made,
                    self._work,
                    self._progress,
                )
        if planned.lock is not None and lock != planned.lock:
            self._renew_lock(lock)
        seconds = round(bench.clock.monotonic() - began, 3)
        version = record(
            bench,
            self._image.name,
            self._request.actor,
            lambda version_id, now: Version(
                ref=VersionRef(self._image.name, version_id),
                created=now,
                created_by=self._request.actor,
                summary=self._image.summary,
                fingerprint=fingerprint(planned.digests, lock, self._request.tool),
                parent=planned.parent.ref if planned.parent else None,
                tree=kept.tree,
                artifacts=kept.artifacts,
                tests=kept.tests,
                required_locations=self._image.required_locations,
                tool=self._request.tool,
                build_log=kept.log,
                seconds=seconds,
                origin=kept.origin,
                inside=kept.inside,
            ),
            key=f"build-{self._work.id}",
        )
        return Built(version, fresh=True, log=self._work.log, lock=self._lock_file)

    def _equipped(self, conditions: Conditions) -> AbstractContextManager[Equipment]:
        return equipped(self._bench, conditions, self._work, self._stages, self._progress)

    def _first_lock(self, equipment: Equipment, product: Product) -> Lock:
        """Written before the tests: what was fetched stays locked while a test is being mended."""
        lock = new_lock(
            self._image,
            self._plan.parent,
            self._work,
            self._plan.digests,
            equipment.taken(),
            product.expected,
        )
        self._lock_file = keep_lock(self._bench, self._image, lock, before=None)
        self._progress.note(
            f"{self._image.name} had no lock; what it was built from is now in "
            f"images/{self._image.name}/{self._lock_file.name}: commit it"
        )
        return lock

    def _renew_lock(self, lock: Lock) -> None:
        assert self._plan.lock is not None
        self._lock_file = keep_lock(self._bench, self._image, lock, before=self._plan.lock)
        same = lock.expected == self._plan.lock.expected
        self._progress.note(
            f"images/{self._image.name}/{self._lock_file.name} is of the definition as it is now, "
            f"with the inputs of before and {'the same' if same else 'another'} result: commit it"
        )

    def _prove(self, product: Product) -> Proof:
        disk, disk_format = product.written.bootable
        with self._stages("prove"):
            proof = self._bench.prover.prove(
                self._image, disk, disk_format, self._work, self._progress
            )
        if proof.report.failures:
            kept = self._bench.workspaces.keep_failed(self._image.name, disk, disk_format)
            raise tests_failed(self._image.name, proof, kept, self._work.log)
        return proof

    def _judge(
        self, equipment: Equipment, lock: Lock, product: Product
    ) -> tuple[Lock, tuple[Reproducible, str]]:
        """Whether the build is reproducible, and the lock that expects what was built."""
        compared: list[Comparison] = []
        if self._plan.lock is not None:
            earlier = _maker(self._plan.snapshot, lock)
            if not deviations(lock.expected, product.expected):
                compared.append(Comparison(()))
                lock = renewed(lock, self._plan.digests, product.expected)
            elif self._plan.changed or self._made_by_another_tool(earlier):
                lock = renewed(lock, self._plan.digests, product.expected)
            elif not product.kept_as_is:
                compared.append(self._compare_with_lock(equipment, earlier, lock, product))
        if self._request.twice:
            if product.kept_as_is:
                self._progress.note("it is not built twice: a disk kept as it is never repeats")
            else:
                compared.append(self._build_again(lock, product))
        verdict = judge(
            product.kept_as_is, len(compared), [each.cause for each in compared if not each.same]
        )
        if verdict[0] is Reproducible.NO:
            self._progress.note(f"not reproducible: {verdict[1]}")
            for comparison in compared:
                for each in (comparison.differences or ())[:MAX_SHOWN]:
                    self._progress.note(f"  {each.path}: {each.advice}")
        return lock, verdict

    def _made_by_another_tool(self, earlier: Version | None) -> bool:
        """Whether other bytes are imagectl's own doing: *earlier* is what the lock expects."""
        if earlier is None or earlier.tool == self._request.tool:
            return False
        self._progress.note(
            f"imagectl {self._request.tool} gives other bytes than {earlier.tool} did, which built "
            f"{earlier.ref}; nothing else has changed"
        )
        return True

    def _compare_with_lock(
        self, equipment: Equipment, earlier: Version | None, lock: Lock, product: Product
    ) -> Comparison:
        with self._stages("compare"):
            tree = stored_tree(self._bench, equipment, earlier, self._work, self._progress)
            return compare(self._bench, lock.expected, tree, product, self._work, self._progress)

    def _build_again(self, lock: Lock, product: Product) -> Comparison:
        return build_again(
            self._bench,
            self._image,
            lock,
            product,
            self._plan.parent,
            self._work,
            self._stages,
            self._progress,
            offline=self._request.offline,
        )


def _maker(snapshot: Snapshot, lock: Lock) -> Version | None:
    """The version whose bytes the lock expects; None where none was recorded, or is known."""
    for version in reversed(snapshot.of(lock.image)):
        if version.origin is not None and version.origin.raw == lock.expected.raw:
            return version
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
