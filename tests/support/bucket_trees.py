"""Published trees in buckets, signed with keys that are kept in a folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.published.bucket import BucketPlace
from imagectl.adapters.published.place_tree import PlaceTree
from imagectl.adapters.published.publisher import TreePublisher
from imagectl.model.place import Bucket
from support.examples import NOW
from support.signed_trees import signing

if TYPE_CHECKING:
    from obstore.store import ObjectStore


def bucket_at(url: str) -> Bucket:
    """The place that an address such as ``s3://acme/public`` means."""
    parts = urlsplit(url)
    return Bucket(parts.scheme, parts.netloc, parts.path.strip("/"))


def bucket_place(url: str, folder: Path) -> BucketPlace:
    """A place in a bucket, as another process would have it; *folder* is this machine's."""
    return BucketPlace(bucket_at(url), folder / "turns.lock", SystemClock().now)


def bucket_publisher(
    url: str, folder: Path, clock: Callable[[], datetime] = lambda: NOW
) -> TreePublisher:
    """A publisher there, whose keys are in *folder*."""
    return TreePublisher(bucket_place(url, folder), signing(folder), clock)


def bucket_tree(url: str, folder: Path, now: datetime | None = None) -> PlaceTree:
    """What that publisher has written, for reading."""
    return PlaceTree(bucket_place(url, folder), folder / "trust" / "root.json", now)


def store(url: str) -> ObjectStore:
    """The objects below that address, past imagectl."""
    from obstore.store import from_url

    return from_url(url)


def contents(url: str) -> dict[str, bytes]:
    """All of them."""
    import obstore

    opened = store(url)
    paths = [each["path"] for page in obstore.list(opened) for each in page]
    return {path: bytes(obstore.get(opened, path).bytes()) for path in paths}
