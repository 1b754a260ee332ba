"""Reading a tree back from its disk and writing it again, against copying the tree with tar."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from support.projects import new_project

from imagectl.adapters.disk import capture, writer
from imagectl.cli.progress import Silent
from imagectl.model.lock import Access
from imagectl.services.ports import CanonicalTree, Conditions


def main() -> None:
    """The scaffold's base: canonicalise what is read back, write the disk, and ``tar | cat``."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        project = new_project(Path(folder))
        progress = Silent()
        (image,) = project.definitions.load([])
        with ExitStack() as stack:
            work = stack.enter_context(project.workspaces(progress).open(image.name, wait=False))
            conditions = Conditions(project.root, Access.RECORD, None)
            equipment = stack.enter_context(
                project.equipper(progress).equip(conditions, work, progress)
            )
            base = equipment.bases.make(image, None, work, progress)
            assert isinstance(base, CanonicalTree)
            toolchain = equipment.session.toolchain
            raw = work.folder / "disk.raw"
            began = time.monotonic()
            writer.write_raw(base, image.disk_size, work.epoch, toolchain, work.folder, raw)
            written = time.monotonic() - began
            began = time.monotonic()
            again = work.folder / "again.tar"
            read = capture.read_back(raw, work.epoch, work.folder, again, initrds=False)
            read_back = time.monotonic() - began
            assert read.sha256 == base.sha256, "what is read back is what was written"
            unpacked = work.sub("unpacked")
            subprocess.run(
                ["tar", "-C", unpacked, "-xf", base.path, "--exclude=dev/*", "--no-same-owner"],
                check=True,
            )
            began = time.monotonic()
            subprocess.run(
                ["sh", "-c", 'tar -C "$0" -c . | cat > "$1"', unpacked, work.folder / "copy.tar"],
                check=True,
            )
            copied = time.monotonic() - began
            print(f"tree                   {base.size / 1e6:6.0f} MB, {base.entries} entries")
    print(f"tar c | cat            {copied:6.1f} s")
    print(f"read back, canonical   {read_back:6.1f} s")
    print(f"write the disk         {written:6.1f} s")
    print(f"ratio                  {(read_back + written) / copied:6.2f}")
