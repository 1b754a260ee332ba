"""What ``IMAGE:CHANNEL`` means where a version is wanted: the channel's head in the catalog."""

from __future__ import annotations

from imagectl.errors import NotFound
from imagectl.model.catalog import Snapshot
from imagectl.model.names import ImageRef, VersionId


def head_of(snapshot: Snapshot, ref: ImageRef) -> VersionId:
    """The version that the channel of *ref* points to. Raises NotFound."""
    version = snapshot.head(ref.image, ref.channel) if ref.channel is not None else None
    if version is None:
        raise NotFound(
            f"{ref} points to nothing yet", hint=f"`imagectl list {ref.image}` shows versions"
        )
    return version
