"""What a consumer gets: a few small documents of the published tree, and a decision (P10).

No catalog, no server and no location is asked, so resolving works while all of them are down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from imagectl.consumer.hearing import hear
from imagectl.errors import Corrupt
from imagectl.model.announcement import Announcement
from imagectl.model.names import ChannelName, ImageName, Sha256, VersionId
from imagectl.model.published import (
    PublishedHead,
    PublishedIndex,
    PublishedVersion,
    PublishedWarning,
)
from imagectl.model.version import VersionRef
from imagectl.policy.resolution import (
    Resolution,
    ResolutionRequest,
    check_head,
    choose,
    find_document,
    no_head,
    no_image,
)
from imagectl.policy.resolution import resolve as decide


class Tree(Protocol):
    """What is needed of a published tree, verified: see ``consumer.SignedTree``."""

    def images(self) -> Collection[ImageName]: ...
    def channels(self, image: ImageName) -> Collection[ChannelName]: ...
    def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None: ...
    def waits(self, channel: ChannelName) -> bool: ...
    def index(self, image: ImageName) -> PublishedIndex | None: ...
    def warnings(self, image: ImageName) -> Mapping[VersionId, PublishedWarning]: ...
    def announcements(self) -> tuple[Announcement, ...]: ...
    def version(self, document: Sha256) -> PublishedVersion: ...


def resolve(tree: Tree, request: ResolutionRequest, now: datetime) -> Resolution:
    """Read what *request* needs and decide. Raises what the tree and the decision raise."""
    choice = choose(request)
    image = choice.image
    head = None
    if choice.version is not None:
        ref = VersionRef(image, choice.version)
        index = tree.index(image)
        if index is None:
            raise no_image(image, tree.images())
        warning = tree.warnings(image).get(choice.version)
        document = find_document(image, choice.version, index, warning)
    else:
        assert choice.channel is not None
        head = tree.head(image, choice.channel)
        if head is None:
            images = tree.images()
            if image not in images:
                raise no_image(image, images)
            raise no_head(choice, tree.channels(image), waits=tree.waits(choice.channel))
        ref = VersionRef(head.image, head.version)
        document = head.document
        if (head.image, head.channel) != (image, choice.channel):
            raise _mixed_up(f"{head.channel} of {head.image}", f"{choice.channel} of {image}")
        warning = tree.warnings(image).get(head.version)
        waits = tree.waits(choice.channel)
        if waits:
            # The catalog has left that version, and only lacks signatures to say so: the version
            # may be deleted by now. That alone is not among the warnings.
            index = tree.index(image)
            deleted = None if index is None else index.deleted.get(head.version)
            warning = deleted if warning is None or deleted is not None else warning
        check_head(head, warning, waits=waits)
    version = tree.version(document)
    if version.ref != ref:
        raise _mixed_up(str(version.ref), str(ref))
    heard = hear(tree, choice, ref, request, now)
    found = decide(choice, head, version, request, now, warning)
    return replace(found, notices=(*found.notices, *heard)) if heard else found


def _mixed_up(found: str, wanted: str) -> Corrupt:
    return Corrupt(
        f"the published catalog gives {found} for {wanted}",
        why="its documents were put together wrongly",
        hint="`imagectl catalog publish` writes them again",
    )
