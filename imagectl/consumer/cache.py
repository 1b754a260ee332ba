"""What a consumer keeps of a catalog between runs, so that nobody can set it back (P10).

Promises: a file is there whole, durable and under its name, or not at all, also after a power cut
(P7); one process at a time changes it, others wait; what is read from it is checked as if it came
from the network. A cache may be thrown away at any time: then only the protection against being
shown an older state is gone until the next run.

::

    metadata/            what signed lists were seen last (python-tuf's own layout)
    documents/AB/HASH    documents by digest
    state.json           when the catalog was last reached, and the ETag of its timestamp
    lock
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imagectl.errors import CannotTell, Failed
from imagectl.model.names import Sha256

LOCK_SECONDS = 120.0
"""How long to wait for another process that is fetching the same catalog."""

KEPT = timedelta(days=90)
"""For how long a document stays that nobody has read."""

_PARTIAL = ".partial-"


def cache_folder(url: str, environment: Mapping[str, str]) -> Path:
    """Where the cache of the catalog at that address is, unless somebody says otherwise.

    ``IMAGECTL_CACHE`` names the folder of all caches; without it, it is in that of the user's.
    """
    named = environment.get("IMAGECTL_CACHE")
    if named:
        folder = Path(named)
    else:
        home = environment.get("XDG_CACHE_HOME") or str(
            Path(environment.get("HOME", "/")) / ".cache"
        )
        folder = Path(home) / "imagectl"
    return folder / hashlib.sha256(url.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class State:
    """``refreshed``: when the catalog was last reached and verified. ``etag`` is that of the
    timestamp whose bytes have the digest ``timestamp``."""

    url: str
    refreshed: datetime
    etag: str | None
    timestamp: Sha256 | None


class Cache:
    """The folder of one catalog. Raises Failed where it cannot be written.

    *documents*: whether they are kept, too, for when the catalog cannot be reached.
    """

    def __init__(self, folder: Path, *, documents: bool = True) -> None:
        self.folder = folder
        self.documents = documents
        self.metadata = folder / "metadata"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the cache. Raises CannotTell where another process does not let go."""
        from filelock import FileLock, Timeout

        with self._naming_failures(), contextlib.ExitStack() as stack:
            self.metadata.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = FileLock(self.folder / "lock", timeout=LOCK_SECONDS)
            try:
                stack.enter_context(lock)
            except Timeout:
                raise CannotTell(
                    f"another process has been fetching this catalog for {LOCK_SECONDS:g} s",
                    where=str(self.folder / "lock"),
                    hint="type the command again once it has ended",
                ) from None
            yield

    def document(self, digest: Sha256) -> bytes | None:
        """The document with that digest, if it is here and whole."""
        path = self._document(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # also where another process has just thinned it out
            os.utime(path)
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def keep(self, digest: Sha256, data: bytes) -> None:
        """Keep a document that was checked. Only while locked."""
        path = self._document(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)

    def state(self) -> State | None:
        """None where nothing was reached yet, or that is not known any more."""
        try:
            content = json.loads((self.folder / "state.json").read_bytes())
            refreshed = datetime.fromisoformat(content["refreshed"])
            if refreshed.tzinfo is None:
                return None
            return State(content["url"], refreshed, content["etag"], content["timestamp"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def note(self, state: State) -> None:
        """Remember that. Only while locked."""
        content = {
            "url": state.url,
            "refreshed": state.refreshed.astimezone(UTC).isoformat(),
            "etag": state.etag,
            "timestamp": state.timestamp,
        }
        write(self.folder / "state.json", json.dumps(content).encode())

    def thin_out(self, now: datetime) -> None:
        """Remove what a killed process left, and documents from long ago. Only while locked."""
        for path in (*self.folder.rglob(f"{_PARTIAL}*"),):
            path.unlink(missing_ok=True)
        oldest = (now - KEPT).timestamp()
        for path in (self.folder / "documents").glob("??/*"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _document(self, digest: Sha256) -> Path:
        return self.folder / "documents" / digest[:2] / digest

    @contextlib.contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Failed(
                "what was fetched of the catalog cannot be kept",
                where=str(error.filename or self.folder),
                why=error.strerror or str(error),
                hint="export IMAGECTL_CACHE=DIR, a folder that can be written",
            ) from error


def write(path: Path, data: bytes) -> None:
    """Replace the file, durable on return. What is there with these bytes is left as it is."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return
    fd, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
