"""Reading a tree back from its disk and writing it again, and the formats, against plain tools.

In memory, too: the peak of our process together with that of the largest program that it runs.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from support.children import Child, Say

from benchmarks.trees import Ground, crowded, ground, larger
from imagectl.adapters.disk import capture, gce, qcow2, vmdk, writer
from imagectl.adapters.disk.blocks import describe_raw
from imagectl.services.ports.building import CanonicalTree

SIZE = 840_000_000
"""Bytes of content of the tree: with its headers, 850 MB."""
DISK = 4 << 30
LARGE_DISK = 40 << 30
CROWD, LINKS = 1_000_000, 10_000
ROUNDS = 5


def main() -> None:
    """A tree of 850 MB: canonicalise what is read back, write the disk, export it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, ground(Path(folder)) as on:
        tree = larger(on, SIZE)
        print(f"tree                   {tree.size / 1e6:6.0f} MB, {tree.entries} entries")
        there_and_back(on, tree)
        exports(on)


def large() -> None:
    """The same for a disk of 40 GiB, and for a tree of a million files."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, ground(Path(folder)) as on:
        for size in (DISK, LARGE_DISK):
            print(f"a disk of {size >> 30} GiB")
            once(on, on.base, size)
        tree = crowded(on, CROWD, LINKS)
        print(f"a tree of {tree.entries} entries, {LINKS} of them one file")
        once(on, tree, LARGE_DISK)


def there_and_back(on: Ground, tree: CanonicalTree) -> None:
    """``ROUNDS`` times each, in turn, the best of each: the machine may have other work."""
    folder = on.work.folder
    raw, again, copy = folder / "disk.raw", folder / "again.tar", folder / "copy.tar"
    unpacked = on.work.sub("unpacked")
    subprocess.run(
        ["tar", "-C", unpacked, "-xf", tree.path, "--exclude=dev/*", "--no-same-owner"], check=True
    )

    def copy_with_tar() -> None:
        subprocess.run(["sh", "-c", 'tar -C "$0" -c . | cat > "$1"', unpacked, copy], check=True)

    def write() -> None:
        writer.write_raw(tree, DISK, on.work.epoch, on.toolchain, folder, raw)

    def read() -> None:
        found = capture.read_back(raw, on.work.epoch, folder, again, initrds=False)
        assert found.sha256 == tree.sha256, "what is read back is what was written"

    copied, written, back = [], [], []
    for _ in range(ROUNDS):
        for path in (copy, raw, again):
            path.unlink(missing_ok=True)
        copied.append(seconds(copy_with_tar))
        written.append(seconds(write))
        back.append(seconds(read))
    ratio = (min(written) + min(back)) / min(copied)
    print(f"tar c | cat            {min(copied):6.1f} s")
    print(f"write the disk         {min(written):6.1f} s  {peak(write):4.0f} MB")
    print(f"read back, canonical   {min(back):6.1f} s  {peak(read):4.0f} MB")
    print(f"ratio                  {ratio:6.2f}")
    again.unlink()
    copy.unlink()


def exports(on: Ground) -> None:
    """Each format of the disk that ``there_and_back`` has left, each read back."""
    folder = on.work.folder
    raw = folder / "disk.raw"
    ours: list[float] = []
    tars: list[float] = []

    def with_tar() -> None:
        subprocess.run(
            ["tar", "-C", str(folder), "-Sczf", str(folder / "disk.tar.gz"), "disk.raw"], check=True
        )

    def with_us() -> None:
        gce.write_gce(raw, on.toolchain, folder / "disk.gce")

    for _ in range(ROUNDS):
        tars.append(seconds(with_tar))
        ours.append(seconds(with_us))
    hashed = seconds(lambda: describe_raw(raw))
    digest = describe_raw(raw).sha256
    print(f"hash the disk          {hashed:6.1f} s")
    print(f"tar -Sczf              {min(tars):6.1f} s")
    print(f"gce                    {min(ours):6.1f} s  {peak(with_us):4.0f} MB")
    print(f"ratio                  {min(ours) / min(tars):6.2f}")

    def to_vmdk() -> None:
        vmdk.write_vmdk(raw, digest, on.toolchain, folder / "disk.vmdk")

    def to_qcow2() -> None:
        qcow2.write_qcow2(raw, on.toolchain, folder / "disk.qcow2")

    for name, write in (("vmdk", to_vmdk), ("qcow2", to_qcow2)):
        print(f"{name:22} {seconds(write):6.1f} s  {peak(write):4.0f} MB")


def once(on: Ground, tree: CanonicalTree, size: int) -> None:
    """Write, read back and export once, for the memory that each takes."""
    folder = on.work.folder
    raw, again = folder / "disk.raw", folder / "again.tar"

    def write() -> None:
        writer.write_raw(tree, size, on.work.epoch, on.toolchain, folder, raw)

    def read() -> None:
        found = capture.read_back(raw, on.work.epoch, folder, again, initrds=False)
        assert found.sha256 == tree.sha256, "what is read back is what was written"

    def export() -> None:
        gce.write_gce(raw, on.toolchain, folder / "disk.gce")
        vmdk.write_vmdk(raw, tree.sha256, on.toolchain, folder / "disk.vmdk")
        qcow2.write_qcow2(raw, on.toolchain, folder / "disk.qcow2")

    for name, work in (("write", write), ("read back", read), ("gce, vmdk, qcow2", export)):
        began = time.monotonic()
        memory = peak(work)
        print(f"  {name:20} {time.monotonic() - began:6.1f} s  {memory:4.0f} MB")
    raw.unlink()
    again.unlink()


def seconds(work: Callable[[], object]) -> float:
    """How long *work* takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def peak(work: Callable[[], object]) -> float:
    """The most memory that *work* takes, in MB: of a process of its own, and of the largest program
    that this runs, together."""

    def measure(say: Say) -> None:
        work()
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        say(str(ours + theirs))

    (said,) = Child(measure).end()
    return int(said) * 1024 / 1e6
