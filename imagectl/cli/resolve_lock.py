"""The file of ``resolve --lock`` and ``--locked``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.cli.invocation import Invocation
from imagectl.cli.wishes import read_input
from imagectl.errors import NotFound

if TYPE_CHECKING:
    from imagectl.model.consumer import ResolvedLock
    from imagectl.policy.resolution import Resolution
    from imagectl.services.ports.published import PublishedTree


def read_lock(invocation: Invocation, locked: Path) -> ResolvedLock:
    """What *locked* holds. Raises NotFound and BadInput."""
    from imagectl.formats.resolved_lock_v1 import parse_resolved

    data = read_input(invocation.directory / locked, "what was locked")
    if data is None:
        raise NotFound(
            "nothing is locked there",
            where=str(invocation.directory / locked),
            hint=f"`imagectl resolve --lock {locked}` writes it",
        )
    return parse_resolved(data, str(locked))


def write_lock(
    invocation: Invocation, lock: Path, tree: PublishedTree, found: Sequence[Resolution]
) -> None:
    """Write what was resolved to *lock*: whole, or not at all (P7)."""
    from imagectl.adapters.durable import PARTIAL, naming_failures, write
    from imagectl.formats.resolved_lock_v1 import write_resolved
    from imagectl.policy.locked import lock as locking

    path = (invocation.directory / lock).absolute()
    data = write_resolved(locking(tree.catalog(), found))
    # a folder of its own, so that nobody else's file is waited for, or keeps it from going
    folder = path.with_name(f".{path.name}")
    with naming_failures("writing down what was resolved", path.parent, len(data)):
        write(folder, path, data)
        with contextlib.suppress(OSError):  # another resolve writes the same file just now
            (folder / PARTIAL).rmdir()
            folder.rmdir()
