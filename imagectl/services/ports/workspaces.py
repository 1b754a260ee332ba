"""The private folders of builds, and what dead builds have left."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from imagectl.model.names import (
    Format,
    ImageName,
    LocationName,
    Sha256,
)
from imagectl.model.version import (
    VersionRef,
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What one build may use: a private folder, removed afterwards, and a log, kept.

    ``sockets`` is a second private folder with a short path, for sockets. ``epoch``, in seconds
    since 1970: no file of the image is newer (SOURCE_DATE_EPOCH). It is when the build began, until
    a lock says otherwise.
    """

    id: str
    folder: Path
    sockets: Path
    log: Path
    epoch: int

    def sub(self, name: str) -> Path:
        """A private folder of that name inside ``folder``, created where absent."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@dataclass(frozen=True, slots=True)
class Leftover:
    """An image that a template has made in a location, and that the catalog has not recorded.

    ``built`` is what its builder calls it, ``sha256`` that of its description, None before that is
    written. It may carry the marks of ``version``.
    """

    version: VersionRef
    location: LocationName
    built: str
    since: datetime
    sha256: Sha256 | None = None


class Workspaces(Protocol):
    """Gives out workspaces, one for each image at a time."""

    def open(self, image: ImageName, *, wait: bool) -> AbstractContextManager[Workspace]:
        """A workspace; what dead builds have left is ended and removed first.

        While another build of *image* runs, wait for it, or raise Conflict.
        """
        ...

    def keep_failed(self, image: ImageName, disk: Path, disk_format: Format) -> Path:
        """Keep the disk of a build whose tests failed, replacing the one before; its new path."""
        ...

    def failed_disk(self, image: ImageName) -> tuple[Path, Format] | None:
        """What ``keep_failed`` kept last; None where nothing is."""
        ...

    def leftovers(self, image: ImageName) -> tuple[Leftover, ...]:
        """What ``keep_leftovers`` kept last. Raises CannotTell where that cannot be read."""
        ...

    def keep_leftovers(self, image: ImageName, leftovers: Sequence[Leftover]) -> None:
        """Write down what there is, in place of what was written before; durable on return (P7).
        Only for who has the image's workspace."""
        ...
