"""Packer and Ansible turn a base's tree into the finished tree.

The base is written to a disk, Packer boots that disk's own kernel directly and has Ansible
provision it, and after a clean shutdown the file system is read back without mounting it. What
leaves here is a canonical tree again: nothing of the VM's worn disk gets into an image.

The build VM's login key and host key are made for this one build. They reach the guest as systemd
credentials, and the rules for volatile paths drop what they leave there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from imagectl.adapters import ansible, guest, packer, qemu
from imagectl.adapters.disk import boot, writer
from imagectl.adapters.disk.capture import read_back
from imagectl.adapters.disk.rules import UPDATE_INITRAMFS_CONF
from imagectl.adapters.secrets import read_secret
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import BuildFailed, GuestUnreachable
from imagectl.model.image import Image
from imagectl.services.ports import Base, CanonicalTree, Finished, Progress, Workspace

SSH_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
UPDATE_INITRAMFS = "/etc/initramfs-tools/update-initramfs.conf"

_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>.*)\] \**$")


@dataclass(frozen=True, slots=True)
class Settings:
    """How build VMs are run. ``boot_seconds``: how long one may take to greet over SSH."""

    project: Path
    boot_seconds: int
    accelerator: Callable[[Path, Path], qemu.Accelerator]
    """Given a kernel to probe with and a folder to work in."""


class PackerProvisioner:
    """Implements ``services.ports.Provisioner``."""

    def __init__(self, settings: Settings, toolchain: Callable[[Progress], Toolchain]) -> None:
        self._settings = settings
        self._toolchain = toolchain

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        assert isinstance(base, CanonicalTree)  # no base gives anything else yet
        toolchain = self._toolchain(progress)
        progress.step("writing the disk of the build VM")
        disk = work.folder / "build.disk"
        writer.write_raw(base, image.disk_size, work.epoch, toolchain, work.folder, disk, progress)
        prepared = prepare(image, base, disk, work, self._settings)
        with work.log.open("a", encoding="utf-8") as log:
            try:
                packer.build(
                    prepared.template,
                    prepared.folder,
                    work.sockets,
                    Narrator(progress, log).tell,
                    prepared.environment,
                )
            except BuildFailed as problem:
                log.write(f"\n--- console ---\n{guest.console_text(prepared.console)}")
                raise explain(problem, image, prepared, work.log) from problem
        disk.unlink()
        progress.step("reading the disk back")
        finished = read_back(
            prepared.worn, work.epoch, work.folder, work.folder / "finished.tar", progress=progress
        )
        prepared.worn.unlink()
        return finished


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that Packer needs to run, written down: ``packer build TEMPLATE`` with ``environment``
    does the same. ``worn`` is the disk that it leaves, ``failure`` what Ansible says of a task."""

    template: Path
    folder: Path
    environment: Mapping[str, str]
    worn: Path
    console: Path
    failure: Path


