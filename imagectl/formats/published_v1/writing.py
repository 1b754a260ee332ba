"""Writes the tree: a snapshot of the catalog becomes its documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imagectl.errors import Refused
from imagectl.formats.published_v1.layout import (
    FORMAT,
    REVOKED,
    TREELESS,
    channel_path,
    index_path,
    version_path,
)
from imagectl.model.channel import Channel
from imagectl.model.names import Sha256
from imagectl.model.published import PublishedWarning, Warned
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, Version, VersionRef
from imagectl.policy.readiness import withheld


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
