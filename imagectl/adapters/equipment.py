"""What one build works with: a proxy for all its downloads, a toolchain, and the steps that use
them, all bound to the conditions that a lock, or its absence, sets (P9)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from imagectl.adapters.base_cache import BaseCache
from imagectl.adapters.bases import LocalBases
from imagectl.adapters.disks import LocalDisks
from imagectl.adapters.inputs.store import InputStore
from imagectl.adapters.mirrors import Mirror
from imagectl.adapters.packer_template import PackerTemplates
from imagectl.adapters.provision import PackerProvisioner, Settings
from imagectl.adapters.session import Session
from imagectl.adapters.toolchain import OpenSupply, Toolchain, Toolchains
from imagectl.errors import NotFound
from imagectl.model.lock import Access, Archive, Inputs, Lock
from imagectl.services.inputs import lacking
from imagectl.services.ports.building import Conditions, Taken
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.stores import ArtifactStore
from imagectl.services.ports.workspaces import Workspace

SHOWN = 20
"""How many missing inputs an error lists."""


@dataclass(frozen=True, slots=True)
class LocalEquipment:
    """Implements ``services.ports.Equipment``."""

    session: Session
    bases: LocalBases
    provisioner: PackerProvisioner
    disks: LocalDisks

    def taken(self) -> Taken:
        return Taken(
            self.session.toolchain.locked,
            self.session.mirrors,
            self.session.supply.taken(),
            self.bases.disk,
        )


class LocalEquipper:
    """Implements ``services.ports.Equipper`` on this machine.

    ``mirror`` is this machine's, asked only where there is no lock or something must be fetched.
    """

    def __init__(
        self,
        settings: Settings,
        store: ArtifactStore,
        inputs: InputStore,
        open_supply: OpenSupply,
        toolchains: Toolchains,
        bases: BaseCache,
        templates: PackerTemplates,
        mirror: Callable[[], Mirror],
    ) -> None:
        self._settings = settings
        self._store = store
        self._inputs = inputs
        self._open_supply = open_supply
        self._toolchains = toolchains
        self._bases = bases
        self._templates = templates
        self._mirror = mirror

    @contextlib.contextmanager
    def equip(
        self, conditions: Conditions, work: Workspace, progress: Progress
    ) -> Iterator[LocalEquipment]:
        lock = conditions.lock
        if conditions.access is Access.OFFLINE and lock is not None:
            self._check_offline(lock)
        mirrors = lock.mirrors if lock is not None else self._mirror().addresses()
        toolchain = self._toolchain(conditions, mirrors, progress)
        with self._open_supply(
            access=conditions.access,
            locked=lock.inputs if lock is not None else Inputs(),
            mirrors=mirrors,
            folder=work.sub("supply"),
            epoch=work.epoch,
        ) as supply:
            session = Session(conditions, mirrors, supply, self._inputs, toolchain)
            yield LocalEquipment(
                session,
                LocalBases(session, self._store, self._bases, self._templates),
                PackerProvisioner(self._settings, session),
                LocalDisks(lambda progress: toolchain),
            )

    def _toolchain(
        self, conditions: Conditions, mirrors: Mapping[Archive, str], progress: Progress
    ) -> Toolchain:
        if conditions.lock is None:
            return self._toolchains.newest(lambda: mirrors, progress, fresh=conditions.fresh)
        return self._toolchains.exactly(
            conditions.lock.toolchain, conditions.access, mirrors, progress
        )

    def _check_offline(self, lock: Lock) -> None:
        """Raise NotFound with all that a build from *lock* will miss, before it is begun."""
        missing = missing_inputs(lock, self._inputs, self._toolchains)
        if not missing:
            return
        more = f"\n... and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise NotFound(
            f"{len(missing)} of the inputs of {lock.image} are not in the input store",
            where=str(self._inputs.root),
            why="\n".join(missing[:SHOWN]) + more,
            hint="build without --offline to fetch them where they are still to be had, or copy "
            "them from another machine's input store",
        )


def missing_inputs(lock: Lock, inputs: InputStore, toolchains: Toolchains) -> list[str]:
    """What a build from *lock* needs and *inputs* lacks, named as the lock names it. CannotTell."""
    return lacking(inputs, lock, has_tools=toolchains.has(lock.toolchain.tree))
