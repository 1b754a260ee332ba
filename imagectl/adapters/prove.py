"""Boots a throw-away overlay of a finished artifact and runs its suites on it; or runs them on a
machine of a location."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from imagectl.adapters import guest, listening, qemu, testinfra
from imagectl.adapters.disk import blocks, gce, ova
from imagectl.adapters.runs import Run
from imagectl.errors import GuestUnreachable, ToolFailed, Unsupported
from imagectl.model.image import Image
from imagectl.model.names import Format
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.proving import Proof
from imagectl.services.ports.workspaces import Workspace


class QemuProver:
    """Implements ``services.ports.Prover``. ``accelerator`` is asked once, when first needed."""

    def __init__(
        self,
        project: Path,
        boot_seconds: int,
        accelerator: Callable[[Workspace], qemu.Accelerator],
    ) -> None:
        self._project = project
        self._boot_seconds = boot_seconds
        self._accelerator = accelerator

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
        run = Run(work.id, work.folder, work.sockets)
        disk, disk_format = take_out(disk, disk_format, work.folder)
        keys = guest.make_keys(work.sub("prove"))
        progress.step("booting a throw-away overlay of the finished disk")
        booted = qemu.booted(
            disk,
            disk_format,
            run=run,
            keys=keys,
            accelerator=self._accelerator(work),
            memory=image.test_memory,
            cpus=image.build_cpus,
            seconds=self._boot_seconds,
        )
        with contextlib.ExitStack() as stack:
            try:
                vm = stack.enter_context(booted)
            except GuestUnreachable as silent:
                # Its folder goes with the run; what it said must not.
                with work.log.open("a", encoding="utf-8") as log:
                    log.write(f"\n--- console ---\n{guest.console_text(qemu.console_of(run))}")
                raise GuestUnreachable(
                    silent.what,
                    tail=silent.tail,
                    where=str(work.log),
                    why=silent.why,
                    hint=silent.hint,
                ) from silent
            proof = self._run_suites(image, vm, work, progress)
            if keep:
                _wait_for_user(vm, progress)
            return proof

    def prove_machine(
        self, image: Image, machine: Booted, work: Workspace, progress: Progress
    ) -> Proof:
        folder = work.sub("machine")
        console = folder / "console.log"
        console.write_text(f"{machine.host}: no console is read from a location\n")
        config = guest.write_machine_config(folder, work.sockets, machine)
        vm = guest.Guest(machine.port, config, console)
        progress.step(f"logging in to {machine.host}")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(guest.connection(vm))
            except ToolFailed as failure:
                raise GuestUnreachable(
                    f"the machine that runs {image.name} does not let us in",
                    where=f"{machine.user}@{machine.host}, port {machine.port}",
                    why=f"{failure.why}: {failure.tail.strip()}",
                    tail="",
                ) from failure
            return self._run_suites(image, vm, work, progress, sudo=machine.user != "root")

    def _run_suites(
        self,
        image: Image,
        vm: guest.Guest,
        work: Workspace,
        progress: Progress,
        *,
        sudo: bool = False,
    ) -> Proof:
        with work.log.open("a", encoding="utf-8") as log:

            def tell(test: str) -> None:
                progress.step(test)
                log.write(f"test {test}\n")

            # Before the suites run: those may start what listens.
            ports = listening.listening(vm)
            log.write(f"listening: {', '.join(ports) or 'nothing'}\n")
            report = testinfra.run_suites(
                image.suites, self._project, vm, work.folder, tell, sudo=sudo
            )
            for each in report.failures:
                log.write(f"FAILED {each.suite}::{each.name}\n{each.said}\n")
        return Proof(report, vm.console, guest.console_tail(vm.console), ports)


def take_out(disk: Path, disk_format: Format, folder: Path) -> tuple[Path, Format]:
    """A disk that QEMU boots: *disk* itself, or what is in it, put in *folder*. Raises Corrupt,
    and Unsupported for what is only described."""
    match disk_format:
        case Format.QCOW2 | Format.RAW | Format.VMDK:
            return disk, disk_format
        case Format.OVA:
            vmdk = folder / "taken-out.vmdk"
            ova.take_vmdk(disk, vmdk)
            return vmdk, Format.VMDK
        case Format.GCE:
            raw = folder / "taken-out.raw"
            blocks.write_sparse(gce.read_gce(disk), raw)
            return raw, Format.RAW
        case Format.NATIVE:
            raise Unsupported("what a cloud builder made boots in its location only")


def _wait_for_user(vm: guest.Guest, progress: Progress) -> None:
    progress.note(f"the VM is running; get in with:\n  {vm.ssh_command()}\nCtrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
