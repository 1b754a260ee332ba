"""Whether two builds gave the same bytes, and where they did not, in which paths (P9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from imagectl.errors import Corrupt, NotFound
from imagectl.model.image import Image
from imagectl.model.lock import Access, Expected, Lock
from imagectl.model.version import Version
from imagectl.policy.reproduction import Deviation, cause, deviations
from imagectl.services.pipeline import Product, equipped, produce
from imagectl.services.ports.building import Conditions, Equipment
from imagectl.services.ports.looking_inside import REST, Difference
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.workbench import Stages, Workbench

AGAIN = " again"
"""What the stages of a second build are called, so that their times are kept apart."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One build beside another. ``differences`` is None where the other's tree is gone."""

    deviations: tuple[Deviation, ...]
    differences: tuple[Difference, ...] | None = None

    @property
    def same(self) -> bool:
        return not self.deviations

    @property
    def cause(self) -> str:
        """Why they are not the same, in one line; empty where they are."""
        if self.same:
            return ""
        if self.differences is None:
            return cause(self.deviations, None)
        named = [each for each in self.differences if each.path != REST]
        paths = [f"{each.path}: {each.detail}" for each in named]
        return cause(self.deviations, paths, more=len(named) < len(self.differences))


def compare(
    bench: Workbench,
    expected: Expected,
    tree: Path | None,
    product: Product,
    work: Workspace,
    progress: Progress,
) -> Comparison:
    """*product* beside a build that gave *expected*, of which *tree* is left, if anything.

    All differences go into the build log.
    """
    found = deviations(expected, product.expected)
    if not found:
        return Comparison(())
    differences: tuple[Difference, ...] | None = None
    if product.tree is not None and expected.tree == product.tree.sha256:
        differences = ()
    elif product.tree is not None and tree is not None:
        progress.step("comparing the file trees")
        differences = bench.comparer.compare(tree, product.tree.path, work, progress)
    result = Comparison(found, differences)
    with work.log.open("a", encoding="utf-8", errors="backslashreplace") as log:
        log.write(f"not the same bytes: {result.cause}\n")
        for deviation in found:
            log.write(f"  {deviation.what}: {deviation.expected} -> {deviation.found}\n")
        for each in differences or ():
            log.write(f"  {each.path}: {each.detail}: {each.advice}\n")
    return result


def stored_tree(
    bench: Workbench,
    equipment: Equipment,
    version: Version | None,
    work: Workspace,
    progress: Progress,
) -> Path | None:
    """The file tree that is kept of *version*, expanded in the workspace; None where it is gone."""
    if version is None or version.tree is None:
        return None
    try:
        stored = bench.store.verify(version.tree.stored)
        out = work.folder / "recorded.tar"
        return equipment.disks.expand(stored, version.tree.sha256, out, progress).path
    except (NotFound, Corrupt) as problem:
        progress.note(f"the tree of {version.ref} cannot be compared with: {problem.what}")
        return None


def build_again(
    bench: Workbench,
    image: Image,
    lock: Lock,
    first: Product,
    parent: Version | None,
    work: Workspace,
    stages: Stages,
    progress: Progress,
    *,
    offline: bool,
) -> Comparison:
    """Build once more under *lock*, from nothing but its inputs, and compare with *first*."""
    second = replace(
        work, folder=work.sub("again"), sockets=_folder(work.sockets / "2"), epoch=lock.epoch
    )
    conditions = Conditions(
        bench.definitions.project,
        Access.OFFLINE if offline else Access.LOCKED,
        lock,
        fresh=True,
    )
    with equipped(bench, conditions, second, stages, progress, AGAIN) as equipment:
        product = produce(equipment, image, parent, second, stages, progress, AGAIN)
        tree = first.tree.path if first.tree is not None else None
        return compare(bench, first.expected, tree, product, second, progress)


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    return path
