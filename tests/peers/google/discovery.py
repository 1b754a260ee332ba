"""Google's own description of its interfaces, as a judge of requests and answers.

The discovery documents are those that google-api-python-client ships. Nothing here knows what a
method does: only which methods there are, and what may be said to them and by them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

Json = dict[str, Any]

_INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_TEXTS = {
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method. ``id`` is such as ``compute.images.insert``; ``uploads`` are the paths, if any,
    that take an object's bytes."""

    id: str
    verb: str
    path: re.Pattern[str]
    parameters: Mapping[str, Json]
    request: str | None
    response: str | None
    downloads: bool
    scopes: frozenset[str]
    uploads: tuple[re.Pattern[str], ...] = ()

    @property
    def name(self) -> str:
        """Its id without the name of the interface."""
        return self.id.split(".", 1)[1]


@dataclass(frozen=True, slots=True)
class Matched:
    """A method, and what the path says of its parameters, decoded."""

    method: Method
    path: Mapping[str, str]
    upload: bool = False


@dataclass(frozen=True)
class Api:
    """One discovery document."""

    document: Json = field(repr=False)

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """By id."""
        return {each.id: each for each in _methods(self.document, self.document["servicePath"])}

    @cached_property
    def _parameters(self) -> frozenset[str]:
        """Of all methods. Those of another method are let pass: libcloud sends ``maxResults`` with
        writes, and the real ones take it."""
        return frozenset(name for each in self.methods.values() for name in each.parameters)

    @cached_property
    def _by_verb(self) -> Mapping[str, list[Method]]:
        found: dict[str, list[Method]] = {}
        for each in self.methods.values():
            found.setdefault(each.verb, []).append(each)
        return found

    def match(self, verb: str, path: str) -> Matched | None:
        """The method of that verb and (still encoded) path."""
        matched = [
            Matched(method, _decoded(found))
            for method in self._by_verb.get(verb, [])
            if (found := method.path.fullmatch(path))
        ]
        if matched:
            # Several resources may have the same form of path: the patterns tell them apart.
            return next((each for each in matched if not self._misfits(each)), matched[0])
        # The second and later requests of a resumable upload are PUT to the same path.
        for method in self.methods.values():
            if verb in (method.verb, "PUT", "DELETE"):
                for upload in method.uploads:
                    if found := upload.fullmatch(path):
                        return Matched(method, _decoded(found), upload=True)
        return None

    def _misfits(self, matched: Matched) -> bool:
        known = matched.method.parameters
        return any(_check_text(known[name], value, name) for name, value in matched.path.items())

    def check_parameters(self, matched: Matched, query: Mapping[str, list[str]]) -> list[str]:
        """What is wrong with the path and the query."""
        wrong = []
        known = {**self.document.get("parameters", {}), **matched.method.parameters}
        for name, value in matched.path.items():
            wrong += _check_text(known[name], value, name)
        for name, values in query.items():
            if name not in known:
                if name not in self._parameters | _EVERYWHERE:
                    wrong.append(f'Unknown name "{name}": Cannot bind query parameter')
                continue
            if len(values) > 1 and not known[name].get("repeated"):
                wrong.append(f'"{name}" is given {len(values)} times')
            for value in values:
                wrong += _check_text(known[name], value, name)
        for name, parameter in matched.method.parameters.items():
            if parameter.get("required") and name not in {**matched.path, **query}:
                wrong.append(f"Required parameter: {name}")
        return wrong

    def check_request(self, method: Method, body: Any) -> list[str]:
        """What is wrong with the body of a request. Fields that only answers have are let pass, as
        the real ones do: they are ignored there."""
        if method.request is None:
            return [] if body in (None, {}) else ["a body, where none is taken"]
        wrong = self.check(method.request, {} if body is None else body)
        for name, each in self.document["schemas"][method.request].get("properties", {}).items():
            if method.id in each.get("annotations", {}).get("required", ()) and (
                not isinstance(body, dict) or body.get(name) in (None, "")
            ):
                wrong.append(f"Required field 'resource.{name}' not specified")
        return wrong

    def check(self, schema: str, value: Any) -> list[str]:
        """What is wrong with a value of that schema."""
        return list(self._check({"$ref": schema}, value, schema))

    def without_read_only(self, schema: str, value: Json) -> Json:
        """The value without the fields that only the server sets, at its top level."""
        properties = self.document["schemas"][schema]["properties"]
        return {
            name: each
            for name, each in value.items()
            if not properties.get(name, {}).get("readOnly") and each is not None
        }

    def _check(self, schema: Json, value: Any, where: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = self.document["schemas"][schema["$ref"]]
        if value is None:
            return
        match schema.get("type"):
            case "object":
                yield from self._check_object(schema, value, where)
            case "array":
                if not isinstance(value, list):
                    yield f"{where}: {value!r} is no list"
                    return
                for at, each in enumerate(value):
                    yield from self._check(schema["items"], each, f"{where}[{at}]")
            case "boolean":
                if not isinstance(value, bool):
                    yield f"{where}: {value!r} is no boolean"
            case "integer":
                if isinstance(value, bool) or not isinstance(value, int):
                    yield f"{where}: {value!r} is no integer"
                else:
                    yield from _check_text(schema, str(value), where)
            case "number":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    yield f"{where}: {value!r} is no number"
            case "string":
                if not isinstance(value, str):
                    yield f"{where}: {value!r} is no string"
                else:
                    yield from _check_text(schema, value, where)
            case "any":
                pass
            case other:
                raise AssertionError(f"a type of the document that is not known here: {other}")

    def _check_object(self, schema: Json, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
            return
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, each in value.items():
            if name in properties:
                yield from self._check(properties[name], each, f"{where}.{name}")
            elif others is not None:
                yield from self._check(others, each, f"{where}.{name}")
            else:
                yield f'Unknown name "{name}" at "{where}": Cannot find field'


_EVERYWHERE = frozenset({"$alt", "upload_id", "upload_protocol"})
"""Parameters that every method has, and that the document keeps to itself."""


def _check_text(schema: Json, value: str, where: str) -> list[str]:
    """What is wrong with a string, or with a number that is written as one."""
    form = schema.get("format")
    if form in _INTEGERS:
        low, high = _INTEGERS[form]
        if not re.fullmatch(r"-?\d{1,20}", value) or not low <= int(value) <= high:
            return [f"Invalid value at '{where}': {value!r} is no {form}"]
    elif form in _TEXTS and not _TEXTS[form].fullmatch(value):
        return [f"Invalid value at '{where}': {value!r} is no {form}"]
    if schema.get("type") == "boolean" and value.lower() not in ("true", "false"):
        return [f"Invalid value at '{where}': {value!r} is no boolean"]
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return [
            f"Invalid value for field '{where}': '{value}'. "
            f"Must be a match of regex '{schema['pattern']}'"
        ]
    if "enum" in schema and value not in schema["enum"]:
        return [f"Invalid value for field '{where}': '{value}'. It is none of {schema['enum']}"]
    return []


def _methods(resource: Json, base: str) -> Iterator[Method]:
    for each in resource.get("methods", {}).values():
        uploads = each.get("mediaUpload", {}).get("protocols", {})
        yield Method(
            id=each["id"],
            verb=each["httpMethod"],
            path=_path("/" + base + each["path"]),
            parameters=each.get("parameters", {}),
            request=each.get("request", {}).get("$ref"),
            response=each.get("response", {}).get("$ref"),
            downloads=each.get("supportsMediaDownload", False),
            scopes=frozenset(each.get("scopes", ())),
            uploads=tuple(_path(protocol["path"]) for protocol in uploads.values()),
        )
    for below in resource.get("resources", {}).values():
        yield from _methods(below, base)


def _path(template: str) -> re.Pattern[str]:
    pattern = ""
    for part in re.split(r"(\{\+?\w+\})", template):
        if found := re.fullmatch(r"\{(\+?)(\w+)\}", part):
            pattern += f"(?P<{found[2]}>{'.+' if found[1] else '[^/]+'})"
        else:
            pattern += re.escape(part)
    return re.compile(pattern)


def _decoded(found: re.Match[str]) -> Mapping[str, str]:
    return {name: unquote(value) for name, value in found.groupdict().items()}


def select(fields: str, value: Any) -> Any:
    """The part of an answer that a ``fields`` parameter asks for: ``a,b/c,d(e,f)``."""
    wanted = _selectors(fields)

    def part(value: Any, wanted: dict[str, Any]) -> Any:
        if isinstance(value, list):
            return [part(each, wanted) for each in value]
        if not isinstance(value, dict) or not wanted or "*" in wanted:
            return value
        return {name: part(value[name], below) for name, below in wanted.items() if name in value}

    return part(value, wanted)


def _selectors(text: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    stack, at = [root], root
    for token in re.findall(r"[^,/()\s]+|[,/()]", text):
        match token:
            case ",":
                at = stack[-1]
            case "/":
                pass
            case "(":
                stack.append(at)
            case ")":
                stack.pop()
                at = stack[-1]
            case name:
                at = at.setdefault(name, {})
    return root


@lru_cache
def api(name: str) -> Api:
    """``compute``, ``storage`` or ``cloudresourcemanager``, version 1."""
    document = files("googleapiclient.discovery_cache.documents") / f"{name}.v1.json"
    return Api(json.loads(document.read_text(encoding="utf-8")))
