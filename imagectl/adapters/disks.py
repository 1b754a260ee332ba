"""Disks in the formats that an image is delivered in, from its canonical tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from imagectl.adapters.disk import convert, writer
from imagectl.adapters.toolchain import Toolchain
from imagectl.model.image import Image
from imagectl.model.names import Format, Sha256
from imagectl.services.ports import CanonicalTree, Finished, Progress, Workspace, Written


class LocalDisks:
    """Implements ``services.ports.Disks`` with the tools of the toolchain."""

    def __init__(self, toolchain: Callable[[Progress], Toolchain]) -> None:
        self._toolchain = toolchain

    def write(
        self, image: Image, finished: Finished, work: Workspace, progress: Progress
    ) -> Written:
        assert isinstance(finished, CanonicalTree)  # no base gives anything else yet
        toolchain = self._toolchain(progress)
        raw = writer.write_raw(
            finished,
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
        first = image.formats[0]
        return Written(raw.sha256, disks, (disks[first], first))

    def compress(self, tree: CanonicalTree, work: Workspace, progress: Progress) -> Path:
        out = work.folder / "tree.tar.zst"
        convert.compress_tree(tree, self._toolchain(progress), out)
        return out

    def expand(self, stored: Path, sha256: Sha256, out: Path, progress: Progress) -> CanonicalTree:
        return convert.expand_tree(stored, sha256, self._toolchain(progress), out)
