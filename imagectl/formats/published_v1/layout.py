"""What the documents of the tree say they are, and where they are in it."""

from __future__ import annotations

from imagectl.model.names import ChannelName, ImageName, Sha256

FORMAT = "imagectl-published-1"

TREELESS = "imagectl-published-2"
"""Of a version's document, where ``tree`` is null. All else is as in format 1."""

REVOKED = "imagectl-published-2"
"""Of a channel's document, where it points to a revoked version: ``revoked`` says why."""

ENTRY = "catalog.json"
"""The one file of the tree that is ever replaced."""


def index_path(image: ImageName, digest: Sha256) -> str:
    """Where an image's index is, below the tree."""
    return f"images/{image}/{digest}.index.json"


def channel_path(image: ImageName, channel: ChannelName, digest: Sha256) -> str:
    """Where a channel's document is, below the tree."""
    return f"images/{image}/channels/{digest}.{channel}.json"


def version_path(digest: Sha256) -> str:
    """Where a version's document is, below the tree."""
    return f"versions/sha256/{digest[:2]}/{digest}.json"
