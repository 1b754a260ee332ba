"""What builds download through, on a folder of a test: a real input store, a real proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.inputs.connections import Address
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.inputs.supply import Supply, open_supply
from imagectl.adapters.mirrors import Mirror, host_mirror
from imagectl.adapters.session import Session
from imagectl.adapters.toolchain import OpenSupply, Toolchain, Toolchains
from imagectl.model.lock import Access, Archive, Inputs, LockedToolchain
from imagectl.model.names import Sha256
from imagectl.services.ports.building import Conditions

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")

NO_TOOLCHAIN = Toolchain(
    Path("/nonexistent"), LockedToolchain("trixie", Sha256("0" * 64), Inputs())
)


def supplier(
    store: InputStore,
    upstream: Mapping[Archive, str] | None = None,
    reachable: Collection[Address] = (),
) -> OpenSupply:
    """Opens supplies on *store*; ``upstream`` is this machine's mirror where it is not said."""
    said = upstream

    def open_one(
        *,
        access: Access,
        locked: Inputs,
        mirrors: Mapping[Archive, str],
        folder: Path,
        epoch: int,
    ) -> AbstractContextManager[Supply]:
        return open_supply(
            access=access,
            locked=locked,
            mirrors=mirrors,
            upstream=lambda: said if said is not None else host_mirror().addresses(),
            store=store,
            folder=folder,
            epoch=epoch,
            now=SystemClock().now,
            reachable=reachable,
            environment={},
        )

    return open_one


def toolchains(folder: Path, store: InputStore) -> Toolchains:
    """Toolchains in *folder*, from this machine's mirror."""
    return Toolchains(folder, store, supplier(store), SystemClock().now)


def newest_toolchain(folder: Path, store: InputStore) -> Toolchain:
    """The newest toolchain in *folder*, made where there is none."""
    return toolchains(folder, store).newest(lambda: host_mirror().addresses())


@contextlib.contextmanager
def session(
    project: Path,
    folder: Path,
    toolchain: Toolchain = NO_TOOLCHAIN,
    access: Access = Access.RECORD,
    upstream: Mapping[Archive, str] | None = None,
    reachable: Collection[Address] = (),
) -> Iterator[Session]:
    """What the steps of a build without a lock share. The input store is *folder*'s ``inputs``."""
    store = InputStore(folder / "inputs")
    now = SystemClock().now()
    with supplier(store, upstream, reachable)(
        access=access,
        locked=Inputs(),
        mirrors=MIRROR.addresses(),
        folder=folder / "supply",
        epoch=int(now.timestamp()),
    ) as supply:
        conditions = Conditions(project, access, None)
        yield Session(conditions, MIRROR.addresses(), supply, store, toolchain)
