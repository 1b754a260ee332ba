"""One digest of facts: equal facts have equal digests, in every process and on every machine.

A field that has its default value is left out, so that a model that grows a field with a default
changes no digest of what was there before.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from imagectl.model.names import Sha256


def digest_of(fact: object) -> Sha256:
    """The digest of a fact: dataclasses, mappings, tuples, enums, texts and numbers."""
    return Sha256(hashlib.sha256(json.dumps(_plain(fact), sort_keys=True).encode()).hexdigest())


def _plain(value: object) -> object:
    """A fact as JSON has it: the name of its type, and its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            each.name: _plain(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if not _is_default(each, getattr(value, each.name))
        }
        return {"": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, PurePosixPath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} has no form that is the same everywhere")


def _is_default(field: dataclasses.Field[object], value: object) -> bool:
    if field.default is not dataclasses.MISSING:
        return type(value) is type(field.default) and value == field.default
    if field.default_factory is not dataclasses.MISSING:
        return value == field.default_factory()
    return False
