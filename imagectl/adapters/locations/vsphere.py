"""A folder of a vCenter as a location: artifacts are templates in it.

A template is made under a name that ends in ``.partial``, with our marks from the first moment
(``vsphere_marks.py``), and gets its own name at the very end: so what has that name is whole (P7),
and what was left half made is found and made anew. A template is ours where its marks say so and
name its own id: a clone has the same notes, and is not ours (P2).

Verifying reads the template live by its id, its marks, its disk's size, and whether it still is a
template: a machine that was made of it may have been started, and then its bytes are others.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagectl.adapters.durable import naming_failures, write
from imagectl.adapters.locations.owners import owner_of, placed_by
from imagectl.adapters.locations.vsphere_boot import booted
from imagectl.adapters.locations.vsphere_import import Furthest, Ova, Target, import_ova, open_ova
from imagectl.adapters.locations.vsphere_marks import Importer, Marks, read_marks, write_marks
from imagectl.adapters.locations.vsphere_session import Read, Session, sdk
from imagectl.adapters.locations.vsphere_tags import Tags
from imagectl.adapters.locations.vsphere_turns import LEASE, Turns
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    Failed,
    NotFound,
    Unsupported,
)
from imagectl.formats.native_v1 import parse_native, write_native
from imagectl.model.names import ChannelName, Format, ImageName, LocationName
from imagectl.model.native import Native
from imagectl.model.place import VsphereLocation as Settings
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Found, Ownership, View
from imagectl.services.ports import Booted, Credential, Mark, Moved, Progress, Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings

PARTIAL = ".partial"

_TEMPLATE = (
    *("name", "parent", "config.template", "config.annotation", "config.instanceUuid"),
    *("config.hardware.device", "config.createDate"),
    "runtime.connectionState",
)
_LISTED = (
    *("name", "config.template", "config.annotation", "config.instanceUuid"),
    *("config.createDate", "runtime.connectionState", "summary.storage.committed"),
)

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


class _Elsewhere(NotFound):
    """It was placed where the location's settings do not point any more."""


