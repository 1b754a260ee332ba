"""What a workflow resolved, as text: see ``imagectl resolve --lock``.

Promises: the same resolution gives the same bytes; and what is read is held to the rules of every
file of ours, so that nothing in it is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from imagectl.formats.ci_variables import MAX_GENERATION, VERSION
from imagectl.formats.reading import Unfit, read_document
from imagectl.formats.scalars import ONE_LINE, Choice, Integer, Text, matching
from imagectl.formats.schema import Map, Record, Values, optional, required
from imagectl.formats.words import CHANNEL_NAME, IMAGE_NAME, LOCATION_NAME
from imagectl.formats.yaml_strict import load, shown
from imagectl.model.consumer import Locked, ResolvedLock
from imagectl.model.names import Architecture, Format, ImageName, Sha256

FORMAT = "imagectl-resolved-1"

_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unfit(f"{shown(text)} is not a time such as 2026-11-20T12:00:00Z") from None


_CHANNEL = optional("channel", CHANNEL_NAME, "The channel followed; absent where it was pinned.")
_VERSION = required("version", VERSION, "The version.")
_REFERENCE = required("reference", Text(str, "a reference", longest=4000), "What to pull.")
_LOCATION = required("location", LOCATION_NAME, "The location it is pulled from.")
_FORMAT = required("format", Choice(Format), "Its format.")
_ARCHITECTURE = required("architecture", Choice(Architecture), "Its architecture.")
_SHA256 = required(
    "sha256", matching(r"^[0-9a-f]{64}$", "a sha256"), "The digest that what was pulled must have."
)
_SIZE = required("size", Integer(0, MAX_GENERATION), "Bytes.")
_CREATED = required("created", Text(_time, "a time", _TIME), "When it was built.")


def _locked(values: Values) -> Callable[[ImageName], Locked]:
    return partial(
        Locked,
        version=values[_VERSION],
        channel=values[_CHANNEL],
        reference=values[_REFERENCE],
        location=values[_LOCATION],
        format=values[_FORMAT],
        architecture=values[_ARCHITECTURE],
        sha256=Sha256(values[_SHA256]),
        size=values[_SIZE],
        created=values[_CREATED],
    )


_FIELDS = (
    *(_CHANNEL, _VERSION, _REFERENCE, _LOCATION, _FORMAT, _ARCHITECTURE, _SHA256, _SIZE, _CREATED),
)

_ID = required("id", matching(ONE_LINE, "a catalog's id"), "The catalog that it is from.")
_GENERATION = required("generation", Integer(0, MAX_GENERATION), "And its generation.")
_CATALOG: Record[tuple[str, int]] = Record(
    "A catalog.", (_ID, _GENERATION), lambda values: (values[_ID], values[_GENERATION])
)

_VERSION_OF_FORMAT = required("format", matching(f"^{FORMAT}$", f"`{FORMAT}`"), "Always this.")
_OF = required("catalog", _CATALOG, "What it was resolved from.")
_IMAGES = required(
    "images",
    Map(
        IMAGE_NAME,
        Record("What one image was resolved to.", _FIELDS, _locked),
        "a mapping of images",
    ),
    "Every image that was resolved.",
)


def _lock(values: Values) -> ResolvedLock:
    images: Mapping[ImageName, Callable[[ImageName], Locked]] = values[_IMAGES]
    return ResolvedLock(*values[_OF], tuple(make(name) for name, make in sorted(images.items())))


RESOLVED: Record[ResolvedLock] = Record(
    "What a workflow resolved: written by `imagectl resolve --lock FILE`, in JSON.",
    (_VERSION_OF_FORMAT, _OF, _IMAGES),
    _lock,
)


def write_resolved(lock: ResolvedLock) -> bytes:
    """Its text."""
    content = {
        "format": FORMAT,
        "catalog": {"id": lock.catalog_id, "generation": lock.generation},
        "images": {each.image: _content(each) for each in lock.images},
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _content(locked: Locked) -> dict[str, str | int]:
    followed = {} if locked.channel is None else {"channel": str(locked.channel)}
    return {
        **followed,
        "version": str(locked.version),
        "reference": locked.reference,
        "location": locked.location,
        "format": locked.format.value,
        "architecture": locked.architecture.value,
        "sha256": locked.sha256,
        "size": locked.size,
        "created": locked.created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def parse_resolved(data: bytes, file: str) -> ResolvedLock:
    """What *data* holds. Raises BadInput with every problem of the file."""
    return read_document(RESOLVED, load(data, file))
