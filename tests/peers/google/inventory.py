"""What there is in Compute Engine's projects, and how it is read.

Each resource is kept as the JSON that is answered, but for links, which begin with ``@/`` here, and
for what is the peer's own, whose names begin with ``_``.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from peers.google.calls import (
    Call,
    Stale,
    Trouble,
    Warn,
    invalid,
    missing,
)
from peers.google.discovery import Json
from peers.google.listings import filtered, one_page

RESOURCE_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


@dataclass
class Inventory(ABC):
    """All projects. ``now`` is the peer's clock."""

    now: Callable[[], datetime]
    projects: dict[str, Json] = field(default_factory=dict)
    zones: tuple[str, ...] = ("europe-west1-b", "europe-west1-c")
    resources: dict[str, Json] = field(default_factory=dict)
    """By path, such as ``projects/p/global/images/i``."""
    policies: dict[str, Json] = field(default_factory=dict)
    granted: Callable[[Call, str], bool] = lambda call, permission: True
    """Whether the caller has a permission."""
    _before: dict[str, Json | None] = field(default_factory=dict)
    """Each resource as it was before the last write to it."""
    _last_id: int = 4_000_000_000_000_000_000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def regions(self) -> tuple[str, ...]:
        """Those of the zones."""
        return tuple(dict.fromkeys(zone[:-2] for zone in self.zones))

    @abstractmethod
    def _look(self, path: str) -> None:
        """Somebody looks at a resource."""

    @abstractmethod
    def _look_inside(self, where: str) -> None:
        """Somebody looks at all that is in a collection."""

    def policy(self, path: str) -> Json:
        """Who may do what with it."""
        return copy.deepcopy(self.policies.get(path, {"version": 1, "etag": "ACAB"}))

    def _get(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def get(call: Call) -> Json:
            return self._answer(call, self._read(call, collection, call.path[parameter]))

        return get

    def _read(self, call: Call, collection: str, name: str) -> Json:
        """A resource, by its name or its id, as this caller sees it."""
        path = f"{scope(call)}/{collection}/{self._named(call, collection, name)}"
        self._look(path)
        if call.effect(Stale) and path in self._before:
            found = self._before[path]
        else:
            found = self.resources.get(path)
        if found is None:
            raise missing(f"{scope(call)}/{collection}/{name}")
        return found

    def _named(self, call: Call, collection: str, name: str) -> str:
        if name.isdigit():
            for _, each in self._in(f"{scope(call)}/{collection}"):
                if each["id"] == name:
                    return str(each["name"])
        return name

    def _list(self, collection: str) -> Callable[[Call], Json]:
        def list_(call: Call) -> Json:
            where = f"{scope(call)}/{collection}"
            found = [each for _, each in self._seen(call, where)]
            page, token = one_page(call, filtered(call, found))
            answer: Json = {
                "kind": f"compute#{collection[:-1]}List",
                "id": where,
                "selfLink": f"{call.base}/compute/v1/{where}",
            }
            warn = call.effect(Warn)
            if isinstance(warn, Warn):
                page = page[::2]
                answer["warning"] = {"code": warn.code, "message": warn.message}
            if page:
                answer["items"] = [self._answer(call, each) for each in page]
            if token:
                answer["nextPageToken"] = token
            return answer

        return list_

    def _aggregated(self, collection: str) -> Callable[[Call], Json]:
        def list_(call: Call) -> Json:
            project = call.path["project"]
            scopes = [f"zones/{zone}" for zone in self.zones]
            if collection == "addresses":
                scopes = ["global", *(f"regions/{region}" for region in self.regions)]
            warn = call.effect(Warn)
            away = {each for each in scopes if isinstance(warn, Warn) and each == warn.scope}
            found = [
                {**each, "_scope": scope}
                for scope in scopes
                if scope not in away
                for _, each in self._seen(call, f"projects/{project}/{scope}/{collection}")
            ]
            found = filtered(call, found)
            page, token = one_page(call, sorted(found, key=lambda each: str(each["name"])))
            items: Json = {}
            for scope in scopes:
                inside = [self._answer(call, each) for each in page if each["_scope"] == scope]
                if scope in away and isinstance(warn, Warn):
                    items[scope] = {"warning": {"code": warn.code, "message": warn.message}}
                elif inside:
                    items[scope] = {collection: inside}
                else:
                    items[scope] = {
                        "warning": {
                            "code": "NO_RESULTS_ON_PAGE",
                            "message": f"There are no results for scope '{scope}' on this page.",
                            "data": [{"key": "scope", "value": scope}],
                        }
                    }
            where = f"projects/{project}/aggregated/{collection}"
            answer: Json = {
                "kind": f"compute#{collection[:-1]}AggregatedList",
                "id": where,
                "items": items,
                "selfLink": f"{call.base}/compute/v1/{where}",
            }
            if away:
                answer["unreachables"] = sorted(away)
            if token:
                answer["nextPageToken"] = token
            return answer

        return list_

    def _seen(self, call: Call, where: str) -> Iterator[tuple[str, Json]]:
        """What is in a collection, as this caller sees it."""
        self._look_inside(where)
        now = dict(self._in(where))
        if call.effect(Stale):
            for path, before in self._before.items():
                if path.startswith(where + "/"):
                    now.pop(path, None)
                    if before is not None:
                        now[path] = before
        yield from now.items()

    def _in(self, where: str) -> list[tuple[str, Json]]:
        depth = where.count("/") + 1
        return [
            (path, each)
            for path, each in self.resources.items()
            if path.startswith(where + "/") and path.count("/") == depth
        ]

    def _answer(self, call: Call, resource: Json) -> Json:
        """A resource as it is answered: links lead to where the client asked."""

        def linked(value: Any) -> Any:
            match value:
                case dict():
                    return {
                        name: linked(each)
                        for name, each in value.items()
                        if not name.startswith("_")
                    }
                case list():
                    return [linked(each) for each in value]
                case str() if value.startswith("@/"):
                    return f"{call.base}/compute/v1/{value[2:]}"
            return value

        answer = linked(resource)
        assert isinstance(answer, dict)
        return answer

    def _get_policy(self, collection: str) -> Callable[[Call], Json]:
        def get(call: Call) -> Json:
            path, _ = self._existing(call, collection, "resource")
            return self.policy(path)

        return get

    def _set_policy(self, collection: str) -> Callable[[Call], Json]:
        def set_(call: Call) -> Json:
            path, _ = self._existing(call, collection, "resource")
            policy = call.body.get("policy") or {
                key: call.body[key] for key in ("bindings", "etag") if key in call.body
            }
            now = self.policy(path)
            if policy.get("etag") not in (None, now["etag"]):
                raise Trouble(409, "aborted", "The policy was changed since it was read.")
            bindings = [each for each in policy.get("bindings", []) if each.get("members")]
            kept: Json = {"version": 1, "etag": fingerprint([bindings, now["etag"]])}
            if bindings:
                kept["bindings"] = bindings
            self.policies[path] = kept
            return self.policy(path)

        return set_

    def _test_permissions(self, collection: str) -> Callable[[Call], Json]:
        def test(call: Call) -> Json:
            self._existing(call, collection, "resource")
            asked = call.body.get("permissions", [])
            held = [each for each in asked if self.granted(call, each)]
            return {"permissions": held} if held else {}

        return test

    def _existing(self, call: Call, collection: str, parameter: str) -> tuple[str, Json]:
        """What is to be changed: never stale."""
        name = self._named(call, collection, call.path[parameter])
        path = f"{scope(call)}/{collection}/{name}"
        self._look(path)
        if path not in self.resources:
            raise missing(path)
        return path, self.resources[path]

    def _free(self, path: str) -> None:
        if not RESOURCE_NAME.fullmatch(path.rsplit("/", 1)[1]):
            raise invalid(f"Invalid value for field 'resource.name': '{path.rsplit('/', 1)[1]}'.")
        self._look(path)
        if path in self.resources:
            raise Trouble(409, "alreadyExists", f"The resource '{path}' already exists")

    def _linked(self, call: Call, link: str) -> Json:
        """What a full or partial URL leads to."""
        path = re.sub(r"^https?://[^/]+/compute/v1/", "", unquote(link))
        if re.match(r"(global|zones|regions)/", path):
            path = f"projects/{call.path['project']}/{path}"
        elif not path.startswith("projects/"):
            path = f"projects/{path}"  # as Packer's googlecompute builder names disks
        if family := re.fullmatch(r"(projects/[^/]+/global/images)/family/([^/]+)", path):
            images = [
                each
                for _, each in self._in(family[1])
                if each.get("family") == family[2] and "deprecated" not in each
            ]
            if images:
                return max(images, key=lambda each: str(each["creationTimestamp"]))
        self._look(path)
        if path not in self.resources:
            raise missing(path)
        return self.resources[path]

    def _make(self, path: str, kind: str, facts: Json) -> Json:
        made = {
            **facts,
            "kind": kind,
            "id": str(self._id()),
            "name": path.rsplit("/", 1)[1],
            "creationTimestamp": self._time(),
            "selfLink": f"@/{path}",
        }
        if "creationTimestamp" in facts:
            made["creationTimestamp"] = facts["creationTimestamp"]
        self._before[path] = self.resources.get(path)
        self.resources[path] = made
        return made

    def _drop(self, path: str) -> None:
        self.resources.pop(path, None)
        self.policies.pop(path, None)

    def _id(self) -> int:
        self._last_id += 1_000_003
        return self._last_id

    def _time(self) -> str:
        return self.now().isoformat(timespec="milliseconds")


def scope(call: Call) -> str:
    project = f"projects/{call.path['project']}"
    if "zone" in call.path:
        return f"{project}/zones/{call.path['zone']}"
    if "region" in call.path:
        return f"{project}/regions/{call.path['region']}"
    return f"{project}/global"


def fingerprint(value: Any) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(repr(value).encode()).digest()[:8]).decode()


def check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > 64:
        raise invalid("Invalid value for field 'labels': there are more than 64.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(
                f"Invalid value for field 'resource.labels': '{key}={value}'. Label keys and "
                "values can only contain lowercase letters, digits, underscores and dashes, and "
                "are at most 63 characters long."
            )
