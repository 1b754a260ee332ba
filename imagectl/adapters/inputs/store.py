"""The input store: what builds were made from, by digest.

Promises: a final name only ever holds the bytes that it names, whole, durable (P7); any number of
builds may use one store at once; nothing is ever deleted. A file whose bytes have changed is moved
aside, into ``.damaged``, never handed out, and never destroyed.

A shared store may be behind the folder, for a team: what is missing here is taken from there and
verified by its digest (P10), what is new here is put there too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from imagectl.adapters.content import READ_ONLY, ContentFolder
from imagectl.adapters.durable import Partial, make_folder, naming_failures, partial, sync_folder
from imagectl.errors import CannotTell, Corrupt, NotFound
from imagectl.model.names import BadName, Sha256, parse_sha256

EMPTY = Sha256(hashlib.sha256().hexdigest())
"""The digest of nothing, which no store needs to keep."""

DAMAGED = ".damaged"

AT_ONCE = 8
"""How many questions a shared store is asked at a time."""


class Shared(Protocol):
    """A store behind the folder, on another disk or in a bucket.

    Each method raises CannotTell where it cannot be reached or read.
    """

    @property
    def what(self) -> str:
        """How messages call it."""
        ...

    def has(self, sha256: Sha256) -> bool:
        """Whether there is a file of that name. Its bytes are not looked at."""
        ...

    def fetch(self, sha256: Sha256, write: Callable[[bytes], None]) -> bool:
        """Hand its bytes to *write*, piece by piece. False, and nothing written, if absent."""
        ...

    def put(self, sha256: Sha256, source: Path) -> None:
        """Keep a copy of *source*, which is what its digest says, unless there is a file of that
        name; that one is never replaced. Atomic."""
        ...


class Incoming:
    """A file on its way into a store. It has no name before ``keep``."""

    def __init__(self, store: InputStore, file: Partial) -> None:
        self._store = store
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append. Raises NoSpace, Failed."""
        with self._store.naming_failures(len(data)):
            self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> Sha256:
        """Of what has been written so far."""
        return Sha256(self._digest.hexdigest())

    def keep(self) -> Sha256:
        """Give it its name in the store, durable on return; ``share`` gives it to others.
        Idempotent. Its digest."""
        self._store.name_file(self._file, self.sha256)
        return self.sha256


