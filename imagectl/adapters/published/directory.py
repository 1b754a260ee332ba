"""A published tree on a directory: any web server or file share can serve it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from imagectl.adapters.published.place_tree import PlaceTree
from imagectl.errors import CannotTell, Conflict, Corrupt

LOCK_SECONDS = 60.0
"""How long to wait for another process that is publishing. That takes seconds at most."""


class DirectoryPlace:
    """``place.Place`` on a directory, made when first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def where(self) -> str:
        return str(self._root)

    @property
    def url(self) -> str:
        return f"file://{quote(str(self._root.absolute()))}"

    def _at(self, path: str) -> Path:
        """The file; whatever metadata names, it is one below the tree."""
        if path.startswith("/") or ".." in path.split("/"):
            raise Corrupt(
                f"{path} is named in {self._root}, and would be a file outside of it",
                where=str(self._root),
                why="somebody else has written files there",
                hint="see who may write to it",
            )
        return self._root / path

    def read(self, path: str) -> bytes | None:
        try:
            return self._at(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._root, path, error) from error

    def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        found = {}
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                found[path] = self._at(path).stat().st_size
        return found

    def write(self, path: str, data: bytes) -> None:
        from imagectl.adapters.durable import write

        write(self._root, self._at(path), data)

    def claim(self, path: str, data: bytes) -> None:
        # Nobody else is here: what has the name is what a killed process has left.
        self.write(path, data)

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        # Whoever else writes here holds the lock: a file system has no better.
        if self.read(path) != before:
            raise Conflict(
                f"{self._root / path} was replaced meanwhile",
                where=str(self._root / path),
                hint="`imagectl catalog publish`",
            )
        self.write(path, data)

    def names(self, folder: str) -> Collection[str]:
        try:
            return os.listdir(self._at(folder))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(self._root, folder, error) from error

    def remove(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)

    def thinning(self, surplus: int) -> contextlib.AbstractContextManager[bool]:
        return contextlib.nullcontext(True)

    def settled(self) -> None:
        pass  # whoever removes files holds the lock

    @contextlib.contextmanager
    def locked(self, needed: int) -> Iterator[None]:
        from filelock import FileLock, Timeout

        from imagectl.adapters.durable import make_folder, naming_failures

        with naming_failures("publishing the catalog", self._root, needed):
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


class DirectoryTree(PlaceTree):
    """The published tree on a directory, for reading; *trusted* is the file of the root whose keys
    count. *now*: signatures have to hold then; None: they may be over."""

    def __init__(self, root: Path, trusted: Path, now: datetime | None = None) -> None:
        super().__init__(DirectoryPlace(root), trusted, now)


def _unreadable(root: Path, path: str, error: OSError) -> CannotTell:
    return CannotTell(
        f"the published catalog in {root} cannot be read",
        where=str(root / path),
        why=error.strerror or str(error),
        hint="check that it is mounted, and who may read it",
    )
