"""What the server answers with, beside ``Resolved`` and ``Failure``."""

from __future__ import annotations

from typing import Annotated, TypedDict


class ChannelHead(TypedDict):
    """What one channel of an image points to."""

    channel: Annotated[str, "the channel"]
    version: Annotated[str, "the version it points to"]
    since: Annotated[str, "since when"]
    kind: Annotated[str, "how it got there: `entry`, `promote`, `rollback`, ..."]


class PublishedImage(TypedDict):
    """One image that consumers know of."""

    image: Annotated[str, "the image"]
    channels: Annotated[list[ChannelHead], "its channels, by name"]


class Images(TypedDict):
    """All images that consumers know of."""

    generation: Annotated[int, "the catalog generation that is shown"]
    images: Annotated[list[PublishedImage], "the images, by name"]


class VersionWarning(TypedDict):
    """That consumers are warned off a version, or do not get it any more."""

    warned: Annotated[str, "`deprecated`, `obsolete`, `quarantined`, `deleted` or `revoked`"]
    at: Annotated[str, "since when"]
    by: Annotated[str, "whom to ask"]
    reason: Annotated[str, "why; may be empty"]


class ListedVersion(TypedDict):
    """One version of an image."""

    version: Annotated[str, "the version"]
    document: Annotated[str | None, "the sha256 of its document; null where it was deleted"]
    path: Annotated[str | None, "where that document is, below this server; null where deleted"]
    channels: Annotated[list[str], "the channels that point to it"]
    warning: Annotated[VersionWarning | None, "null where there is none"]


class Versions(TypedDict):
    """All versions of an image that consumers know of."""

    generation: Annotated[int, "the catalog generation that is shown"]
    image: Annotated[str, "the image"]
    versions: Annotated[list[ListedVersion], "the versions, newest first"]


class Health(TypedDict):
    """That the published tree can be read and verified. Where not, the answer is an error."""

    ok: Annotated[bool, "true"]
    generation: Annotated[int, "the catalog generation that is shown"]
    expires: Annotated[str, "when the first signature runs out"]
    notices: Annotated[list[str], "what people should know of it"]
