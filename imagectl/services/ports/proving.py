"""Proof that a version boots and passes its suites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imagectl.model.image import Image
from imagectl.model.names import (
    Format,
)
from imagectl.model.proof import TestReport
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


@dataclass(frozen=True, slots=True)
class Proof:
    """What a boot of an artifact showed. ``console`` is a file in the workspace."""

    report: TestReport
    console: Path
    console_tail: str
    ports: tuple[str, ...] = ()
    """What listened for connections in the guest, such as ``tcp 22``, sorted."""


class Prover(Protocol):
    """Boots a throw-away overlay of an artifact and runs its suites on it."""

    def prove(
        self,
        image: Image,
        disk: Path,
        disk_format: Format,
        work: Workspace,
        progress: Progress,
        *,
        keep: bool = False,
    ) -> Proof:
        """Failing tests are a result. ``keep``: afterwards, leave the VM running and say how to get
        in, until the user stops it. Raises GuestUnreachable where it does not come up."""
        ...

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        """The same on a machine that runs already, such as ``Location.boot`` gives."""
        ...
