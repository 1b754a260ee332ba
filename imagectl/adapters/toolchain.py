"""The tools that write an image's bytes, in versions of our own choosing.

No tool promises the same bytes in another version (bookworm's mke2fs 1.47.0 does not even give the
same bytes twice), so they run from a small Debian root that is made once and kept: mke2fs, mtools,
mkfs.fat, grub-mkimage, qemu-img, pigz, zstd. It is entered through namespaces, without root rights;
nothing of it needs to be installed on this machine.

A toolchain is known by the digest of its canonical tree, which the same packages give on any
machine and at any time (P9). The tree is in the input store under that digest, as a plain tar: no
tool is needed to unpack the tools.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock

from imagectl.adapters import process
from imagectl.adapters.disk.archive import TarSource
from imagectl.adapters.disk.canonical import write_tree
from imagectl.adapters.disk.rules import Action, Rule
from imagectl.adapters.disk.tree import CanonicalTree
from imagectl.adapters.durable import make_folder
from imagectl.adapters.durable import write as write_durably
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.mmdebstrap import Recipe, Route, make_root
from imagectl.adapters.namespaces import Bind, remove_tree, run_inside
from imagectl.errors import Corrupt, ImagectlError, NotFound, ToolFailed
from imagectl.model.lock import (
    Access,
    Archive,
    Download,
    Index,
    Inputs,
    LockedToolchain,
    Package,
)
from imagectl.model.names import Sha256
from imagectl.services.ports.progress import Progress

if TYPE_CHECKING:
    from imagectl.adapters.inputs.store import InputStore
    from imagectl.adapters.inputs.supply import Supply

RECIPE = Recipe(
    suite="trixie",
    packages=(
        "dosfstools",
        "e2fsprogs",
        "grub-common",
        "libarchive13t64",  # mke2fs loads it to read a tar
        "libeatmydata1",  # mke2fs and others need not wait for this machine's storage
        "mtools",
        "pigz",
        "qemu-utils",
        "zstd",
    ),
)
REVISION = 2
"""Raised when the toolchain is made in another way."""

EPOCH = 0
"""What all its files are clamped to, and SOURCE_DATE_EPOCH while it is made: when that was must
not change it."""

RULES = (
    Rule("var/**", Action.DROP, "what package tools and daemons keep; no tool reads it"),
    Rule("{boot,dev,home,media,mnt,proc,root,run,srv,sys,tmp}/**", Action.DROP, "not of a package"),
    Rule("etc/{apt,dpkg}/**", Action.DROP, "the mirror and settings that it was made with"),
    Rule("etc/{hostname,hosts,machine-id,resolv.conf}", Action.DROP, "of the machine it is on"),
    Rule("etc/{shadow,gshadow,subuid,subgid}", Action.DROP, "nobody logs in"),
    Rule("etc/{passwd,shadow,group,gshadow,subuid,subgid}-", Action.DROP, "a backup copy"),
    Rule("etc/.pwd.lock", Action.DROP, "a lock"),
    Rule("usr/share/{doc,info,locale,man}/**", Action.DROP, "half of its size, read by no tool"),
)

_UNFINISHED = "unfinished-"


class OpenSupply(Protocol):
    """Opens the proxy that downloads go through; see ``inputs.supply.open_supply``."""

    def __call__(
        self,
        *,
        access: Access,
        locked: Inputs,
        mirrors: Mapping[Archive, str],
        folder: Path,
        epoch: int,
    ) -> AbstractContextManager[Supply]: ...


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A finished toolchain: its root on this machine, and what it is."""

    root: Path
    locked: LockedToolchain

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


