"""Where in a vCenter's inventory a location is: its folder, and what machines are made in.

Everything is looked up live, by the names that the settings have. What cannot be seen is never
taken for absent (P3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from imagectl.adapters.locations.vsphere_import import Target
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Read, Session
from imagectl.errors import CannotTell, Denied, Failed
from imagectl.model.names import LocationName
from imagectl.model.place import VsphereLocation as Settings

T = TypeVar("T")

UNTOLD = 10
"""So many machines that could not be told are named; of the others, how many there are."""

PRIVILEGES: Mapping[str, tuple[str, ...]] = {
    "folder": (
        "VirtualMachine.Inventory.Create",
        "VirtualMachine.Inventory.Delete",
        "VirtualMachine.Config.AddNewDisk",
        "VirtualMachine.Config.Annotation",
        "VirtualMachine.Config.Rename",
        "VirtualMachine.Provisioning.MarkAsTemplate",
    ),
    "datastore": ("Datastore.AllocateSpace",),
    "pool": ("VApp.Import", "Resource.AssignVMToPool"),
    "network": ("Network.Assign",),
}
"""What is needed on each thing that the settings name. docs/how-to/vsphere.md says what for."""


class Inventory:
    """Of one location."""

    def __init__(self, name: LocationName, settings: Settings, session: Session) -> None:
        self._name = name
        self._settings = settings
        self._session = session

    def path(self, name: str = "") -> str:
        """That of the folder, or of what has that name in it."""
        settings = self._settings
        path = f"/{settings.datacenter}/vm/{settings.folder}"
        return f"{path}/{name}" if name else path

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return f"{self.path()} of {self._session.where}"

    @property
    def scope(self) -> str:
        """The folder, as what a listing is of."""
        return f"folder {self.path()} of {self._settings.host}"

    @property
    def vcenter(self) -> str:
        """The vCenter's own id."""
        return str(self._session.content.about.instanceUuid)

    def folder(self) -> Any:
        """The folder, live. Raises CannotTell where it cannot be seen."""
        path = self.path()
        folder = self._session.find(path)
        if folder is None or not isinstance(folder, sdk().vim.Folder):
            raise CannotTell(
                f"the folder {path} is not there, or may not be seen",
                where=self._session.where,
                why="without it, nothing can be said about what is in it",
                hint="make it in vSphere, or correct `datacenter` and `folder` in imagectl.yaml",
            )
        return folder

    def target(self) -> Target:
        """What the settings name, live. Raises Failed where something is not there."""
        settings, session = self._settings, self._session
        folder = self.folder()
        datacenter = session.find(settings.datacenter)
        values = session.read_one(datacenter, ("datastore", "network", "hostFolder")).values
        datastore = self._pick("datastore", settings.datastore, values.get("datastore", ()))
        network = None
        if settings.network is not None:
            network = self._pick("network", settings.network, values.get("network", ()))
        return Target(folder, datastore, self._pool(values["hostFolder"]), network)

    def machines(
        self, what: str, paths: Sequence[str], show: Callable[[Read], T | str | None], *, deep: bool
    ) -> tuple[list[T], list[str]]:
        """Every machine and template of the folder, below its folders too where *deep*, as *show*
        tells it; and what is not known (P3). A text of *show*'s says why a machine cannot be told;
        None leaves it out.

        Raises CannotTell where nothing could be read at all.
        """
        found: list[T] = []
        gaps: list[str] = []
        untold: list[str] = []

        def attempt() -> None:
            found.clear()
            gaps.clear()
            untold.clear()
            counted: int | None = None
            seen = 0
            kind = sdk().vim.VirtualMachine
            for each in self._session.under(self.folder(), kind, paths, deep=deep):
                if isinstance(each, int):
                    counted = each
                    continue
                seen += 1
                shown = show(each)
                if isinstance(shown, str):
                    untold.append(shown)
                elif shown is not None:
                    found.append(shown)
            if counted is None:
                gaps.append(
                    f"{seen} machines were read, and it was not told how many the folder has"
                )
            elif counted != seen:
                gaps.append(f"{seen} machines were read, and the folder has {counted}")

        try:
            self._session.persist(what, attempt, CannotTell)
        except Denied:
            raise
        except CannotTell as problem:
            if not found:
                raise
            gaps.append(f"it broke off after {len(found)}: {problem.why}")
        if len(untold) > UNTOLD + 1:
            untold[UNTOLD:] = [f"{len(untold) - UNTOLD} more machines: the same, or the like"]
        return found, [*untold, *gaps]

    def lacking(self) -> list[str]:
        """The privileges that the user has not, each with what it is needed on."""
        target = self.target()
        session = self._session
        manager = session.content.authorizationManager
        lacking = []
        for what, privileges in PRIVILEGES.items():
            entity = getattr(target, what)
            if entity is None:
                continue
            answer = session.ask(
                "reading privileges",
                manager.HasPrivilegeOnEntities,
                *([entity], session.key, list(privileges)),
            )
            lacking += [
                f"{each.privId} on the {what}"
                for one in answer
                for each in one.privAvailability
                if not each.isGranted
            ]
        return lacking

    def _pick(self, what: str, wanted: str, refs: Any) -> Any:
        names = {read.values["name"]: read.ref for read in self._session.read(refs, ("name",))}
        name = wanted.rpartition("/")[2]
        if name not in names:
            raise self._missing(what, wanted, names)
        return names[name]

    def _pool(self, hosts: Any) -> Any:
        """The resource pool, by path or by name; else the first cluster's or host's own."""
        session, vim = self._session, sdk().vim
        wanted = self._settings.resource_pool
        if wanted is not None and "/" in wanted:
            pool = session.find(f"{self._settings.datacenter}/host/{wanted}")
            if pool is None:
                raise self._missing("resource pool", wanted, {})
            return pool
        kind = vim.ComputeResource if wanted is None else vim.ResourcePool
        paths = ("name", "resourcePool") if wanted is None else ("name",)
        found = {
            each.values["name"]: each.values.get("resourcePool", each.ref)
            for each in session.under(hosts, kind, paths, deep=True)
            if not isinstance(each, int)
        }
        if wanted is None and found:
            return found[min(found)]
        if wanted is None or wanted not in found:
            raise self._missing("resource pool", wanted or "any", found)
        return found[wanted]

    def _missing(self, what: str, wanted: str, names: Mapping[str, Any]) -> Failed:
        there = ", ".join(sorted(names)) or "none that may be seen"
        return Failed(
            f"there is no {what} {wanted} in {self._settings.datacenter}",
            where=self._session.where,
            why=f"there are: {there}",
            hint=f"correct it in imagectl.yaml, under locations, {self._name}",
        )
