"""A project that builds, with tools in memory in place of Packer, QEMU and the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from imagectl.bootstrap.project import Project
from imagectl.services.ports.progress import Progress
from imagectl.services.workbench import Workbench
from imagectl.testing.build import MemoryChecks, MemoryProver, MemoryTemplates, MemoryTimings
from imagectl.testing.equipment import MemoryEquipper
from imagectl.testing.inside import MemoryComparer, MemoryInspector


@dataclass
class Tools:
    """What the tools do, for tests to say."""

    equipper: MemoryEquipper
    prover: MemoryProver = field(default_factory=MemoryProver)


def tools_in_memory(project: Project, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Give them to every project that is opened from now on; what they make is in this one."""
    used = Tools(MemoryEquipper(project.store))

    def workbench(project: Project, progress: Progress) -> Workbench:
        return Workbench(
            catalog=project.catalog,
            store=project.store,
            definitions=project.definitions,
            checks=MemoryChecks(),
            workspaces=project.workspaces(progress),
            equipper=used.equipper,
            prover=used.prover,
            comparer=MemoryComparer(),
            inspector=MemoryInspector(),
            templates=MemoryTemplates(),
            timings=MemoryTimings(),
            clock=project.clock,
        )

    monkeypatch.setattr(Project, "workbench", workbench)
    return used


def child_of(parent: str) -> str:
    """The definition of an image on that one, such as ``debian-base:stable``."""
    return (
        "summary: built on the base\n"
        f"base:\n  parent: {parent}\n"
        "disk_size: 4G\n"
        "suites: [tests/images/test_debian_base.py]\n"
        "formats: [qcow2]\n"
        "locations:\n  required: [local]\n"
    )
