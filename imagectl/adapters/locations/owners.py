"""Whose the files are in a place that has no labels of its own: a folder, a bucket.

Files there are named by their digest, so versions, and catalogs, may share one. Beside them, each
that needs a file keeps a record, whose name says everything::

    owners/SHA256/CATALOG.IMAGE.VERSION.FORMAT-ARCHITECTURE.json

It is written before the file gets there, so that no file of ours is ever without one, and a file
goes when its last record has gone. A file that was there before the first record stays: it is
somebody else's (P2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from imagectl.adapters.content import relative
from imagectl.model.names import (
    Architecture,
    BadName,
    Format,
    Sha256,
    parse_image_name,
    parse_sha256,
    parse_version_id,
)
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import NOT_THERE, Found, Ownership

OWNERS = "owners"
DELETING = "deleting"
"""In a place without locks, what is below it beside the records says that their file is just going,
and who says so: one key for each, so that nobody takes back what another has said."""

_RECORD = re.compile(
    r"owners/(?P<sha256>[0-9a-f]{64})/(?P<catalog>[A-Za-z0-9_-]+)\.(?P<image>[a-z0-9-]+)"
    r"\.(?P<version>[0-9]{8}\.[0-9]+)\.(?P<format>[a-z0-9]+)-(?P<architecture>[a-z0-9]+)\.json"
)
_DELETING = re.compile(f"{OWNERS}/[0-9a-f]{{64}}/{DELETING}/[^/]+")


def owner_of(catalog: str, version: VersionRef, artifact: Artifact) -> Ownership:
    """What is written beside an artifact."""
    return Ownership(catalog, version, artifact.format, artifact.architecture, artifact.sha256)


def placed_by(catalog: str, placement: Placement) -> Ownership:
    """What must be beside the placement, if it is this catalog's."""
    return Ownership(
        catalog,
        placement.version,
        placement.format,
        placement.architecture,
        placement.sha256,
    )


def folder_of(sha256: Sha256) -> str:
    """Where the records about the file with that digest are."""
    return f"{OWNERS}/{sha256}"


def record_of(owner: Ownership) -> str:
    """Where the owner's record is."""
    return f"{folder_of(owner.sha256)}/{_words(owner)}.json"


def deleting_of(owner: Ownership) -> str:
    """Where the owner says that the file is just going."""
    return f"{folder_of(owner.sha256)}/{DELETING}/{_words(owner)}"


def _words(owner: Ownership) -> str:
    version = f"{owner.version.image}.{owner.version.version}"
    return f"{owner.catalog}.{version}.{owner.format.value}-{owner.architecture.value}"


def parse_record_name(name: str) -> Ownership | None:
    """The owner whose record has that name; None for anything else."""
    found = _RECORD.fullmatch(name)
    if found is None:
        return None
    try:
        return Ownership(
            found["catalog"],
            VersionRef(parse_image_name(found["image"]), parse_version_id(found["version"])),
            Format(found["format"]),
            Architecture(found["architecture"]),
            parse_sha256(found["sha256"]),
        )
    except (BadName, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Record:
    """What is in a record.

    ``found``: the file was there before anybody had a record. ``tag`` is the place's own mark of
    the bytes (ETag, generation) as they were when they were last read back and had the digest;
    None where they have not been.
    """

    owner: Ownership
    found: bool
    tag: str | None = None

    def text(self) -> bytes:
        """The record, for people too."""
        owner = self.owner
        document = {
            "imagectl-catalog": owner.catalog,
            "imagectl-image": owner.version.image,
            "imagectl-version": str(owner.version.version),
            "imagectl-format": owner.format.value,
            "imagectl-architecture": owner.architecture.value,
            "imagectl-sha256": owner.sha256,
            "found": self.found,
            "tag": self.tag,
        }
        return (json.dumps(document, indent=2) + "\n").encode()


def parse_record(owner: Ownership, text: bytes) -> Record:
    """The record of that owner. One that cannot be read says the safe thing: it was found there,
    and nobody knows its bytes."""
    try:
        document = json.loads(text)
        tag = document["tag"]
        return Record(owner, document["found"] is not False, tag if isinstance(tag, str) else None)
    except (ValueError, KeyError, TypeError):
        return Record(owner, True)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a listing. ``name`` is its path below the place's root."""

    name: str
    size: int
    created: datetime | None = None


def found_in(entries: Iterable[Entry], provider_id: Callable[[str], str]) -> tuple[Found, ...]:
    """What a listing of everything shows: each file once for each owner, or once without one; and
    each record whose file is not there."""
    files: dict[str, Entry] = {}
    owners: dict[str, list[Ownership]] = {}
    for entry in entries:
        owner = parse_record_name(entry.name)
        if owner is None:
            if not _DELETING.fullmatch(entry.name):
                files[entry.name] = entry
        else:
            owners.setdefault(relative(owner.sha256), []).append(owner)
    found = [
        Found(provider_id(name), name, owner, entry.size, entry.created)
        for name, entry in files.items()
        for owner in owners.pop(name, None) or (None,)
    ]
    found += [
        Found(provider_id(name), name, owner, state=NOT_THERE)
        for name, missing in owners.items()
        for owner in missing
    ]
    return tuple(sorted(found, key=lambda each: (each.name, str(each.owner))))
