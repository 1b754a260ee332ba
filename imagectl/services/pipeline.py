"""From conditions to disks: what decides the bytes of a build. Nothing is recorded here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagectl.model.image import DebianBase, DiskBase, Image, PackerTemplate, ParentBase
from imagectl.model.lock import (
    BuildMode,
    DefinitionDigests,
    Expected,
    Lock,
    LockedBase,
    LockedPackagesBase,
    LockedParentBase,
    LockedTemplateBase,
    sorted_inputs,
)
from imagectl.model.names import Sha256
from imagectl.model.version import Version
from imagectl.services.ports.building import (
    CanonicalTree,
    Conditions,
    Equipment,
    Finished,
    OpaqueDisk,
    Taken,
    Written,
)
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace
from imagectl.services.workbench import Stages, Workbench


@dataclass(frozen=True, slots=True)
class Product:
    """What a build gave, in its workspace."""

    finished: Finished
    written: Written
    expected: Expected

    @property
    def tree(self) -> CanonicalTree | None:
        return self.finished if isinstance(self.finished, CanonicalTree) else None

    @property
    def kept_as_is(self) -> str:
        """Why the disk was kept as Packer left it; empty where it was written from a tree."""
        return self.finished.cause if isinstance(self.finished, OpaqueDisk) else ""


@contextmanager
def equipped(
    bench: Workbench,
    conditions: Conditions,
    work: Workspace,
    stages: Stages,
    progress: Progress,
    suffix: str = "",
) -> Iterator[Equipment]:
    """The equipment for a build under *conditions*. ``work.epoch`` is the lock's already.

    *suffix* is added to the stages' names.
    """
    with ExitStack() as stack:
        with stages(f"tools{suffix}"):
            equipment = stack.enter_context(bench.equipper.equip(conditions, work, progress))
        yield equipment


def produce(
    equipment: Equipment,
    image: Image,
    parent: Version | None,
    work: Workspace,
    stages: Stages,
    progress: Progress,
    suffix: str = "",
) -> Product:
    """The base, provisioned, and its disks. Raises what the ports raise."""
    with stages(f"base{suffix}"):
        base = equipment.bases.make(image, parent, work, progress)
    with stages(f"provision{suffix}"):
        finished = equipment.provisioner.provision(image, base, work, progress)
    with stages(f"disk{suffix}"):
        written = equipment.disks.write(image, finished, work, progress)
        expected = Expected(
            tree=finished.sha256 if isinstance(finished, CanonicalTree) else None,
            raw=written.raw,
            formats={name: digest_of_file(path) for name, path in written.files.items()},
        )
    return Product(finished, written, expected)


def digest_of_file(path: Path) -> Sha256:
    """The sha256 of a file in the workspace."""
    with path.open("rb") as opened:
        return Sha256(hashlib.file_digest(opened, "sha256").hexdigest())


def locked_epoch(work: Workspace, lock: Lock | None) -> Workspace:
    """The workspace, with the lock's epoch where there is a lock."""
    return work if lock is None else replace(work, epoch=lock.epoch)


def new_lock(
    image: Image,
    parent: Version | None,
    work: Workspace,
    digests: DefinitionDigests,
    taken: Taken,
    expected: Expected,
) -> Lock:
    """What a build has read, as the lock that makes it again."""
    return Lock(
        image=image.name,
        architecture=image.architecture,
        mode=BuildMode.VM,
        epoch=work.epoch,
        definition=digests,
        mirrors=taken.mirrors,
        toolchain=replace(taken.toolchain, inputs=sorted_inputs(taken.toolchain.inputs.all)),
        base=_locked_base(image, parent, taken),
        inputs=sorted_inputs(taken.inputs.all),
        expected=expected,
    )


def _locked_base(image: Image, parent: Version | None, taken: Taken) -> LockedBase:
    match image.base:
        case DebianBase(suite=suite):
            return LockedPackagesBase(suite)
        case DiskBase():
            assert taken.disk is not None
            return taken.disk
        case ParentBase():
            assert parent is not None
            assert parent.tree is not None
            return LockedParentBase(parent.ref, parent.tree.sha256)
        case PackerTemplate(template=template):
            return LockedTemplateBase(str(template))
