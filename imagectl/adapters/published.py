"""The tree that consumers read, on a directory: any web server or file share can serve it.

Promises: documents are written first and the entry last, each atomic, so that a reader finds one
whole state or the next (P7); a tree never goes back to an older generation, nor over to another
catalog. Reading checks every document's digest (P10). The layout is ``formats/published_v1``.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import CannotTell, Conflict, Corrupt, NotFound, Refused
from imagectl.formats.published_v1.layout import ENTRY
from imagectl.formats.published_v1.reading import TreeReader, parse_entry
from imagectl.model.published import PublishedCatalog

if TYPE_CHECKING:
    from imagectl.model.snapshot import Snapshot

KEPT_DOCUMENTS = 10
"""How many states of an image's index and of each channel stay in the tree: a reader that is just
following an older entry must still find what that one names."""

LOCK_SECONDS = 60.0
"""How long to wait for another process that is publishing. That takes seconds at most."""


def open_tree(root: Path) -> TreeReader:
    """The published tree on that directory, for reading."""

    def fetch(path: str) -> bytes:
        try:
            return (root / path).read_bytes()
        except FileNotFoundError:
            if path == ENTRY:
                raise NotFound(
                    f"there is no published catalog in {root}",
                    why=f"{root / ENTRY} is not there",
                    hint="`imagectl build` or `imagectl catalog publish` makes one; "
                    "`--catalog` says where it is",
                ) from None
            raise Corrupt(
                f"{root / path} is missing",
                where=str(root / path),
                why="the published catalog names it",
                hint="`imagectl catalog publish` writes it again",
            ) from None
        except OSError as error:
            raise CannotTell(
                f"the published catalog in {root} cannot be read",
                where=str(root / path),
                why=error.strerror or str(error),
                hint="check that it is mounted, and who may read it",
            ) from error

    return TreeReader(str(root), fetch)


class DirectoryPublisher:
    """``services.ports.Publisher`` on a directory, made when first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def where(self) -> str:
        return str(self._root)

    def publish(self, snapshot: Snapshot) -> None:
        from imagectl.adapters.durable import naming_failures, write
        from imagectl.formats.published_v1.writing import render

        tree = render(snapshot)
        needed = sum(map(len, tree.documents.values()))
        with naming_failures("publishing the catalog", self._root, needed), self._locked():
            shown = self.shown()
            if shown is not None and shown.catalog_id != snapshot.catalog_id:
                raise Refused(
                    f"{self._root} shows another catalog, and is left as it is",
                    reasons=(f"it has catalog {shown.catalog_id}, not {snapshot.catalog_id}",),
                    where=str(self._root / ENTRY),
                    hint="name another folder in `catalog.publish`, or remove this one's content",
                )
            if shown is not None and shown.generation > snapshot.generation:
                return
            # The same generation again: somebody wants it repaired, so every byte is compared.
            repairing = shown is not None and shown.generation == snapshot.generation
            written = []
            for path, data in tree.documents.items():
                final = self._root / path
                if not _is_there(final, data, thoroughly=repairing):
                    write(self._root, final, data)
                    written.append(final)
            if not _is_there(self._root / ENTRY, tree.entry, thoroughly=True):
                write(self._root, self._root / ENTRY, tree.entry)
            _thin_out({final.parent for final in written}, tree.documents, self._root)

    def shown(self) -> PublishedCatalog | None:
        entry = self._root / ENTRY
        try:
            return parse_entry(entry.read_bytes(), str(entry))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CannotTell(
                f"{self._root} cannot be read",
                where=str(entry),
                why=error.strerror or str(error),
                hint="check that it is mounted, and who may read it",
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        from imagectl.adapters.durable import make_folder

        make_folder(self._root)
        try:
            with FileLock(self._root / ".lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise Conflict(
                f"another process has been publishing to {self._root} for {LOCK_SECONDS:g} s",
                where=str(self._root / ".lock"),
                hint="`imagectl catalog publish` once it has ended",
            ) from None


def _is_there(path: Path, data: bytes, *, thoroughly: bool) -> bool:
    try:
        return path.read_bytes() == data if thoroughly else path.stat().st_size == len(data)
    except FileNotFoundError:
        return False


def _thin_out(folders: Iterable[Path], current: Iterable[str], root: Path) -> None:
    """Remove the oldest documents of what has just been written anew: indexes and channels.

    Only derived files under names of ours go; the catalog can always write them again.
    """
    keep = {root / path for path in current}
    for folder in folders:
        states = defaultdict(list)
        for path in folder.glob("*.json"):
            digest, _, name = path.name.partition(".")
            if len(digest) == 64 and name != "json" and path not in keep:
                states[name].append(path)
        for paths in states.values():
            paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
            for path in paths[KEPT_DOCUMENTS - 1 :]:
                path.unlink()
