"""Disks in the formats that an image is delivered in, from its canonical tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from imagectl.adapters.disk import convert, writer
from imagectl.adapters.toolchain import Toolchain
from imagectl.model.image import Image
from imagectl.model.names import Format
from imagectl.services.ports import CanonicalTree, Progress, Workspace


class LocalDisks:
    """Implements ``services.ports.Disks`` with the tools of the toolchain."""

    def __init__(self, toolchain: Callable[[Progress], Toolchain]) -> None:
        self._toolchain = toolchain

    def write(
        self, image: Image, tree: CanonicalTree, work: Workspace, progress: Progress
    ) -> Mapping[Format, Path]:
        toolchain = self._toolchain(progress)
        raw = writer.write_raw(
            tree,
            image.disk_size,
            work.epoch,
            toolchain,
            work.folder,
            work.folder / "finished.raw",
            progress,
        )
        disks: dict[Format, Path] = {}
        for disk_format in image.formats:
            progress.step(f"converting to {disk_format.value}")
            out = work.folder / f"finished.{disk_format.value}"
            convert.convert(raw.path, disk_format, toolchain, out)
            disks[disk_format] = out
        return disks

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        out = work.folder / "tree.tar.zst"
        convert.compress_tree(tree, self._toolchain(progress), out)
        return out
