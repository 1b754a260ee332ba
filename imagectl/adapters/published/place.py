"""Where the files of a published tree are: what a publisher asks of a directory or a bucket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

WORKERS = 16
"""How many files are read or written at the same time where there are more: a disk, and a network,
make many durable in the time of one."""

T = TypeVar("T")
R = TypeVar("R")


class Place(Protocol):
    """Where the files of a tree are. Paths are below the tree; errors are ours. Several threads
    call it at the same time."""

    @property
    def where(self) -> str:
        """For people."""
        ...

    @property
    def url(self) -> str:
        """The tree's address."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file; None where it is not there. Raises CannotTell."""
        ...

    def sizes(self, paths: Collection[str]) -> Mapping[str, int]:
        """How many bytes each has; those that are not there are left out."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write it, whole or not at all, durable on return. Whoever else writes a file of that name
        writes the same: it has the digest of its bytes in its name, or is named by what is signed.
        """
        ...

    def claim(self, path: str, data: bytes) -> None:
        """The same of a file that another publisher may be about to give other bytes: whoever is
        first has the name. Raises Conflict for the other."""
        ...

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        """Write it where it is still what it was *before*, None for nothing. Raises Conflict where
        it is not."""
        ...

    def names(self, folder: str) -> Collection[str]:
        """The files of a folder; none where it is not there."""
        ...

    def remove(self, path: str) -> None:
        """Remove it, if it is there."""
        ...

    def locked(self, needed: int) -> AbstractContextManager[None]:
        """Alone with the tree, as far as the place knows of others; *needed*: how many bytes are
        about to be written at most, for messages. Raises Conflict."""
        ...

    def thinning(self, surplus: int) -> AbstractContextManager[bool]:
        """While the block runs, files may be removed that no state names that is kept, nor one that
        was claimed before; False where they are not to be. *surplus* states are not kept."""
        ...

    def settled(self) -> None:
        """Be sure that nobody removes files whose list was made before now. Raises Conflict."""
        ...


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What *work* gives for each, in their order; done by several threads where there are many.
    What goes wrong with one is raised after all that were begun have ended."""
    given = list(items)
    if len(given) <= WORKERS:
        return [work(each) for each in given]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, given))
