"""Where each page is, below the site's folder. Names are plain ASCII (``model/names.py``), so a
path needs no quoting in a URL."""

from __future__ import annotations

from imagectl.model.names import ChannelName, ImageName, ImageRef, Sha256
from imagectl.model.version import VersionRef


def image(name: ImageName) -> str:
    """An image: its channels, its timeline and its newest versions."""
    return f"images/{name}/index.html"


def versions(name: ImageName) -> str:
    """All versions of an image."""
    return f"images/{name}/versions.html"


def compare(name: ImageName) -> str:
    """Any two versions of an image."""
    return f"images/{name}/compare.html"


def version(ref: VersionRef) -> str:
    """One version."""
    return f"images/{ref.image}/versions/{ref.version}.html"


def channel(name: ImageName, channel: ChannelName, suffix: str = "html") -> str:
    """A channel's page; with another suffix its feeds (``atom``, ``json``) and badge (``svg``)."""
    return f"images/{name}/channels/{channel}.{suffix}"


def about(of: ImageRef) -> str:
    """An image, a channel or a version."""
    if of.version is not None:
        return version(VersionRef(of.image, of.version))
    return channel(of.image, of.channel) if of.channel is not None else image(of.image)


def coming(name: ImageName, channel: ChannelName) -> str:
    """What changes with the channel's next promotion."""
    return f"images/{name}/channels/{channel}.next.html"


def changes(before: VersionRef, after: VersionRef) -> str:
    """In what a version differs from another one of the same image."""
    return f"images/{after.image}/changes/{before.version}-{after.version}.html"


def feed(name: ImageName | None, suffix: str) -> str:
    """The feed of an image, or of everything."""
    return f"images/{name}/feed.{suffix}" if name else f"feed.{suffix}"


def document(sha256: Sha256, kind: str) -> str:
    """A document about a version."""
    return f"documents/{sha256[:2]}/{sha256}.{kind}.json"


def up(path: str) -> str:
    """The way from a page to the site's folder."""
    return "../" * path.count("/")
