"""Where the files of a published tree are: what a publisher asks of a directory or a bucket."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol


class Place(Protocol):
    """Where the files of a tree are. Paths are below the tree; errors are ours."""

    @property
    def where(self) -> str:
        """For people."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file; None where it is not there. Raises CannotTell."""
        ...

    def size(self, path: str) -> int | None:
        """How many bytes it has; None where it is not there."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write it, whole or not at all, durable on return. Several threads do so at once."""
        ...

    def replace(self, path: str, data: bytes, before: bytes | None) -> None:
        """The same, where it is still what it was *before*; raises Conflict where it is not."""
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
