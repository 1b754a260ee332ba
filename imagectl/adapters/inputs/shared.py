"""The stores that a team shares: a folder, such as on a network file system, or a bucket.

A name is the digest, as in the input store itself; it is created once and never replaced. Whoever
takes something from here hashes it, so nothing here needs to be trusted (P10).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.content import ContentFolder, relative
from imagectl.adapters.inputs.store import InputStore, Shared
from imagectl.errors import CannotTell, Corrupt, ImagectlError, NotFound, ToolMissing
from imagectl.model.names import Sha256
from imagectl.model.place import Bucket
from imagectl.model.project import InputSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK = 1 << 20

WHOLE = 64 << 20
"""Bytes up to which a file is put into a bucket in one request, which a bucket can refuse where the
name exists. It is in memory meanwhile."""


def open_store(root: Path, settings: InputSettings) -> InputStore:
    """The input store of the project at *root*."""
    shared: Shared | None = None
    if isinstance(settings.shared, Bucket):
        shared = SharedBucket(settings.shared)
    elif settings.shared is not None:
        shared = SharedFolder(root / settings.shared)
    return InputStore(root / settings.path, shared)


class SharedFolder:
    """A folder that is there already: one that is not is one that is not mounted (P3)."""

    def __init__(self, root: Path) -> None:
        self.what = f"the shared input store {root}"
        self._root = root
        self._files = ContentFolder(root, self.what)

    def has(self, sha256: Sha256) -> bool:
        self._require_folder()
        try:
            self._files.find(sha256)
        except NotFound:
            return False
        return True

    def fetch(self, sha256: Sha256, write: Callable[[bytes], None]) -> bool:
        self._require_folder()
        try:
            path = self._files.find(sha256)
            file = path.open("rb")
        except NotFound:
            return False
        except OSError as error:
            raise self._unreadable(error) from error
        with file:
            while data := self._read(file.read):
                write(data)
        return True

    def put(self, sha256: Sha256, source: Path) -> None:
        if not self.has(sha256):
            try:
                self._files.add(source, sha256)
            except Corrupt:
                if not self.has(sha256):  # else somebody was faster, and damaged it since
                    raise

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(CHUNK)
        except OSError as error:
            raise self._unreadable(error) from error

    def _require_folder(self) -> None:
        if not self._root.is_dir():
            raise CannotTell(
                f"{self.what} is not there",
                where=str(self._root),
                why="it is not mounted, or was never made",
                hint=f"mount it; or, where it is new, `mkdir -p {self._root}`",
            )

    def _unreadable(self, error: OSError) -> CannotTell:
        return CannotTell(
            f"{self.what} cannot be read",
            where=str(error.filename or self._root),
            why=error.strerror or str(error),
            hint="check that it is mounted, and who may read it",
        )


class SharedBucket:
    """A bucket. Credentials, region and endpoint are those of the environment, in the words of the
    provider's own tools: ``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, ..."""

    def __init__(self, bucket: Bucket) -> None:
        self.what = f"the shared input store {bucket}"
        self._bucket = bucket
        self._opened: ObjectStore | None = None
        self._lock = threading.Lock()
        self._one_large = threading.Lock()

    def has(self, sha256: Sha256) -> bool:
        with self._naming_failures():
            import obstore

            try:
                obstore.head(self._store(), relative(sha256))
            except FileNotFoundError:
                return False
            return True

    def fetch(self, sha256: Sha256, write: Callable[[bytes], None]) -> bool:
        with self._naming_failures():
            import obstore

            try:
                found = obstore.get(self._store(), relative(sha256))
            except FileNotFoundError:
                return False
            for piece in found.stream(min_chunk_size=CHUNK):
                write(bytes(piece))
            return True

    def put(self, sha256: Sha256, source: Path) -> None:
        if self.has(sha256):
            return
        large = source.stat().st_size > WHOLE
        with self._naming_failures(), self._one_large if large else contextlib.nullcontext():
            import obstore
            from obstore.exceptions import AlreadyExistsError

            if large:  # in parts; whoever was faster has put the same bytes there
                obstore.put(self._store(), relative(sha256), source, use_multipart=True)
                return
            with contextlib.suppress(AlreadyExistsError):
                obstore.put(self._store(), relative(sha256), source, mode="create")

    def _store(self) -> ObjectStore:
        from obstore.store import from_url

        with self._lock:
            if self._opened is None:
                self._opened = from_url(
                    str(self._bucket),
                    retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
                )
            return self._opened

    @contextlib.contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            from obstore.exceptions import BaseError
        except ModuleNotFoundError as error:
            raise ToolMissing(
                "shared input stores in buckets need the package obstore",
                where=str(self._bucket),
                hint="pip install obstore",
            ) from error
        try:
            yield
        except ImagectlError:
            raise
        except (BaseError, OSError) as error:
            raise CannotTell(
                f"{self.what} cannot be used",
                where=str(self._bucket),
                why=str(error).partition("\n")[0],
                hint="check the network, the bucket's name, and the credentials in the environment",
            ) from error
