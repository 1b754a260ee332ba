"""A raw disk -> every format that it is delivered in, each read back and found to hold it.

One format after the other, each on as many processors as there are: so the first failure, or
Ctrl-C, ends it at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from imagectl.adapters.disk.blocks import RawDisk
from imagectl.adapters.disk.gce import write_gce
from imagectl.adapters.disk.ova import Machine, write_ova
from imagectl.adapters.disk.qcow2 import write_qcow2
from imagectl.adapters.disk.vmdk import write_vmdk
from imagectl.adapters.toolchain import Toolchain
from imagectl.model.names import DISKS, Format
from imagectl.services.ports.progress import Progress


def write_formats(
    raw: RawDisk,
    formats: Collection[Format],
    machine: Machine,
    epoch: int,
    toolchain: Toolchain,
    folder: Path,
    progress: Progress,
) -> Mapping[Format, Path]:
    """Write *raw* to files in *folder*; ``Format.RAW`` is *raw* itself, as it is.

    ``machine`` is what an OVA describes, ``epoch`` how old its files are. Raises BuildFailed where
    a format cannot hold the disk, ToolFailed, NoSpace, Corrupt.
    """
    vmdk = folder / "finished.vmdk"
    files: dict[Format, Path] = {}
    for each in DISKS:
        if each not in formats and not (each is Format.VMDK and Format.OVA in formats):
            continue
        out = folder / f"finished.{each.value}"
        progress.step(f"writing the {each.value} and reading it back")
        match each:
            case Format.RAW:
                out = raw.path
            case Format.QCOW2:
                write_qcow2(raw.path, toolchain, out)
            case Format.GCE:
                write_gce(raw.path, toolchain, out)
            case Format.VMDK:
                write_vmdk(raw.path, raw.sha256, toolchain, out)
            case Format.OVA:
                write_ova(machine, vmdk, epoch, out)
            case Format.NATIVE:
                raise AssertionError("a description is not a format of a disk")
        files[each] = out
    if Format.VMDK not in formats:
        vmdk.unlink(missing_ok=True)
    return {each: files[each] for each in formats}
