"""Reads the tree: each document, verified before (P10), becomes what consumers can know."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeVar

from imagectl.errors import Corrupt
from imagectl.formats.published_v1.announcements import parse_announcements
from imagectl.formats.published_v1.json_text import number, parsed, parsed_time, text
from imagectl.formats.published_v1.layout import FORMAT, TREELESS
from imagectl.formats.tuf_roles import (
    ANNOUNCEMENTS_TARGET,
    CATALOG_TARGET,
    IMAGES_ROLE,
    channel_role,
    channel_target,
    image_of_index,
    index_target,
    version_path,
    warnings_target,
)
from imagectl.model.announcement import Announcement
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
    Sha256,
    VersionId,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedIndex,
    PublishedInside,
    PublishedOrigin,
    PublishedPlacement,
    PublishedVersion,
    PublishedWarning,
    Warned,
)
from imagectl.model.version import Reproducible, VersionRef

T = TypeVar("T")

CHANNEL = channel_role(ChannelName(""))
"""How the names of the roles begin that sign what channels point to."""


class Targets(Protocol):
    """The verified files of a tree: what TUF makes of it."""

    def find(self, target: str) -> tuple[bytes, str] | None:
        """The bytes of a target and where they are, for messages; None where there is no such one.

        Raises Corrupt or CannotTell as ``services.ports.PublishedTree`` does.
        """
        ...

    def names(self, role: str) -> Collection[str]:
        """The targets that a role signs."""
        ...

    def roles(self) -> Collection[str]:
        """The roles that may sign targets."""
        ...

    def waits(self, role: str) -> bool:
        """Whether the role may have something else to say, and waits for signatures."""
        ...

    def fetch(self, path: str) -> bytes:
        """A file below the tree, not verified: its digest is. Corrupt where it is missing."""
        ...


class TreeReader:
    """``services.ports.PublishedTree`` over the verified files of a tree.

    *root* names the tree in messages; *address* is where it is, for addresses that are relative to
    it.
    """

    def __init__(self, root: str, targets: Targets, address: str = "") -> None:
        self._root = root
        self._address = address
        self._targets = targets

    def catalog(self) -> PublishedCatalog:
        found = self._targets.find(CATALOG_TARGET)
        if found is None:
            raise Corrupt(
                f"the published catalog in {self._root} does not say what it is",
                where=f"{self._root}/{CATALOG_TARGET}",
                why=f"nobody has signed a {CATALOG_TARGET}",
                hint="`imagectl catalog publish` writes it again",
            )
        return parse_catalog(*found)

    def images(self) -> Collection[ImageName]:
        return {
            image
            for role in filter(_signs_indexes, self._targets.roles())
            for target in self._targets.names(role)
            if (image := image_of_index(target)) is not None
        }

    def channels(self, image: ImageName) -> Collection[ChannelName]:
        channels = (
            parse_channel_name(role.removeprefix(CHANNEL))
            for role in self._targets.roles()
            if role.startswith(CHANNEL)
        )
        return {
            each
            for each in channels
            if channel_target(image, each) in self._targets.names(channel_role(each))
        }

    def head(self, image: ImageName, channel: ChannelName) -> PublishedHead | None:
        found = self._targets.find(channel_target(image, channel))
        return None if found is None else parse_channel(*found)

    def waits(self, channel: ChannelName) -> bool:
        return self._targets.waits(channel_role(channel))

    def index(self, image: ImageName) -> PublishedIndex | None:
        found = self._targets.find(index_target(image))
        return None if found is None else parse_index(*found)

    def warnings(self, image: ImageName) -> Mapping[VersionId, PublishedWarning]:
        found = self._targets.find(warnings_target(image))
        return {} if found is None else parse_warnings(*found)

    def announcements(self) -> tuple[Announcement, ...]:
        found = self._targets.find(ANNOUNCEMENTS_TARGET)
        return () if found is None else parse_announcements(*found)

    def version(self, document: Sha256) -> PublishedVersion:
        path = version_path(document)
        return parse_version(
            self._targets.fetch(path), document, f"{self._root}/{path}", self._address
        )


def _signs_indexes(role: str) -> bool:
    return role == IMAGES_ROLE or role.startswith("image-")


def parse_catalog(data: bytes, where: str) -> PublishedCatalog:
    """The catalog's document. *where* names the file in messages, here and below."""

    def build(content: Any) -> PublishedCatalog:
        event = content["event"]
        return PublishedCatalog(
            text(content["catalog"]),
            number(content["generation"]),
            None if event is None else parse_sha256(text(event)),
            parsed_time(content["at"]),
        )

    return parsed(data, where, build)


