"""Templates of a location as they are in its vCenter: read live, and told apart (P2).

A template is ours where its marks say so and name its own id: a clone has the same notes, and is
not ours. It is the artifact that was placed where its marks, its disk's size, and that it still is
a template all agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from imagectl.adapters.locations.vsphere_attributes import keys_of
from imagectl.adapters.locations.vsphere_claims import attribute_of, read_claim
from imagectl.adapters.locations.vsphere_inventory import Inventory
from imagectl.adapters.locations.vsphere_marks import (
    PARTIAL,
    Marks,
    read_marks,
    unfinished,
    write_marks,
)
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Read, Session
from imagectl.errors import CannotTell, Conflict, Corrupt, Failed, NotFound
from imagectl.model.names import Format, LocationName
from imagectl.model.version import Placement
from imagectl.model.view import Found, Ownership

_TEMPLATE = (
    *("name", "parent", "config.template", "config.annotation", "config.instanceUuid"),
    *("config.hardware.device", "config.createDate"),
    "runtime.connectionState",
)
_LISTED = (
    *("name", "config.template", "config.annotation", "config.instanceUuid"),
    *("config.createDate", "runtime.connectionState", "summary.storage.committed"),
    "customValue",
)


_STARTED = "it has been made a machine: it may have been started, and written to its disk"


@dataclass(frozen=True, slots=True)
class Template:
    """A template, or what should be one, as it was read just now. ``disk`` in bytes."""

    ref: Any
    name: str
    parent: Any
    instance: str
    annotation: str
    template: bool
    disk: int
    created: str

    @property
    def marks(self) -> Marks | None:
        """Those that were written on it, not those that a clone brought with it."""
        found = read_marks(self.annotation)
        return found if found is not None and found.instance in ("", self.instance) else None


class Elsewhere(NotFound):
    """It was placed where the location's settings do not point any more."""


