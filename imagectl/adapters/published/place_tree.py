"""Reads a published tree where it was written: what a project asks of its own trees."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import CannotTell, NotFound
from imagectl.formats.published_v1.reading import TreeReader
from imagectl.formats.tuf_roles import TIMESTAMP_PATH
from imagectl.model.published import PublishedCatalog

if TYPE_CHECKING:
    from imagectl.adapters.published.place import Place
    from imagectl.adapters.published.verified import VerifiedTree


class PlaceTree(TreeReader):
    """The published tree on a place; *trusted* is the file of the root whose keys count. *now*:
    signatures have to hold then; None: they may be over.

    ``catalog`` reads anew what is shown; all else is of the state that was read last.
    """

    def __init__(self, place: Place, trusted: Path, now: datetime | None = None) -> None:
        super().__init__(place.where, _Opened(place, trusted, now), place.url)

    def catalog(self) -> PublishedCatalog:
        assert isinstance(self._targets, _Opened)
        self._targets.again()
        return super().catalog()


class _Opened:
    """``Targets`` of a tree that is opened when something is asked of it."""

    def __init__(self, place: Place, trusted: Path, now: datetime | None) -> None:
        self._place = place
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

    def waits(self, role: str) -> bool:
        return self._opened().waits(role)

    def fetch(self, path: str) -> bytes:
        return self._opened().fetch(path)

    def _opened(self) -> VerifiedTree:
        if self._tree is None:
            self._tree = self._open()
        return self._tree

    def _open(self) -> VerifiedTree:
        from imagectl.adapters.published.verified import VerifiedTree, trusted_root

        where = self._place.where
        timestamp = self._place.read(TIMESTAMP_PATH)
        if timestamp is None:
            raise NotFound(
                f"there is no published catalog in {where}",
                why=f"{where}/{TIMESTAMP_PATH} is not there",
                hint="`imagectl build` or `imagectl catalog publish` makes one; `--catalog` says "
                "where it is",
            )
        try:
            data = self._trusted.read_bytes()
        except OSError as error:
            raise CannotTell(
                f"it is not known whose signatures count in {where}",
                where=str(self._trusted),
                why=error.strerror or str(error),
                hint="bring that file back from git: it is in the project, as catalog/root.json",
            ) from error
        root = trusted_root(data, str(self._trusted))
        return VerifiedTree(where, self._place.read, root, timestamp, self._now)
