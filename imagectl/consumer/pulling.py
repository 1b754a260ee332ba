"""Fetches the artifact that was resolved, into a file (P10).

Promises: under the file's name are, at any time, what was there before or all the bytes that the
signed catalog names, durable (P7); a download that breaks off is gone on with, also by a later run;
nothing is written beyond the length that the catalog names, whatever a server sends; nothing is
fetched where the file is that artifact already; two processes that pull the same do it once; what
somebody else has put in the way, who could change it afterwards, is not written to.

What has arrived is kept beside the file, as ``FILE.DIGEST.part``. Its name says what it is of, so
it can be gone on with from anywhere, and the digest of the whole decides: where the parts turn out
to be of different files, all is fetched once more.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from imagectl.consumer.sources import CHUNK, BrokenOff, Source, source_of
from imagectl.errors import BadUsage, CannotTell, Corrupt, Failed, NoSpace
from imagectl.model.names import Sha256

if TYPE_CHECKING:
    from imagectl.policy.resolution import Resolution

TRIES = 5
"""How often in a row it may break off without getting on before it is given up. What has arrived
stays."""

PROGRESS = 1 << 20
"""Bytes more than ever before that count as getting on: a server can always send one."""

ANSWERS = 1000
"""How often it is asked for in all: from a server that always begins anew, most is for nothing."""

PAUSE_SECONDS = 0.2
"""How long to wait before asking again; twice as long after each try that did not get on."""

_NAMED = 16
"""How many digits of the digest are in the name of what has arrived."""

Told = Callable[[int, int], None]
"""Is told how many bytes there are, and of how many."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """The file that has the artifact, where it came from, and how many bytes were fetched: 0 where
    it was here already."""

    path: Path
    source: str
    fetched: int


def pull(found: Resolution, to: Path, told: Told = lambda _done, _total: None) -> Pulled:
    """Have what was resolved in the file *to*.

    Raises Corrupt, naming it, where what is read is not what was published; CannotTell where it
    cannot be read; BadUsage where it is no file that can be pulled; Failed where *to* cannot be
    written.
    """
    return fetch(source_of(found), found.sha256, found.size, to, told)


def fetch(source: Source, sha256: Sha256, size: int, to: Path, told: Told) -> Pulled:
    """Have the *size* bytes with that digest in the file *to*."""
    _check_name(to)
    with _naming_failures(to):
        if _is(to, sha256, size):
            return Pulled(to, source.where, 0)
        part = to.with_name(f"{to.name}.{sha256[:_NAMED]}.part")
        with _alone(part) as file:
            # Whoever had it before may have made the file meanwhile.
            if _is(to, sha256, size):
                part.unlink()
                return Pulled(to, source.where, 0)
            _remove_others(to, part)
            fetched = _Download(source, sha256, size, file, told).run()
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, to)
            _sync_folder(to.parent)
    return Pulled(to, source.where, fetched)


class _Download:
    def __init__(
        self, source: Source, sha256: Sha256, size: int, file: IO[bytes], told: Told
    ) -> None:
        self._source = source
        self._sha256 = sha256
        self._size = size
        self._file = file
        self._told = told
        self._hash = hashlib.sha256()
        self._done = 0
        self._fetched = 0

    def run(self) -> int:
        """How many bytes were fetched. Then the file is whole, or this has raised."""
        self._look()
        patched = self._done > 0
        patched |= self._fill()
        if patched and self._hash.hexdigest() != self._sha256:
            # Made of several answers, which were not all of that file.
            self._begin_anew()
            self._fill()
        found = self._hash.hexdigest()
        if found != self._sha256:
            self._begin_anew()
            raise self._changed(f"its sha256 is {found}, and {self._sha256} was published")
        return self._fetched

    def _look(self) -> None:
        """Take up what an earlier run has left."""
        while data := self._file.read(CHUNK):
            self._hash.update(data)
            self._done += len(data)
        if self._done > self._size:
            self._begin_anew()

    def _fill(self) -> bool:
        """Fetch what is missing. Whether it took more than one answer."""
        answers, tries, most = 0, 0, self._done
        while self._done < self._size:
            try:
                answers += 1
                self._take()
                if self._done < self._size:
                    raise BrokenOff(f"it ends after {self._done:,} of {self._size:,} bytes")
            except BrokenOff as problem:
                tries += 1
                if self._done - most >= PROGRESS:
                    tries, most = 0, self._done
                if tries < TRIES and answers < ANSWERS:
                    time.sleep(PAUSE_SECONDS * 2**tries)
                    continue
                raise CannotTell(
                    f"{self._source.where} cannot be read",
                    where=self._source.where,
                    why=f"{problem}; {self._done:,} of {self._size:,} bytes have arrived",
                    hint="type it again: it goes on where it broke off",
                ) from problem
        return answers > 1

    def _take(self) -> None:
        reading = self._source.read(self._done)
        with contextlib.ExitStack() as stack:
            close = getattr(reading.chunks, "close", None)
            if close is not None:
                stack.callback(close)
            if reading.total is not None and reading.total != self._size:
                raise self._changed(
                    f"it has {reading.total:,} bytes, and {self._size:,} were published"
                )
            if reading.start != self._done:
                self._begin_anew()
            self._told(self._done, self._size)
            for chunk in reading.chunks:
                if self._done + len(chunk) > self._size:
                    self._begin_anew()
                    raise self._changed(f"it has more than the {self._size:,} bytes published")
                self._file.write(chunk)
                self._hash.update(chunk)
                self._done += len(chunk)
                self._fetched += len(chunk)
                self._told(self._done, self._size)

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self._done = 0

    def _changed(self, why: str) -> Corrupt:
        return Corrupt(
            f"{self._source.where} is not what was published",
            where=self._source.where,
            why=why,
            hint="nothing of it is used; tell whoever releases the image: `imagectl publish "
            "IMAGE@VERSION --to LOCATION` looks at it, and says how to mend it",
        )


def _check_name(to: Path) -> None:
    if to.is_dir():
        raise BadUsage(f"{to} is a folder", hint="name the file to write, as in --to disk.qcow2")
    if to.exists() and not to.is_file():
        raise BadUsage(
            f"{to} is not a regular file",
            why="it is written beside it first, and only takes its name once all of it is verified",
        )


def _is(path: Path, sha256: Sha256, size: int) -> bool:
    """Whether the file is there, and is that."""
    try:
        if path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """The file of what has arrived, which nobody else writes: waits for who does."""
    while True:
        with _open_own(part, os.O_RDWR | os.O_CREAT, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever was before us has renamed or removed what we waited for.
            try:
                same = os.path.samestat(os.fstat(file.fileno()), part.stat())
            except FileNotFoundError:
                same = False
            if not same:
                continue
            try:
                yield file
            except BaseException:
                if os.fstat(file.fileno()).st_size == 0:
                    part.unlink(missing_ok=True)
                raise
            return


def _open_own(part: Path, flags: int, mode: str) -> IO[bytes]:
    """Open a file of what has arrived, which nobody else can have made to change it later on.

    Whoever owns the folder may own the file, too: they can replace it anyway, and where a file
    system knows one owner only, they are who we are.
    """
    try:
        opened = os.open(part, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_ours(part, "it is a symbolic link") from error
        raise
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        why = "it is not a regular file"
    elif found.st_nlink > 1:
        why = "it has another name, too"
    elif found.st_uid not in (os.geteuid(), part.parent.stat().st_uid):
        why = f"it belongs to user {found.st_uid}"
    else:
        return os.fdopen(opened, mode)
    os.close(opened)
    raise _not_ours(part, why)


def _not_ours(part: Path, why: str) -> Failed:
    return Failed(
        f"{part} was made by somebody else",
        where=str(part),
        why=f"{why}; whoever made it could change the artifact after it was verified",
        hint="remove it, and pull into a folder that only you can write to",
    )


def _remove_others(to: Path, part: Path) -> None:
    """Remove what is left of other artifacts that were to have that name, unless somebody is
    fetching them."""
    rest = re.compile(re.escape(to.name) + rf"\.[0-9a-f]{{{_NAMED}}}\.part")
    for path in to.parent.iterdir():
        if path == part or not rest.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError, Failed), _open_own(path, os.O_RDONLY, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@contextlib.contextmanager
def _naming_failures(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(error.filename or to)
        why = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"there is no room for {to}",
                where=where,
                why=why,
                hint="make room, and type it again: it goes on where it broke off",
            ) from error
        raise Failed(f"{to} cannot be written", where=where, why=why) from error


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
