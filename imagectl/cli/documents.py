"""The JSON documents that verbs answer with, as types that explain themselves.

A verb declares its document as a ``TypedDict`` whose fields are ``Annotated`` with their meaning.
mypy checks that the verb fills it in; the reference pages and the JSON Schema, by which tests check
the real output, are read from the same declaration. Within one major version of imagectl, fields
are only added.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

Document = Mapping[str, object]
"""A value of one of the declared types."""

_SCALARS: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """One documented field: its path (``images[].name``), its type in words, and its meaning."""

    path: str
    type: str
    meaning: str


def fields(document: type, below: str = "") -> Iterator[Field]:
    """Every field of *document*, outermost first, nested ones by their path."""
    for name, (hint, meaning, required) in _members(document).items():
        path = f"{below}{name}"
        absent = "" if required else ", may be absent"
        yield Field(path, _words(hint) + absent, meaning)
        inner, suffix = _nested(hint)
        if inner is not None:
            yield from fields(inner, f"{path}{suffix}.")


def schema(document: type) -> dict[str, object]:
    """The JSON Schema of *document*: nothing may be missing, nothing may be undeclared."""
    members = _members(document)
    return {
        "type": "object",
        "properties": {name: _schema(hint) for name, (hint, _, _) in members.items()},
        "required": [name for name, (_, _, required) in members.items() if required],
        "additionalProperties": False,
    }


def _members(document: type) -> dict[str, tuple[Any, str, bool]]:
    """Each field's type, its meaning, and whether it is always there."""
    found = {}
    for name, hint in typing.get_type_hints(document, include_extras=True).items():
        required = typing.get_origin(hint) is not typing.NotRequired
        if not required:
            (hint,) = typing.get_args(hint)
        inner, meaning = typing.get_args(hint)
        found[name] = (inner, meaning, required)
    return found


def _schema(hint: Any) -> dict[str, object]:
    origin = typing.get_origin(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if hint is types.NoneType:
        return {"type": "null"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each) for each in typing.get_args(hint)]}
    if origin is Literal:
        return {"enum": list(typing.get_args(hint))}
    if origin is list:
        return {"type": "array", "items": _schema(typing.get_args(hint)[0])}
    if typing.is_typeddict(hint):
        return schema(hint)
    raise TypeError(f"{hint!r} has no form in JSON documents")


def _words(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if hint is types.NoneType:
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(_words(each) for each in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in typing.get_args(hint))
    if origin is list:
        return f"list of {_words(typing.get_args(hint)[0])}s"
    return "object"


def _nested(hint: Any) -> tuple[type | None, str]:
    """The TypedDict inside *hint*, and what its path adds: ``[]`` within a list."""
    origin = typing.get_origin(hint)
    if typing.is_typeddict(hint):
        return hint, ""
    if origin is list:
        inner, suffix = _nested(typing.get_args(hint)[0])
        return inner, f"[]{suffix}"
    if origin in (Union, types.UnionType):
        for each in typing.get_args(hint):
            inner, suffix = _nested(each)
            if inner is not None:
                return inner, suffix
    return None, ""
