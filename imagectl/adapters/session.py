"""What the steps of one build share: its conditions, the proxy it downloads through, its tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagectl.adapters.guest_network import trusting
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import Supply
from imagectl.adapters.mmdebstrap import Route
from imagectl.adapters.toolchain import Toolchain
from imagectl.errors import ImagectlError
from imagectl.model.lock import Access, Archive
from imagectl.services.ports.building import Conditions


@dataclass(frozen=True, slots=True)
class Session:
    """For as long as ``LocalEquipper.equip``'s block runs. ``mirrors`` are the addresses that the
    image itself will use."""

    conditions: Conditions
    mirrors: Mapping[Archive, str]
    supply: Supply
    inputs: InputStore
    toolchain: Toolchain

    @property
    def route(self) -> Route:
        """How mmdebstrap gets its packages."""
        return Route(self.supply.proxy, self.supply.authority, self.conditions.access)

    @property
    def only_locked(self) -> bool:
        """True where nothing but what the lock lists can be had."""
        return self.conditions.access in (Access.LOCKED, Access.OFFLINE)

    def environment(self) -> dict[str, str]:
        """What makes programs on this machine download through the proxy."""
        proxies = dict.fromkeys(("http_proxy", "https_proxy"), self.supply.proxy)
        # An exception of the user's own would go unrecorded.
        proxies["no_proxy"] = ""
        return {
            **proxies,
            **{name.upper(): value for name, value in proxies.items()},
            **trusting(str(self.supply.authority)),
        }

    @contextlib.contextmanager
    def downloading(self, what: str) -> Iterator[None]:
        """What downloads in the block are for. What was refused or not to be had ends the build
        (BuildFailed, from the supply), whether or not the program that asked for it minded; and it
        is the better explanation where that program failed."""
        self.supply.during(what)
        try:
            yield
        except ImagectlError:
            self.supply.check()
            raise
        self.supply.check()