class VsphereLocation:
    """``services.ports.Location`` and ``Workshop`` on a vCenter."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._session = Session(name, settings, around)
        self._turns = Turns(name, around.state)

    @property
    def name(self) -> LocationName:
        return self._name

    @property
    def takes(self) -> frozenset[Format]:
        return Settings.takes

    @property
    def unproven(self) -> tuple[str, ...]:
        return (
            "that the disk's bytes are the artifact's: vSphere keeps disks in a form of its own, "
            "and gives no digest of them; compared are the template's id, its disk's size, and "
            "the digest that was noted when it was imported",
        )

    def named(self, version: VersionRef, artifact: Artifact) -> str:
        return f"{version.image}-{version.version}-{artifact.architecture.value}"

    def put(
        self, version: VersionRef, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        owner = owner_of(self._around.catalog(), version, artifact)
        if artifact.format is Format.NATIVE:
            return self._adopt(owner, artifact, source, now, moved)
        ova = open_ova(source, artifact.sha256)
        name = self.named(version, artifact)
        session = self._session
        with self._turns.alone(name):
            far = Furthest(moved)
            session.persist(
                f"importing {name}",
                lambda: self._bring(name, owner, ova, far),
                progressed=far.when,
            )
            template = session.persist(f"naming {name}", lambda: self._finish(name, owner))
        where = self._path(template.name)
        placement = self._placement(self._id(template), where, owner, artifact, now)
        moved(artifact.size)
        return self.verify(placement, now)

    def verify(self, placement: Placement, now: datetime) -> Placement:
        owner = placed_by(self._around.catalog(), placement)
        template = self._session.persist(
            f"verifying {placement.version}", lambda: self._placed(placement, owner), CannotTell
        )
        if placement.format is Format.NATIVE:
            self._compare_native(template, placement)
        return replace(placement, reference=self._path(template.name), verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported(
            f"{placement.version} cannot be fetched from {self._name}",
            why="vSphere writes a disk anew when it is exported, with other bytes",
            hint="`imagectl rollback --drill` boots it there",
        )

    def view(self, now: Callable[[], datetime]) -> View:
        began, before = now(), self._session.requests
        found: list[Found] = []
        gaps: list[str] = []

        def attempt() -> None:
            found.clear()
            gaps.clear()
            self._list(found, gaps)

        try:
            self._session.persist("listing templates", attempt, CannotTell)
        except Denied:
            raise
        except CannotTell as problem:
            if not found:
                raise
            gaps.append(f"it broke off after {len(found)}: {problem.why}")
        scope = f"folder {self._path()} of {self._settings.host}"
        took = self._session.requests - before
        return View(self._name, scope, tuple(found), tuple(gaps), took, began, now())

    def probe(self) -> Credential:
        lacking = self._session.persist("reading privileges", self._lacking, CannotTell)
        if lacking:
            raise Denied(
                f"the user of location {self._name} may not do all that is needed",
                denial=Denial.TOO_NARROW,
                where=self._session.where,
                why=f"it lacks {', '.join(lacking)}",
                hint="docs/how-to/vsphere.md has the whole list, with the reasons",
            )
        return Credential(self._session.user, self._settings.credential_expires)

    def boot(
        self, placement: Placement, work: Workspace, progress: Progress
    ) -> AbstractContextManager[Booted]:
        owner = placed_by(self._around.catalog(), placement)
        template, target = self._session.persist(
            f"reading {placement.version}",
            lambda: (self._placed(placement, owner), self._target()),
            CannotTell,
        )
        return booted(self._session, template.ref, template.name, target, work, progress)

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        pass

    def mark(self, placement: Placement, mark: Mark) -> None:
        """It is shown among the notes and custom attributes of the template."""
        owner = placed_by(self._around.catalog(), placement)

        def attempt() -> None:
            template = self._placed(placement, owner)
            marks = template.marks
            assert marks is not None, "_placed has compared them"
            if marks.mark is not mark:
                marks = replace(marks, mark=mark)
                self._write(template, marks)
                self._show(template, marks)

        self._session.persist(f"marking {placement.version}", attempt)

    def delete(self, placement: Placement) -> None:
        owner = placed_by(self._around.catalog(), placement)

        def attempt() -> None:
            try:
                template = self._placed(placement, owner)
            except _Elsewhere as elsewhere:
                # It is not gone: it is where we do not look any more (P2).
                raise CannotTell(
                    f"{placement.version} cannot be deleted from {self._name}",
                    where=elsewhere.where,
                    why=elsewhere.why,
                    hint="with the location's settings as they were, it can be",
                ) from elsewhere
            except NotFound:
                return
            self._destroy(template)

        self._session.persist(f"deleting {placement.version}", attempt)

    def describe(self, built: str, to: Path) -> None:
        native = self._session.persist(
            f"describing {built}", lambda: self._described(built), CannotTell
        )
        with naming_failures(f"writing {to.name}", to.parent):
            write(to.parent, to, write_native(native))

    # Putting.

    def _bring(self, name: str, owner: Ownership, ova: Ova, moved: Moved) -> None:
        """See to it that the template, or all of it but its name, is there."""
        folder = self._folder()
        if self._named(folder, name, owner) is not None:
            return
        partial = self._named(folder, name + PARTIAL, owner)
        if partial is not None and _whole(partial, owner):
            return
        if partial is not None:
            self._check_over(partial, name)
            self._destroy(partial)
        importer = Importer(self._turns.id(), socket.gethostname(), self._session.now())
        marks, target = Marks(owner, 0, importer=importer), self._target()
        machine = import_ova(self._session, ova, name + PARTIAL, write_marks(marks), target, moved)
        template = self._template(self._session.read_one(machine, _TEMPLATE))
        # From here on its disks are known to be whole.
        self._write(
            template,
            replace(marks, disk=template.disk, instance=template.instance, importer=None),
        )

    def _check_over(self, partial: Template, name: str) -> None:
        """Raise Conflict unless who has begun *partial* is certainly over. We have the lock."""
        importer = None if partial.marks is None else partial.marks.importer
        why = "its notes do not say who began it"
        if importer is not None:
            since = importer.since
            if importer.id == self._turns.id() or self._session.now() - since > LEASE:
                return
            why = f"{importer.host} began it at {since:%Y-%m-%d %H:%M} UTC"
        raise Conflict(
            f"{name} is being imported from somewhere else",
            where=f"{self._path()} of {self._session.where}",
            why=why,
            hint=f"wait for it; where it has died, delete {partial.name} in vSphere (after "
            f"{LEASE.total_seconds() / 3600:.0f} hours, it is taken for dead)",
        )

    def _finish(self, name: str, owner: Ownership) -> Template:
        """The template under its own name."""
        folder, session = self._folder(), self._session
        template = self._named(folder, name, owner)
        if template is not None:
            return template
        partial = self._named(folder, name + PARTIAL, owner)
        if partial is None or partial.marks is None or not _whole(partial, owner):
            raise CannotTell(
                f"{name} went away while it was being made",
                where=f"{self._path()} of {session.where}",
                hint="type the command again",
            )
        self._show(partial, partial.marks)
        Tags(session, owner.catalog).attach(partial.ref)
        if not partial.template:
            session.ask(f"making {name} a template", partial.ref.MarkAsTemplate)
        session.wait(
            f"naming {name}",
            session.ask(f"naming {name}", partial.ref.Rename_Task, newName=name),
        )
        return replace(partial, name=name, template=True)

    def _named(self, folder: Any, name: str, owner: Ownership) -> Template | None:
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
            where=f"{self._path()} of {self._session.where}",
            why="its notes do not say that this catalog made it",
            hint="rename it there: imagectl never touches what it has not made",
        )
        if not isinstance(ref, sdk().vim.VirtualMachine):
            raise foreign
        template = self._template(self._session.read_one(ref, _TEMPLATE))
        marks = template.marks
        if marks is None or marks.owner.catalog != owner.catalog:
            raise foreign
        if not name.endswith(PARTIAL):
            self._compare(template, owner)
        return template

    def _write(self, template: Template, marks: Marks) -> None:
        """Put these marks in place of those that it has."""
        session = self._session
        what = f"marking {template.name}"
        spec = sdk().vim.vm.ConfigSpec(annotation=write_marks(marks, template.annotation))
        session.wait(what, session.ask(what, template.ref.ReconfigVM_Task, spec=spec))

    def _show(self, template: Template, marks: Marks) -> None:
        """The same as custom attributes, which people can search and sort by. Nothing depends on
        them, and a user that may not set them can do without."""
        session, fault = self._session, sdk().vim.fault
        manager = session.content.customFieldsManager
        try:
            keys = self._attributes(marks)
            for name, value in marks.values().items():
                session.ask(
                    f"setting {name}",
                    manager.SetField,
                    *(template.ref, keys[name], value),
                )
        except fault.NotAuthenticated:
            raise  # a session that has ended, and not what it may do
        except fault.NoPermission:
            return

    def _attributes(self, marks: Marks) -> dict[str, int]:
        """The keys of the custom attributes by name, made where they are not there yet."""
        session, vim = self._session, sdk().vim
        manager = session.content.customFieldsManager

        def known() -> dict[str, int]:
            fields = session.read_one(manager, ("field",)).values.get("field", ())
            return {each.name: each.key for each in fields}

        keys = known()
        for name in [each for each in marks.values() if each not in keys]:
            # Where there is one by now, somebody else has made it.
            with contextlib.suppress(vim.fault.DuplicateName):
                session.ask(
                    f"making the custom attribute {name}",
                    *(manager.AddCustomFieldDef, name, vim.VirtualMachine),
                )
        return keys if keys.keys() >= marks.values().keys() else known()

    def _destroy(self, template: Template) -> None:
        """Delete it, after it was read just before, and found to be ours (P2)."""
        session = self._session
        session.wait(
            f"deleting {template.name}",
            session.ask(f"deleting {template.name}", template.ref.Destroy_Task),
        )

    # Adopting what a builder made here.

    def _adopt(
        self, owner: Ownership, artifact: Artifact, source: Path, now: datetime, moved: Moved
    ) -> Placement:
        with naming_failures(f"reading {source.name}", source.parent):
            native = parse_native(source.read_bytes(), str(source))
        placement = self._placement(native.id, native.link, owner, artifact, now)
        if write_native(native) != source.read_bytes() or native.provider != Settings.type:
            raise Corrupt(f"{source.name} does not describe a template", where=str(source))

        def attempt() -> None:
            template = self._at(placement)
            self._compare_native(template, placement)
            marks = template.marks
            wanted = Marks(owner, template.disk, template.instance)
            if marks is None:
                self._write(template, wanted)
                self._show(template, wanted)
                Tags(self._session, owner.catalog).attach(template.ref)
            elif marks.owner != owner:
                raise Conflict(
                    f"{template.name} has been adopted already",
                    where=f"{self._path()} of {self._session.where}",
                    why=f"it is {marks.owner.version} of catalog {marks.owner.catalog}",
                )

        self._session.persist(f"adopting {native.link}", attempt)
        moved(artifact.size)
        return self.verify(placement, now)

    def _described(self, built: str) -> Native:
        folder = self._folder()
        name = built.rpartition("/")[2]
        index = self._session.content.searchIndex
        ref = self._session.ask(f"looking for {name}", index.FindChild, folder, name)
        if ref is None:
            raise NotFound(
                f"{built} is not in {self._path()}",
                where=self._session.where,
                hint="let `folder` of the Packer template be that of the location",
            )
        template = self._template(self._session.read_one(ref, _TEMPLATE))
        if not template.template:
            raise Failed(
                f"{built} is no template",
                where=f"{self._path()} of {self._session.where}",
                hint='write "convert_to_template": true in the Packer template',
            )
        return self._native(template)

    def _native(self, template: Template) -> Native:
        return Native(
            Settings.type,
            self._id(template),
            self._path(template.name),
            template.created,
            template.disk,
        )

    def _compare_native(self, template: Template, placement: Placement) -> None:
        text = write_native(self._native(template))
        if hashlib.sha256(text).hexdigest() != placement.sha256:
            raise Corrupt(
                f"{template.name} is not what the builder made any more",
                where=f"{self._path()} of {self._session.where}",
                why=f"it is now described as {text.decode().strip()}",
            )

    # Reading.

    def _placed(self, placement: Placement, owner: Ownership) -> Template:
        """What the placement names, read live and found to be that artifact, and ours."""
        template = self._at(placement)
        self._compare(template, owner)
        return template

    def _at(self, placement: Placement) -> Template:
        """What has the placement's id. Raises NotFound where it is certainly not there."""
        vcenter, instance = self._split(placement)
        content = self._session.content
        if content.about.instanceUuid != vcenter:
            raise _Elsewhere(
                f"{placement.version} is not in {self._name}",
                where=self._session.where,
                why=f"it was placed in the vCenter {vcenter}, and the location now means "
                f"{content.about.instanceUuid}",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        # The folder first: where that cannot be seen, nothing that is missing proves anything (P2).
        folder = self._folder()
        ref = self._session.ask(
            f"looking for {placement.version}",
            content.searchIndex.FindByUuid,
            *(None, instance, True, True),
        )
        if ref is None:
            raise NotFound(
                f"{placement.version} is gone from {self._name}",
                where=f"{self._path()} of {self._session.where}",
                why=f"nothing has the id {instance} any more",
                hint=f"`imagectl publish {placement.version} --to {self._name}`",
            )
        template = self._template(self._session.read_one(ref, _TEMPLATE))
        if template.parent != folder:
            raise _Elsewhere(
                f"{placement.version} is not in {self._name}",
                where=f"{self._path()} of {self._session.where}",
                why="its template is in another folder, or the location now means another one",
                hint=f"move {template.name} there, or "
                f"`imagectl publish {placement.version} --to {self._name}`",
            )
        return template

    def _compare(self, template: Template, owner: Ownership) -> None:
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
            why = "it has been made a machine: it may have been started, and written to its disk"
        elif marks.disk != template.disk:
            why = f"its disk has {template.disk} bytes, and {marks.disk} were imported"
        if why:
            raise Corrupt(
                f"{template.name} is not what was placed there",
                where=f"{self._path()} of {self._session.where}",
                why=why,
                hint="see who changed it; then delete it there, and publish the version again",
            )

    def _template(self, read: Read) -> Template:
        """What was read, where that is all of it."""
        values = read.values
        state = str(values.get("runtime.connectionState", "connected"))
        if read.missing or state != "connected" or "config.instanceUuid" not in values:
            raise CannotTell(
                f"{values.get('name', 'a template')} cannot be read",
                where=f"{self._path()} of {self._session.where}",
                why="; ".join(read.missing) or f"it is {state}",
            )
        created = values.get("config.createDate")
        return Template(
            read.ref,
            values["name"],
            values.get("parent"),
            values["config.instanceUuid"],
            values.get("config.annotation") or "",
            bool(values.get("config.template")),
            _disk(values.get("config.hardware.device", ())),
            created.isoformat() if created is not None else "unknown",
        )

    def _list(self, found: list[Found], gaps: list[str]) -> None:
        folder = self._folder()
        counted: int | None = None
        seen = 0
        kind = sdk().vim.VirtualMachine
        for each in self._session.under(folder, kind, _LISTED, deep=False):
            if isinstance(each, int):
                counted = each
                continue
            seen += 1
            shown = self._shown(each)
            if isinstance(shown, str):
                gaps.append(shown)
            else:
                found.append(shown)
        if counted is None:
            gaps.append(f"{seen} machines were read, and it was not told how many the folder has")
        elif counted != seen:
            gaps.append(f"{seen} machines were read, and the folder has {counted}")

    def _shown(self, read: Read) -> Found | str:
        """One machine of a listing; or why it cannot be told what it is."""
        values = read.values
        name = values.get("name", "a machine")
        state = str(values.get("runtime.connectionState", "connected"))
        instance = values.get("config.instanceUuid")
        if read.missing or state != "connected" or not instance:
            return f"{name}: {'; '.join(read.missing) or state}"
        marks = read_marks(values.get("config.annotation") or "")
        is_template = bool(values.get("config.template"))
        if marks is not None and not marks.instance and name.endswith(PARTIAL):
            state = "unfinished"
        elif marks is not None and marks.instance != instance:
            marks = None  # a clone's
        if state == "connected":
            state = "template" if is_template else "machine"
        created = values.get("config.createDate")
        return Found(
            self._provider_id(instance),
            name,
            marks.owner if marks is not None else None,
            values.get("summary.storage.committed"),
            created.astimezone(UTC) if created is not None else None,
            state,
        )

    # The inventory.

    def _path(self, name: str = "") -> str:
        settings = self._settings
        path = f"/{settings.datacenter}/vm/{settings.folder}"
        return f"{path}/{name}" if name else path

    def _folder(self) -> Any:
        """The folder, live. Raises CannotTell where it cannot be seen."""
        path = self._path()
        folder = self._session.find(path)
        if folder is None or not isinstance(folder, sdk().vim.Folder):
            raise CannotTell(
                f"the folder {path} is not there, or may not be seen",
                where=self._session.where,
                why="without it, nothing can be said about what is in it",
                hint="make it in vSphere, or correct `datacenter` and `folder` in imagectl.yaml",
            )
        return folder

    def _target(self) -> Target:
        """What the settings name, live."""
        settings, session = self._settings, self._session
        folder = self._folder()
        datacenter = session.find(settings.datacenter)
        values = session.read_one(datacenter, ("datastore", "network", "hostFolder")).values
        datastore = self._pick("datastore", settings.datastore, values.get("datastore", ()))
        network = None
        if settings.network is not None:
            network = self._pick("network", settings.network, values.get("network", ()))
        return Target(folder, datastore, self._pool(values["hostFolder"]), network)

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

    def _lacking(self) -> list[str]:
        """The privileges that the user has not, each with what it is needed on."""
        target = self._target()
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

    # Names.

    def _provider_id(self, instance: str) -> str:
        return f"{self._session.content.about.instanceUuid}/{instance}"

    def _id(self, template: Template) -> str:
        return self._provider_id(template.instance)

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

    def _placement(
        self, provider_id: str, reference: str, owner: Ownership, artifact: Artifact, now: datetime
    ) -> Placement:
        return Placement(
            owner.version,
            artifact.format,
            artifact.architecture,
            self._name,
            provider_id,
            reference,
            artifact.sha256,
            artifact.size,
            now,
        )


def _whole(template: Template, owner: Ownership) -> bool:
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
