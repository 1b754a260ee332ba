"""Compute Engine: images, disks, instances, operations, and the little else that clients ask for.

Each resource is kept as the JSON that is answered. A write begins an operation, as in the real one:
what it is about changes when the operation is DONE, and that comes nearer with each look at it.
"""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import re
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from peers.google.calls import (
    Call,
    FailOperation,
    Stale,
    Trouble,
    Warn,
    invalid,
    missing,
    not_modelled,
)
from peers.google.discovery import Json, api
from peers.google.filters import matches
from peers.google.storage import Storage

GIB = 2**30
IMAGE_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_HIDDEN = "_"
"""Keys with this before them are the peer's own, and never answered."""


@dataclass
class Pending:
    """An operation that is not DONE. ``apply`` is what it does then; it may raise Failed."""

    resource: str
    apply: Callable[[], None]
    looks: int


class Failed(Exception):
    """What an operation was to do cannot be done."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass
class Compute:
    """All projects. ``now`` is the peer's clock."""

    storage: Storage
    now: Callable[[], datetime]
    looks: int = 1
    """How many looks at an operation it takes until it is DONE; ``wait`` is one look, and so is
    one at what it is about."""
    projects: dict[str, Json] = field(default_factory=dict)
    zones: tuple[str, ...] = ("europe-west1-b", "europe-west1-c")
    resources: dict[str, Json] = field(default_factory=dict)
    """By path, such as ``projects/p/global/images/i``."""
    operations: dict[str, Json] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    policies: dict[str, Json] = field(default_factory=dict)
    requests: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """Which operation a request id has begun."""
    address: str = "127.0.0.1"
    """Of all instances."""
    started: list[Callable[[Json], None]] = field(default_factory=list)
    """Called with each instance that begins to run, such as to let its ssh keys in somewhere."""
    ended: list[Callable[[Json], None]] = field(default_factory=list)
    """Called with each instance that is deleted."""
    serial: dict[str, str] = field(default_factory=dict)
    """What instances have written to their serial port, by name."""
    granted: Callable[[Call, str], bool] = lambda call, permission: True
    """Whether the caller has a permission."""
    _before: dict[str, Json | None] = field(default_factory=dict)
    _last_id: int = 4_000_000_000_000_000_000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # What tests do behind the clients' backs.

    def add_project(self, name: str) -> None:
        self.projects[name] = {
            "kind": "compute#project",
            "id": str(self._id()),
            "name": name,
            "creationTimestamp": self._time(),
            "defaultServiceAccount": "1-compute@developer.gserviceaccount.com",
        }
        networks = f"projects/{name}/global/networks/default"
        self._make(networks, "compute#network", {"autoCreateSubnetworks": True})

    def remove_project(self, name: str) -> None:
        """It and all that is in it is gone."""
        del self.projects[name]
        for path in [path for path in self.resources if path.startswith(f"projects/{name}/")]:
            del self.resources[path]

    def add_image(self, project: str, name: str, **facts: Any) -> Json:
        """Somebody has made an image. ``facts``: fields of the resource."""
        path = f"projects/{project}/global/images/{name}"
        image = self._make(
            path,
            "compute#image",
            {
                "sourceType": "RAW",
                "status": "READY",
                "archiveSizeBytes": "1000",
                "diskSizeGb": "1",
                "storageLocations": ["eu"],
                "architecture": "X86_64",
                **facts,
            },
        )
        if "labels" in facts:
            image["labelFingerprint"] = _fingerprint(facts["labels"])
        return image

    def image(self, project: str, name: str) -> Json | None:
        """As it is now; None where there is none."""
        return copy.deepcopy(self.resources.get(f"projects/{project}/global/images/{name}"))

    def remove(self, path: str) -> None:
        """Somebody deletes a thing: ``projects/p/global/images/i``."""
        del self.resources[path]

    def names(self, collection: str) -> list[str]:
        """Of what is in a collection, such as ``projects/p/global/images``."""
        return sorted(each["name"] for _, each in self._in(collection))

    def policy(self, path: str) -> Json:
        """Who may do what with it."""
        return copy.deepcopy(self.policies.get(path, {"version": 1, "etag": "ACAB"}))

    # What clients do.

    def handlers(self) -> Mapping[str, Callable[[Call], Any]]:
        """By the id of the call."""

        def in_turn(do: Callable[[Call], Any]) -> Callable[[Call], Any]:
            def locked(call: Call) -> Any:
                with self._lock:
                    project = call.path.get("project", "")
                    if project not in self.projects:
                        raise missing(f"projects/{project}")
                    return do(call)

            return locked

        found: dict[str, Callable[[Call], Any]] = {
            "projects.get": lambda call: self.projects[call.path["project"]],
            "zones.get": self._zone,
            "zones.list": self._zone_list,
            "regions.get": self._region,
            "machineTypes.get": self._machine_type,
            "diskTypes.get": self._disk_type,
            "networks.get": self._get("networks", "network"),
            "networks.list": self._list("networks"),
            "images.get": self._get("images", "image"),
            "images.list": self._list("images"),
            "images.insert": self._image_insert,
            "images.delete": self._delete("images", "image"),
            "images.deprecate": self._image_deprecate,
            "images.patch": self._image_patch,
            "images.setLabels": self._set_labels("images", "resource"),
            "images.getFromFamily": self._image_from_family,
            "images.getIamPolicy": self._get_policy("images"),
            "images.setIamPolicy": self._set_policy("images"),
            "images.testIamPermissions": self._test_permissions("images"),
            "disks.get": self._get("disks", "disk"),
            "disks.list": self._list("disks"),
            "disks.aggregatedList": self._aggregated("disks"),
            "disks.insert": self._disk_insert,
            "disks.delete": self._disk_delete,
            "disks.setLabels": self._set_labels("disks", "resource"),
            "instances.get": self._get("instances", "instance"),
            "instances.list": self._list("instances"),
            "instances.aggregatedList": self._aggregated("instances"),
            "instances.insert": self._instance_insert,
            "instances.delete": self._instance_delete,
            "instances.setLabels": self._set_labels("instances", "instance"),
            "instances.setMetadata": self._instance_metadata,
            "instances.stop": self._instance_status("TERMINATED", "stop"),
            "instances.start": self._instance_status("RUNNING", "start"),
            "instances.getSerialPortOutput": self._serial_port,
            "globalOperations.get": self._operation_get,
            "globalOperations.wait": self._operation_get,
            "globalOperations.list": self._operation_list,
            "globalOperations.delete": self._operation_delete,
            "zoneOperations.get": self._operation_get,
            "zoneOperations.wait": self._operation_get,
            "zoneOperations.list": self._operation_list,
            "zoneOperations.delete": self._operation_delete,
        }
        return {f"compute.{name}": in_turn(do) for name, do in found.items()}

    # Reading.

    def _get(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def get(call: Call) -> Json:
            return self._answer(call, self._read(call, collection, call.path[parameter]))

        return get

    def _read(self, call: Call, collection: str, name: str) -> Json:
        """A resource, by its name or its id, as this caller sees it."""
        path = f"{_scope(call)}/{collection}/{self._named(call, collection, name)}"
        self._look(path)
        if call.effect(Stale) and path in self._before:
            found = self._before[path]
        else:
            found = self.resources.get(path)
        if found is None:
            raise missing(f"{_scope(call)}/{collection}/{name}")
        return found

    def _named(self, call: Call, collection: str, name: str) -> str:
        if name.isdigit():
            for _, each in self._in(f"{_scope(call)}/{collection}"):
                if each["id"] == name:
                    return str(each["name"])
        return name

    def _list(self, collection: str) -> Callable[[Call], Json]:
        def list_(call: Call) -> Json:
            where = f"{_scope(call)}/{collection}"
            found = [each for _, each in self._seen(call, where)]
            page, token = _page(call, _filtered(call, found))
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
            zones = [f"zones/{zone}" for zone in self.zones]
            warn = call.effect(Warn)
            away = {zone for zone in zones if isinstance(warn, Warn) and zone == warn.scope}
            found = [
                {**each, "_scope": zone}
                for zone in zones
                if zone not in away
                for _, each in self._seen(call, f"projects/{project}/{zone}/{collection}")
            ]
            found = _filtered(call, found)
            page, token = _page(call, sorted(found, key=lambda each: str(each["name"])))
            items: Json = {}
            for zone in zones:
                inside = [self._answer(call, each) for each in page if each["_scope"] == zone]
                if zone in away and isinstance(warn, Warn):
                    items[zone] = {"warning": {"code": warn.code, "message": warn.message}}
                elif inside:
                    items[zone] = {collection: inside}
                else:
                    items[zone] = {
                        "warning": {
                            "code": "NO_RESULTS_ON_PAGE",
                            "message": f"There are no results for scope '{zone}' on this page.",
                            "data": [{"key": "scope", "value": zone}],
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
        for path in list(self.pending):
            if self.pending[path].resource.startswith(where + "/"):
                self._look(self.pending[path].resource)
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
                        if not name.startswith(_HIDDEN)
                    }
                case list():
                    return [linked(each) for each in value]
                case str() if value.startswith("@/"):
                    return f"{call.base}/compute/v1/{value[2:]}"
            return value

        answer = linked(resource)
        assert isinstance(answer, dict)
        return answer

    # Places, machine types.

    def _zone(self, call: Call) -> Json:
        zone = call.path["zone"]
        if zone not in self.zones:
            raise missing(f"projects/{call.path['project']}/zones/{zone}")
        return self._answer(call, self._zone_facts(call.path["project"], zone))

    def _zone_facts(self, project: str, zone: str) -> Json:
        return {
            "kind": "compute#zone",
            "id": str(2200 + self.zones.index(zone)),
            "name": zone,
            "description": zone,
            "status": "UP",
            "region": f"@/projects/{project}/regions/{zone[:-2]}",
            "selfLink": f"@/projects/{project}/zones/{zone}",
        }

    def _zone_list(self, call: Call) -> Json:
        project = call.path["project"]
        found = [self._zone_facts(project, zone) for zone in sorted(self.zones)]
        page, token = _page(call, _filtered(call, found))
        answer: Json = {
            "kind": "compute#zoneList",
            "id": f"projects/{project}/zones",
            "items": [self._answer(call, each) for each in page],
            "selfLink": f"{call.base}/compute/v1/projects/{project}/zones",
        }
        if token:
            answer["nextPageToken"] = token
        return answer

    def _region(self, call: Call) -> Json:
        region = call.path["region"]
        zones = [zone for zone in self.zones if zone[:-2] == region]
        path = f"projects/{call.path['project']}/regions/{region}"
        if not zones:
            raise missing(path)
        return self._answer(
            call,
            {
                "kind": "compute#region",
                "id": "1100",
                "name": region,
                "status": "UP",
                "zones": [f"@/projects/{call.path['project']}/zones/{zone}" for zone in zones],
                "selfLink": f"@/{path}",
            },
        )

    def _machine_type(self, call: Call) -> Json:
        self._zone(call)
        name = call.path["machineType"]
        if not re.fullmatch(r"[a-z][0-9][a-z]?-[a-z]+(-\d+)?|f1-micro|g1-small", name):
            raise missing(f"{_scope(call)}/machineTypes/{name}")
        return {
            "kind": "compute#machineType",
            "id": str(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)),
            "name": name,
            "guestCpus": 2,
            "memoryMb": 2048,
            "zone": call.path["zone"],
            "isSharedCpu": False,
            "selfLink": f"{call.base}/compute/v1/{_scope(call)}/machineTypes/{name}",
        }

    def _disk_type(self, call: Call) -> Json:
        self._zone(call)
        name = call.path["diskType"]
        if name not in ("pd-standard", "pd-ssd", "pd-balanced"):
            raise missing(f"{_scope(call)}/diskTypes/{name}")
        return {
            "kind": "compute#diskType",
            "id": "30001",
            "name": name,
            "zone": f"{call.base}/compute/v1/{_scope(call)}",
            "selfLink": f"{call.base}/compute/v1/{_scope(call)}/diskTypes/{name}",
        }

    # Images.

    def _image_insert(self, call: Call) -> Json:
        facts = api("compute").without_read_only("Image", call.body)
        name = facts["name"]
        path = f"{_scope(call)}/images/{name}"
        if again := self._again(call):
            return again
        self._free(path)
        _check_labels(facts.get("labels", {}))
        sources = [key for key in ("sourceDisk", "sourceImage", "sourceSnapshot") if facts.get(key)]
        if facts.get("rawDisk", {}).get("source"):
            sources.append("rawDisk")
        if len(sources) != 1:
            raise invalid(
                "Invalid value for field 'resource': exactly one of rawDisk.source, sourceDisk, "
                f"sourceImage and sourceSnapshot is needed, not {sources or 'none'}."
            )
        labels = facts.get("labels")
        made = {
            **facts,
            "sourceType": "RAW",
            "status": "PENDING",
            "labelFingerprint": _fingerprint(labels or {}),
            "storageLocations": facts.get("storageLocations") or ["eu"],
        }
        archive: tuple[str, str] | None = None
        match sources[0]:
            case "rawDisk":
                archive = _bucket_and_object(facts["rawDisk"].pop("source"))
                if archive not in self.storage.objects:
                    raise Trouble(
                        404,
                        "notFound",
                        "The resource 'https://storage.googleapis.com/"
                        f"{'/'.join(archive)}' was not found",
                    )
                made["rawDisk"] = {"source": "", "containerType": "TAR"}
            case "sourceDisk":
                disk = self._linked(call, facts["sourceDisk"])
                users = [user for user in disk.get("users", []) if self._running(user)]
                if users and call.query.get("forceCreate", "false") != "true":
                    raise Trouble(
                        400,
                        "resourceInUseByAnotherResource",
                        f"The disk resource is already being used by '{users[0]}'",
                    )
                made |= {"sourceDisk": disk["selfLink"], "sourceDiskId": disk["id"]}
                made |= {"diskSizeGb": disk["sizeGb"], "archiveSizeBytes": "1000"}
            case "sourceImage":
                image = self._linked(call, facts["sourceImage"])
                made |= {"sourceImage": image["selfLink"], "sourceImageId": image["id"]}
                made |= {key: image[key] for key in ("diskSizeGb", "archiveSizeBytes")}
            case other:
                raise not_modelled(f"images made of {other}")
        image = self._make(path, "compute#image", made)

        def ready() -> None:
            if archive is not None:
                try:
                    image.update(self._unpacked(*archive))
                except Failed:
                    self.resources.pop(path, None)
                    raise
            image["status"] = "READY"

        return self._begin(call, "insert", path, ready)

    def _unpacked(self, bucket: str, name: str) -> Json:
        """Reads the archive that an image is made of, all of it."""
        stored = self.storage.objects.get((bucket, name))
        if stored is None:
            raise Failed("RESOURCE_NOT_FOUND", f"The object {bucket}/{name} is gone.", 404)
        size = disk_size(stored.file, str(stored.facts["crc32c"]))
        return {
            "archiveSizeBytes": stored.facts["size"],
            "diskSizeGb": str(size // GIB),
            "_archive": hashlib.sha256(stored.file.read_bytes()).hexdigest(),
        }

    def _image_deprecate(self, call: Call) -> Json:
        path, image = self._existing(call, "images", "image")
        body = {key: each for key, each in call.body.items() if key != "kind"}
        if again := self._again(call):
            return again

        def deprecate() -> None:
            if body.get("state", "ACTIVE") == "ACTIVE":
                image.pop("deprecated", None)
            else:
                image["deprecated"] = body

        return self._begin(call, "deprecate", path, deprecate)

    def _image_patch(self, call: Call) -> Json:
        path, image = self._existing(call, "images", "image")
        if again := self._again(call):
            return again
        changes = {
            key: each for key, each in call.body.items() if key not in ("name", "id", "kind")
        }
        if other := sorted(set(changes) - {"family", "description", "deprecated"}):
            raise invalid(f"Invalid value for field 'resource.{other[0]}': it cannot be patched.")
        family = changes.get("family")
        if family and not IMAGE_NAME.fullmatch(family):
            raise invalid(f"Invalid value for field 'resource.family': '{family}'.")

        def patch() -> None:
            for key, each in changes.items():
                if each in (None, ""):
                    image.pop(key, None)
                else:
                    image[key] = each

        return self._begin(call, "patch", path, patch)

    def _image_from_family(self, call: Call) -> Json:
        """The newest of those in the family that are not deprecated."""
        family = call.path["family"]
        where = f"{_scope(call)}/images"
        found = [
            each
            for _, each in self._seen(call, where)
            if each.get("family") == family
            and "deprecated" not in each
            and each["status"] == "READY"
        ]
        if not found:
            raise missing(f"{where}/family/{family}")
        return self._answer(call, max(found, key=lambda each: str(each["creationTimestamp"])))

    # Disks.

    def _disk_insert(self, call: Call) -> Json:
        self._zone(call)
        facts = api("compute").without_read_only("Disk", call.body)
        path = f"{_scope(call)}/disks/{facts['name']}"
        if again := self._again(call):
            return again
        self._free(path)
        _check_labels(facts.get("labels", {}))
        source = call.query.get("sourceImage") or facts.get("sourceImage")
        disk = self._disk(call, path, facts, source)

        def ready() -> None:
            disk["status"] = "READY"

        return self._begin(call, "insert", path, ready)

    def _disk(self, call: Call, path: str, facts: Json, source: str | None) -> Json:
        size = int(facts.get("sizeGb") or 0)
        made: Json = {"status": "CREATING", "zone": f"@/{_scope(call)}", **facts}
        if source:
            image = self._linked(call, source)
            if image["status"] != "READY":
                raise Trouble(
                    400,
                    "resourceNotReady",
                    f"The resource '{image['selfLink'][2:]}' is not ready",
                )
            least = int(image["diskSizeGb"])
            if size and size < least:
                raise invalid(
                    f"Requested disk size cannot be smaller than the image size ({least} GB)"
                )
            size = size or least
            made |= {"sourceImage": image["selfLink"], "sourceImageId": image["id"]}
        made["sizeGb"] = str(size or 500)
        made["type"] = f"@/{_scope(call)}/diskTypes/pd-standard"
        made["labelFingerprint"] = _fingerprint(facts.get("labels", {}))
        return self._make(path, "compute#disk", made)

    def _disk_delete(self, call: Call) -> Json:
        path, disk = self._existing(call, "disks", "disk")
        if again := self._again(call):
            return again
        if disk.get("users"):
            raise Trouble(
                400,
                "resourceInUseByAnotherResource",
                f"The disk resource '{path}' is already being used by '{disk['users'][0][2:]}'",
            )
        return self._begin(call, "delete", path, lambda: self._drop(path))

    # Instances.

    def _instance_insert(self, call: Call) -> Json:
        self._zone(call)
        facts = api("compute").without_read_only("Instance", call.body)
        path = f"{_scope(call)}/instances/{facts['name']}"
        if again := self._again(call):
            return again
        for given in ("sourceInstanceTemplate", "sourceMachineImage"):
            if given in call.query:
                raise not_modelled(f"instances made of {given}")
        self._free(path)
        _check_labels(facts.get("labels", {}))
        if not facts.get("disks"):
            raise invalid("Invalid value for field 'resource.disks': ''. No disks are specified.")
        if not facts.get("networkInterfaces"):
            raise invalid(
                "Invalid value for field 'resource.networkInterfaces': ''. None is given."
            )
        disks = [
            self._attached(call, facts["name"], at, each) for at, each in enumerate(facts["disks"])
        ]
        for path_of_disk, _ in disks:
            disk = self.resources[path_of_disk]
            disk["users"] = [*disk.get("users", []), f"@/{path}"]
        metadata = {"kind": "compute#metadata", **facts.get("metadata", {})}
        metadata["fingerprint"] = _fingerprint(metadata.get("items", []))
        tags = dict(facts.get("tags", {}))
        tags["fingerprint"] = _fingerprint(tags.get("items", []))
        instance = self._make(
            path,
            "compute#instance",
            {
                **facts,
                "status": "PROVISIONING",
                "zone": f"@/{_scope(call)}",
                "disks": [attached for _, attached in disks],
                "metadata": metadata,
                "tags": tags,
                "labelFingerprint": _fingerprint(facts.get("labels", {})),
                "networkInterfaces": [
                    self._interface(at, each) for at, each in enumerate(facts["networkInterfaces"])
                ],
            },
        )

        def running() -> None:
            instance["status"] = "RUNNING"
            for path_of_disk, _ in disks:
                self.resources[path_of_disk]["status"] = "READY"
            for each in self.started:
                each(copy.deepcopy(instance))

        return self._begin(call, "insert", path, running)

    def _attached(self, call: Call, instance: str, at: int, given: Json) -> tuple[str, Json]:
        """A disk of an instance, made where it is not there, and how it is attached."""
        wanted = given.get("initializeParams")
        if wanted is None:
            disk = self._linked(call, given["source"])
            path = str(disk["selfLink"])[2:]
        else:
            name = wanted.get("diskName") or (instance if at == 0 else f"{instance}-{at}")
            path = f"{_scope(call)}/disks/{name}"
            self._free(path)
            facts = {"name": name, "labels": wanted.get("labels", {})}
            if "diskSizeGb" in wanted:
                facts["sizeGb"] = str(wanted["diskSizeGb"])
            disk = self._disk(call, path, facts, wanted.get("sourceImage"))
        return path, {
            "kind": "compute#attachedDisk",
            "type": "PERSISTENT",
            "mode": given.get("mode", "READ_WRITE"),
            "source": disk["selfLink"],
            "deviceName": given.get("deviceName") or f"persistent-disk-{at}",
            "index": at,
            "boot": given.get("boot", at == 0),
            "autoDelete": given.get("autoDelete", False),
            "interface": "SCSI",
            "diskSizeGb": disk["sizeGb"],
        }

    def _interface(self, at: int, given: Json) -> Json:
        made = {"kind": "compute#networkInterface", **given, "name": f"nic{at}"}
        made["networkIP"] = self.address
        made["accessConfigs"] = [
            {"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", **each}
            | {"natIP": self.address}
            for each in given.get("accessConfigs", [])
        ]
        return made

    def _instance_delete(self, call: Call) -> Json:
        path, instance = self._existing(call, "instances", "instance")
        if again := self._again(call):
            return again
        instance["status"] = "STOPPING"

        def gone() -> None:
            for attached in instance["disks"]:
                disk = self.resources.get(attached["source"][2:])
                if disk is None:
                    continue
                disk["users"] = [user for user in disk.get("users", []) if user[2:] != path]
                if not disk["users"]:
                    del disk["users"]
                if attached["autoDelete"]:
                    self._drop(attached["source"][2:])
            self._drop(path)
            for each in self.ended:
                each(copy.deepcopy(instance))

        return self._begin(call, "delete", path, gone)

    def _instance_metadata(self, call: Call) -> Json:
        path, instance = self._existing(call, "instances", "instance")
        if again := self._again(call):
            return again
        given = call.body.get("fingerprint")
        if given != instance["metadata"]["fingerprint"]:
            raise Trouble(
                412,
                "conditionNotMet",
                "Supplied fingerprint does not match current metadata fingerprint.",
            )
        items = call.body.get("items", [])

        def change() -> None:
            instance["metadata"] = {
                "kind": "compute#metadata",
                "items": items,
                "fingerprint": _fingerprint(items),
            }

        return self._begin(call, "setMetadata", path, change)

    def _instance_status(self, status: str, word: str) -> Callable[[Call], Json]:
        def set_(call: Call) -> Json:
            path, instance = self._existing(call, "instances", "instance")
            if again := self._again(call):
                return again
            return self._begin(call, word, path, lambda: instance.update(status=status))

        return set_

    def _serial_port(self, call: Call) -> Json:
        _, instance = self._existing(call, "instances", "instance")
        text = self.serial.get(instance["name"], "")
        start = int(call.query.get("start", "0"))
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": f"{call.base}/compute/v1/{instance['selfLink'][2:]}/serialPort",
            "contents": text[start:],
            "start": str(start),
            "next": str(len(text)),
        }

    # What several kinds of things have.

    def _delete(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def delete(call: Call) -> Json:
            if again := self._again(call):
                return again
            path, _ = self._existing(call, collection, parameter)
            return self._begin(call, "delete", path, lambda: self._drop(path))

        return delete

    def _set_labels(self, collection: str, parameter: str) -> Callable[[Call], Json]:
        def set_(call: Call) -> Json:
            path, resource = self._existing(call, collection, parameter)
            labels = call.body.get("labels", {})
            _check_labels(labels)
            if call.body.get("labelFingerprint") != resource["labelFingerprint"]:
                raise Trouble(
                    412,
                    "conditionNotMet",
                    "Labels fingerprint either invalid or resource labels have changed",
                )

            def change() -> None:
                if resource["labelFingerprint"] != call.body.get("labelFingerprint"):
                    raise Failed("CONDITION_NOT_MET", "Labels have changed", 412)
                resource["labels"] = labels
                resource["labelFingerprint"] = _fingerprint(labels)

            return self._begin(call, "setLabels", path, change)

        return set_

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
            kept: Json = {"version": 1, "etag": _fingerprint([bindings, now["etag"]])}
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
        path = f"{_scope(call)}/{collection}/{name}"
        self._look(path)
        if path not in self.resources:
            raise missing(path)
        return path, self.resources[path]

    def _free(self, path: str) -> None:
        if not IMAGE_NAME.fullmatch(path.rsplit("/", 1)[1]):
            raise invalid(f"Invalid value for field 'resource.name': '{path.rsplit('/', 1)[1]}'.")
        self._look(path)
        if path in self.resources:
            raise Trouble(409, "alreadyExists", f"The resource '{path}' already exists")

    def _linked(self, call: Call, link: str) -> Json:
        """What a full or partial URL leads to."""
        found = re.search(r"(?:^|/)(projects/.+)$", unquote(link))
        path = found[1] if found else f"projects/{call.path['project']}/{link.lstrip('/')}"
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

    def _running(self, link: str) -> bool:
        return bool(self.resources.get(link[2:], {}).get("status") == "RUNNING")

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

    # Operations.

    def _again(self, call: Call) -> Json | None:
        """The operation that the same request id has begun before."""
        given = call.query.get("requestId")
        if given is None:
            return None
        try:
            zero = uuid.UUID(given).int == 0
        except ValueError:
            zero = True
        if zero:
            raise invalid(f"Invalid value for field 'requestId': '{given}'. It is no UUID.")
        done = self.requests.get((call.path["project"], call.id, given))
        return None if done is None else self._answer(call, self.operations[done])

    def _begin(self, call: Call, word: str, path: str, apply: Callable[[], None]) -> Json:
        resource = self.resources[path]
        number = self._id()
        scope = path.rsplit("/", 2)[0]
        name = f"operation-{number}-{hashlib.sha256(str(number).encode()).hexdigest()[:8]}"
        where = f"{scope}/operations/{name}"
        fail = call.effect(FailOperation)
        if not isinstance(fail, FailOperation) and word != "insert":
            self._before[path] = copy.deepcopy(resource)
        operation: Json = {
            "kind": "compute#operation",
            "id": str(number),
            "name": name,
            "operationType": word,
            "targetLink": f"@/{path}",
            "targetId": resource["id"],
            "status": "RUNNING",
            "user": "tests@peer.example",
            "progress": 0,
            "insertTime": self._time(),
            "startTime": self._time(),
            "selfLink": f"@/{where}",
        }
        if found := re.search(r"/zones/([^/]+)$", scope):
            operation["zone"] = f"@/{scope}"
            assert found[1] in self.zones
        self.operations[where] = operation
        if given := call.query.get("requestId"):
            self.requests[call.path["project"], call.id, given] = where
        if isinstance(fail, FailOperation):
            refused = fail

            def apply() -> None:
                if word == "insert":
                    if refused.leaves is None:
                        self.resources.pop(path, None)
                    else:
                        resource["status"] = refused.leaves
                raise Failed(refused.code, refused.message, refused.status)

        self.pending[where] = Pending(path, apply, self.looks)
        if self.looks == 0:
            self._finish(where)
        return self._answer(call, operation)

    def _look(self, path: str) -> None:
        """Somebody looks at a resource: what is being done to it comes nearer to its end."""
        for where in list(self.pending):
            if self.pending[where].resource == path:
                self._nearer(where)

    def _nearer(self, where: str) -> None:
        pending = self.pending.get(where)
        if pending is None:
            return
        pending.looks -= 1
        if pending.looks <= 0:
            self._finish(where)

    def _finish(self, where: str) -> None:
        operation, pending = self.operations[where], self.pending.pop(where)
        try:
            pending.apply()
        except Failed as failure:
            operation["error"] = {"errors": [{"code": failure.code, "message": failure.message}]}
            operation["httpErrorStatusCode"] = failure.status
            operation["httpErrorMessage"] = failure.code.replace("_", " ")
        operation |= {"status": "DONE", "progress": 100, "endTime": self._time()}

    def settle(self) -> None:
        """Everything that is being done is finished."""
        with self._lock:
            for where in list(self.pending):
                self._finish(where)

    def _operation(self, call: Call) -> str:
        name = call.path["operation"]
        where = f"{_scope(call)}/operations/{name}"
        if name.isdigit():
            for path, each in self.operations.items():
                if each["id"] == name and path.startswith(_scope(call)):
                    where = path
        if where not in self.operations:
            raise missing(where)
        return where

    def _operation_get(self, call: Call) -> Json:
        where = self._operation(call)
        self._nearer(where)
        return self._answer(call, self.operations[where])

    def _operation_list(self, call: Call) -> Json:
        where = f"{_scope(call)}/operations"
        found = [each for path, each in self.operations.items() if path.startswith(where + "/")]
        page, token = _page(call, _filtered(call, found))
        answer: Json = {
            "kind": "compute#operationList",
            "id": where,
            "selfLink": f"{call.base}/compute/v1/{where}",
        }
        if page:
            answer["items"] = [self._answer(call, each) for each in page]
        if token:
            answer["nextPageToken"] = token
        return answer

    def _operation_delete(self, call: Call) -> None:
        where = self._operation(call)
        if where in self.pending:
            raise invalid("The operation is not DONE.")
        del self.operations[where]

    def _id(self) -> int:
        self._last_id += 1_000_003
        return self._last_id

    def _time(self) -> str:
        return self.now().isoformat(timespec="milliseconds")


def _scope(call: Call) -> str:
    project = f"projects/{call.path['project']}"
    if "zone" in call.path:
        return f"{project}/zones/{call.path['zone']}"
    return f"{project}/global"


def _page(call: Call, found: list[Json]) -> tuple[list[Json], str | None]:
    """One page, and the token of the next one: ``maxResults`` is 0 to 500, 500 where absent."""
    count = int(call.query.get("maxResults", "500"))
    if count > 500:
        raise invalid(
            f"Invalid value for field 'maxResults': '{count}'. "
            "Values must be within the following range: [0, 500]"
        )
    if count == 0:
        raise not_modelled("maxResults=0")
    match call.query.get("orderBy", "name"):
        case "name":
            ordered = sorted(found, key=_key)
        case "creationTimestamp desc":
            if "pageToken" in call.query or len(found) > count:
                raise not_modelled("more than one page in order of creationTimestamp")
            ordered = sorted(found, key=lambda each: str(each["creationTimestamp"]), reverse=True)
        case other:
            raise invalid(f"Invalid value for field 'orderBy': '{other}'.")
    if token := call.query.get("pageToken"):
        try:
            last = base64.urlsafe_b64decode(token).decode()
        except ValueError:
            raise invalid(f"Invalid value for field 'pageToken': '{token}'.") from None
        ordered = [each for each in ordered if _key(each) > last]
    page = ordered[:count]
    more = len(ordered) > len(page)
    return page, base64.urlsafe_b64encode(_key(page[-1]).encode()).decode() if more else None


def _key(resource: Json) -> str:
    """By name, and things of one name in several zones by zone."""
    return f"{resource['name']} {resource.get('_scope', '')}"


def _filtered(call: Call, found: Iterable[Json]) -> list[Json]:
    given = call.query.get("filter")
    return list(found) if not given else [each for each in found if matches(given, each)]


def _fingerprint(value: Any) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(repr(value).encode()).digest()[:8]).decode()


def _check_labels(labels: Mapping[str, str]) -> None:
    if len(labels) > 64:
        raise invalid("Invalid value for field 'labels': there are more than 64.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise invalid(
                f"Invalid value for field 'resource.labels': '{key}={value}'. Label keys and "
                "values can only contain lowercase letters, digits, underscores and dashes, and "
                "are at most 63 characters long."
            )


def _bucket_and_object(source: str) -> tuple[str, str]:
    for pattern in (
        r"https?://storage\.googleapis\.com/([^/]+)/(.+)",
        r"https?://(?:www|storage)\.googleapis\.com/storage/v1/b/([^/]+)/o/(.+)",
        r"gs://([^/]+)/(.+)",
    ):
        if found := re.fullmatch(pattern, source):
            return found[1], unquote(found[2])
    raise invalid(
        f"Invalid value for field 'resource.rawDisk.source': '{source}'. "
        "The URL is malformed. It must be of the form https://storage.googleapis.com/BUCKET/OBJECT."
    )


_sizes: dict[tuple[str, int], int] = {}
"""Archives that have been read: unpacking a gigabyte takes seconds."""


def disk_size(archive: Path, checksum: str) -> int:
    """The size, in bytes, of the disk in an archive that Compute Engine imports: a gzipped tar (of
    old GNU format; sparse or not) with ``disk.raw``, a whole number of GiB. Raises Failed."""
    known = (checksum, archive.stat().st_size)
    if known in _sizes:
        return _sizes[known]
    try:
        with gzip.open(archive) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as tar:
                members = [(each.name, each.size, each.isreg()) for each in tar]
            while unzipped.read(1 << 20):  # to the end: there is the checksum
                pass
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise Failed("INVALID_USAGE", f"The tar archive is not a valid image: {error}") from None
    if len(members) != 1 or members[0][0] != "disk.raw" or not members[0][2]:
        raise Failed(
            "INVALID_USAGE",
            "The tar archive is not a valid image: it must contain disk.raw, and nothing else.",
        )
    size = members[0][1]
    if size == 0 or size % GIB:
        raise Failed("INVALID_USAGE", f"The disk's size, {size}, is not a whole number of GB.")
    _sizes[known] = size
    return size
