"""What consumers read of the catalog."""

from __future__ import annotations

from typing import Protocol

from imagectl.model.names import (
    ChannelName,
    Sha256,
)
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedImage,
    PublishedIndex,
    PublishedVersion,
)
from imagectl.model.snapshot import Snapshot


class Publisher(Protocol):
    """Writes the static tree that consumers read, from a snapshot of the catalog."""

    def publish(self, snapshot: Snapshot) -> None:
        """Make the tree show *snapshot*: immutables first, the entry document last, each atomic.

        Idempotent. A tree that already shows a later generation is left as it is.
        """
        ...

    @property
    def where(self) -> str:
        """Where the tree is, for people."""
        ...

    def shown(self) -> PublishedCatalog | None:
        """What the tree shows; None where nothing is published yet. It reads one small file.

        Raises CannotTell where that cannot be read, and Corrupt where it is not what was written.
        """
        ...


class PublishedTree(Protocol):
    """What a publisher has written, as a consumer reads it.

    Everything but the entry is reached by digest and checked against it: Corrupt, naming the file,
    where bytes are others or missing. CannotTell where the tree cannot be read.
    """

    def catalog(self) -> PublishedCatalog:
        """The entry document, read anew. Raises NotFound where nothing is published."""
        ...

    def head(self, image: PublishedImage, channel: ChannelName) -> PublishedHead:
        """What one of the image's channels points to."""
        ...

    def index(self, image: PublishedImage) -> PublishedIndex:
        """Every published version of the image, with the digest of its document, and warnings."""
        ...

    def version(self, document: Sha256) -> PublishedVersion:
        """The version that has that document."""
        ...
