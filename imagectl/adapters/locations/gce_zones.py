"""What runs, or is made for what runs, in a project of Compute Engine, one request at a time:
instances, their disks, reserved addresses.

All of them are listed for the whole project at once, whatever zone they are in ("aggregated"). What
Google could not look into is said with each page, and is never taken for empty (P3).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from imagectl.adapters.locations.gce_project import CALL_SECONDS, PAGE, Project, Told
from imagectl.errors import CannotTell
from imagectl.model.resource import ResourceKind

if TYPE_CHECKING:
    from google.cloud.compute_v1 import (
        AddressesClient,
        DisksClient,
        Instance,
        InstancesClient,
    )

COLLECTIONS: Mapping[ResourceKind, str] = {
    ResourceKind.MACHINE: "instances",
    ResourceKind.DISK: "disks",
    ResourceKind.ADDRESS: "addresses",
}
"""The kinds of things, and what Google calls them."""

_ID = re.compile(
    r"projects/(?P<project>[^/]+)/(?P<scope>(?:zones|regions)/[a-z][-a-z0-9]*)"
    r"/(?P<collection>[a-z]+)/(?P<name>[a-z][-a-z0-9]*)#(?P<id>[0-9]+)\Z"
)
_NOTHING_THERE = "NO_RESULTS_ON_PAGE"
"""The one warning about a scope that says nothing is missing."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One of them, as it is now. ``scope`` is ``zones/Z`` or ``regions/R`` (or ``global``: such an
    address is of no instance); ``users`` are links to what it is attached to; ``created`` as Google
    writes it."""

    kind: ResourceKind
    scope: str
    name: str
    id: str
    labels: Mapping[str, str]
    fingerprint: str
    state: str
    created: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, and why it is not all that it should be."""

    things: tuple[Thing, ...]
    gaps: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Named:
    """A provider id, taken apart."""

    project: str
    scope: str
    kind: ResourceKind
    name: str
    id: str


def parse_id(text: str) -> Named | None:
    """What that provider id names; None where it is none."""
    found = _ID.match(text)
    kinds = {collection: kind for kind, collection in COLLECTIONS.items()}
    if found is None or found["collection"] not in kinds:
        return None
    kind = kinds[found["collection"]]
    return Named(found["project"], found["scope"], kind, found["name"], found["id"])


