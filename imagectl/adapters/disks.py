"""Disks in the formats that an image is delivered in, from its canonical tree or its own disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagectl.adapters.disk import convert, writer
from imagectl.adapters.disk.blocks import describe_raw
from imagectl.adapters.disk.deliver import write_formats
from imagectl.adapters.disk.ova import Machine
from imagectl.adapters.toolchain import Toolchain
from imagectl.model.image import Image
from imagectl.model.names import Format, Sha256, bootable_format
from imagectl.services.ports.building import CanonicalTree, Finished, Written
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace


class LocalDisks:
    """Implements ``services.ports.Disks`` with the tools of the toolchain."""

    def __init__(self, toolchain: Callable[[Progress], Toolchain]) -> None:
        self._toolchain = toolchain

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        toolchain = self._toolchain(progress)
        path = finished.path
        if isinstance(finished, CanonicalTree):
            path = work.folder / "finished.raw"
            writer.write_raw(
                finished, image.disk_size, work.epoch, toolchain, work.folder, path, progress
            )
        progress.step("hashing the disk")
        raw = describe_raw(path)
        machine = Machine(image.name, image.summary, image.test_memory, image.build_cpus, raw.size)
        files = write_formats(
            raw, image.formats, machine, work.epoch, toolchain, work.folder, progress
        )
        bootable = bootable_format(files)
        if bootable is None:
            return Written(raw.sha256, files, (raw.path, Format.RAW))
        if bootable is not Format.RAW and Format.RAW not in files:
            raw.path.unlink()
        return Written(raw.sha256, files, (files[bootable], bootable))

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        out = work.folder / "tree.tar.zst"
        convert.compress_tree(tree, self._toolchain(progress), out)
        return out

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        return convert.expand_tree(stored, sha256, self._toolchain(progress), out)
