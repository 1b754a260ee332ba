"""Make or renew an image's lock: the one place where the inputs of builds change (P9).

What a build reads is only known by building, so the base is made, provisioned and written to disks
as in a build. The result is not tested and not recorded: that is for the build that follows, and
that build is the second from the same inputs, so it shows whether the image is reproducible.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagectl.errors import BadInput, BadUsage, BuildFailed, Conflict
from imagectl.model.image import Image
from imagectl.model.lock import Access, Lock
from imagectl.model.names import ImageName
from imagectl.policy.locking import access_to_lock, changed_since
from imagectl.services.conditions import plan
from imagectl.services.native import made_in
from imagectl.services.pipeline import equipped, locked_epoch, new_lock, produce
from imagectl.services.ports.progress import Progress
from imagectl.services.workbench import Workbench, stages_of


@dataclass(frozen=True, slots=True)
class LockRequest:
    """``update``: all inputs anew, newer ones where there are; ``wait``: for a build of it."""

    update: bool = False
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A lock that could be written. ``before`` is what there is now; ``access`` is None where that
    is as it should be, and ``lock`` is the same one then."""

    image: Image
    before: Lock | None
    lock: Lock
    access: Access | None
    changed: tuple[str, ...] = ()
    """What of the definition is not as it was when ``before`` was made."""
    unreadable: bool = False
    """Whether there is a lock that cannot be read; ``before`` is None then."""
    log: Path | None = None


def propose(bench: Workbench, image: Image, request: LockRequest, progress: Progress) -> Proposal:
    """Find out what a lock of *image* would hold. Writes nothing but inputs into their store.

    What a changed definition needs more is added to what is locked already, which stays as it is;
    with ``update`` all is taken anew. Raises what building raises.
    """
    if (location := made_in(image)) is not None:
        raise BadUsage(
            f"{image.name} has no lock",
            where=f"images/{image.name}/image.yaml",
            why=f"its Packer template makes it in {location}, and nothing holds that to its inputs",
        )
    with bench.workspaces.open(image.name, wait=request.wait) as work:
        stages = stages_of(bench, image.name, progress)
        with stages("inputs"):
            digests = bench.definitions.digests(image)
            before, wrong = _read(bench, image.name)
            if wrong is not None:
                if not request.update:
                    raise wrong
                progress.note(f"its lock cannot be read, and is to be replaced: {wrong.what}")
            access = access_to_lock(before, digests, update=request.update)
            if access is None:
                assert before is not None
                return Proposal(image, before, before, None)
            planned = plan(bench, image, before, access, digests, fresh=request.update)
        with stages("check"):
            bench.checks.check(image, progress)
        work = locked_epoch(work, planned.lock)
        with equipped(bench, planned.conditions, work, stages, progress) as equipment:
            product = produce(equipment, image, planned.parent, work, stages, progress)
            taken = equipment.taken()
        lock = new_lock(image, planned.parent, work, digests, taken, product.expected)
        changed = changed_since(before, digests) if before is not None else ()
        return Proposal(image, before, lock, access, changed, wrong is not None, work.log)


def accept(bench: Workbench, proposal: Proposal) -> Path:
    """Write the proposed lock. Raises like ``keep_lock``."""
    return keep_lock(
        bench,
        proposal.image,
        proposal.lock,
        before=proposal.before,
        unreadable=proposal.unreadable,
    )


def _read(bench: Workbench, image: ImageName) -> tuple[Lock | None, BadInput | None]:
    """The image's lock, or what is wrong with it."""
    try:
        return bench.definitions.lock(image), None
    except BadInput as wrong:
        return None, wrong


def keep_lock(
    bench: Workbench,
    image: Image,
    lock: Lock,
    *,
    before: Lock | None,
    unreadable: bool = False,
) -> Path:
    """Make *lock* the image's lock.

    Raises Conflict where the image's lock is not *before* any more (or is *unreadable*, and was
    not), and BuildFailed where the definition is not the one that the lock has the digests of.
    """
    now, wrong = _read(bench, image.name)
    if (now, wrong is not None) != (before, unreadable):
        raise Conflict(
            f"somebody else changed the lock of {image.name} meanwhile; it was left as it is",
            where=f"images/{image.name}/image.lock",
            hint="look at it, then type the command again",
        )
    if bench.definitions.digests(image) != lock.definition:
        raise BuildFailed(
            f"the definition of {image.name} changed while it was being built",
            stage="disk",
            where=f"images/{image.name}/image.yaml, playbooks or suites",
            why="a lock for what was built would not be one for what is there now",
            hint="type the command again; its lock was left as it is",
        )
    return bench.definitions.write_lock(lock)
