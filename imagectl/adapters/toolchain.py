"""The tools that write an image's bytes, in versions of our own choosing.

No tool promises the same bytes in another version (bookworm's mke2fs 1.47.0 does not even give the
same bytes twice), so they run from a small Debian root that is made once and kept: mke2fs, mtools,
mkfs.fat, grub-mkimage, qemu-img, pigz, zstd. It is entered through namespaces, without root rights;
nothing of it needs to be installed on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from imagectl.adapters import process
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.mmdebstrap import Recipe, make_root
from imagectl.adapters.namespaces import Bind, remove_tree, run_inside
from imagectl.errors import ToolFailed
from imagectl.model.names import Sha256
from imagectl.services.ports import Progress

RECIPE = Recipe(
    suite="trixie",
    packages=(
        "dosfstools",
        "e2fsprogs",
        "grub-common",
        "libarchive13t64",  # mke2fs loads it to read a tar
        "mtools",
        "pigz",
        "qemu-utils",
        "zstd",
    ),
)
_UNFINISHED = "unfinished-"
REVISION = 1
"""Raised when the toolchain is made in another way."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A finished toolchain. ``digest`` covers the exact version of each package in it."""

    root: Path
    digest: Sha256

    def run(
        self,
        args: Sequence[str],
        *,
        binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        input: bytes | Iterable[bytes] | None = None,
        what: str = "",
        check: bool = True,
    ) -> process.Completed:
        """Run one of its tools; the host's files it may use are *binds*, below ``/mnt``."""
        return run_inside(
            self.root, args, binds=binds, env=env, input=input, what=what, check=check
        )


def make_toolchain(mirror: Mirror, cache: Path, progress: Progress | None = None) -> Toolchain:
    """The toolchain below the folder *cache*, made there (12 s) where it is not yet.

    Two processes that want it at once make it once. Errors are those of ``mmdebstrap.make_root``.
    """
    folder = cache / recipe_digest()[:32]
    root = folder / "root"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if not root.is_dir():
            if progress is not None:
                progress.note("Making the toolchain (once, about 15 s)")
            _make(mirror, cache, folder, progress)
    return Toolchain(root, packages_digest(root))


def _make(mirror: Mirror, cache: Path, folder: Path, progress: Progress | None) -> None:
    for left in cache.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError, ToolFailed):  # where a killed one is not dead yet
            remove_tree(left)
    work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=cache))
    try:
        make_root(RECIPE, mirror, work, work / "root.tar", progress=progress)
        fresh = work / "fresh"
        (fresh / "root").mkdir(parents=True)
        process.run(
            [
                "tar",
                "--extract",
                f"--file={work / 'root.tar'}",
                f"--directory={fresh / 'root'}",
                "--no-same-owner",
                "--no-same-permissions",
                "--exclude=./dev/*",
            ],
            what="unpacking the toolchain",
        )
        remove_tree(folder)
        os.rename(fresh, folder)
    finally:
        remove_tree(work)


def recipe_digest() -> str:
    """Changes when the toolchain would be made in another way."""
    text = f"{REVISION} {RECIPE.suite} {' '.join(RECIPE.packages)}"
    return hashlib.sha256(text.encode()).hexdigest()


def packages_digest(root: Path) -> Sha256:
    """A digest over the packages of a Debian root with their versions."""
    versions = []
    for stanza in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.splitlines()
            if line.startswith(("Package: ", "Version: ", "Architecture: "))
        )
        if fields:
            versions.append(f"{fields['Package']} {fields['Version']} {fields['Architecture']}")
    return Sha256(hashlib.sha256("\n".join(sorted(versions)).encode()).hexdigest())