class Toolchains:
    """The toolchains below *folder*: ``<digest>``, unpacked, with ``<digest>.json`` beside those
    that were made here. Two processes that want one at once make it once."""

    def __init__(
        self,
        folder: Path,
        store: InputStore,
        open_supply: OpenSupply,
        now: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._store = store
        self._open_supply = open_supply
        self._now = now

    def newest(
        self,
        mirrors: Callable[[], Mapping[Archive, str]],
        progress: Progress | None = None,
        *,
        fresh: bool = False,
    ) -> Toolchain:
        """The one that was made last, from Debian as it was then; made now (12 s) where there is
        none by today's recipe, or where it is to be ``fresh``.

        ``mirrors`` are asked only then. Raises what ``mmdebstrap.make_root`` does, BuildFailed.
        """
        with self._alone():
            known = None if fresh else self._remembered()
            if known is not None:
                with contextlib.suppress(NotFound, Corrupt):
                    return self._unpacked(known)
            if progress is not None:
                progress.note("Making the toolchain (once, about 15 s)")
            made = self._make(Access.RECORD, Inputs(), plain(mirrors()), progress)
            self._remember(made)
            return self._unpacked(made)

    def exactly(
        self,
        wanted: LockedToolchain,
        access: Access,
        mirrors: Mapping[Archive, str],
        progress: Progress | None = None,
    ) -> Toolchain:
        """The one that a lock names: unpacked already, or in the input store, or made again from
        the same packages.

        ``mirrors``: any addresses, by which the packages are asked for. Raises Corrupt where it
        does not come out the same, BuildFailed where packages of it are not to be had.
        """
        with self._alone():
            with contextlib.suppress(NotFound, Corrupt):
                return self._unpacked(wanted)
            if progress is not None:
                progress.note("Making the lock's toolchain again (once, about 15 s)")
            again = access if access is Access.OFFLINE else Access.LOCKED
            made = self._make(again, wanted.inputs, _addresses(wanted.inputs, mirrors), progress)
            if made.tree != wanted.tree:
                raise Corrupt(
                    "the toolchain cannot be made again as it was",
                    where="the toolchain of image.lock",
                    why=f"its packages give a tree with the sha256 {made.tree}; {wanted.tree} is "
                    "locked, which another version of imagectl or of mmdebstrap has made",
                    hint="copy the tree from the input store of a machine that has built this "
                    "image; or make another lock: imagectl lock --update",
                )
            return self._unpacked(wanted)

    def has(self, digest: Sha256) -> bool:
        """True where it need not be made. Raises CannotTell."""
        return (self._folder / digest).is_dir() or self._store.has(digest)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        make_folder(self._folder)
        with FileLock(self._folder / "lock"):
            yield

    def _unpacked(self, locked: LockedToolchain) -> Toolchain:
        root = self._folder / locked.tree
        if not root.is_dir():
            # Hashed again: whatever its tools write goes out under our name (P10).
            self._unpack(self._store.verify(locked.tree), root)
        return Toolchain(root, locked)

    def _unpack(self, tree: Path, root: Path) -> None:
        with self._work() as work:
            process.run(
                [
                    "tar",
                    "--extract",
                    f"--file={tree}",
                    f"--directory={work}",
                    "--no-same-owner",
                    "--no-same-permissions",
                ],
                what="unpacking the toolchain",
            )
            work.chmod(0o755)
            work.rename(root)

    def _make(
        self,
        access: Access,
        locked: Inputs,
        mirrors: Mapping[Archive, str],
        progress: Progress | None,
    ) -> LockedToolchain:
        epoch = int(self._now().timestamp())
        with (
            self._work() as work,
            self._open_supply(
                access=access, locked=locked, mirrors=mirrors, folder=work, epoch=epoch
            ) as supply,
        ):
            supply.during("the toolchain")
            try:
                tree = make_tree(
                    Mirror.of(mirrors),
                    work,
                    work / "tree.tar",
                    Route(supply.proxy, supply.authority, access),
                    progress,
                )
            except ImagectlError:
                supply.check()  # the cause, where something was not to be had
                raise
            supply.check()
            self._store.adopt(tree.path)
            return LockedToolchain(RECIPE.suite, tree.sha256, supply.taken())

    @contextlib.contextmanager
    def _work(self) -> Iterator[Path]:
        for left in self._folder.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(OSError, ToolFailed):  # where a killed one is not dead yet
                remove_tree(left)
        work = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder))
        try:
            yield work
        finally:
            remove_tree(work)

    def _remember(self, made: LockedToolchain) -> None:
        text = json.dumps(
            {
                "recipe": recipe_digest(),
                "made": self._now().isoformat(),
                **asdict(made),
            },
            indent=1,
            default=lambda each: each.value,  # an Archive
        )
        write_durably(self._folder, self._folder / f"{made.tree}.json", text.encode())

    def _remembered(self) -> LockedToolchain | None:
        """The latest that was made here by today's recipe."""
        found: list[tuple[datetime, LockedToolchain]] = []
        for manifest in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # made again then
                values = json.loads(manifest.read_bytes())
                if values["recipe"] == recipe_digest():
                    found.append((datetime.fromisoformat(values["made"]), _locked(values)))
        return max(found, key=lambda each: each[0])[1] if found else None


def make_tree(
    mirror: Mirror,
    work: Path,
    out: Path,
    route: Route | None = None,
    progress: Progress | None = None,
) -> CanonicalTree:
    """Write the toolchain's canonical tree to *out*. Errors are those of ``make_root``."""
    raw = work / "root.tar"
    try:
        make_root(
            RECIPE,
            mirror,
            work,
            raw,
            route=route,
            env={"SOURCE_DATE_EPOCH": str(EPOCH)},
            progress=progress,
        )
        with TarSource(raw) as source:
            return write_tree(source, RULES, EPOCH, out)
    finally:
        raw.unlink(missing_ok=True)


def _addresses(inputs: Inputs, known: Mapping[Archive, str]) -> dict[Archive, str]:
    """Where to ask for *inputs*: of the archives that they are of, and of no other. Any address
    will do, since it only stands for its archive."""
    archives = {Archive.DEBIAN, *(each.archive for each in inputs.indexes)}
    return plain(
        {each: known.get(each, f"http://mirror.invalid/{each.value}") for each in archives}
    )


def plain(mirrors: Mapping[Archive, str]) -> dict[Archive, str]:
    """The same addresses by http. mmdebstrap adds ca-certificates to a root whose mirror is asked
    by https, so that its tree would depend on the mirror. What is asked for here goes to our own
    proxy; that asks the mirror as it should."""
    return {each: re.sub("^https:", "http:", url) for each, url in mirrors.items()}


def recipe_digest() -> str:
    """Changes when the toolchain would be made in another way."""
    text = repr((REVISION, RECIPE, RULES))
    return hashlib.sha256(text.encode()).hexdigest()


def _locked(values: Mapping[str, Any]) -> LockedToolchain:
    inputs = values["inputs"]
    return LockedToolchain(
        values["suite"],
        values["tree"],
        Inputs(
            tuple(Index(**_with_archive(each)) for each in inputs["indexes"]),
            tuple(Package(**_with_archive(each)) for each in inputs["packages"]),
            tuple(Download(**each) for each in inputs["downloads"]),
        ),
    )


def _with_archive(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "archive": Archive(values["archive"])}
