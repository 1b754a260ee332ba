"""A folder of a vCenter as a location: artifacts are templates in it.

A template is made under a name that ends in ``.partial``, with our marks from the first moment
(``vsphere_marks.py``), and gets its own name at the very end: so what has that name is whole (P7),
and what was left half made is found and made anew. A template is ours where its marks say so and
name its own id: a clone has the same notes, and is not ours (P2).

Verifying reads the template live by its id, its marks, its disk's size, and whether it still is a
template: a machine that was made of it may have been started, and then its bytes are others.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.adapters.durable import naming_failures, write
from imagectl.adapters.locations.owners import owner_of, placed_by
from imagectl.adapters.locations.vsphere_attributes import set_attributes
from imagectl.adapters.locations.vsphere_boot import Lender, booted
from imagectl.adapters.locations.vsphere_claims import ImportClaim
from imagectl.adapters.locations.vsphere_import import Furthest, Ova, import_ova, open_ova
from imagectl.adapters.locations.vsphere_inventory import Inventory
from imagectl.adapters.locations.vsphere_machines import VsphereMachines
from imagectl.adapters.locations.vsphere_marks import PARTIAL, Importer, Marks, write_marks
from imagectl.adapters.locations.vsphere_session import Session
from imagectl.adapters.locations.vsphere_tags import Tags
from imagectl.adapters.locations.vsphere_templates import Elsewhere, Template, Templates, whole
from imagectl.adapters.locations.vsphere_turns import LEASE, Turns
from imagectl.errors import (
    CannotTell,
    Conflict,
    Corrupt,
    Denial,
    Denied,
    NotFound,
    Unsupported,
)
from imagectl.formats.native_v1 import parse_native, write_native
from imagectl.model.names import ChannelName, Format, ImageName, LocationName
from imagectl.model.native import Native
from imagectl.model.place import VsphereLocation as Settings
from imagectl.model.resource import FoundResource, ResourceKind, ResourceView
from imagectl.model.version import Artifact, Placement, VersionRef
from imagectl.model.view import Ownership, View
from imagectl.services.ports.janitor import Leased
from imagectl.services.ports.locations import Begin, Booted, Credential, Mark, Moved
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

if TYPE_CHECKING:
    from imagectl.adapters.locations import Surroundings


class VsphereLocation:
    """``services.ports.Location`` and ``Workshop``, and ``services.ports.Machines``, on a
    vCenter."""

    def __init__(self, name: LocationName, settings: Settings, around: Surroundings) -> None:
        self._name = name
        self._settings = settings
        self._around = around
        self._session = Session(name, settings, around)
        self._turns = Turns(name, around.state)
        self._inventory = Inventory(name, settings, self._session)
        self._templates = Templates(name, self._session, self._inventory)
        self._machines = VsphereMachines(name, self._session, self._inventory, around.catalog)

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
            if not session.persist(f"looking for {name}", lambda: self._whole(name, owner)):
                self._import(name, owner, ova, Furthest(moved))
            template = session.persist(f"naming {name}", lambda: self._finish(name, owner))
        where = self._inventory.path(template.name)
        placement = self._placement(self._templates.id_of(template), where, owner, artifact, now)
        moved(artifact.size)
        return self.verify(placement, now)

    def verify(self, placement: Placement, now: datetime) -> Placement:
        owner = placed_by(self._around.catalog(), placement)
        template = self._session.persist(
            f"verifying {placement.version}",
            lambda: self._templates.placed(placement, owner),
            CannotTell,
        )
        if placement.format is Format.NATIVE:
            self._compare_native(template, placement)
        return replace(placement, reference=self._inventory.path(template.name), verified=now)

    def fetch(self, placement: Placement, to: Path, moved: Moved) -> None:
        raise Unsupported(
            f"{placement.version} cannot be fetched from {self._name}",
            why="vSphere writes a disk anew when it is exported, with other bytes",
            hint="`imagectl rollback --drill` boots it there",
        )

    def view(self, now: Callable[[], datetime]) -> View:
        began, before = now(), self._session.requests
        found, gaps = self._templates.everything()
        took = self._session.requests - before
        scope = self._inventory.scope
        return View(self._name, scope, tuple(found), tuple(gaps), took, began, now())

    def probe(self) -> Credential:
        lacking = self._session.persist("reading privileges", self._inventory.lacking, CannotTell)
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
            lambda: (self._templates.placed(placement, owner), self._inventory.target()),
            CannotTell,
        )
        return booted(
            self._session,
            template.ref,
            template.name,
            target,
            Lender(self._around.leasing(), self._name),
            work,
            progress,
        )

    def point(self, image: ImageName, heads: Mapping[ChannelName, Placement]) -> None:
        pass

    def mark(self, placement: Placement, mark: Mark) -> None:
        """It is shown among the notes and custom attributes of the template."""
        owner = placed_by(self._around.catalog(), placement)

        def attempt() -> None:
            template = self._templates.placed(placement, owner)
            marks = template.marks
            assert marks is not None, "they were compared just now"
            if marks.mark is not mark:
                marks = replace(marks, mark=mark)
                self._templates.write(template, marks)
                self._show(template, marks)

        self._session.persist(f"marking {placement.version}", attempt)

    def delete(self, placement: Placement, begin: Begin) -> None:
        owner = placed_by(self._around.catalog(), placement)

        def attempt() -> None:
            try:
                template = self._templates.placed(placement, owner)
            except Elsewhere as elsewhere:
                # It is not gone: it is where we do not look any more (P2).
                raise CannotTell(
                    f"{placement.version} cannot be deleted from {self._name}",
                    where=elsewhere.where,
                    why=elsewhere.why,
                    hint="with the location's settings as they were, it can be",
                ) from elsewhere
            except NotFound:
                return
            begin()
            self._destroy(template)

        self._session.persist(f"deleting {placement.version}", attempt)

    @property
    def place(self) -> str:
        return self._machines.place

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        return self._machines.resources(now)

    def collect(self, found: FoundResource, now: datetime) -> str | None:
        return self._machines.collect(found, now)

    def describe(self, built: str, to: Path) -> None:
        native = self._session.persist(
            f"describing {built}", lambda: self._described(built), CannotTell
        )
        with naming_failures(f"writing {to.name}", to.parent):
            write(to.parent, to, write_native(native))

    # Putting.

    def _whole(self, name: str, owner: Ownership) -> bool:
        """Whether the template, or all of it but its name, is there."""
        folder = self._inventory.folder()
        if self._templates.named(folder, name, owner) is not None:
            return True
        partial = self._templates.named(folder, name + PARTIAL, owner)
        return partial is not None and whole(partial, owner)

    def _import(self, name: str, owner: Ownership, ova: Ova, moved: Furthest) -> None:
        """See to it that it is. What is half made is in the ledger as well, and says of itself
        until when it is needed: what is left of a kill is the janitor's (P7)."""
        half, what = name + PARTIAL, f"placing {owner.version}"
        with self._around.leasing().lease(ResourceKind.UPLOAD, self._name, half, what) as leased:
            self._session.persist(
                f"importing {name}",
                lambda: self._bring(name, owner, ova, leased, moved),
                progressed=moved.when,
            )
            leased.gone()

    def _bring(self, name: str, owner: Ownership, ova: Ova, leased: Leased, moved: Moved) -> None:
        if self._whole(name, owner):
            return
        half = name + PARTIAL
        partial = self._templates.named(self._inventory.folder(), half, owner)
        if partial is not None:
            self._check_over(partial, name)
            self._destroy(partial)
        importer = Importer(self._turns.id(), socket.gethostname(), self._session.now())
        marks, target = Marks(owner, 0, importer=importer), self._inventory.target()
        claim = ImportClaim(self._session, leased, half)
        note = f"{write_marks(marks)}\n{claim.line}"
        machine = import_ova(self._session, ova, half, note, target, moved, claim.renew)
        template = self._templates.read(machine)
        # From here on its disks are known to be whole, and it has no claim: it is nobody's to
        # throw away (P1).
        self._templates.write(
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
            where=self._inventory.where,
            why=why,
            hint="wait for it; where it has died, `imagectl janitor apply` removes what is left of "
            f"it, 20 minutes later; what an earlier release left is made anew "
            f"{LEASE.total_seconds() / 3600:.0f} h after it was begun",
        )

    def _finish(self, name: str, owner: Ownership) -> Template:
        """The template under its own name."""
        folder, session = self._inventory.folder(), self._session
        template = self._templates.named(folder, name, owner)
        if template is not None:
            return template
        partial = self._templates.named(folder, name + PARTIAL, owner)
        if partial is None or partial.marks is None or not whole(partial, owner):
            raise CannotTell(
                f"{name} went away while it was being made",
                where=self._inventory.where,
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

    def _show(self, template: Template, marks: Marks) -> None:
        """The same as custom attributes. Nothing depends on them."""
        set_attributes(self._session, template.ref, marks.values())

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
            template = self._templates.at(placement)
            self._compare_native(template, placement)
            marks = template.marks
            wanted = Marks(owner, template.disk, template.instance)
            if marks is None:
                self._templates.write(template, wanted)
                self._show(template, wanted)
                Tags(self._session, owner.catalog).attach(template.ref)
            elif marks.owner != owner:
                raise Conflict(
                    f"{template.name} has been adopted already",
                    where=self._inventory.where,
                    why=f"it is {marks.owner.version} of catalog {marks.owner.catalog}",
                )

        self._session.persist(f"adopting {native.link}", attempt)
        moved(artifact.size)
        return self.verify(placement, now)

    def _described(self, built: str) -> Native:
        folder = self._inventory.folder()
        name = built.rpartition("/")[2]
        index = self._session.content.searchIndex
        ref = self._session.ask(f"looking for {name}", index.FindChild, folder, name)
        if ref is None:
            raise NotFound(
                f"{built} is not in {self._inventory.path()}",
                where=self._session.where,
                hint="let `folder` of the Packer template be that of the location",
            )
        template = self._templates.read(ref)
        if not template.template:
            raise self._templates.no_template(built)
        return self._native(template)

    def _native(self, template: Template) -> Native:
        return Native(
            Settings.type,
            self._templates.id_of(template),
            self._inventory.path(template.name),
            template.created,
            template.disk,
        )

    def _compare_native(self, template: Template, placement: Placement) -> None:
        text = write_native(self._native(template))
        if hashlib.sha256(text).hexdigest() != placement.sha256:
            raise Corrupt(
                f"{template.name} is not what the builder made any more",
                where=self._inventory.where,
                why=f"it is now described as {text.decode().strip()}",
            )

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
