"""A project of Compute Engine, and its bucket for uploads. Their other end is ``peers.google``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from peers.google.calls import Refuse, Warn
from peers.google.inventory import fingerprint

from imagectl.adapters.locations.gce import GceLocation
from imagectl.adapters.locations.gce_labels import claiming
from imagectl.model.resource import Claim
from support.places import gce
from support.places.gce import PROJECT, OnGoogle
from support.places.google import DOWN

LISTINGS = ("compute.*.aggregatedList", "storage.objects.list")


class InProject:
    """Implements ``support.machines.Yard``."""

    def __init__(self, place: OnGoogle) -> None:
        self.place = place
        self.peer = place.peer
        self.machines: GceLocation = place.location

    def make(self, name: str, claim: Claim) -> str:
        return self._add(name, claiming(claim, name))

    def foreign(self, name: str) -> str:
        return self._add(name, {"team": "somebody-else"})

    def _add(self, name: str, labels: dict[str, str]) -> str:
        instance = self.peer.compute.add_instance(PROJECT, name, labels)
        return f"{instance['selfLink'][2:]}#{instance['id']}"

    def copy(self, provider_id: str, name: str) -> str:
        """ "Create similar"."""
        path = provider_id.partition("#")[0]
        return self._add(name, dict(self.peer.compute.resources[path]["labels"]))

    def show(self, provider_id: str, claim: Claim) -> None:
        path = provider_id.partition("#")[0]
        for each in (path, path.replace("/instances/", "/disks/")):
            resource = self.peer.compute.resources[each]
            resource["labels"] = claiming(claim, resource["name"])
            resource["labelFingerprint"] = fingerprint(resource["labels"])

    def there(self) -> frozenset[str]:
        return frozenset(
            f"{path}#{each['id']}"
            for path, each in self.peer.compute.resources.items()
            if "/instances/" in path
        )

    @contextmanager
    def partial(self) -> Iterator[None]:
        """A zone does not answer."""
        zone = f"zones/{self.peer.compute.zones[0]}"
        with self.peer.during(Warn(scope=zone), "compute.instances.aggregatedList") as rule:
            yield
            assert rule.hits

    @contextmanager
    def down(self) -> Iterator[None]:
        with ExitStack() as stack:
            rules = [stack.enter_context(self.peer.during(DOWN, each)) for each in LISTINGS]
            yield
            assert all(rule.hits for rule in rules)

    @contextmanager
    def forbidden(self, *calls: str) -> Iterator[None]:
        """Those calls are not allowed to us."""
        with self.peer.during(Refuse(403, "forbidden", "Required permission"), *calls) as rule:
            yield
            assert rule.hits


def opened(request: pytest.FixtureRequest, folder: Path) -> InProject:
    return InProject(gce.opened(request, folder))