class Templates:
    """Those of one location."""

    def __init__(self, name: LocationName, session: Session, inventory: Inventory) -> None:
        self._name = name
        self._session = session
        self._inventory = inventory

    def id_of(self, template: Template) -> str:
        """Its provider id."""
        return self._provider_id(template.instance)

    def placed(self, placement: Placement, owner: Ownership) -> Template:
        """What the placement names, read live and found to be that artifact, and ours."""
        template = self.at(placement)
        self.compare(template, owner)
        return template

    def at(self, placement: Placement) -> Template:
        """What has the placement's id. Raises NotFound where it is certainly not there."""
        vcenter, instance = self._split(placement)
        content = self._session.content
        if content.about.instanceUuid != vcenter:
            raise Elsewhere(
                f"{placement.version} is not in {self._name}",
                where=self._session.where,
                why=f"it was placed in the vCenter {vcenter}, and the location now means "
                f"{content.about.instanceUuid}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        # The folder first: where that cannot be seen, nothing that is missing proves anything (P2).
        folder = self._inventory.folder()
        ref = self._session.ask(
            f"looking for {placement.version}",
            content.searchIndex.FindByUuid,
            *(None, instance, True, True),
        )
        if ref is None:
            raise NotFound(
                f"{placement.version} is gone from {self._name}",
                where=self._inventory.where,
                why=f"nothing has the id {instance} any more",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        template = self.read(ref)
        if template.parent != folder:
            raise Elsewhere(
                f"{placement.version} is not in {self._name}",
                where=self._inventory.where,
                why="its template is in another folder, or the location now means another one",
                hint=f"move {template.name} there, or "
                f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return template

    def named(self, folder: Any, name: str, owner: Ownership) -> Template | None:
        """What has that name in the folder, which is ours; None where nothing has it.

        Raises Conflict where it is somebody else's, Corrupt where it is ours and whole, but not
        *owner*'s.
        """
        index = self._session.content.searchIndex
        ref = self._session.ask(f"looking for {name}", index.FindChild, folder, name)
        if ref is None:
            return None
        foreign = Conflict(
            f"{name} is there already, and is not ours",
            where=self._inventory.where,
            why="its notes do not say that this catalog made it",
            hint="rename it there: imagectl never touches what it has not made",
        )
        if not isinstance(ref, sdk().vim.VirtualMachine):
            raise foreign
        template = self.read(ref)
        marks = template.marks
        if marks is None or marks.owner.catalog != owner.catalog:
            raise foreign
        if not name.endswith(PARTIAL):
            self.compare(template, owner)
        return template

    def read(self, ref: Any) -> Template:
        """It as it is now. Raises CannotTell where not all of that can be seen."""
        read = self._session.read_one(ref, _TEMPLATE)
        values = read.values
        state = str(values.get("runtime.connectionState", "connected"))
        if read.missing or state != "connected" or "config.instanceUuid" not in values:
            raise CannotTell(
                f"{values.get('name', 'a template')} cannot be read",
                where=self._inventory.where,
                why="; ".join(read.missing) or f"it is {state}",
            )
        created = values.get("config.createDate")
        return Template(
            ref,
            values["name"],
            values.get("parent"),
            values["config.instanceUuid"],
            values.get("config.annotation") or "",
            bool(values.get("config.template")),
            _disk(values.get("config.hardware.device", ())),
            created.isoformat() if created is not None else "unknown",
        )

    def compare(self, template: Template, owner: Ownership) -> None:
        """Raise Corrupt unless the template is that artifact."""
        marks = template.marks
        why = ""
        if marks is None:
            why = "its notes do not say what it is any more"
        elif marks.owner != owner:
            why = f"its notes say {_shown(marks.owner)}, and {_shown(owner)} is expected"
        elif not marks.instance:
            why = "its notes say that its import never ended"
        elif not template.template:
            why = _STARTED
        elif marks.disk != template.disk:
            why = f"its disk has {template.disk} bytes, and {marks.disk} were imported"
        if why:
            raise self._changed(template.name, why)

    def _changed(self, name: str, why: str) -> Corrupt:
        return Corrupt(
            f"{name} is not what was placed there",
            where=self._inventory.where,
            why=why,
            hint="see who changed it; then delete it there, and publish the version again",
        )

    def no_template(self, name: str) -> Failed:
        """That what a builder made is a machine."""
        return Failed(
            f"{name} is no template",
            where=self._inventory.where,
            hint='write "convert_to_template": true in the Packer template',
        )

    def write(self, template: Template, marks: Marks) -> None:
        """Put these marks in place of those that it has."""
        session = self._session
        what = f"marking {template.name}"
        spec = sdk().vim.vm.ConfigSpec(annotation=write_marks(marks, template.annotation))
        session.wait(what, session.ask(what, template.ref.ReconfigVM_Task, spec=spec))

    def everything(self) -> tuple[list[Found], list[str]]:
        """All that the folder has, foreign things too; and why that may not be everything."""
        keys = self._session.persist(
            "reading custom attributes", lambda: keys_of(self._session), CannotTell
        )
        return self._inventory.machines(
            "listing templates", _LISTED, lambda read: self._shown(read, keys), deep=False
        )

    def _shown(self, read: Read, keys: Mapping[str, int]) -> Found | str:
        """One machine of a listing; or why it cannot be told what it is."""
        values = read.values
        name = values.get("name", "a machine")
        state = str(values.get("runtime.connectionState", "connected"))
        instance = values.get("config.instanceUuid")
        if read.missing or state != "connected" or not instance:
            reference = read.ref._moId
            if read_claim("", attribute_of(values, keys), name, reference) is not None:
                # One to be thrown away, which is no artifact: nothing of the images is missing.
                return Found(self._provider_id(reference), name, None, state=state)
            return f"{name}: {'; '.join(read.missing) or state}"
        marks = read_marks(values.get("config.annotation") or "")
        is_template = bool(values.get("config.template"))
        if marks is not None and unfinished(marks, name):
            state = "unfinished"
        elif marks is not None and marks.instance != instance:
            marks = None  # a clone's
        unusable: Failed | None = None
        if state == "connected":
            state = "template" if is_template else "machine"
            if not is_template:
                imported = marks is not None and marks.owner.format is not Format.NATIVE
                unusable = self._changed(name, _STARTED) if imported else self.no_template(name)
        created = values.get("config.createDate")
        return Found(
            self._provider_id(instance),
            name,
            marks.owner if marks is not None else None,
            values.get("summary.storage.committed"),
            created.astimezone(UTC) if created is not None else None,
            state,
            unusable=unusable,
        )

    def _provider_id(self, instance: str) -> str:
        return f"{self._inventory.vcenter}/{instance}"

    def _split(self, placement: Placement) -> tuple[str, str]:
        """The vCenter's id and the template's. Raises CannotTell."""
        vcenter, _, instance = placement.provider_id.partition("/")
        if not vcenter or not instance or "/" in instance:
            raise CannotTell(
                f"{placement.provider_id!r} does not name a template in location {self._name}",
                where=f"{placement.version} in {self._name}",
                why="VCENTER/TEMPLATE is expected, each by its id",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return vcenter, instance


def whole(template: Template, owner: Ownership) -> bool:
    """Whether the import of that artifact has ended, and only the name is missing."""
    marks = template.marks
    return marks is not None and marks.owner == owner and bool(marks.instance)


def _disk(devices: Any) -> int:
    """What the disks among a machine's devices hold, in bytes."""
    kind = sdk().vim.vm.device.VirtualDisk
    disks = [each for each in devices if isinstance(each, kind)]
    return sum(each.capacityInBytes or each.capacityInKB * 1024 for each in disks)


def _shown(owner: Ownership) -> str:
    return (
        f"{owner.version} {owner.format.value} {owner.architecture.value} "
        f"sha256 {owner.sha256[:12]} of catalog {owner.catalog}"
    )
