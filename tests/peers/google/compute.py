"""Compute Engine: the methods that are modelled, and what tests do behind the clients' backs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peers.google.calls import (
    Call,
    missing,
)
from peers.google.images import Images
from peers.google.machines import Machines


@dataclass
class Compute(Images, Machines):
    """All of it."""

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

    def remove(self, path: str) -> None:
        """Somebody deletes a thing: ``projects/p/global/images/i``."""
        del self.resources[path]

    def names(self, collection: str) -> list[str]:
        """Of what is in a collection, such as ``projects/p/global/images``."""
        return sorted(each["name"] for _, each in self._in(collection))

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
            "addresses.get": self._get("addresses", "address"),
            "addresses.list": self._list("addresses"),
            "addresses.aggregatedList": self._aggregated("addresses"),
            "addresses.insert": self._address_insert,
            "addresses.delete": self._address_delete,
            "addresses.setLabels": self._set_labels("addresses", "resource"),
            "globalOperations.get": self._operation_get,
            "globalOperations.wait": self._operation_get,
            "globalOperations.list": self._operation_list,
            "globalOperations.delete": self._operation_delete,
            "zoneOperations.get": self._operation_get,
            "zoneOperations.wait": self._operation_get,
            "zoneOperations.list": self._operation_list,
            "zoneOperations.delete": self._operation_delete,
            "regionOperations.get": self._operation_get,
            "regionOperations.wait": self._operation_get,
            "regionOperations.list": self._operation_list,
            "regionOperations.delete": self._operation_delete,
        }
        return {f"compute.{name}": in_turn(do) for name, do in found.items()}
