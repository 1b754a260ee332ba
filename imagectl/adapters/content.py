"""A folder of files named by their sha256: ``sha256/ab/abcd...``. What stores and locations share.

Promises: a final name only ever holds the bytes that it names, whole (P7); holes stay holes, since
raw disks are mostly holes; one pass copies and hashes; files are read-only. A file that is there
already is never overwritten: where its bytes are others it is Corrupt, and stays for a look.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from imagectl.adapters.durable import make_folder, naming_failures, partial, sync_folder
from imagectl.errors import CannotTell, Corrupt, Failed, NotFound
from imagectl.model.names import BadName, Sha256, parse_sha256

CHUNK = 1 << 22
READ_ONLY = 0o444

_ZEROS = bytes(CHUNK)
_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def relative(sha256: Sha256) -> str:
    """Where the file with that digest is, below the folder."""
    return f"sha256/{sha256[:2]}/{sha256}"


class ContentFolder:
    """The files below ``root``. ``what`` is how messages call it, such as "location local"."""

    def __init__(self, root: Path, what: str) -> None:
        self.root = root
        self.what = what

    def path(self, sha256: Sha256) -> Path:
        """Where the file with that digest is, or would be."""
        return self.root / relative(sha256)

    def add(self, source: Path, expected: Sha256 | None = None) -> Sha256:
        """Keep a copy of *source*, durable on return; idempotent. Its digest.

        Raises Corrupt where *source* is not ``expected``, or where other bytes have its place.
        """
        if expected is not None and self._has(expected):
            return expected
        with self._naming_failures(source), _reading(source) as origin:
            needed = os.fstat(origin).st_blocks * 512
            with self._naming_failures(source, needed), partial(self.root) as copy:
                sha256 = _digest(origin, copy.fd)
                if expected is not None and sha256 != expected:
                    raise Corrupt(
                        f"{source} is not what was recorded, and was not put in {self.what}",
                        where=str(source),
                        why=f"its sha256 is {sha256}, and {expected} was recorded",
                        hint="`imagectl build` makes it again",
                    )
                if not self._has(sha256):
                    copy.keep(self.path(sha256), READ_ONLY)
        return sha256

    def adopt(self, source: Path) -> Sha256:
        """Keep *source* itself and give up its old name; durable on return. Its digest.

        For a finished file that nobody writes to any more. It is copied only where it is on another
        file system. Raises Corrupt where other bytes have its place.
        """
        with self._naming_failures(source), _reading(source, follow=False) as origin:
            sha256 = _digest(origin)
            final = self.path(sha256)
            if self._has(sha256):
                if final.samefile(source):
                    return sha256
            else:
                make_folder(final.parent)
                if os.fstat(origin).st_dev != final.parent.stat().st_dev:
                    self.add(source, sha256)
                else:
                    os.fchmod(origin, READ_ONLY)
                    os.fsync(origin)
                    source.rename(final)
                    sync_folder(final.parent)
            source.unlink(missing_ok=True)
        return sha256

    def find(self, sha256: Sha256) -> Path:
        """Where the file is. Raises NotFound, or CannotTell where the folder cannot be read."""
        path = self.path(sha256)
        with self._reading_own(path):
            os.lstat(path)
        return path

    def check(self, sha256: Sha256) -> Path:
        """Where the file is, after hashing it again. Raises NotFound, Corrupt or CannotTell."""
        path = self.path(sha256)
        with self._reading_own(path), _reading(path, follow=False) as fd:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            found = _digest(fd) if regular else "none: it is not a file"
        if found != sha256:
            raise Corrupt(
                f"{path.name[:12]}... in {self.what} is not what its name says",
                where=str(path),
                why=f"its sha256 is {found}",
                hint="move it out of the way for a look; what needs it can then be put there again",
            )
        return path

    def digests(self) -> Iterator[tuple[Sha256, int]]:
        """Every file that is here under the name of a digest, in the order of their names, with its
        size in bytes. A folder that was never made is empty; one that cannot be read is CannotTell
        (P3)."""
        top = self.root / "sha256"
        for folder in self._names(top):
            for name in self._names(top / folder):
                with contextlib.suppress(BadName, NotFound):  # not ours, or removed meanwhile
                    sha256 = parse_sha256(name)
                    if self.path(sha256) == top / folder / name:
                        with self._reading_own(top / folder / name):
                            size = os.lstat(top / folder / name).st_size
                        yield sha256, size

    def remove(self, sha256: Sha256) -> None:
        """Keep the file no more; for good on return. Idempotent. Raises Failed."""
        path = self.path(sha256)
        doing = naming_failures(f"removing {path.name[:12]}... from {self.what}", self.root)
        with doing, contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def _names(self, folder: Path) -> list[str]:
        """What is in the folder, sorted; nothing where it is not there or, below the top, is none.
        Raises CannotTell."""
        with contextlib.suppress(NotFound), self._reading_own(folder):
            try:
                return sorted(os.listdir(folder))
            except NotADirectoryError:
                if folder.parent == self.root:
                    raise
        return []

    def _has(self, sha256: Sha256) -> bool:
        try:
            self.check(sha256)
        except NotFound:
            return False
        return True

    def _naming_failures(
        self, source: Path, needed: int = 0
    ) -> contextlib.AbstractContextManager[None]:
        return naming_failures(f"putting {source.name} in {self.what}", self.root, needed)

    @contextlib.contextmanager
    def _reading_own(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"{path.name} is not in {self.what}", where=str(path)) from None
        except OSError as error:
            raise CannotTell(
                f"{self.what} cannot be read",
                where=str(path),
                why=error.strerror or str(error),
                hint="check that it is mounted, and who may read it",
            ) from error


@contextlib.contextmanager
def _reading(path: Path, *, follow: bool = True) -> Iterator[int]:
    # Without O_NONBLOCK, a named pipe in the place of a file would hang us.
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _digest(source: int, onto: int | None = None) -> Sha256:
    """The sha256 of an open file, copied *onto* another one in the same pass.

    The kernel copies, so that file systems that can will share the blocks instead; what is hashed
    then is the copy. Holes are neither read nor written.
    """
    digest = hashlib.sha256()
    size = os.fstat(source).st_size
    by_kernel = onto is not None
    at = 0
    for start, end in _extents(source, size):
        _hash_zeros(digest, start - at)
        at = start
        while at < end:
            count = min(CHUNK, end - at)
            if onto is not None and by_kernel:
                try:
                    count = os.copy_file_range(source, onto, count, at, at)
                except OSError as error:
                    if error.errno not in _NO_KERNEL_COPY:
                        raise
                    by_kernel = False
                    continue
                data = os.pread(onto, count, at)
            else:
                data = os.pread(source, count, at)
                if onto is not None:
                    _write(onto, data, at)
            if not data:
                raise Failed("a file became shorter while it was being read; nothing was kept")
            digest.update(data)
            at += len(data)
    _hash_zeros(digest, size - at)
    if onto is not None:
        os.ftruncate(onto, size)
    return Sha256(digest.hexdigest())


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are not holes, as (start, end)."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, at


def _hash_zeros(digest: hashlib._Hash, count: int) -> None:
    while count > 0:
        digest.update(_ZEROS[:count] if count < CHUNK else _ZEROS)
        count -= CHUNK


def _write(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest = rest[written:]
        at += written
