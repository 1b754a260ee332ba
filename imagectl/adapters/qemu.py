"""QEMU: which accelerator really works, and booting a disk without changing it.

``/dev/kvm`` may exist and still not boot a stock kernel, so the accelerator is found by booting one
with a time limit. The answer is kept for as long as the machine and QEMU stay the same.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from imagectl.adapters import process
from imagectl.adapters.guest import (
    Guest,
    Keys,
    connection,
    console_tail,
    credentials,
    in_option,
    wait_for_ssh,
    write_ssh_config,
)
from imagectl.adapters.runs import Run
from imagectl.errors import Failed, GuestUnreachable, ToolFailed, ToolTimedOut
from imagectl.model.names import Architecture, Format

INSTALL = "apt-get install qemu-system-x86 qemu-utils"

PROBE_SECONDS = 20.0
"""KVM brings a stock kernel to its panic in under 2 s; where it lies, it never gets there."""

_REACHED = "Unable to mount root fs"
"""What a kernel without a root says when it has come up: the processor works."""


class Accelerator(enum.Enum):
    """What executes the guest's instructions, in QEMU's words."""

    KVM = "kvm"
    TCG = "tcg"


class Firmware(enum.Enum):
    """What a disk is booted by."""

    BIOS = "bios"
    UEFI = "uefi"


OVMF = Path("/usr/share/OVMF/OVMF_CODE.fd")
"""Where Debian's package ``ovmf`` keeps the UEFI firmware."""

_SYSTEMS = {Architecture.AMD64: "qemu-system-x86_64", Architecture.ARM64: "qemu-system-aarch64"}


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe found, and why: ``reason`` is for people."""

    accelerator: Accelerator
    reason: str


def system_binary(architecture: Architecture) -> str:
    """QEMU's program for *architecture*. Raises ToolMissing."""
    return process.find(_SYSTEMS[architecture], hint=INSTALL)


def version(architecture: Architecture = Architecture.AMD64) -> str:
    """QEMU's version line, such as ``QEMU emulator version 7.2.22 (Debian ...)``."""
    done = process.run([system_binary(architecture), "--version"], what="asking QEMU's version")
    return done.output.splitlines()[0]


def machine_arguments(accelerator: Accelerator) -> list[str]:
    """The processor that goes with an accelerator. ``max``: all that the emulator can."""
    return ["-cpu", "host" if accelerator is Accelerator.KVM else "max"]


