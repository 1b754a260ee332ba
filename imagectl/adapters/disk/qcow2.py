"""QEMU's own form of a disk, written by the toolchain's qemu-img: the same bytes always."""

from __future__ import annotations

from pathlib import Path

from imagectl.adapters.disk.files import stored_size, whole_file
from imagectl.adapters.namespaces import Bind
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import Corrupt


def write_qcow2(raw: Path, toolchain: Toolchain, out: Path) -> None:
    """Write the disk *raw* to *out* and compare. Raises ToolFailed, NoSpace, Corrupt."""
    with whole_file(out, need=stored_size(raw)) as unfinished:
        # Without -W: it writes clusters as they get ready, each time in another order.
        toolchain.run(
            [
                *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c"),
                *("-o", "compression_type=zstd"),
                *("/mnt/disk.raw", f"/mnt/out/{unfinished.name}"),
            ],
            binds=[Bind(raw, "disk.raw"), Bind(out.parent, "out")],
            what="converting the disk to qcow2",
        )
        compare(raw, unfinished, "qcow2", toolchain)


def compare(raw: Path, written: Path, qemu_format: str, toolchain: Toolchain) -> None:
    """Raise Corrupt unless QEMU reads in *written* the disk that *raw* is, in length too."""
    compared = toolchain.run(
        [
            *("qemu-img", "compare", "-f", "raw", "-F", qemu_format),
            *("/mnt/disk.raw", "/mnt/written"),
        ],
        binds=[Bind(raw, "disk.raw"), Bind(written, "written")],
        what=f"reading the {qemu_format} back",
        check=False,
    )
    # A disk with another length but zeros in what is more only gets a warning.
    if compared.status == 0 and "Warning" not in compared.tail:
        return
    why = compared.tail.strip()
    raise Corrupt(
        f"the {qemu_format} that was just written does not hold the disk that it was written from",
        where=str(written),
        why=why,
        hint="the memory or the storage of this machine may be faulty; build again",
    )
