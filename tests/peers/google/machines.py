"""Instances, their disks and addresses, and the zones and types that they are asked for in."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from peers.google.calls import (
    Call,
    Trouble,
    invalid,
    missing,
    not_modelled,
)
from peers.google.discovery import Json, api
from peers.google.inventory import check_labels, fingerprint, scope
from peers.google.listings import filtered, one_page
from peers.google.operations import Operations


@dataclass
class Machines(Operations):
    """The instances and disks of all projects. No instance really runs: ``started`` is told."""

    address: str = "127.0.0.1"
    """Of all instances."""
    started: list[Callable[[Json], None]] = field(default_factory=list)
    """Called with each instance that begins to run, such as to let its ssh keys in somewhere."""
    ended: list[Callable[[Json], None]] = field(default_factory=list)
    """Called with each instance that is deleted."""
    serial: dict[str, str] = field(default_factory=dict)
    """What instances have written to their serial port, by name."""

    def add_instance(self, project: str, name: str, labels: Json | None = None) -> Json:
        """Somebody has started an instance, with a disk of its own, in the first zone."""
        where, said = f"projects/{project}/zones/{self.zones[0]}", labels or {}
        about = {"labels": said, "labelFingerprint": fingerprint(said), "zone": f"@/{where}"}
        instance = self._make(
            f"{where}/instances/{name}",
            "compute#instance",
            {
                **about,
                "status": "RUNNING",
                "disks": [{"source": f"@/{where}/disks/{name}", "autoDelete": True}],
            },
        )
        self._make(
            f"{where}/disks/{name}",
            "compute#disk",
            {**about, "status": "READY", "sizeGb": "10", "users": [instance["selfLink"]]},
        )
        return instance

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
        page, token = one_page(call, filtered(call, found))
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
            raise missing(f"{scope(call)}/machineTypes/{name}")
        return {
            "kind": "compute#machineType",
            "id": str(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)),
            "name": name,
            "guestCpus": 2,
            "memoryMb": 2048,
            "zone": call.path["zone"],
            "isSharedCpu": False,
            "selfLink": f"{call.base}/compute/v1/{scope(call)}/machineTypes/{name}",
        }

    def _disk_type(self, call: Call) -> Json:
        self._zone(call)
        name = call.path["diskType"]
        if name not in ("pd-standard", "pd-ssd", "pd-balanced"):
            raise missing(f"{scope(call)}/diskTypes/{name}")
        return {
            "kind": "compute#diskType",
            "id": "30001",
            "name": name,
            "zone": f"{call.base}/compute/v1/{scope(call)}",
            "selfLink": f"{call.base}/compute/v1/{scope(call)}/diskTypes/{name}",
        }

    def _disk_insert(self, call: Call) -> Json:
        self._zone(call)
        facts = api("compute").without_read_only("Disk", call.body)
        path = f"{scope(call)}/disks/{facts['name']}"
        if again := self._again(call):
            return again
        self._free(path)
        check_labels(facts.get("labels", {}))
        source = call.query.get("sourceImage") or facts.get("sourceImage")
        disk = self._disk(call, path, facts, source)

        def ready() -> None:
            disk["status"] = "READY"

        return self._begin(call, "insert", path, ready)

    def _disk(self, call: Call, path: str, facts: Json, source: str | None) -> Json:
        size = int(facts.get("sizeGb") or 0)
        made: Json = {"status": "CREATING", "zone": f"@/{scope(call)}", **facts}
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
        made["type"] = f"@/{scope(call)}/diskTypes/pd-standard"
        made["labelFingerprint"] = fingerprint(facts.get("labels", {}))
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

    def _instance_insert(self, call: Call) -> Json:
        self._zone(call)
        facts = api("compute").without_read_only("Instance", call.body)
        path = f"{scope(call)}/instances/{facts['name']}"
        if again := self._again(call):
            return again
        for given in ("sourceInstanceTemplate", "sourceMachineImage"):
            if given in call.query:
                raise not_modelled(f"instances made of {given}")
        self._free(path)
        check_labels(facts.get("labels", {}))
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
        metadata["fingerprint"] = fingerprint(metadata.get("items", []))
        tags = dict(facts.get("tags", {}))
        tags["fingerprint"] = fingerprint(tags.get("items", []))
        instance = self._make(
            path,
            "compute#instance",
            {
                **facts,
                "status": "PROVISIONING",
                "zone": f"@/{scope(call)}",
                "disks": [attached for _, attached in disks],
                "metadata": metadata,
                "tags": tags,
                "labelFingerprint": fingerprint(facts.get("labels", {})),
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
            path = f"{scope(call)}/disks/{name}"
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

    def _address_insert(self, call: Call) -> Json:
        self._region(call)
        facts = api("compute").without_read_only("Address", call.body)
        path = f"{scope(call)}/addresses/{facts['name']}"
        if again := self._again(call):
            return again
        self._free(path)
        check_labels(facts.get("labels", {}))
        address = self._make(
            path,
            "compute#address",
            {
                "addressType": "EXTERNAL",
                **facts,
                "address": self.address,
                "status": "RESERVING",
                "region": f"@/{scope(call)}",
                "labelFingerprint": fingerprint(facts.get("labels", {})),
            },
        )

        def ready() -> None:
            address["status"] = "RESERVED"

        return self._begin(call, "insert", path, ready)

    def _address_delete(self, call: Call) -> Json:
        path, address = self._existing(call, "addresses", "address")
        if again := self._again(call):
            return again
        if address.get("users"):
            raise Trouble(
                400,
                "resourceInUseByAnotherResource",
                f"The address resource '{path}' is already being used by "
                f"'{address['users'][0][2:]}'",
            )
        return self._begin(call, "delete", path, lambda: self._drop(path))

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
                "fingerprint": fingerprint(items),
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


def ssh_keys(instance: Json) -> list[str]:
    """The public keys that an instance's own metadata lets in, without their users' names.

    ``compute.started.append(lambda instance: server.authorize(*ssh_keys(instance)))`` has a local
    SSH server (``peers.sshd``) stand in for all instances.
    """
    texts = [
        item["value"] for item in instance["metadata"].get("items", []) if item["key"] == "ssh-keys"
    ]
    return [line.partition(":")[2] for text in texts for line in text.splitlines() if line.strip()]
