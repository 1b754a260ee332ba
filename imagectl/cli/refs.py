"""What ``IMAGE@VERSION`` and ``IMAGE:CHANNEL`` mean where a version is wanted."""

from __future__ import annotations

from imagectl.errors import BadUsage, NotFound
from imagectl.model.names import ImageRef, VersionId
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Version, VersionRef


def head_of(snapshot: Snapshot, ref: ImageRef) -> VersionId:
    """The version that the channel of *ref* points to. Raises NotFound."""
    version = snapshot.head(ref.image, ref.channel) if ref.channel is not None else None
    if version is None:
        raise NotFound(
            f"{ref} points to nothing yet", hint=f"`imagectl list {ref.image}` shows versions"
        )
    return version


def version_of(snapshot: Snapshot, ref: ImageRef, verb: str) -> Version:
    """The version that *ref* names, in the catalog. ``verb`` is what the user typed.

    Raises NotFound, and BadUsage where *ref* is the image alone.
    """
    from imagectl.policy.promotion import find_image, find_version

    find_image(snapshot, ref.image)
    version = head_of(snapshot, ref) if ref.channel is not None else ref.version
    if version is None:
        newest = snapshot.of(ref.image)[-1].ref
        raise BadUsage(
            f"which version of {ref.image}?",
            hint=f"`imagectl {verb} {newest}` is the newest; `imagectl list {ref.image}` has all",
        )
    return find_version(snapshot, VersionRef(ref.image, version))
