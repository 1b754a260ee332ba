"""The machines of a location's folder that are made to be thrown away: listed in bulk, and removed.

What is removed says live, on itself, that this catalog made it and that nobody needs it any more
(``vsphere_claims.py``). Nothing is decided by a state: machines that never started, are suspended,
or that the vCenter has lost sight of are all listed and all removed. A template is never touched,
and nothing that carries marks of a version (``vsphere_marks.py``) whose disk is whole (P1).

Listing takes one request for each page of machines and a few more; removing one takes one to read
it, and then what the removal itself takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from imagectl.adapters.locations.vsphere_attributes import keys_of
from imagectl.adapters.locations.vsphere_claims import attribute_of, copied_claim, read_claim
from imagectl.adapters.locations.vsphere_inventory import Inventory
from imagectl.adapters.locations.vsphere_marks import read_marks, unfinished
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Read, Session
from imagectl.errors import CannotTell, Conflict, Failed
from imagectl.model.resource import FoundResource, ResourceKind, ResourceView
from imagectl.policy.leases import may_collect

_LISTED = (
    *("name", "config.template", "config.annotation", "config.createDate"),
    *("summary.config.template", "customValue"),
    *("runtime.connectionState", "runtime.powerState"),
)
_LIVE = (*_LISTED, "summary.config.vmPathName")

LOST = frozenset({"orphaned", "inaccessible", "invalid"})
"""Connection states in which a vCenter cannot delete a machine's files, and waiting does not help:
only there is a machine that cannot be destroyed taken off the inventory instead. In the others,
such as that of a host which does not answer, that would only hide it."""


class VsphereMachines:
    """``services.ports.Machines`` in the folder of a location. *catalog* gives the id of
    the catalog whose machines are ours."""

    def __init__(
        self, place: str, session: Session, inventory: Inventory, catalog: Callable[[], str]
    ) -> None:
        self._place = place
        self._session = session
        self._inventory = inventory
        self._catalog = catalog
        self._keys: Mapping[str, int] | None = None

    @property
    def place(self) -> str:
        return self._place

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        began, before = now(), self._session.requests
        keys = self._read_keys()
        found, gaps = self._inventory.machines(
            "listing machines", _LISTED, lambda read: self._shown(read, keys), deep=True
        )
        took = self._session.requests - before
        scope = f"machines of {self._inventory.scope}"
        return ResourceView(self._place, scope, tuple(found), tuple(gaps), took, began, now())

    def collect(self, found: FoundResource, now: datetime) -> str | None:
        keys = self._keys if self._keys is not None else self._read_keys()
        return self._session.persist(
            f"removing {found.name}", lambda: self._remove(found, now, keys), Failed
        )

    def _read_keys(self) -> Mapping[str, int]:
        """The custom attributes that there are now. They stay as long as the vCenter."""
        keys = self._session.persist(
            "reading custom attributes", lambda: keys_of(self._session), CannotTell
        )
        self._keys = keys
        return keys

    def _shown(self, read: Read, keys: Mapping[str, int]) -> FoundResource | str | None:
        """One machine; or why it cannot be told whose it is. None for a template."""
        values = read.values
        name = values.get("name", "a machine")
        connection = str(values.get("runtime.connectionState", "connected"))
        power = str(values.get("runtime.powerState", "unknown"))
        if values.get("config.template", values.get("summary.config.template")):
            return None
        annotation, reference = values.get("config.annotation") or "", read.ref._moId
        claim, copied, kind = None, None, ResourceKind.MACHINE
        marks = read_marks(annotation)
        if marks is None:
            said = annotation, attribute_of(values, keys), name, reference
            claim, copied = read_claim(*said), copied_claim(*said)
        elif unfinished(marks, name):
            claim, kind = read_claim(annotation, "", name, reference), ResourceKind.UPLOAD
        unknown = claim is None and "config.template" not in values
        if unknown and connection == "connected" and not read.missing:
            # What it says of itself comes with its configuration, a moment later.
            power, copied = "being made", None
        elif read.missing or unknown:
            why = "; ".join(read.missing) or f"it is {connection}"
            return f"{name}: nobody can tell whose it is: {why}"
        created = values.get("config.createDate")
        return FoundResource(
            f"{self._inventory.vcenter}/{reference}",
            kind,
            name,
            claim,
            power if connection == "connected" else connection,
            created.astimezone(UTC) if created is not None else None,
            copied,
        )

    def _remove(self, found: FoundResource, now: datetime, keys: Mapping[str, int]) -> str | None:
        """Remove it, where it says itself that this may be done; what stays of it."""
        session, faults = self._session, sdk().vmodl.fault
        machine = self._machine(found)
        try:
            read = session.read_one(machine, _LIVE)
        except faults.ManagedObjectNotFound:
            return None  # no other machine ever gets its reference
        self._check(found, self._shown(read, keys), now)
        values = read.values
        connection = str(values.get("runtime.connectionState", "connected"))
        if connection == "disconnected":
            raise Failed(
                f"{found.name} cannot be removed for now",
                where=session.where,
                why="the host that it is on does not answer the vCenter",
                hint="where that host is gone for good, remove it from the vCenter",
            )
        if str(values.get("runtime.powerState")) == "poweredOn":
            # Where that is not to be, what follows fails too, and says why.
            with contextlib.suppress(sdk().vim.fault.InvalidState):
                session.wait(*self._asked("switching off", found, machine.PowerOffVM_Task))
        try:
            session.wait(*self._asked("deleting", found, machine.Destroy_Task))
        except sdk().vmodl.MethodFault as fault:
            if connection not in LOST or self._passes(fault):
                raise
            session.ask(f"taking {found.name} off the inventory", machine.UnregisterVM)
            files = values.get("summary.config.vmPathName") or "its datastore"
            return (
                f"{found.name} was {connection}: vSphere could not delete its files, so it was "
                f"only taken off the inventory; they stay at {files}"
            )
        return None

    def _asked(self, doing: str, found: FoundResource, task: Callable[[], Any]) -> tuple[str, Any]:
        what = f"{doing} {found.name}"
        return what, self._session.ask(what, task)

    def _check(self, found: FoundResource, live: FoundResource | str | None, now: datetime) -> None:
        """Raise Conflict unless what was just read is ours, the same, and needed by nobody (P2)."""
        if isinstance(live, str):
            raise CannotTell(f"{found.name} cannot be read", where=self._session.where, why=live)
        if live is None:
            why = "it is a template now"
        elif found.claim is None or live.claim is None:
            why = "it does not say that it is ours"
        elif live.claim.resource != found.claim.resource:
            why = "it says now that it is something else of ours"
        else:
            why = may_collect(live, self._catalog(), now)
        if why:
            raise Conflict(f"{found.name} may not be removed", where=self._session.where, why=why)

    def _machine(self, found: FoundResource) -> Any:
        """What has that id, to be asked in the present session."""
        vcenter, _, reference = found.provider_id.partition("/")
        if vcenter != self._inventory.vcenter:
            raise Conflict(
                f"{found.name} is in another vCenter than the location now means",
                where=self._session.where,
                why=f"it was seen in {vcenter}",
            )
        return self._session.machine(reference)

    def _passes(self, fault: Exception) -> bool:
        """Whether it says nothing of the machine itself: it may work when it is tried again, or
        for somebody else."""
        vim, vmodl = sdk().vim, sdk().vmodl
        return isinstance(
            fault,
            vim.fault.NoPermission
            | vim.fault.TaskInProgress
            | vim.fault.ConcurrentAccess
            | vmodl.fault.ManagedObjectNotFound,
        )