def cached_accelerator(cache: Path) -> Probed | None:
    """What an earlier probe on this machine found; None where none has run since it booted."""
    try:
        known = json.loads(cache.read_text())
        if known["machine"] == _machine():
            return Probed(Accelerator(known["accelerator"]), known["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no cache, or one that cannot be read: it is only a cache
    return None


def find_accelerator(kernel: Path, cache: Path, work: Path) -> Probed:
    """The accelerator that boots *kernel* on this machine; the answer is kept in *cache*."""
    known = cached_accelerator(cache)
    if known is not None:
        return known
    found = _probe(kernel, work)
    cache.parent.mkdir(parents=True, exist_ok=True)
    fresh = cache.with_name(f"{cache.name}.{os.getpid()}")
    fresh.write_text(
        json.dumps(
            {
                "machine": _machine(),
                "accelerator": found.accelerator.value,
                "reason": found.reason,
            }
        )
    )
    fresh.rename(cache)
    return found


def _machine() -> str:
    """Changes with a reboot, another kernel, another QEMU: whenever the answer might change."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.uname().release} {version()} kvm={os.access('/dev/kvm', os.R_OK | os.W_OK)}"


def _probe(kernel: Path, work: Path) -> Probed:
    if not os.path.exists("/dev/kvm"):
        return Probed(Accelerator.TCG, "there is no /dev/kvm")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Probed(Accelerator.TCG, "/dev/kvm may not be opened by this user: adduser $USER kvm")
    console = work / "probe-console.log"
    command = [
        system_binary(Architecture.AMD64),
        *("-accel", "kvm", "-cpu", "host", "-m", "256M", "-nodefaults", "-display", "none"),
        *("-no-reboot", "-serial", f"file:{console}", "-kernel", str(kernel)),
        *("-append", "console=ttyS0 panic=-1"),
    ]
    try:
        process.run(command, timeout=PROBE_SECONDS)
    except ToolTimedOut:
        pass  # it may have come up all the same; the console tells
    except ToolFailed as failure:
        said = failure.tail.strip().splitlines() or [failure.why]
        return Probed(Accelerator.TCG, f"/dev/kvm is there, but does not work: {said[0]}")
    text = console.read_text(errors="replace") if console.exists() else ""
    if _REACHED in text:
        return Probed(Accelerator.KVM, "a kernel was booted with it")
    return Probed(
        Accelerator.TCG,
        f"/dev/kvm is there, but no kernel comes up with it within {PROBE_SECONDS:.0f} s",
    )


def console_of(run: Run) -> Path:
    """Where the guest of a run writes, when it is ``booted``."""
    return run.sub("vm") / "console.log"


@contextlib.contextmanager
def booted(
    disk: Path,
    disk_format: Format,
    *,
    run: Run,
    keys: Keys,
    accelerator: Accelerator,
    memory: int,
    cpus: int,
    seconds: float,
    firmware: Firmware = Firmware.BIOS,
) -> Iterator[Guest]:
    """Boot a throw-away overlay of *disk* by its own boot loader; ended when the block is left.

    *disk* is never written to. ``memory`` in bytes; ``seconds`` is how long it may take to greet
    over SSH. Raises GuestUnreachable with the console's tail.
    """
    folder = run.sub("vm")
    console = console_of(run)
    command = [
        system_binary(Architecture.AMD64),
        *("-accel", accelerator.value, *machine_arguments(accelerator)),
        *("-m", f"{memory >> 20}M", "-smp", str(cpus), "-nodefaults", "-display", "none"),
        *("-drive", f"file={in_option(disk)},format={disk_format.value},if=virtio,snapshot=on"),
        # Port 0: the kernel picks a free one, so parallel VMs cannot clash; QMP tells which.
        *("-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        *("-serial", f"file:{console}", "-qmp", "stdio"),
        *credentials(keys, folder),
    ]
    if firmware is Firmware.UEFI:
        command += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}"]
    with process.start(command, stdin=True, env={"TMPDIR": str(run.sub("tmp"))}) as child:
        try:
            port = _forwarded_port(child)
        except (ValueError, BrokenPipeError):
            said = child.stderr.read().decode("utf-8", "replace") if child.stderr else ""
            raise Failed(
                "QEMU did not start", why=said.strip() or "it said nothing", where=str(disk)
            ) from None
        wait_for_ssh(port, console, seconds, lambda: child.poll() is None)
        guest = Guest(port, write_ssh_config(folder, run.sockets, keys, port), console)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(connection(guest))
            except ToolFailed as failure:
                raise GuestUnreachable(
                    failure.what,
                    why=f"{failure.why}: {failure.tail.strip()}",
                    tail=console_tail(console),
                ) from failure
            yield guest


def _forwarded_port(child: process.Child) -> int:
    """Ask QEMU over QMP which port it forwards to the guest's SSH. Raises ValueError."""
    inward, outward = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
    outward.readline()  # the greeting
    _command(inward, outward, {"execute": "qmp_capabilities"})
    answer = _command(
        inward,
        outward,
        {"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}},
    )
    for line in answer.splitlines():
        # TCP[HOST_FORWARD]  12       127.0.0.1 35713       10.0.2.15    22     0     0
        words = line.split()
        if words and words[0].startswith("TCP[HOST_FORWARD]"):
            return int(words[3])
    raise ValueError("no forwarded port")


def _command(inward: IO[bytes], outward: IO[bytes], request: dict[str, object]) -> str:
    inward.write(json.dumps(request).encode() + b"\n")
    inward.flush()
    while True:
        answer = json.loads(outward.readline())
        if "return" in answer:
            return str(answer["return"])
        if "error" in answer:
            raise ValueError(answer["error"])
