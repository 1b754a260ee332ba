"""The tree that consumers read, version 1: its documents and where they are.

::

    catalog.json                                    the entry: catalog, generation, the hash of the
                                                    event that made it, and by image the digests of
                                                    the documents below
    images/IMAGE/DIGEST.index.json                  every published version: its document's digest
    images/IMAGE/channels/DIGEST.CHANNEL.json       what the channel points to, since when, why
    versions/sha256/AB/ABCD....json                 one version: what it is and where to get it

Every document but the entry has the digest of its bytes in its name, and is reached by that digest
from the entry. So replacing ``catalog.json`` switches a reader from one whole state to the next
(P7), and nothing but that file has to be trusted or fetched again (P10). The names are those that
TUF gives to targets, which are to be the indexes and the channel documents; its metadata then takes
the place of the entry.

What one promotion changes is small: a channel document for each image that moves, and the entry.
Only versions that are ready are in the tree (P6). Of those that consumers are warned off, the index
says so under ``warnings``; those that were taken away (revoked, quarantined, deleted) are not among
its ``versions`` any more, so that a reader that does not know of warnings does not find them.

Parsing ignores keys that it does not know, so
that they can be added; anything else that is not as it has to be is Corrupt. So ``origin`` and
``inside`` of a version are there where they are known, and a version recorded before they existed
has the same document as ever. What a reader of format 1 would call Corrupt, a version without a
tree, has a document of format 2: to such a reader, one that it does not know. So has a channel that
points to a revoked version: such a reader must not go on and use it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from imagectl.errors import CannotTell, Corrupt, Refused
from imagectl.model.channel import Channel, MoveKind
from imagectl.model.names import (
    Architecture,
    ChannelName,
    Format,
    ImageName,
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
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, Reproducible, Version, VersionRef
from imagectl.policy.readiness import withheld

FORMAT = "imagectl-published-1"

TREELESS = "imagectl-published-2"
"""Of a version's document, where ``tree`` is null. All else is as in format 1."""

REVOKED = "imagectl-published-2"
"""Of a channel's document, where it points to a revoked version: ``revoked`` says why."""

ENTRY = "catalog.json"
"""The one file of the tree that is ever replaced."""

T = TypeVar("T")


def index_path(image: ImageName, digest: Sha256) -> str:
    """Where an image's index is, below the tree."""
    return f"images/{image}/{digest}.index.json"


def channel_path(image: ImageName, channel: ChannelName, digest: Sha256) -> str:
    """Where a channel's document is, below the tree."""
    return f"images/{image}/channels/{digest}.{channel}.json"


