"""What the readers of file systems share: the kinds of inodes, the walk, and what is said of a disk
that cannot be read."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from imagectl.adapters.disk.tree import Entry, Kind, NotUnderstood, display
from imagectl.errors import Corrupt, Failed

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}


class Numbers(Protocol):
    """A set of the numbers of inodes."""

    def add(self, number: int, /) -> None: ...

    def __contains__(self, number: int, /) -> bool: ...


def kind_of(mode: int, number: int) -> Kind | None:
    """What the inode *number* is; None for a socket. Raises Corrupt."""
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is None and not stat.S_ISSOCK(mode):
        raise Corrupt(f"inode {number} is of no known kind ({mode:#o})")
    return kind


def walk(
    root: int,
    look: Callable[[bytes, int], Entry | None],
    names: Callable[[int], Iterable[tuple[bytes, int]]],
    seen: Numbers,
) -> Iterator[Entry]:
    """Every entry below the folder *root*, and that itself.

    *look* gives the entry of a path and an inode, or None for what is left out; *names* what is in
    a folder. *seen* takes every inode that has a name. Raises Corrupt: no name leads out of its
    folder, and a folder that has two paths is damage, so that it ends on any disk.
    """
    top = look(b"", root)
    if top is None or top.kind is not Kind.DIRECTORY:
        raise Corrupt("its root is no folder")
    seen.add(root)
    yield top
    folders = [(b"", root)]
    while folders:
        folder, number = folders.pop()
        for name, child in names(number):
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise Corrupt(f"{display(name)} is no name that a file can have")
            path = folder + b"/" + name if folder else name
            entry = look(path, child)
            if entry is not None and entry.kind is Kind.DIRECTORY:
                if child in seen:
                    raise Corrupt(f"{display(path)} is a folder that has another path too")
                folders.append((path, child))
            seen.add(child)
            if entry is not None:
                yield entry


def damaged(raw: Path, why: str) -> Corrupt:
    """The file system of that disk is."""
    return Corrupt("the disk's file system is damaged", where=str(raw), why=why)


def placed(error: Corrupt, raw: Path) -> Corrupt:
    """The same error, with the disk that it is about."""
    return error if error.where else damaged(raw, error.what)


def not_known(raw: Path, why: str, hint: str = "") -> NotUnderstood:
    """The file system of that disk is not."""
    return NotUnderstood(
        "the disk's file system is of a kind that cannot be read",
        where=str(raw),
        why=why,
        hint=hint,
    )


def not_unmounted(raw: Path, journal: str, otherwise: str) -> Failed:
    """*otherwise*: what to do with a disk that came so."""
    return Failed(
        "the disk's file system was not unmounted",
        where=str(raw),
        why=f"its {journal} holds changes that are not in their place yet",
        hint="the machine must be shut down (`systemctl poweroff`), not just stopped; of a disk "
        f"that came so{otherwise}",
    )
