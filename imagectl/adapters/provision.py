"""Packer and Ansible turn a base's tree into the finished tree.

The base is written to a disk, Packer boots that disk's own kernel directly and has Ansible
provision it, and after a clean shutdown the file system is read back without mounting it. What
leaves here is a canonical tree again: nothing of the VM's worn disk gets into an image.

The build VM's login key and host key are made for this one build. They reach the guest as systemd
credentials, and the rules for volatile paths drop what they leave there. All that its tasks
download comes through the recording proxy; its clock begins at the epoch (P9).

A base that is a disk of a layout that is not understood is booted by its own boot loader, and kept
as it is afterwards: see ``opaque``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from imagectl.adapters import ansible, galaxy, guest, guest_network, opaque, packer, qemu
from imagectl.adapters.disk import boot, writer
from imagectl.adapters.disk.capture import read_back
from imagectl.adapters.disk.first_boot import BUILD_CREDENTIAL, first_boot_files
from imagectl.adapters.disk.rules import UPDATE_INITRAMFS_CONF, rules_of
from imagectl.adapters.secrets import read_secret
from imagectl.adapters.session import Session
from imagectl.errors import BuildFailed, GuestUnreachable, ImagectlError
from imagectl.model.image import Image, PackerTemplate
from imagectl.services.ports.building import Base, CanonicalTree, Finished, OpaqueDisk
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

SSH_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
UPDATE_INITRAMFS = "/etc/initramfs-tools/update-initramfs.conf"

POWER_OFF = "systemctl poweroff"

CLOCK_AHEAD = 300
"""Seconds from the epoch to the build VM's clock at power-on: what it writes is newer than the
epoch, and so becomes as old as the epoch."""

_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>.*)\] \**$")


@dataclass(frozen=True, slots=True)
class Settings:
    """How build VMs are run. ``boot_seconds``: how long one may take to greet over SSH.

    ``secrets``: the folder that a secret's file is relative to. It is the user's own project even
    where a version is rebuilt from its archive, which has no secrets.
    """

    secrets: Path
    boot_seconds: int
    accelerator: Callable[[Path | None, Path], qemu.Accelerator]
    """Given a kernel to probe with, where there is one, and a folder to work in."""


class PackerProvisioner:
    """Implements ``services.ports.Provisioner``."""

    def __init__(self, settings: Settings, session: Session) -> None:
        self._settings = settings
        self._session = session

    def provision(self, image: Image, base: Base, work: Workspace, progress: Progress) -> Finished:
        if isinstance(image.base, PackerTemplate):
            assert isinstance(base, OpaqueDisk)
            return base  # its template has done that
        installed = galaxy.install(self._session, work.sub("galaxy"), progress)
        disk = work.folder / "build.disk"
        if isinstance(base, OpaqueDisk):
            opaque.make_ready(base.path, image, disk)
        else:
            progress.step("writing the disk of the build VM")
            writer.write_raw(
                base,
                image.disk_size,
                work.epoch,
                self._session.toolchain,
                work.folder,
                disk,
                progress,
            )
        prepared = prepare(image, base, disk, work, self._settings, self._session, installed)
        run(prepared, image, work, self._session, progress)
        disk.unlink()
        if isinstance(base, OpaqueDisk):
            return OpaqueDisk(prepared.worn, base.cause)
        progress.step("reading the disk back")
        finished = read_back(
            prepared.worn,
            work.epoch,
            work.folder,
            work.folder / "finished.tar",
            rules=rules_of(image),
            above=first_boot_files(image.volatile, work.epoch),
            progress=progress,
        )
        prepared.worn.unlink()
        return finished


def run(
    prepared: Prepared, image: Image, work: Workspace, session: Session, progress: Progress
) -> None:
    """Let Packer and Ansible do their part. Raises BuildFailed, GuestUnreachable, and what
    ``Supply.check`` does.

    What a task could not download ends the build even where the task did not mind: its result is
    not what the definition means. It also explains a failed task better than the task can.
    """
    session.supply.during("the start of the build VM")
    failed: BuildFailed | GuestUnreachable | None = None
    with work.log.open("a", encoding="utf-8") as log:
        try:
            packer.build(
                prepared.template,
                prepared.folder,
                work.sockets,
                Narrator(progress, log, session.supply.during).tell,
                prepared.environment,
            )
        except BuildFailed as problem:
            log.write(f"\n--- console ---\n{guest.console_text(prepared.console)}")
            failed = explain(problem, image, prepared, work.log)
    try:
        session.supply.check()
    except ImagectlError as cause:
        raise with_both(cause, failed, work.log) from failed
    if failed is not None:
        raise failed


def with_both(
    cause: ImagectlError, failed: BuildFailed | GuestUnreachable | None, log: Path
) -> ImagectlError:
    """What could not be downloaded, with what was said where that made a task fail."""
    why = [cause.why]
    if failed is not None:
        why.append(failed.said)
    cause.why = "\n".join(each for each in why if each)
    if isinstance(cause, BuildFailed):
        cause.log = str(log)
        cause.tail = cause.tail or (failed.tail if failed is not None else "")
    return cause


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
    image: Image,
    base: Base,
    disk: Path,
    work: Workspace,
    settings: Settings,
    session: Session,
    installed: ansible.Installed | None,
) -> Prepared:
    """Write everything that provisioning *disk*, which was written from *base*, needs.

    An opaque base is *disk* itself.
    """
    project = session.conditions.project
    supply = session.supply
    folder = work.sub("packer")
    files = boot.boot_files(base, work.sub("boot")) if isinstance(base, CanonicalTree) else None
    accelerator = settings.accelerator(files.kernel if files else None, folder)
    keys = guest.make_keys(folder)
    host_keys = guest.make_keys(work.sub("host-key"))
    (folder / "known_hosts").write_text(f"{ansible.HOST_KEY_ALIAS} {host_keys.public}\n")
    playbook = folder / "playbook.yml"
    playbook.write_text(ansible.playbook_text(image.provision, project))
    inventory, shell = ansible.prepare_shell(folder, guest_network.environment(work.epoch))
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
        inventory=str(inventory),
        environment={
            **ansible.environment(project, folder, work.sockets, installed),
            **session.environment(),
            "SOURCE_DATE_EPOCH": str(work.epoch),
            **shell,
        },
        variables=provision.variables,
        secrets={
            name: read_secret(ref, settings.secrets) for name, ref in provision.secrets.items()
        },
    ).write(folder / "ansible.json")
    given = [
        guest.GuestFile(SSH_HOST_KEY, host_keys.private.read_text()),
        *guest_network.files(supply.authority),
    ]
    if files is not None:
        # One update-initramfs in an emulated guest takes minutes; it is rebuilt on the host
        # instead, and the rules put this file right again.
        given.append(guest.GuestFile(UPDATE_INITRAMFS, UPDATE_INITRAMFS_CONF, 0o644))
        shutdown = POWER_OFF
    else:
        shutdown = opaque.shutdown_command(keys.public, SSH_HOST_KEY)
    credentials = guest.credentials(keys, folder, given, [BUILD_CREDENTIAL])
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
                qemu_arguments=qemu_arguments(
                    accelerator, files, prepared.console, credentials, supply.port, work.epoch
                ),
                ansible_command=ansible.write_command(folder / "ansible-command"),
                playbook=playbook,
                shutdown=shutdown,
            )
        )
    )
    return prepared


def qemu_arguments(
    accelerator: qemu.Accelerator,
    files: boot.BootFiles | None,
    console: Path,
    credentials: Sequence[str],
    proxy_port: int,
    epoch: int,
) -> list[tuple[str, str]]:
    """What the build VM has beyond what Packer gives it: the tree's own kernel, booted directly
    (where there is a tree), a network that leads to the proxy only, a port on the loopback only, a
    clock that begins at the epoch, a console that is kept, and its credentials."""
    port = "{{ .SSHHostPort }}"
    netdev = port.join(map(packer.escape, guest_network.netdev(proxy_port, port).split(port)))
    clock = datetime.fromtimestamp(epoch + CLOCK_AHEAD, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    flags = [
        *qemu.machine_arguments(accelerator),
        # Packer's own would listen on every address of this machine.
        *("-netdev", netdev),
        *("-rtc", f"base={clock},clock=vm"),
        *("-device", "virtio-net,netdev=user.0", "-device", "virtio-rng-pci"),
        # A screen without a password would let any user of this machine type into the guest.
        *("-display", "none", "-vnc", "none"),
        *("-serial", packer.escape(f"file:{console}")),
        *(packer.escape(each) for each in credentials),
    ]
    if files is not None:
        flags += [
            *("-kernel", packer.escape(str(files.kernel))),
            *("-initrd", packer.escape(str(files.initrd))),
            *("-append", packer.escape(f"{files.root_argument} {files.kernel_arguments}")),
        ]
    return list(zip(flags[::2], flags[1::2], strict=True))


class Narrator:
    """Keeps what Packer says in the build log, and tells the user and the proxy which task is
    running."""

    def __init__(self, progress: Progress, log: TextIO, during: Callable[[str], None]) -> None:
        self._progress = progress
        self._log = log
        self._during = during

    def tell(self, line: str) -> None:
        self._log.write(line + "\n")
        self._log.flush()
        if match := _TASK.match(line):
            self._progress.step(f"task: {match['name']}")
            self._during(f"task {match['name']!r}")
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
            hint="the whole console is in the log; `build: {boot_timeout: 10m}` in "
            "imagectl.yaml gives it more time",
        )
    return BuildFailed(
        f"the build VM of {image.name} could not be provisioned",
        stage="provision",
        why=problem.why,
        tail=problem.tail,
        log=str(log),
    )
