"""Finds what executes the guests of builds and tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagectl.adapters.qemu import Accelerator
    from imagectl.bootstrap.project import Project
    from imagectl.services.ports.progress import Progress

ACCELERATOR_CACHE = "accelerator.json"


class Accelerators:
    """Which accelerator guests get: what the settings say, else what was seen to work."""

    def __init__(self, project: Project, progress: Progress) -> None:
        self._project = project
        self._progress = progress
        self._told = False

    def find(self, kernel: Path | None, work: Path) -> Accelerator:
        """Given a kernel to try with, if there is one, and a folder to work in."""
        from imagectl.adapters import host, qemu

        cache = self._project.state / ACCELERATOR_CACHE
        said = self._project.settings.build.accelerator.value
        if said != "auto":
            return qemu.Accelerator(said)
        found = qemu.cached_accelerator(cache)
        if found is None:
            kernel = kernel or host.boot_kernel()
            if kernel is None and host.has_kvm():
                # Emulation always works; the next build has a kernel to try KVM with.
                return qemu.Accelerator.TCG
            found = qemu.find_accelerator(kernel or Path(os.devnull), cache, work)
        if found.accelerator is qemu.Accelerator.TCG and not self._told:
            self._told = True
            self._progress.note(f"guests are emulated, which is slow: {found.reason}")
        return found.accelerator
