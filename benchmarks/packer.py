"""What imagectl adds to Packer: the same rendered template, with and without it, in turn."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from support.projects import new_project

from imagectl.adapters import packer, provision, qemu
from imagectl.adapters.disk import writer
from imagectl.cli.progress import Silent
from imagectl.model.lock import Access
from imagectl.services.ports.building import CanonicalTree, Conditions

ROUNDS = 3
SECONDS = 600


def main() -> None:
    """Provision the scaffold's image ``ROUNDS`` times each way; the medians and their ratio."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        project = new_project(Path(folder))
        progress = Silent()
        (image,) = project.definitions.load([])
        conditions = Conditions(project.root, Access.RECORD, None)
        with (
            project.workspaces(progress).open(image.name, wait=False) as work,
            project.equipper(progress).equip(conditions, work, progress) as equipment,
        ):
            base = equipment.bases.make(image, None, work, progress)
            assert isinstance(base, CanonicalTree)
            disk = work.folder / "build.disk"
            toolchain = equipment.session.toolchain
            writer.write_raw(base, image.disk_size, work.epoch, toolchain, work.folder, disk)

            def accelerator(kernel: Path | None, folder: Path) -> qemu.Accelerator:
                assert kernel is not None
                cache = project.state / "accelerator.json"
                return qemu.find_accelerator(kernel, cache, folder).accelerator

            settings = provision.Settings(project.root, SECONDS, accelerator)
            prepared = provision.prepare(image, base, disk, work, settings, equipment.session, None)
            ours: list[float] = []
            bare: list[float] = []
            for _ in range(ROUNDS):
                for times, run in ((ours, with_imagectl), (bare, packer_alone)):
                    shutil.rmtree(prepared.worn.parent, ignore_errors=True)
                    began = time.monotonic()
                    run(prepared, work.sockets, work.log)
                    times.append(time.monotonic() - began)
    print(f"packer build           {statistics.median(bare):6.1f} s  {_all(bare)}")
    print(f"the same by imagectl   {statistics.median(ours):6.1f} s  {_all(ours)}")
    print(f"ratio                  {statistics.median(ours) / statistics.median(bare):6.3f}")


def with_imagectl(prepared: provision.Prepared, sockets: Path, log: Path) -> None:
    """As a build does it: streamed, narrated, logged."""
    with log.open("a", encoding="utf-8") as file:
        narrator = provision.Narrator(Silent(), file, lambda what: None)
        packer.build(
            prepared.template, prepared.folder, sockets, narrator.tell, prepared.environment
        )


def packer_alone(prepared: provision.Prepared, sockets: Path, log: Path) -> None:
    """``packer build`` as a person would type it."""
    subprocess.run(
        [packer.find(), "build", prepared.template],
        env={**os.environ, **prepared.environment, "TMPDIR": str(sockets)},
        cwd=prepared.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _all(times: list[float]) -> str:
    return "(" + ", ".join(f"{each:.1f}" for each in times) + ")"
