"""What consumers read of the catalog."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from imagectl.model.announcement import Announcement
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import (
    ChannelName,
    ImageName,
    Sha256,
    VersionId,
)
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedIndex,
    PublishedVersion,
    PublishedWarning,
)
from imagectl.model.snapshot import Snapshot


class Publisher(Protocol):
    """Writes the static tree that consumers read, from a snapshot of the catalog, and signs it."""

    def publish(self, told: Snapshot | Excerpt) -> None:
        """Make the tree show that: immutables first, the newest timestamp last, each atomic.

        A snapshot has all images, and what the tree shows already is repaired. Of an excerpt, that
        is said anew which it has, and all else stays as the tree has it: the work is that of the
        changes, however much the catalog has. Raises Conflict where that is not enough: the tree
        does not show the generation that the excerpt begins with, or cannot be built upon.

        Idempotent. A tree that already shows a later generation is left as it is. What cannot be
        signed here stays as it is published, and waits for whoever can.
        """
        ...

    @property
    def where(self) -> str:
        """Where the tree is, for people."""
        ...

    def shown(self) -> PublishedCatalog | None:
        """What the tree shows; None where nothing is published yet, or only by keys that do not
        count any more. It reads a few small files.

        Raises CannotTell where that cannot be read, and Corrupt where it is not what was signed. A
        signature that is over is one here: whoever publishes renews it.
        """
        ...

    def signatures(self) -> Mapping[str, datetime]:
        """Until when the signatures of each role hold; empty where nothing is published. Raises as
        ``shown`` does."""
        ...

    def lags(self) -> Mapping[str, bool]:
        """Of each role that signs documents, whether it has something else to say by now, and waits
        for signatures; empty where nothing is published, or that is not told. Raises as ``shown``
        does."""
        ...


class PublishedTree(Protocol):
    """What a publisher has written, as a consumer reads it.

    Everything is verified before it is given (P10): Corrupt, naming the file, where bytes are
    others or missing. CannotTell where the tree cannot be read, or its signatures are over.
    """

    def catalog(self) -> PublishedCatalog:
        """What is shown now. Raises NotFound where nothing is published."""
        ...

    def images(self) -> Collection[ImageName]:
        """Every image that consumers know of."""
        ...

    def channels(self, image: ImageName) -> Collection[ChannelName]:
        """The channels in which the image has something."""
        ...

    def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None:
        """What the channel of the image points to; None where it has nothing there."""
        ...

    def waits(self, channel: ChannelName) -> bool:
        """Whether the channel has something else to say by now, of whatever image, and waits for
        signatures: what it points to here may be deleted since. True where that is not known."""
        ...

    def index(self, image: ImageName) -> PublishedIndex | None:
        """Every published version of the image, with the digest of its document."""
        ...

    def warnings(self, image: ImageName) -> Mapping[VersionId, PublishedWarning]:
        """The versions of the image that consumers are warned off; of those that were deleted,
        some: the index names all of them."""
        ...

    def announcements(self) -> tuple[Announcement, ...]:
        """What is coming, the next first, by nobody that is named."""
        ...

    def version(self, document: Sha256) -> PublishedVersion:
        """The version that has that document."""
        ...
