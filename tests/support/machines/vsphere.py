"""A folder of a vCenter: VMware's simulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.leasing import EVERY, LedgerLeasing
from imagectl.adapters.locations import open_location
from imagectl.adapters.locations.vsphere import VsphereLocation
from imagectl.adapters.locations.vsphere_claims import read_claim, show_claim
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.model.resource import Claim
from imagectl.testing.resources import MemoryResources
from support.places import surroundings, vsphere
from support.places.place import CATALOG_ID
from support.places.vsphere import InVcenter


class InFolder:
    """Implements ``support.machines.Yard``."""

    def __init__(self, place: InVcenter) -> None:
        self.place = place
        self.machines: VsphereLocation = place.location

    def make(self, name: str, claim: Claim) -> str:
        made = self._fill(name)
        self.show(made, claim)
        return made

    def foreign(self, name: str) -> str:
        return self._fill(name)

    def _fill(self, name: str) -> str:
        place = self.place
        folder = place.settings.folder
        place.peer.fill(1, name, datacenter=place.datacenter, folder=folder, template=False)
        (machine,) = (each for each in place.peer.machines(name) if each.folder == folder)
        return f"{place.admin.content.about.instanceUuid}/{machine.reference}"

    def copy(self, provider_id: str, name: str) -> str:
        place, vim = self.place, sdk().vim
        vcenter, _, reference = provider_id.partition("/")
        folder = place.at(f"{place.datacenter}/vm/{place.settings.folder}")
        spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False, template=False)
        task = place.admin.machine(reference).CloneVM_Task(folder, name, spec)
        place.admin.wait("cloning", task)
        (copy,) = place.peer.machines(name)
        return f"{vcenter}/{copy.reference}"

    def show(self, provider_id: str, claim: Claim) -> None:
        admin = self.place.admin
        show_claim(admin, admin.machine(provider_id.partition("/")[2]), claim)

    def there(self) -> frozenset[str]:
        vcenter = self.place.admin.content.about.instanceUuid
        return frozenset(
            f"{vcenter}/{each.reference}"
            for each in self.place.peer.machines()
            if each.folder == self.place.settings.folder
        )

    @contextmanager
    def partial(self) -> Iterator[None]:
        """The host of the machines does not answer."""
        with self.place.set_for_a_while(unreachable=[self.place.datacenter]):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        with self.place.unreadable():
            yield


def with_ledger(
    place: InVcenter, ledger: MemoryResources, every: timedelta = EVERY
) -> VsphereLocation:
    """The same location, with that ledger, whose leases are renewed so often."""
    leasing = LedgerLeasing(ledger, lambda: CATALOG_ID, "somebody", SystemClock().now, every=every)
    around = replace(surroundings(place.folder), leasing=lambda: leasing)
    location = open_location(place.location.name, place.settings, around)
    assert isinstance(location, VsphereLocation)
    return location


def claim_of(machine: Any) -> Claim | None:
    """What a machine's notes say."""
    annotation = machine.annotation
    return read_claim(annotation, "", machine.name, machine.reference)


def opened(request: pytest.FixtureRequest, folder: Path) -> InFolder:
    return InFolder(vsphere.opened(request, folder))
