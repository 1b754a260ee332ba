"""A project on this machine: its settings, and its services as these want them wired."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.clock import SystemClock
from imagectl.errors import BadUsage, ImagectlError

if TYPE_CHECKING:
    from imagectl.adapters.catalog_sql import SqlCatalog
    from imagectl.adapters.equipment import LocalEquipper
    from imagectl.adapters.host_machines import HostMachines
    from imagectl.adapters.inputs.store import InputStore
    from imagectl.adapters.inputs.supply import Supply
    from imagectl.adapters.mirrors import Mirror
    from imagectl.adapters.packer_template import PackerTemplates
    from imagectl.adapters.published.publisher import TreePublisher
    from imagectl.adapters.published.signing import Signing
    from imagectl.adapters.toolchain import Toolchains
    from imagectl.adapters.workspaces import LocalWorkspaces
    from imagectl.model.channel import ReleasePolicy
    from imagectl.model.lock import Access, Archive, Inputs
    from imagectl.model.names import ChannelName, ImageName, LocationName
    from imagectl.model.project import Project as Settings
    from imagectl.services.cleanup import Cleaning
    from imagectl.services.janitor import Janitoring
    from imagectl.services.measure import Outcomes
    from imagectl.services.notify import Notifying, Outbox
    from imagectl.services.ports.definitions import Checks, Definitions
    from imagectl.services.ports.janitor import Leasing, Machines, Resources
    from imagectl.services.ports.locations import Location
    from imagectl.services.ports.looking_inside import Advisories, Documents
    from imagectl.services.ports.progress import Progress
    from imagectl.services.ports.stores import ArtifactStore, Receipts
    from imagectl.services.releasing import Releasing
    from imagectl.services.workbench import Workbench

STATE = ".imagectl"
"""The folder of a project that holds what imagectl makes: catalog, store, logs, runs."""


class Project:
    """One project and its services, each wired when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = SystemClock()
        self.patience: float | None = None
        """Seconds for which a location that does not answer is asked again; None: as long as an
        upload is worth. To be set before the locations are used."""
        self.remark: Callable[[str], None] = lambda _: None
        """Is told, for people, what a location is asked again and again. To be set as early."""

    @property
    def state(self) -> Path:
        """The folder of what imagectl makes here, but for what settings put elsewhere."""
        return self.root / STATE

    @cached_property
    def settings(self) -> Settings:
        """``imagectl.yaml``. Raises BadInput."""
        from imagectl.adapters import project_files

        return project_files.load_project(self.root)

    @cached_property
    def policy(self) -> ReleasePolicy:
        """``catalog/channels.yaml``. Raises BadInput, and NotFound where it is not there."""
        from imagectl.adapters import project_files

        return project_files.load_policy(self.root)

    @cached_property
    def image_names(self) -> tuple[ImageName, ...]:
        """The images that are defined, sorted; whether their definitions are right is not asked."""
        from imagectl.adapters import project_files

        return project_files.image_names(self.root)

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The truth, open until ``close``. An empty one is made where there never was one. Raises
        CannotTell where consumers are shown a catalog, and it is not there (P2)."""
        import uuid

        from imagectl.bootstrap.catalog import open_catalog

        return open_catalog(self, lambda: str(uuid.uuid4()))

    def existing_catalog(self) -> SqlCatalog:
        """The same, where there is one; else NotFound. Whoever opens it closes it."""
        from imagectl.bootstrap.catalog import open_catalog

        return open_catalog(self, None)

    @property
    def has_catalog_open(self) -> bool:
        """Whether ``catalog`` was used so far."""
        return "catalog" in self.__dict__

    def close(self) -> None:
        """Give back what was opened."""
        if self.has_catalog_open:
            self.catalog.close()

    @cached_property
    def store(self) -> ArtifactStore:
        """Artifacts, trees, reports and logs."""
        from imagectl.adapters.store import FileStore

        return FileStore(self.root / self.settings.store)

    @cached_property
    def locations(self) -> Mapping[LocationName, Location]:
        """Every location of ``imagectl.yaml``."""
        from imagectl.bootstrap.locations import open_locations

        return open_locations(self, self.patience)

    def catalog_id(self) -> str:
        """Of the catalog, which is opened for that."""
        return self.catalog.snapshot(()).catalog_id

    @cached_property
    def resources(self) -> Resources:
        """The ledger of things that are made to be thrown away."""
        return self.catalog.resources

    @cached_property
    def leasing(self) -> Leasing:
        """Gives leases to whoever makes such things."""
        from imagectl.bootstrap.locations import leasing

        return leasing(self)

    @cached_property
    def host_machines(self) -> HostMachines:
        """What builds and tests have running on this host."""
        from imagectl.adapters.host_machines import HostMachines

        return HostMachines(self.state, self.catalog_id)

    def machines(self) -> Mapping[str, Machines]:
        """Every place in which things are made to be thrown away: this host first."""
        from imagectl.services.ports.janitor import Machines

        places: list[Machines] = [self.host_machines]
        places += [each for each in self.locations.values() if isinstance(each, Machines)]
        return {each.place: each for each in places}

    def janitoring(self, places: Sequence[Machines]) -> Janitoring:
        """What the janitor needs to look after these places."""
        from imagectl.services.janitor import Janitoring

        return Janitoring(self.resources, places, self.catalog_id(), self.clock)

    @cached_property
    def outcomes(self) -> Outcomes:
        """What remembers how the things that run again and again have ended here."""
        from imagectl.adapters.outcomes import FileOutcomes

        return FileOutcomes(self.state / "outcomes.json")

    @cached_property
    def publishers(self) -> tuple[TreePublisher, ...]:
        """The writers of the trees for consumers."""
        from imagectl.bootstrap.trees import publishers

        return publishers(self)

    @cached_property
    def signing(self) -> Signing:
        """What signing those trees takes."""
        from imagectl.adapters.published.signing import Signing
        from imagectl.adapters.signing_keys import SigningKeys
        from imagectl.consumer.deferring import defer

        defer("boto3")
        keys = SigningKeys(self.settings.signing_keys, self.state / "keys", self.root)
        return Signing(keys, self.trust, self.state / "pending", self._channel_names)

    @property
    def keys_made(self) -> Sequence[Path]:
        """The files of signing keys that were made since this was opened, for a tree to begin."""
        return self.signing.keys.made if "signing" in self.__dict__ else ()

    @property
    def trust(self) -> Path:
        """The folder, in git, of what says whose signatures count."""
        return self.root / "catalog"

    def _channel_names(self) -> Collection[ChannelName]:
        """The channels there may be; none where the policy cannot be read: the catalog knows those
        that there are."""
        try:
            return self.policy.names
        except ImagectlError:
            return ()

    @cached_property
    def receipts(self) -> Receipts:
        """Who has resolved what."""
        from imagectl.adapters.receipts import FileReceipts

        said = self.settings.receipts
        if said is not None:
            return FileReceipts(self.root / said, expected=True)
        return FileReceipts(self.state / "receipts")

    @cached_property
    def documents(self) -> Documents:
        """What is known of the inside of versions."""
        from imagectl.adapters.inside.documents import StoredDocuments

        return StoredDocuments(self.store)

    @cached_property
    def advisories(self) -> Advisories:
        """Debian's security data."""
        from imagectl.adapters.security import FileAdvisories

        return FileAdvisories(self.state / "security", self.settings.security_data)

    @cached_property
    def releasing(self) -> Releasing:
        """What promoting, rolling back and publishing need."""
        import uuid

        from imagectl.bootstrap.identity import actor
        from imagectl.services.releasing import Releasing

        return Releasing(
            self.catalog,
            self.locations,
            self.publishers,
            self.clock,
            actor(),
            lambda: str(uuid.uuid4()),
        )

    @cached_property
    def outbox(self) -> Outbox:
        """What is still to be told to somebody."""
        from imagectl.adapters.notify import FileOutbox

        return FileOutbox(self.state / "notices.json")

    @property
    def notifying(self) -> Notifying:
        """What telling people and programs needs."""
        from imagectl.adapters.notify import TargetSender
        from imagectl.bootstrap.identity import actor
        from imagectl.services.notify import Notifying

        return Notifying(
            self.catalog,
            self.outbox,
            TargetSender(self.root),
            self.settings.notify,
            self.clock,
            actor(),
        )

    def cleaning(self, progress: Progress) -> Cleaning:
        """What cleaning up needs. Raises BadUsage where receipts may be in other checkouts."""
        from imagectl.bootstrap.trees import published
        from imagectl.formats.lock_text import parse_lock
        from imagectl.services.cleanup import Cleaning

        where = self.receipts_at()
        return Cleaning(
            self.releasing,
            self.store,
            published(self),
            self.receipts,
            self.workspaces(progress).undisturbed,
            self.inputs,
            lambda path: parse_lock(path.read_bytes(), str(path)),
            str(where),
        )

    def receipts_at(self) -> Path:
        """The folder of receipts. Raises BadUsage where they may be in other checkouts, too."""
        said = self.settings.receipts
        if said is None and not self.settings.catalog_url.startswith("sqlite"):
            raise BadUsage(
                "it is not known where consumers leave their receipts",
                where="imagectl.yaml",
                why="others share this catalog, and what they resolve is noted in checkouts of "
                "their own: a cleanup would take away what is in use",
                hint="name a folder that all of them share under `receipts`",
            )
        return self.root / said if said is not None else self.state / "receipts"

    def fetched(self) -> Path:
        """A folder for artifacts on their way from a location into the store. What a killed process
        has left there is whole, and is taken by the next one."""
        folder = self.state / "fetched"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def definitions(self) -> Definitions:
        """The image definitions."""
        from imagectl.adapters.definitions import FileDefinitions

        return FileDefinitions(self.root)

    @cached_property
    def checks(self) -> Checks:
        """What the tools themselves find wrong with a definition."""
        from imagectl.adapters.checks import ToolChecks

        return ToolChecks(self.root, self.templates)

    @cached_property
    def templates(self) -> PackerTemplates:
        """Runs the users' own Packer templates."""
        from imagectl.adapters.packer_template import PackerTemplates

        return PackerTemplates(self.root, self.state / "packer-cache")

    def workbench(self, progress: Progress) -> Workbench:
        """What building, testing, locking and rebuilding need; its adapters tell *progress* what
        they are doing."""
        from imagectl.adapters.disk.compare import TreeComparer
        from imagectl.adapters.inside import LocalInspector
        from imagectl.adapters.prove import QemuProver
        from imagectl.adapters.timings import FileTimings
        from imagectl.bootstrap.accelerators import Accelerators
        from imagectl.services.workbench import Workbench

        accelerator = Accelerators(self, progress)
        boot_seconds = int(self.settings.build.boot_timeout.total_seconds())
        return Workbench(
            catalog=self.catalog,
            store=self.store,
            definitions=self.definitions,
            checks=self.checks,
            workspaces=self.workspaces(progress),
            equipper=self.equipper(progress),
            prover=QemuProver(
                self.root, boot_seconds, lambda work: accelerator.find(None, work.folder)
            ),
            comparer=TreeComparer(),
            inspector=LocalInspector(self.state / "keys"),
            templates=self.templates,
            timings=FileTimings(self.state / "timings.json"),
            clock=self.clock,
        )

    def workspaces(self, progress: Progress) -> LocalWorkspaces:
        """Where builds work, and where the disk of one whose tests failed is kept."""
        from imagectl.adapters.workspaces import LocalWorkspaces

        return LocalWorkspaces(self.state, progress, self.clock.now, lambda: self.leasing)

    def mirror(self) -> Mirror:
        """The Debian mirror: that of the settings, else that of this machine. Raises NotFound."""
        from imagectl.adapters.mirrors import Mirror, host_mirror

        said = self.settings.mirror
        if said.debian is not None:
            return Mirror(said.debian.rstrip("/"), said.security and said.security.rstrip("/"))
        found = host_mirror()
        return Mirror(found.archive, said.security or found.security)

    @cached_property
    def inputs(self) -> InputStore:
        """What builds were made from."""
        from imagectl.adapters.inputs.shared import open_store

        return open_store(self.root, self.settings.inputs)

    @cached_property
    def toolchains(self) -> Toolchains:
        """The tools that write bytes, in the versions that locks name."""
        from imagectl.adapters.toolchain import Toolchains

        return Toolchains(self.state / "toolchain", self.inputs, self._open_supply, self.clock.now)

    def equipper(self, progress: Progress) -> LocalEquipper:
        """Sets up what a build works with."""
        from imagectl.adapters.base_cache import BaseCache
        from imagectl.adapters.equipment import LocalEquipper
        from imagectl.adapters.provision import Settings as ProvisionerSettings
        from imagectl.bootstrap.accelerators import Accelerators

        boot_seconds = int(self.settings.build.boot_timeout.total_seconds())
        return LocalEquipper(
            ProvisionerSettings(self.root, boot_seconds, Accelerators(self, progress).find),
            self.store,
            self.inputs,
            self._open_supply,
            self.toolchains,
            BaseCache(self.state / "bases"),
            self.templates,
            self.mirror,
        )

    def _open_supply(
        self,
        *,
        access: Access,
        locked: Inputs,
        mirrors: Mapping[Archive, str],
        folder: Path,
        epoch: int,
    ) -> contextlib.AbstractContextManager[Supply]:
        from imagectl.adapters.inputs.supply import open_supply

        return open_supply(
            access=access,
            locked=locked,
            mirrors=mirrors,
            upstream=lambda: self.mirror().addresses(),
            store=self.inputs,
            folder=folder,
            epoch=epoch,
            now=self.clock.now,
        )


def open_project(start: Path) -> Project:
    """The project around *start*. Raises NotFound."""
    from imagectl.adapters.project_files import find_project

    return Project(find_project(start))
