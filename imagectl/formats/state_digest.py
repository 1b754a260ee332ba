"""One sha256 for all that a catalog knows: two catalogs that have the same one know the same (P2).

It is made from the state alone, in a form of its own, not from events or tables: so it tells
whether a catalog that was made again is the one that was lost. It may be another one in another
release of imagectl, whose catalogs know more.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime

from imagectl.model.names import Sha256
from imagectl.model.snapshot import Snapshot


def state_digest(snapshot: Snapshot) -> Sha256:
    """The digest of the whole catalog at one generation: its identity, every version, channel and
    mark, and the hash of the event that led there."""
    made = hashlib.sha256()
    for field in fields(snapshot):
        value = getattr(snapshot, field.name)
        # Entry by entry: a million versions are never one text.
        entries = (
            sorted(map(_entry, value.items())) if isinstance(value, Mapping) else [_text(value)]
        )
        made.update(f"{field.name} {len(entries)}\n".encode())
        for each in entries:
            made.update(each.encode() + b"\n")
    return Sha256(made.hexdigest())


def _entry(item: tuple[object, object]) -> str:
    return _text(item)


def _text(value: object) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, frozenset | set):
        return sorted((_plain(each) for each in value), key=repr)
    if isinstance(value, Mapping):
        return sorted(([_plain(key), _plain(each)] for key, each in value.items()), key=repr)
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a state")