def prepare(
    image: Image, base: CanonicalTree, disk: Path, work: Workspace, settings: Settings
) -> Prepared:
    """Write everything that provisioning *disk*, which was written from *base*, needs."""
    project = settings.project
    folder = work.sub("packer")
    files = boot.boot_files(base, work.sub("boot"))
    accelerator = settings.accelerator(files.kernel, folder)
    keys = guest.make_keys(folder)
    host_keys = guest.make_keys(work.sub("host-key"))
    (folder / "known_hosts").write_text(f"{ansible.HOST_KEY_ALIAS} {host_keys.public}\n")
    playbook = folder / "playbook.yml"
    playbook.write_text(ansible.playbook_text(image.provision, project))
    provision = image.provision
    prepared = Prepared(
        template=folder / "template.json",
        folder=folder,
        environment={ansible.SETTINGS: str(folder / "ansible.json")},
        worn=folder / "output" / "disk.raw",
        console=folder / "console.log",
        failure=folder / "failure.json",
    )
    ansible.Settings(
        folder=str(work.sub("ansible")),
        failure=str(prepared.failure),
        environment=ansible.environment(project, folder, work.sockets),
        variables=provision.variables,
        secrets={name: read_secret(ref, project) for name, ref in provision.secrets.items()},
    ).write(folder / "ansible.json")
    credentials = guest.credentials(
        keys,
        folder,
        [
            guest.GuestFile(SSH_HOST_KEY, host_keys.private.read_text()),
            # One update-initramfs in an emulated guest takes minutes; it is rebuilt on the host
            # instead, and the rules put this file right again.
            guest.GuestFile(UPDATE_INITRAMFS, UPDATE_INITRAMFS_CONF, 0o644),
        ],
    )
    prepared.template.write_text(
        packer.render(
            packer.BuildVm(
                disk=disk,
                output=prepared.worn.parent,
                qemu=qemu.system_binary(image.architecture),
                accelerator=accelerator.value,
                cpus=image.build_cpus,
                memory=image.build_memory,
                private_key=keys.private,
                ssh_seconds=settings.boot_seconds,
                qemu_arguments=qemu_arguments(accelerator, files, prepared.console, credentials),
                ansible_command=ansible.write_command(folder / "ansible-command"),
                playbook=playbook,
            )
        )
    )
    return prepared


def qemu_arguments(
    accelerator: qemu.Accelerator,
    files: boot.BootFiles,
    console: Path,
    credentials: Sequence[str],
) -> list[tuple[str, str]]:
    """What the build VM has beyond what Packer gives it: the tree's own kernel, booted directly,
    a port on the loopback only, a console that is kept, and its credentials."""
    flags = [
        *qemu.machine_arguments(accelerator),
        # Packer's own would listen on every address of this machine.
        *("-netdev", "user,id=user.0,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"),
        *("-device", "virtio-net,netdev=user.0", "-device", "virtio-rng-pci"),
        # A screen without a password would let any user of this machine type into the guest.
        *("-display", "none", "-vnc", "none"),
        *("-serial", packer.escape(f"file:{console}")),
        *("-kernel", packer.escape(str(files.kernel))),
        *("-initrd", packer.escape(str(files.initrd))),
        *("-append", packer.escape(f"{files.root_argument} {files.kernel_arguments}")),
        *(packer.escape(each) for each in credentials),
    ]
    return list(zip(flags[::2], flags[1::2], strict=True))


class Narrator:
    """Keeps what Packer says in the build log, and tells the user which task is running."""

    def __init__(self, progress: Progress, log: TextIO) -> None:
        self._progress = progress
        self._log = log

    def tell(self, line: str) -> None:
        self._log.write(line + "\n")
        self._log.flush()
        if match := _TASK.match(line):
            self._progress.step(f"task: {match['name']}")
        elif line.startswith("Waiting for SSH"):
            self._progress.step("waiting for the build VM to answer")
        elif line.startswith("Gracefully halting"):
            self._progress.step("shutting the build VM down")


def explain(
    problem: BuildFailed, image: Image, prepared: Prepared, log: Path
) -> BuildFailed | GuestUnreachable:
    """What Packer's failure means: a task that failed, a guest that never answered, or as told."""
    task = ansible.read_failure(prepared.failure)
    if task is not None:
        return BuildFailed(
            f"task {task.number} of {image.name}, {task.task!r}, failed",
            stage="provision",
            where=task.where,
            why=task.message,
            log=str(log),
            hint="mend it, then build again; no VM and no version is left of this build",
        )
    if "Timeout waiting for SSH" in problem.tail or guest.PANIC in guest.console_text(
        prepared.console
    ):
        return GuestUnreachable(
            f"the build VM of {image.name} cannot be reached by SSH",
            why=problem.why,
            tail=guest.console_tail(prepared.console),
            where=str(log),
            hint="the end of its console is above; `build: {boot_timeout: 10m}` in "
            "imagectl.yaml gives it more time",
        )
    return BuildFailed(
        f"the build VM of {image.name} could not be provisioned",
        stage="provision",
        why=problem.why,
        tail=problem.tail,
        log=str(log),
    )
