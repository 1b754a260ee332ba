"""Writes the documents: a snapshot of the catalog becomes what consumers are shown of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from imagectl.errors import Refused
from imagectl.formats.published_v1.json_text import encoded, written_time
from imagectl.formats.published_v1.layout import FORMAT, TREELESS
from imagectl.formats.tuf_roles import (
    CATALOG_TARGET,
    channel_target,
    index_target,
    version_path,
    warnings_target,
)
from imagectl.model.channel import Channel
from imagectl.model.names import ImageName, LocationName, Sha256, VersionId
from imagectl.model.published import PublishedWarning, Warned
from imagectl.model.retention import Stage
from imagectl.model.snapshot import Snapshot
from imagectl.model.version import Placement, Version, VersionRef
from imagectl.policy.readiness import withheld


@dataclass(frozen=True, slots=True)
class Documents:
    """What consumers are shown of some images: targets by their names, versions by their paths, and
    with these the earlier events of a history.

    ``unindexed``: what the warnings of an image have to be for as long as its index, whose signer
    may be away, does not say yet what was deleted. ``absent``: the targets that there are no more,
    where the others stay that are not in ``targets``.
    """

    targets: Mapping[str, bytes]
    versions: Mapping[str, bytes]
    unindexed: Mapping[ImageName, bytes]
    absent: frozenset[str] = frozenset()


def render(
    snapshot: Snapshot, at: datetime, public_urls: Mapping[LocationName, str] = MappingProxyType({})
) -> Documents:
    """The documents of every image in *snapshot*, published at that time: a pure function, so the
    same bytes each time. *public_urls*: below which address there are plain downloads of what is in
    a location.

    Raises Refused where a channel points to a version that is not ready (P6): then consumers keep
    what they have.
    """
    given, documents = render_versions(snapshot, public_urls)
    targets = {CATALOG_TARGET: render_catalog(snapshot, at), **render_channels(snapshot, given)}
    unindexed: dict[ImageName, bytes] = {}
    for image, shown in _by_image(snapshot, given).items():
        targets[index_target(image)] = render_index(image, shown)
        if shown.warnings:
            targets[warnings_target(image)] = render_warnings(image, shown.warnings)
        if shown.deleted:
            unindexed[image] = render_warnings(image, {**shown.deleted, **shown.warnings})
    return Documents(targets, documents, unindexed)


def rendering(public_urls: Mapping[LocationName, str]) -> str:
    """What else than the catalog the documents of versions depend on, as a digest: where it is
    another one than before, those of versions that have not changed are to be made anew, too."""
    content = {"formats": [FORMAT, TREELESS], "urls": {str(k): v for k, v in public_urls.items()}}
    return hashlib.sha256(encoded(content)).hexdigest()


def render_versions(
    snapshot: Snapshot, public_urls: Mapping[LocationName, str]
) -> tuple[Mapping[VersionRef, Sha256], dict[str, bytes]]:
    """The digest of the document of each version that consumers are shown, and these documents by
    their paths."""
    given: dict[VersionRef, Sha256] = {}
    documents: dict[str, bytes] = {}
    for ref in sorted(snapshot.versions):
        version = snapshot.versions[ref]
        if not withheld(version, snapshot):
            digest, data = _document(_version(version, snapshot.placed(ref), public_urls))
            given[ref] = digest
            documents[version_path(digest)] = data
    return given, documents


def render_channels(snapshot: Snapshot, given: Mapping[VersionRef, Sha256]) -> Mapping[str, bytes]:
    """The documents of the channels in *snapshot*, as targets. Raises as ``render`` does."""
    targets = {}
    for (image, name), channel in snapshot.channels.items():
        ref = VersionRef(image, channel.head.version)
        if ref not in given:
            raise Refused(
                f"{name} of {image} cannot be published",
                reasons=withheld(snapshot.versions[ref], snapshot),
                where=str(ref),
                hint=f"`imagectl publish {ref}`, or `imagectl rollback {name} {image}`",
            )
        targets[channel_target(image, name)] = _channel(channel, given[ref])
    return targets


@dataclass(frozen=True, slots=True)
class Shown:
    """What consumers are shown of one image."""

    versions: dict[VersionId, Sha256]
    deleted: dict[VersionId, PublishedWarning]
    warnings: dict[VersionId, PublishedWarning]


def _by_image(snapshot: Snapshot, given: Mapping[VersionRef, Sha256]) -> Mapping[ImageName, Shown]:
    found: dict[ImageName, Shown] = {}
    for ref in (*snapshot.stages, *snapshot.revoked, *given):
        shown = found.get(ref.image) or Shown({}, {}, {})
        show(ref, snapshot, given, shown)
        if shown.versions or shown.deleted or shown.warnings:
            found[ref.image] = shown
    return found


def show(
    ref: VersionRef, snapshot: Snapshot, given: Mapping[VersionRef, Sha256], shown: Shown
) -> None:
    """Have *shown* say of that version what *snapshot* does, and nothing else."""
    for each in (shown.versions, shown.deleted, shown.warnings):
        each.pop(ref.version, None)
    staged, revoked = snapshot.stages.get(ref), snapshot.revoked.get(ref)
    if staged is not None and staged.stage is not Stage.ACTIVE:
        said = PublishedWarning(Warned(staged.stage.value), staged.at, staged.by, staged.reason)
        down = shown.deleted if staged.stage is Stage.DELETED else shown.warnings
        down[ref.version] = said
    if revoked is not None:
        # The gravest that is to be said of a version: that it is unsafe.
        said = PublishedWarning(Warned.REVOKED, revoked.at, revoked.by, revoked.reason)
        shown.warnings[ref.version] = said
    if ref in given and ref.version not in shown.deleted:
        shown.versions[ref.version] = given[ref]


def render_catalog(snapshot: Snapshot, at: datetime) -> bytes:
    return encoded(
        {
            "format": FORMAT,
            "catalog": snapshot.catalog_id,
            "generation": snapshot.generation,
            "event": snapshot.event,
            "at": written_time(at),
        }
    )


def render_index(image: ImageName, shown: Shown) -> bytes:
    content: dict[str, Any] = {
        "format": FORMAT,
        "image": image,
        "versions": {str(version): digest for version, digest in shown.versions.items()},
    }
    if shown.deleted:
        content["deleted"] = {str(each): _written(shown.deleted[each]) for each in shown.deleted}
    return encoded(content)


def render_warnings(image: ImageName, warnings: Mapping[VersionId, PublishedWarning]) -> bytes:
    return encoded(
        {
            "format": FORMAT,
            "image": image,
            "warnings": {str(version): _written(each) for version, each in warnings.items()},
        }
    )


def _written(warning: PublishedWarning) -> dict[str, Any]:
    return {
        "warned": warning.warned.value,
        "at": written_time(warning.at),
        "by": warning.by,
        "reason": warning.reason,
    }


def _channel(channel: Channel, document: Sha256) -> bytes:
    head = channel.head
    return encoded(
        {
            "format": FORMAT,
            "image": channel.image,
            "channel": channel.name,
            "version": str(head.version),
            "document": document,
            "kind": head.kind.value,
            "at": written_time(head.at),
            "reason": head.reason,
            "generation": head.generation,
        }
    )


def _version(
    version: Version, placements: tuple[Placement, ...], public_urls: Mapping[LocationName, str]
) -> dict[str, Any]:
    # When a placement was last verified is left out: it changes daily, the document does not.
    origin, inside = version.origin, version.inside
    content: dict[str, Any] = {
        "format": FORMAT if version.tree else TREELESS,
        "image": version.image,
        "version": str(version.id),
        "created": written_time(version.created),
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
                **_url(each, public_urls.get(each.location)),
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


def _url(placement: Placement, base: str | None) -> dict[str, str]:
    """Where a plain download works; nothing where it does not, or the file is named otherwise."""
    name = f"sha256/{placement.sha256[:2]}/{placement.sha256}"
    if base is None or not f"/{placement.provider_id}".endswith(f"/{name}"):
        return {}
    return {"url": f"{base.rstrip('/')}/{name}"}


def _document(content: Mapping[str, Any]) -> tuple[Sha256, bytes]:
    data = encoded(content)
    return Sha256(hashlib.sha256(data).hexdigest()), data
