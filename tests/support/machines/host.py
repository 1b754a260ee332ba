"""This host. What is there are folders, and processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from imagectl.adapters import runs
from imagectl.adapters.host_machines import RUNS, HostMachines, write_claim
from imagectl.model.resource import Claim
from support.machines import CATALOG, Cannot
from support.places.directory import closed


class OnHost:
    """Implements ``support.machines.Yard``."""

    def __init__(self, state: Path) -> None:
        self.root = state / RUNS
        self.machines = HostMachines(state, lambda: CATALOG)
        self.processes: list[subprocess.Popen[bytes]] = []

    def make(self, name: str, claim: Claim) -> str:
        """The folder of a run that was killed, with a process that goes on."""
        folder = self.root / name
        (folder / "vm").mkdir(parents=True)
        (folder / "vm" / "overlay").write_text("half a disk")
        (folder / "lock").touch()
        write_claim(folder, claim)
        environment = {**os.environ, runs.VARIABLE: name}
        self.processes.append(subprocess.Popen(["sleep", "60"], env=environment))
        return name

    def foreign(self, name: str) -> Cannot:
        return Cannot("the folder of runs is private: nobody else makes anything there")

    def copy(self, provider_id: str, name: str) -> str:
        shutil.copytree(self.root / provider_id, self.root / name)
        return name

    def show(self, provider_id: str, claim: Claim) -> None:
        write_claim(self.root / provider_id, claim)

    def there(self) -> frozenset[str]:
        return frozenset(os.listdir(self.root)) if self.root.exists() else frozenset()

    def partial(self) -> str:
        return "a folder is read whole, or not at all"

    def down(self) -> AbstractContextManager[None]:
        return closed(self.root, 0o000)

    def end(self) -> None:
        for each in self.processes:
            each.kill()
            each.wait()


def opened(request: pytest.FixtureRequest, folder: Path) -> OnHost:
    yard = OnHost(folder / "state")
    request.addfinalizer(yard.end)
    return yard