def version_path(digest: Sha256) -> str:
    """Where a version's document is, below the tree."""
    return f"versions/sha256/{digest[:2]}/{digest}.json"


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole tree: the entry, and every other document by its path."""

    entry: bytes
    documents: Mapping[str, bytes]


def render(snapshot: Snapshot) -> Tree:
    """The tree that shows *snapshot*: a pure function of it, so the same bytes each time.

    Raises Refused where a channel points to a version that is not ready (P6): then consumers keep
    what they have.
    """
    versions: dict[VersionRef, tuple[Sha256, bytes]] = {}
    for ref in sorted(snapshot.versions):
        version = snapshot.versions[ref]
        if not withheld(version, snapshot):
            versions[ref] = _document(_version(version, snapshot.placed(ref)))
    warnings = {
        ref: warning
        for ref in sorted({*snapshot.stages, *snapshot.revoked})
        if (warning := _warning(ref, snapshot)) is not None
    }
    given = {
        ref: document
        for ref, document in versions.items()
        if ref not in warnings or not warnings[ref].warned.taken_away
    }
    documents = {version_path(digest): data for digest, data in given.values()}
    images: dict[str, Any] = {}
    for image in sorted({ref.image for ref in (*versions, *warnings)}):
        index: dict[str, Any] = {
            "format": FORMAT,
            "image": image,
            "versions": {
                str(ref.version): digest for ref, (digest, _) in given.items() if ref.image == image
            },
        }
        warned = {
            str(ref.version): _written(warning)
            for ref, warning in warnings.items()
            if ref.image == image
        }
        if warned:
            index["warnings"] = warned
        digest, data = _document(index)
        documents[index_path(image, digest)] = data
        images[image] = {"index": digest, "channels": {}}
    for (image, name), channel in sorted(snapshot.channels.items()):
        ref = VersionRef(image, channel.head.version)
        if ref not in versions:
            raise Refused(
                f"{name} of {image} cannot be published",
                reasons=withheld(snapshot.versions[ref], snapshot),
                where=str(ref),
                hint=f"`imagectl publish {ref}`, or `imagectl rollback {name} {image}`",
            )
        digest, data = _document(_channel(channel, versions[ref][0], warnings.get(ref)))
        documents[channel_path(image, name, digest)] = data
        images[image]["channels"][name] = digest
    entry = {
        "format": FORMAT,
        "catalog": snapshot.catalog_id,
        "generation": snapshot.generation,
        "images": images,
    }
    if snapshot.event is not None:
        entry["event"] = snapshot.event
    return Tree(_encoded(entry), documents)


def _warning(ref: VersionRef, snapshot: Snapshot) -> PublishedWarning | None:
    """The gravest that is to be said of the version: that it is unsafe."""
    revoked = snapshot.revoked.get(ref)
    if revoked is not None:
        return PublishedWarning(Warned.REVOKED, revoked.at, revoked.by, revoked.reason)
    staged = snapshot.stages[ref]
    if staged.stage is Stage.ACTIVE:
        return None
    return PublishedWarning(Warned(staged.stage.value), staged.at, staged.by, staged.reason)


def _written(warning: PublishedWarning) -> dict[str, Any]:
    return {
        "warned": warning.warned.value,
        "at": _time(warning.at),
        "by": warning.by,
        "reason": warning.reason,
    }


def _channel(
    channel: Channel, document: Sha256, warning: PublishedWarning | None
) -> dict[str, Any]:
    head = channel.head
    revoked = warning is not None and warning.warned is Warned.REVOKED
    return {
        **({"revoked": _written(warning)} if warning is not None and revoked else {}),
        "format": REVOKED if revoked else FORMAT,
        "image": channel.image,
        "channel": channel.name,
        "version": str(head.version),
        "document": document,
        "kind": head.kind.value,
        "at": _time(head.at),
        "reason": head.reason,
        "generation": head.generation,
    }


def _version(version: Version, placements: tuple[Placement, ...]) -> dict[str, Any]:
    # When a placement was last verified is left out: it changes daily, the document does not.
    origin, inside = version.origin, version.inside
    content: dict[str, Any] = {
        "format": FORMAT if version.tree else TREELESS,
        "image": version.image,
        "version": str(version.id),
        "created": _time(version.created),
        "summary": version.summary,
        "parent": {"image": version.parent.image, "version": str(version.parent.version)}
        if version.parent
        else None,
        "tree": version.tree.sha256 if version.tree else None,
        "tests_passed": version.tests.passed,
        "tool": version.tool,
        "placements": [
            {
                "location": each.location,
                "format": each.format.value,
                "architecture": each.architecture.value,
                "reference": each.reference,
                "provider_id": each.provider_id,
                "sha256": each.sha256,
                "size": each.size,
            }
            for each in placements
        ],
    }
    if origin is not None:
        content["origin"] = {
            "epoch": origin.epoch,
            "raw": origin.raw,
            "reproducible": origin.reproducible.value,
            "cause": origin.cause,
        }
    if inside is not None:
        content["inside"] = {
            "contents": inside.contents,
            "spdx": inside.spdx,
            "cyclonedx": inside.cyclonedx,
            "provenance": inside.provenance,
        }
    return content


def _document(content: Mapping[str, Any]) -> tuple[Sha256, bytes]:
    data = _encoded(content)
    return Sha256(hashlib.sha256(data).hexdigest()), data


def _encoded(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


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
