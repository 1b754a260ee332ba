"""The long part of a build, from the base to the finished tree, as a program of its own.

``equipped.py PROJECT ACCESS`` builds the project's only image. In RECORD it writes ``small.lock``
into the project, else it builds from that. It prints the sha256 of the finished tree, and keeps the
tree beside the lock.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from imagectl.bootstrap.project import open_project
from imagectl.cli.progress import Silent
from imagectl.formats.lock_text import parse_lock, write_lock
from imagectl.model.lock import (
    Access,
    BuildMode,
    DefinitionDigests,
    Expected,
    Lock,
    LockedPackagesBase,
)
from imagectl.model.names import Sha256
from imagectl.services.ports.building import CanonicalTree, Conditions

LOCK = "small.lock"
TREE = "small.tar"
UNKNOWN = Sha256("0" * 64)


def run(root: Path, access: Access, *, fresh: bool = True) -> Lock:
    """The lock that the build was made from, or that it makes. ``expected`` is what came out."""
    project = open_project(root)
    progress = Silent()
    (image,) = project.definitions.load([])
    file = root / LOCK
    given = None if access is Access.RECORD else parse_lock(file.read_text(), LOCK)
    conditions = Conditions(root, access, given, fresh)
    with project.workspaces(progress).open(image.name, wait=False) as opened:
        work = replace(opened, epoch=given.epoch) if given is not None else opened
        with project.equipper(progress).equip(conditions, work, progress) as equipment:
            base = equipment.bases.make(image, None, work, progress)
            tree = equipment.provisioner.provision(image, base, work, progress)
            assert isinstance(tree, CanonicalTree)
            tree.path.replace(root / TREE)
            taken = equipment.taken()
    made = given or Lock(
        image=image.name,
        architecture=image.architecture,
        mode=BuildMode.VM,
        epoch=work.epoch,
        definition=DefinitionDigests(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
        mirrors=taken.mirrors,
        toolchain=taken.toolchain,
        base=LockedPackagesBase("bookworm"),
        inputs=taken.inputs,
        expected=Expected(tree.sha256, UNKNOWN, {}),
    )
    if given is None:
        file.write_text(write_lock(made))
    return replace(made, expected=replace(made.expected, tree=tree.sha256))


if __name__ == "__main__":
    sys.stdout.write(f"{run(Path(sys.argv[1]), Access(sys.argv[2])).expected.tree}\n")
