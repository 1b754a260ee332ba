"""A published catalog as a consumer opens it: verified, and not older than the consumer allows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from tuf.api.metadata import Root, Targets

from imagectl.consumer.signed_tree import SignedFiles, open_files, shown
from imagectl.errors import CannotTell, Corrupt
from imagectl.formats.published_v1.announcements import parse_announcements
from imagectl.formats.published_v1.reading import (
    parse_catalog,
    parse_channel,
    parse_index,
    parse_version,
    parse_warnings,
)
from imagectl.formats.tuf_roles import (
    ANNOUNCEMENTS_TARGET,
    CATALOG_TARGET,
    IMAGES_ROLE,
    channel_role,
    channel_target,
    image_of_index,
    index_target,
    waits,
    warnings_target,
)
from imagectl.model.announcement import Announcement
from imagectl.model.names import (
    ChannelName,
    ImageName,
    Sha256,
    VersionId,
    parse_channel_name,
)
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedIndex,
    PublishedVersion,
    PublishedWarning,
)

_CHANNEL = channel_role(ChannelName(""))
"""How the names of the roles begin that sign what channels point to."""


class SignedTree:
    """One state of a published catalog, verified (P10): ``services.ports.PublishedTree``.

    Made by ``open_catalog``. ``notices``: what people should know, such as that the catalog cannot
    be reached and this is what it said before. What is asked for is fetched then, and kept in
    memory as parsed: the same again takes microseconds. Safe to use from several threads.
    """

    def __init__(self, files: SignedFiles) -> None:
        self._files = files

    @property
    def where(self) -> str:
        """The catalog's address, for people."""
        return shown(self._files.url)

    @property
    def notices(self) -> tuple[str, ...]:
        return self._files.notices

    @property
    def offline(self) -> bool:
        """Whether the catalog cannot be reached: then this is what it said before."""
        return self._files.offline

    @property
    def expires(self) -> datetime:
        """When the first of the signatures runs out that were needed so far."""
        return self._files.expires

    @property
    def requests(self) -> int:
        """How many files were asked for so far."""
        return self._files.requests

    def catalog(self) -> PublishedCatalog:
        found = self._files.target(CATALOG_TARGET, parse_catalog)
        if found is None:
            raise Corrupt(
                f"the published catalog at {self.where} does not say what it is",
                where=f"{self.where}/{CATALOG_TARGET}",
                why=f"nobody has signed a {CATALOG_TARGET}",
                hint="`imagectl catalog publish` writes it again",
            )
        return found

    def images(self) -> Collection[ImageName]:
        return self._images

    @cached_property
    def _images(self) -> frozenset[ImageName]:
        return frozenset(
            image
            for role in self._files.roles()
            if role == IMAGES_ROLE or role.startswith("image-")
            for target in self._files.names(role)
            # A role may list what it may not sign.
            if (image := image_of_index(target)) is not None and self._files.signed(target)
        )

    def channels(self, image: ImageName) -> Collection[ChannelName]:
        return {
            channel
            for role in self._files.roles()
            if role.startswith(_CHANNEL)
            for channel in (parse_channel_name(role.removeprefix(_CHANNEL)),)
            if self._files.signed(channel_target(image, channel))
        }

    def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None:
        return self._files.target(channel_target(image, channel), parse_channel)

    def waits(self, channel: ChannelName) -> bool:
        """Whether the channel has something else to say by now, and waits for signatures."""
        return waits(self._files.said, channel_role(channel))

    def index(self, image: ImageName) -> PublishedIndex | None:
        return self._files.target(index_target(image), parse_index)

    def warnings(self, image: ImageName) -> Mapping[VersionId, PublishedWarning]:
        return self._files.target(warnings_target(image), parse_warnings) or {}

    def announcements(self) -> tuple[Announcement, ...]:
        """What is coming, the next first, by nobody that is named."""
        return self._files.target(ANNOUNCEMENTS_TARGET, parse_announcements) or ()

    def version(self, document: Sha256) -> PublishedVersion:
        return self._files.document(
            document, lambda data, where: parse_version(data, document, where, self._files.url)
        )

    def target(self, name: str) -> bytes | None:
        """Another signed document of the tree, such as ``announcements.json``; None without one."""
        return self._files.target(name, lambda data, _: data)

    def signed_by(self, role: str) -> Root | Targets | None:
        """What a role of the signed metadata says; None where nothing was ever published of it."""
        return self._files.signed_by(role)

    def named(self, path: str, digest: Sha256, size: int) -> bytes:
        """A file of the tree that a signed document names by its digest, and its *size*."""
        return self._files.named(path, digest, size)

    def close(self) -> None:
        """Close connections. What was read can still be asked for."""
        self._files.close()


def open_catalog(
    url: str,
    *,
    root: bytes,
    cache: Path,
    now: datetime,
    min_generation: int = 0,
    max_stale: timedelta | None = None,
    keep_documents: bool = True,
) -> SignedTree:
    """Look at a published catalog anew and verify it.

    *url* is a folder or an address (https:, http:, s3:, gs:). *root* says whose signatures count:
    ``catalog/root.json`` of the repository of whoever publishes. *cache* is a folder for this
    catalog alone, which remembers what was seen, so that nothing older is believed; with what was
    read, for when it cannot be reached, unless *keep_documents* is false.

    Raises CannotTell where it cannot be verified; where it is older than *min_generation*; and
    where it cannot be reached and what was seen before is older than *max_stale*, or its signatures
    have run out. Raises NotFound where nothing is published there, and Failed where *cache* cannot
    be written.
    """
    files = open_files(
        url, root=root, cache=cache, now=now, max_stale=max_stale, keep_documents=keep_documents
    )
    tree = SignedTree(files)
    check_generation(tree.catalog, min_generation, tree.where)
    return tree


def check_generation(
    catalog: Callable[[], PublishedCatalog], min_generation: int, where: str
) -> None:
    """Raise CannotTell where the catalog is older than somebody asks for; 0 asks for nothing."""
    shown = catalog().generation if min_generation else 0
    if shown < min_generation:
        raise CannotTell(
            f"{where} is older than it has to be",
            where=where,
            why=f"it shows generation {shown}, and min_generation asks for {min_generation}",
            hint="try again once the mirror has caught up",
        )
