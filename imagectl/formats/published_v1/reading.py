"""Reads the tree: each document, checked by its digest (P10), becomes what consumers can know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from imagectl.errors import CannotTell, Corrupt
from imagectl.formats.published_v1.layout import (
    ENTRY,
    FORMAT,
    REVOKED,
    TREELESS,
    channel_path,
    index_path,
    version_path,
)
from imagectl.model.channel import MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    Sha256,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.published import (
    PublishedCatalog,
    PublishedHead,
    PublishedImage,
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


class TreeReader:
    """``services.ports.PublishedTree`` over anything that can fetch a file of the tree.

    *fetch* gets a path below the tree and returns the file's bytes. *root* names the tree in
    messages.
    """

    def __init__(self, root: str, fetch: Callable[[str], bytes]) -> None:
        self._root = root
        self._fetch = fetch

    def catalog(self) -> PublishedCatalog:
        return parse_entry(self._fetch(ENTRY), self._where(ENTRY))

    def head(self, image: PublishedImage, channel: ChannelName) -> PublishedHead:
        digest = image.channels[channel]
        path = channel_path(image.name, channel, digest)
        return parse_channel(self._fetch(path), digest, self._where(path))

    def index(self, image: PublishedImage) -> PublishedIndex:
        path = index_path(image.name, image.index)
        return parse_index(self._fetch(path), image.index, self._where(path))

    def version(self, document: Sha256) -> PublishedVersion:
        path = version_path(document)
        return parse_version(self._fetch(path), document, self._where(path))

    def _where(self, path: str) -> str:
        return f"{self._root}/{path}"


def parse_entry(data: bytes, where: str) -> PublishedCatalog:
    """The entry document. *where* names the file in messages, here and below."""

    def build(content: Any) -> PublishedCatalog:
        images = {}
        for name, documents in content["images"].items():
            image = parse_image_name(name)
            channels = {
                parse_channel_name(channel): parse_sha256(digest)
                for channel, digest in documents["channels"].items()
            }
            images[image] = PublishedImage(image, parse_sha256(documents["index"]), channels)
        event = content.get("event")
        return PublishedCatalog(
            _text(content["catalog"]),
            _number(content["generation"]),
            images,
            None if event is None else parse_sha256(_text(event)),
        )

    return _parsed(data, where, build)


def parse_channel(data: bytes, digest: Sha256, where: str) -> PublishedHead:
    """A channel's document, whose bytes must have that digest (P10)."""

    def build(content: Any) -> PublishedHead:
        return PublishedHead(
            parse_image_name(content["image"]),
            parse_channel_name(content["channel"]),
            parse_version_id(content["version"]),
            parse_sha256(content["document"]),
            MoveKind(content["kind"]),
            _parsed_time(content["at"]),
            _text(content["reason"]),
            _number(content["generation"]),
            _read_warning(content["revoked"]) if content["format"] == REVOKED else None,
        )

    return _parsed(_checked(data, digest, where), where, build, (FORMAT, REVOKED))


def parse_index(data: bytes, digest: Sha256, where: str) -> PublishedIndex:
    """An image's index, whose bytes must have that digest (P10)."""

    def build(content: Any) -> PublishedIndex:
        return PublishedIndex(
            {
                parse_version_id(version): parse_sha256(document)
                for version, document in content["versions"].items()
            },
            {
                parse_version_id(version): _read_warning(warning)
                for version, warning in content.get("warnings", {}).items()
            },
        )

    return _parsed(_checked(data, digest, where), where, build)


def parse_version(data: bytes, digest: Sha256, where: str) -> PublishedVersion:
    """A version's document, whose bytes must have that digest (P10)."""

    def build(content: Any) -> PublishedVersion:
        parent = content["parent"]
        return PublishedVersion(
            _ref(content),
            _parsed_time(content["created"]),
            _text(content["summary"]),
            _ref(parent) if parent is not None else None,
            _tree(content),
            _number(content["tests_passed"]),
            _text(content["tool"]),
            tuple(
                PublishedPlacement(
                    parse_location_name(each["location"]),
                    Format(each["format"]),
                    Architecture(each["architecture"]),
                    _text(each["reference"]),
                    _text(each["provider_id"]),
                    parse_sha256(each["sha256"]),
                    _number(each["size"]),
                )
                for each in content["placements"]
            ),
            _origin(content.get("origin")),
            _inside(content.get("inside")),
        )

    return _parsed(_checked(data, digest, where), where, build, (FORMAT, TREELESS))


def _read_warning(content: Any) -> PublishedWarning:
    return PublishedWarning(
        Warned(content["warned"]),
        _parsed_time(content["at"]),
        _text(content["by"]),
        _text(content["reason"]),
    )


def _tree(content: Any) -> Sha256 | None:
    if content["tree"] is None and content["format"] == TREELESS:
        return None
    return parse_sha256(_text(content["tree"]))


def _origin(content: Any) -> PublishedOrigin | None:
    if content is None:
        return None
    return PublishedOrigin(
        _number(content["epoch"]),
        parse_sha256(content["raw"]),
        Reproducible(content["reproducible"]),
        _text(content["cause"]),
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


def _parsed(
    data: bytes, where: str, build: Callable[[Any], T], formats: Sequence[str] = (FORMAT,)
) -> T:
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or not isinstance(content.get("format"), str):
            raise ValueError("it is not a document of a published catalog")
        if content["format"] not in formats:
            raise CannotTell(
                f"{where} is in a format that this imagectl does not know",
                where=where,
                why=f"it says {content['format'][:80]!r}; known: {', '.join(formats)}",
                hint="a newer imagectl may know it",
            )
        return build(content)
    except KeyError as error:
        why = f"{error} is missing"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        why = str(error)
    raise Corrupt(
        f"{where} is not a document of a published catalog",
        where=where,
        why=why,
        hint="remove it, and `imagectl catalog publish` writes it again",
    )


def _ref(content: Any) -> VersionRef:
    return VersionRef(parse_image_name(content["image"]), parse_version_id(content["version"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {value!r:.80}")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number is expected, not {value!r:.80}")
    return value


def _parsed_time(value: Any) -> datetime:
    at = datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return at.astimezone(UTC)