def parse_channel(data: bytes, where: str) -> PublishedHead:
    """A channel's document."""

    def build(content: Any) -> PublishedHead:
        return PublishedHead(
            parse_image_name(content["image"]),
            parse_channel_name(content["channel"]),
            parse_version_id(content["version"]),
            parse_sha256(content["document"]),
            MoveKind(content["kind"]),
            parsed_time(content["at"]),
            text(content["reason"]),
            number(content["generation"]),
        )

    return parsed(data, where, build)


def parse_index(data: bytes, where: str) -> PublishedIndex:
    """An image's index."""

    def build(content: Any) -> PublishedIndex:
        return PublishedIndex(
            {
                parse_version_id(version): parse_sha256(document)
                for version, document in content["versions"].items()
            },
            _read_warnings(content.get("deleted", {})),
        )

    return parsed(data, where, build)


def parse_warnings(data: bytes, where: str) -> Mapping[VersionId, PublishedWarning]:
    """What consumers of an image are warned of."""
    return parsed(data, where, lambda content: _read_warnings(content["warnings"]))


def _read_warnings(content: Any) -> dict[VersionId, PublishedWarning]:
    return {
        parse_version_id(version): _read_warning(warning) for version, warning in content.items()
    }


def parse_version(data: bytes, digest: Sha256, where: str, address: str = "") -> PublishedVersion:
    """A version's document, whose bytes must have that digest (P10). *address* is the tree's."""

    def build(content: Any) -> PublishedVersion:
        parent = content["parent"]
        return PublishedVersion(
            _ref(content),
            parsed_time(content["created"]),
            text(content["summary"]),
            _ref(parent) if parent is not None else None,
            _tree(content),
            number(content["tests_passed"]),
            text(content["tool"]),
            tuple(
                PublishedPlacement(
                    parse_location_name(each["location"]),
                    Format(each["format"]),
                    Architecture(each["architecture"]),
                    text(each["reference"]),
                    text(each["provider_id"]),
                    parse_sha256(each["sha256"]),
                    number(each["size"]),
                    _absolute(text(each["url"]), address) if "url" in each else None,
                )
                for each in content["placements"]
            ),
            _origin(content.get("origin")),
            _inside(content.get("inside")),
        )

    return parsed(_checked(data, digest, where), where, build, (FORMAT, TREELESS))


def _read_warning(content: Any) -> PublishedWarning:
    return PublishedWarning(
        Warned(content["warned"]),
        parsed_time(content["at"]),
        text(content["by"]),
        text(content["reason"]),
    )


def _absolute(url: str, address: str) -> str:
    return url if url.startswith(("https://", "http://")) else f"{address}/{url}"


def _tree(content: Any) -> Sha256 | None:
    if content["tree"] is None and content["format"] == TREELESS:
        return None
    return parse_sha256(text(content["tree"]))


def _origin(content: Any) -> PublishedOrigin | None:
    if content is None:
        return None
    return PublishedOrigin(
        number(content["epoch"]),
        parse_sha256(content["raw"]),
        Reproducible(content["reproducible"]),
        text(content["cause"]),
    )


def _inside(content: Any) -> PublishedInside | None:
    if content is None:
        return None
    return PublishedInside(
        parse_sha256(content["contents"]),
        parse_sha256(content["spdx"]),
        parse_sha256(content["cyclonedx"]),
        parse_sha256(content["provenance"]),
    )


def _checked(data: bytes, digest: Sha256, where: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Corrupt(
            f"{where} was changed after it was published",
            where=where,
            why=f"its sha256 is {found}, and {digest} was published",
            hint="`imagectl catalog publish` writes it again",
        )
    return data


def _ref(content: Any) -> VersionRef:
    return VersionRef(parse_image_name(content["image"]), parse_version_id(content["version"]))