class InputStore:
    """The files below *root*, which is made when first needed, and *shared* behind them."""

    def __init__(self, root: Path, shared: Shared | None = None) -> None:
        self.root = root
        self.shared = shared
        self._files = ContentFolder(root, "the input store")

    def add(self, source: Path, expected: Sha256 | None = None) -> Sha256:
        """Keep a copy of *source*; idempotent. Its digest. Raises Corrupt where it is not
        ``expected``, NoSpace, Failed."""
        return self._keep(lambda: self._files.add(source, expected), source)

    def adopt(self, source: Path) -> Sha256:
        """Keep *source* itself and give up its old name: for a finished file that nobody writes to
        any more. Its digest."""
        return self._keep(lambda: self._files.adopt(source), source)

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """A new file to be written and kept; removed when the block is left without ``keep``, and,
        where this process is killed before, by the next writer (P7)."""
        with contextlib.ExitStack() as stack:
            with self.naming_failures():
                file = stack.enter_context(partial(self.root))
            yield Incoming(self, file)

    def name_file(self, file: Partial, sha256: Sha256) -> None:
        """What ``Incoming.keep`` does."""
        try:
            self._files.check(sha256)
        except NotFound:
            pass
        except Corrupt:
            self.set_aside(sha256)
        else:
            return
        with self.naming_failures():
            file.keep(self._files.path(sha256), READ_ONLY)

    def has(self, sha256: Sha256) -> bool:
        """Whether there is a file of that name, here or in the shared store. CannotTell."""
        if self._has_here(sha256):
            return True
        return self.shared is not None and self.shared.has(sha256)

    def missing(self, digests: Collection[Sha256]) -> frozenset[Sha256]:
        """Those that neither this store nor the shared one has. CannotTell."""
        away = [each for each in digests if each != EMPTY and not self._has_here(each)]
        if self.shared is None or not away:
            return frozenset(away)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(self.shared.has, away)
            return frozenset(each for each, there in zip(away, found, strict=True) if not there)

    def find(self, sha256: Sha256) -> Path:
        """Where the file is, brought here from the shared store where necessary.

        A file that is here already is not hashed again: ``verify`` does that. Raises NotFound,
        Corrupt where the shared one is not what its name says, CannotTell.
        """
        try:
            return self._files.find(sha256)
        except NotFound:
            if self.shared is None or not self._bring(sha256, self.shared):
                raise
        return self._files.find(sha256)

    def verify(self, sha256: Sha256) -> Path:
        """Like ``find``, after hashing it again. Raises NotFound, Corrupt, CannotTell."""
        self.find(sha256)
        return self._files.check(sha256)

    def check(self, sha256: Sha256) -> Path:
        """Hash the file that is here again. Raises NotFound, Corrupt, CannotTell."""
        return self._files.check(sha256)

    def set_aside(self, sha256: Sha256) -> Path | None:
        """Move a file whose bytes are not what its name says out of the way.

        Its new path; None where it is sound after all, or gone, since another process was faster.
        """
        with self._alone():
            try:
                self._files.check(sha256)
            except NotFound:
                return None
            except Corrupt:
                pass
            else:
                return None
            with self.naming_failures():
                folder = self.root / DAMAGED
                make_folder(folder)
                new = next(
                    path
                    for number in range(1, 1 << 20)
                    if not os.path.lexists(path := folder / f"{sha256}-{number}")
                )
                os.rename(self._files.path(sha256), new)
                sync_folder(folder)
                sync_folder(self._files.path(sha256).parent)
            return new

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Every file that is here, by digest, with its size in bytes. Raises CannotTell where the
        folder cannot be read (P3); a folder that was never made is empty."""
        top = self.root / "sha256"
        for folder in self._names(top):
            for name in self._names(top / folder):
                with contextlib.suppress(BadName):  # not ours
                    sha256 = parse_sha256(name)
                    path = self._files.path(sha256)
                    if path.parent.name == folder and (found := self._look(path)) is not None:
                        yield sha256, found.st_size

    @property
    def size(self) -> int:
        """Of all files that are here, in bytes. Raises CannotTell."""
        return sum(size for _, size in self.digests())

    def share(self, digests: Collection[Sha256]) -> None:
        """Put those that are here and that the shared store lacks there. Raises CannotTell."""
        if self.shared is None:
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._share_if_absent, (each for each in digests if each != EMPTY)))

    def naming_failures(self, needed: int = 0) -> contextlib.AbstractContextManager[None]:
        """Turn what the file system says into an error that names the store."""
        return naming_failures("putting a file in the input store", self.root, needed)

    def _share_if_absent(self, sha256: Sha256) -> None:
        if self.shared is not None and self._has_here(sha256) and not self.shared.has(sha256):
            self.shared.put(sha256, self._files.check(sha256))

    def put_in_shared(self, sha256: Sha256) -> None:
        """Put the file, which is here, in the shared store, if there is one. Raises CannotTell."""
        if self.shared is not None and sha256 != EMPTY:
            self.shared.put(sha256, self._files.path(sha256))

    def _bring(self, sha256: Sha256, shared: Shared) -> bool:
        with self.incoming() as file:
            if not shared.fetch(sha256, file.write):
                return False
            if file.sha256 != sha256:
                raise Corrupt(
                    f"{sha256[:12]}... in {shared.what} is not what its name says",
                    where=shared.what,
                    why=f"its sha256 is {file.sha256}",
                    hint="move it out of the way there; whoever has the right one puts it there "
                    "again with the next build",
                )
            file.keep()
        return True

    def _keep(self, attempt: Callable[[], Sha256], source: Path) -> Sha256:
        """A damaged file in the store does not keep the right one out."""
        try:
            sha256 = attempt()
        except Corrupt:
            with source.open("rb") as file:
                digest = Sha256(hashlib.file_digest(file, "sha256").hexdigest())
            if self.set_aside(digest) is None:
                raise
            sha256 = attempt()
        self.put_in_shared(sha256)
        return sha256

    def _has_here(self, sha256: Sha256) -> bool:
        try:
            self._files.find(sha256)
        except NotFound:
            return False
        return True

    def _names(self, folder: Path) -> list[str]:
        """What is in the folder, sorted; nothing where it is not there or, below the top, is none.
        Raises CannotTell."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            if folder.parent != self.root:
                return []
            raise self._unreadable(error) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _look(self, path: Path) -> os.stat_result | None:
        """None where it is gone: another process has set it aside. Raises CannotTell."""
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> CannotTell:
        return CannotTell(
            "the input store cannot be read",
            where=str(error.filename or self.root),
            why=error.strerror or str(error),
            hint="check that it is mounted, and who may read it",
        )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process, and one thread of it, at a time."""
        with self.naming_failures():
            make_folder(self.root)
            fd = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
