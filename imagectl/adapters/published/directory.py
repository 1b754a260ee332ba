"""A published tree on a directory: any web server or file share can serve it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from imagectl.adapters.published.publisher import TreePublisher
from imagectl.adapters.published.signing import Signing
from imagectl.errors import CannotTell, Conflict, NotFound
from imagectl.formats.published_v1.reading import TreeReader
from imagectl.formats.tuf_roles import TIMESTAMP_PATH
from imagectl.model.published import PublishedCatalog

if TYPE_CHECKING:
    from imagectl.adapters.published.verified import VerifiedTree
    from imagectl.model.event import Event
    from imagectl.model.names import LocationName

LOCK_SECONDS = 60.0
"""How long to wait for another process that is publishing. That takes seconds at most."""


class DirectoryPlace:
    """``place.Place`` on a directory, made when first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def where(self) -> str:
        return str(self._root)

    def read(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._root, path, error) from error

    def size(self, path: str) -> int | None:
        try:
            return (self._root / path).stat().st_size
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        from imagectl.adapters.durable import write

        write(self._root, self._root / path, data)

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
            return os.listdir(self._root / folder)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreadable(self._root, folder, error) from error

    def remove(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

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


class DirectoryPublisher(TreePublisher):
    """``services.ports.Publisher`` on a directory."""

    def __init__(
        self,
        root: Path,
        signing: Signing,
        clock: Callable[[], datetime],
        public_urls: Mapping[LocationName, str] = MappingProxyType({}),
        events: Callable[[int], Iterable[Event]] | None = None,
    ) -> None:
        super().__init__(DirectoryPlace(root), signing, clock, public_urls, events)


class DirectoryTree(TreeReader):
    """The published tree on a directory, for reading; *trusted* is the file of the root whose keys
    count. *now*: signatures have to hold then; None: they may be over.

    ``catalog`` reads anew what is shown; all else is of the state that was read last.
    """

    def __init__(self, root: Path, trusted: Path, now: datetime | None = None) -> None:
        super().__init__(
            str(root), _Opened(root, trusted, now), f"file://{quote(str(root.absolute()))}"
        )

    def catalog(self) -> PublishedCatalog:
        assert isinstance(self._targets, _Opened)
        self._targets.again()
        return super().catalog()


class _Opened:
    """``Targets`` of a tree that is opened when something is asked of it."""

    def __init__(self, root: Path, trusted: Path, now: datetime | None) -> None:
        self._root = root
        self._trusted = trusted
        self._now = now
        self._tree: VerifiedTree | None = None

    def again(self) -> None:
        self._tree = self._open()

    def find(self, target: str) -> tuple[bytes, str] | None:
        return self._opened().find(target)

    def names(self, role: str) -> Collection[str]:
        return self._opened().names(role)

    def roles(self) -> Collection[str]:
        return self._opened().roles()

    def fetch(self, path: str) -> bytes:
        return self._opened().fetch(path)

    def _opened(self) -> VerifiedTree:
        if self._tree is None:
            self._tree = self._open()
        return self._tree

    def _open(self) -> VerifiedTree:
        from imagectl.adapters.published.verified import VerifiedTree, trusted_root

        place = DirectoryPlace(self._root)
        timestamp = place.read(TIMESTAMP_PATH)
        if timestamp is None:
            raise NotFound(
                f"there is no published catalog in {self._root}",
                why=f"{self._root / TIMESTAMP_PATH} is not there",
                hint="`imagectl build` or `imagectl catalog publish` makes one; `--catalog` says "
                "where it is",
            )
        try:
            data = self._trusted.read_bytes()
        except OSError as error:
            raise CannotTell(
                f"it is not known whose signatures count in {self._root}",
                where=str(self._trusted),
                why=error.strerror or str(error),
                hint="bring that file back from git: it is in the project, as catalog/root.json",
            ) from error
        root = trusted_root(data, str(self._trusted))
        return VerifiedTree(str(self._root), place.read, root, timestamp, self._now)


def _unreadable(root: Path, path: str, error: OSError) -> CannotTell:
    return CannotTell(
        f"the published catalog in {root} cannot be read",
        where=str(root / path),
        why=error.strerror or str(error),
        hint="check that it is mounted, and who may read it",
    )