class Zones:
    """The project's, with the account of the project."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def provider_id(self, thing: Thing) -> str:
        """What names it for good: its numeric id too."""
        where = f"projects/{self._project.id}/{thing.scope}/{COLLECTIONS[thing.kind]}"
        return f"{where}/{thing.name}#{thing.id}"

    @cached_property
    def _instances(self) -> InstancesClient:
        from google.cloud.compute_v1 import InstancesClient

        return InstancesClient(**self._project.connection)

    @cached_property
    def _disks(self) -> DisksClient:
        from google.cloud.compute_v1 import DisksClient

        return DisksClient(**self._project.connection)

    @cached_property
    def _addresses(self) -> AddressesClient:
        from google.cloud.compute_v1 import AddressesClient

        return AddressesClient(**self._project.connection)

    def _client(self, kind: ResourceKind) -> Any:
        """Google's clients are alike, and have no type in common."""
        match kind:
            case ResourceKind.MACHINE:
                return self._instances
            case ResourceKind.DISK:
                return self._disks
            case _:
                return self._addresses

    def pages(self, kind: ResourceKind) -> Iterator[Page]:
        """All things of that kind, in every zone and region, page by page."""
        token, seen = "", set[str]()
        while True:
            page = self._page(kind, token)
            yield page
            token = page.next
            if not token:
                return
            if token in seen:
                raise CannotTell(
                    f"listing {COLLECTIONS[kind]} does not come to an end",
                    where=f"location {self._project.location}",
                    why="a page named one before as its next",
                )
            seen.add(token)

    def _page(self, kind: ResourceKind, token: str) -> Page:
        request: dict[str, object] = {"project": self._project.id, "max_results": PAGE}
        if token:
            request["page_token"] = token
        collection = COLLECTIONS[kind]

        def one() -> Any:
            # The pager would fetch the pages after it by itself, without our limits.
            pager = self._client(kind).aggregated_list(request, retry=None, timeout=CALL_SECONDS)
            return next(iter(pager.pages))

        page = self._project.call(f"listing {collection}", one)
        things: list[Thing] = []
        gaps = [f"{each} could not be reached" for each in page.unreachables]
        gaps += _warning(page, collection)
        for scope, inside in page.items.items():
            things += (_thing(kind, scope, each) for each in getattr(inside, collection))
            gaps += _warning(inside, f"{collection} in {scope}")
        return Page(tuple(things), tuple(gaps), page.next_page_token)

    def read(self, kind: ResourceKind, scope: str, name: str) -> Thing | None:
        """The thing of that name, or of that numeric id; None where it is certainly gone: the
        project that says so is there (P2)."""
        request = {"project": self._project.id, _parameter(kind): name, **_in(scope)}
        try:
            found = self._project.call(
                f"reading {kind.value} {name}",
                lambda: self._client(kind).get(request, retry=None, timeout=CALL_SECONDS),
                told=(404,),
            )
        except Told:
            self._project.exists()
            return None
        return _thing(kind, scope, found)

    def label(self, thing: Thing, labels: Mapping[str, str]) -> None:
        """Give an instance or a disk those labels and no others. Raises Told (412: they have
        changed since it was read)."""
        given = {"label_fingerprint": thing.fingerprint, "labels": dict(labels)}
        body, parameter = (
            ("instances_set_labels_request_resource", "instance")
            if thing.kind is ResourceKind.MACHINE
            else ("zone_set_labels_request_resource", "resource")
        )
        request = {
            "project": self._project.id,
            parameter: thing.id,
            body: given,
            **_in(thing.scope),
        }
        self._project.change(
            f"labelling {thing.kind.value} {thing.name}",
            lambda: self._client(thing.kind).set_labels_unary(
                request, retry=None, timeout=CALL_SECONDS
            ),
            told=(412,),
            scope=thing.scope,
        )

    def delete(self, kind: ResourceKind, scope: str, name: str) -> None:
        """Delete the thing of that name or numeric id, and with an instance the disks that were
        made with it. Nothing where it is gone."""
        request = {
            "project": self._project.id,
            _parameter(kind): name,
            "request_id": str(uuid.uuid4()),
            **_in(scope),
        }
        try:
            self._project.change(
                f"deleting {kind.value} {name}",
                lambda: self._client(kind).delete_unary(request, retry=None, timeout=CALL_SECONDS),
                told=(404,),
                scope=scope,
            )
        except Told:
            self._project.exists()

    def start(self, zone: str, instance: Mapping[str, object], request_id: str) -> None:
        """Start an instance. Raises Failed, NoSpace."""
        request = {
            "project": self._project.id,
            "zone": zone,
            "instance_resource": instance,
            "request_id": request_id,
        }
        self._project.change(
            f"starting instance {instance['name']}",
            lambda: self._instances.insert_unary(request, retry=None, timeout=CALL_SECONDS),
            scope=f"zones/{zone}",
        )

    def instance(self, zone: str, name: str) -> Instance:
        """As it is now."""
        request = {"project": self._project.id, "zone": zone, "instance": name}
        return self._project.call(
            f"reading instance {name}",
            lambda: self._instances.get(request, retry=None, timeout=CALL_SECONDS),
        )

    def console(self, zone: str, name: str) -> str:
        """What the instance has written to its first serial port."""
        request = {"project": self._project.id, "zone": zone, "instance": name}
        answer = self._project.call(
            f"reading the console of instance {name}",
            lambda: self._instances.get_serial_port_output(
                request, retry=None, timeout=CALL_SECONDS
            ),
        )
        return str(answer.contents)


def _parameter(kind: ResourceKind) -> str:
    return {"instances": "instance", "disks": "disk", "addresses": "address"}[COLLECTIONS[kind]]


def _in(scope: str) -> dict[str, str]:
    """The part of a request that says where a thing is."""
    sort, _, name = scope.partition("/")
    return {sort.removesuffix("s"): name}


def _thing(kind: ResourceKind, scope: str, given: Any) -> Thing:
    return Thing(
        kind,
        scope,
        given.name,
        str(given.id),
        dict(given.labels),
        given.label_fingerprint,
        given.status,
        given.creation_timestamp,
        () if kind is ResourceKind.MACHINE else tuple(given.users),
    )


def _warning(page: Any, what: str) -> list[str]:
    """Why what a page says of *what* is not all that it should; nothing where it is (P3)."""
    if "warning" not in page or page.warning.code == _NOTHING_THERE:
        return []
    return [f"{what}: {page.warning.code}: {page.warning.message}"]
