"""A folder of a vCenter: VMware's simulator, which can be told to fail. Each place has its own."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from peers.vsphere import VCenter, vcenter

from imagectl.adapters.disk import ova, vmdk
from imagectl.adapters.locations import open_location
from imagectl.adapters.locations.vsphere import VsphereLocation
from imagectl.adapters.locations.vsphere_marks import Marks, read_marks, write_marks
from imagectl.adapters.locations.vsphere_session import Session
from imagectl.model.image import SecretKind, SecretRef
from imagectl.model.names import Format, ImageName, Sha256
from imagectl.model.place import VsphereLocation as Settings
from imagectl.model.version import Artifact, Placement
from support.places import surroundings
from support.places.place import LOCAL, Fault, artifact_of, filling
from support.places.session import for_session

_NUMBERS = itertools.count()

FILLING = "filling-"
"""What the names of many machines begin with; they stay."""

DISK = 1 << 20
"""Bytes."""


class InVcenter:
    """Implements ``support.places.Place``."""

    def __init__(self, peer: VCenter, folder: Path, datacenter: str = "DC0") -> None:
        self.peer = peer
        self.folder = folder
        self.datacenter = datacenter
        (folder / "user").write_text(peer.user)
        (folder / "password").write_text(peer.password)
        self.settings = Settings(
            host=peer.host,
            port=peer.port,
            ca=PurePosixPath(peer.ca),
            datacenter=datacenter,
            folder=f"place-{next(_NUMBERS)}",
            datastore="LocalDS_0",
            network="DC0_DVPG0" if datacenter == "DC0" else None,
            username=SecretRef(SecretKind.FILE, "user"),
            password=SecretRef(SecretKind.FILE, "password"),
        )
        self.admin = Session(LOCAL, self.settings, surroundings(folder))
        self.make_folder()
        self.location = self.reopened()

    def reopened(self, **changed: Any) -> VsphereLocation:
        """The location anew, with other settings where they are given."""
        settings = replace(self.settings, **changed)
        location = open_location(LOCAL, settings, surroundings(self.folder))
        assert isinstance(location, VsphereLocation)
        return location

    def make_folder(self) -> None:
        """The location's folder, as somebody makes it in vSphere's own pages."""
        self.at(f"{self.datacenter}/vm").CreateFolder(self.settings.folder)

    def at(self, path: str) -> Any:
        """What is at that path of the inventory."""
        found = self.admin.find(path)
        assert found is not None
        return found

    def clean_up(self) -> None:
        """Names are looked for in the whole vCenter: leave none behind."""
        self.peer.rules()
        self.peer.settings(unreachable=[], clock_skew=0)
        for machine in self.peer.machines():
            if machine.folder == self.settings.folder and not machine.name.startswith(FILLING):
                self.peer.change(machine.name, destroy=True)

    def artifact(self, folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
        return small_ova(folder, seed)

    def lose(self, placement: Placement) -> None:
        self.peer.change(self.name_of(placement), destroy=True)

    def damage(self, placement: Placement) -> None:
        name = self.name_of(placement)
        (machine,) = self.peer.machines(name)
        marks = read_marks(machine.annotation)
        assert marks is not None
        owner = replace(marks.owner, sha256=Sha256("0" * 64))
        self.peer.change(name, annotation=write_marks(replace(marks, owner=owner)))

    def name_of(self, placement: Placement) -> str:
        return placement.reference.rpartition("/")[2]

    @contextmanager
    def unreadable(self) -> Iterator[None]:
        with self.peer.wrong({"method": "*", "do": "drop"}):
            yield

    def foreign(self, name: str) -> Callable[[], object]:
        self.peer.fill(
            1,
            name,
            datacenter=self.datacenter,
            folder=self.settings.folder,
            annotation="somebody else's",
            custom={"owner": "somebody"},
        )
        return lambda: self.peer.machines(name)

    def fill(self, count: int) -> None:
        # The id of each is its maker's own: a vCenter takes one that is given.
        sha256 = Sha256(hashlib.sha256(b"filling").hexdigest())
        marks = Marks(filling(0, sha256), 0, "{uuid}")
        text = write_marks(marks).replace("20260101.1", "20260101.1{n}")
        self.peer.fill(
            count,
            FILLING + "{n}",
            datacenter=self.datacenter,
            folder=self.settings.folder,
            annotation=text,
        )

    def fault(self, fault: Fault) -> AbstractContextManager[None] | str:
        peer = self.peer
        match fault:
            case Fault.QUOTA:
                said = {"do": "fault", "fault": "InsufficientStorageSpace"}
                return peer.wrong({"method": "ImportVApp", **said})
            case Fault.UNAVAILABLE_PAGE_2:
                method = "ContinueRetrievePropertiesEx"
                return peer.wrong({"method": method, "do": "status", "status": 503})
            case Fault.UNAVAILABLE_ONCE:
                return peer.wrong({"method": "*", "do": "status", "status": 503, "times": 1})
            case Fault.UNAVAILABLE_ALWAYS:
                return peer.wrong({"method": "*", "do": "status", "status": 503})
            case Fault.PRECONDITION:
                method, kind = "ReconfigVM_Task", "ConcurrentAccess"
                said = {"method": method, "do": "task_fault", "fault": kind}
                return peer.wrong({**said, "times": 1})
            case Fault.LOST_RESPONSE:
                return peer.wrong({"method": "ImportVApp", "do": "drop_response", "times": 1})
            case Fault.STALE_READ:
                return "a vCenter reads what it has written"
            case Fault.FAILED_OPERATION:
                said = {"do": "task_fault", "fault": "GenericVmConfigFault"}
                return peer.wrong({"method": "Rename_Task", **said})
            case Fault.SESSION_ENDED:
                return self.session_ended()
            case Fault.BROKEN_UPLOAD:
                cut = int(DISK * 0.7)
                return peer.wrong({"method": "NFC", "do": "cut", "bytes": cut, "times": 1})
            case Fault.WRONG_DIGEST:
                return "vSphere keeps disks in a form of its own, and gives no digest of them"
            case Fault.PART_UNREACHABLE:
                return self.set_for_a_while(unreachable=[self.datacenter])
            case Fault.CONTAINER_GONE:
                return self.folder_gone()
            case Fault.CLOCK_SKEW:
                return self.set_for_a_while(clock_skew=7200)
            case Fault.CREDENTIAL_MISSING:
                return self.without("password")
            case Fault.CREDENTIAL_WRONG:
                return self.account(password="another")
            case Fault.CREDENTIAL_EXPIRED:
                return self.account(expired=True)
            case Fault.CREDENTIAL_NARROW:
                return self.account(privileges=[])
            case _:
                raise AssertionError(fault)

    def requests(self) -> int:
        # Sessions that nobody needs any more are ended at any time.
        return self.peer.requests() - self.peer.counts().get("Logout", 0)

    @contextmanager
    def session_ended(self) -> Iterator[None]:
        """Before, and once more in the middle: when the disk has just been sent."""
        root = {"Type": "Folder", "Value": "group-d1"}
        said = {
            "method": "HttpNfcLeaseComplete",
            "do": "fault",
            "fault": "NotAuthenticated",
            "fields": {"Object": root, "PrivilegeId": "System.View"},
            "times": 1,
        }
        with self.peer.wrong(said):
            self.peer.end_sessions()
            yield

    @contextmanager
    def set_for_a_while(self, **settings: object) -> Iterator[None]:
        self.peer.settings(**settings)
        yield
        self.peer.settings(unreachable=[], clock_skew=0)

    @contextmanager
    def folder_gone(self) -> Iterator[None]:
        found = self.at(f"{self.datacenter}/vm/{self.settings.folder}")
        found.Rename_Task(f"{self.settings.folder}-gone")
        yield
        found.Rename_Task(self.settings.folder)

    @contextmanager
    def without(self, secret: str) -> Iterator[None]:
        path = self.folder / secret
        away = path.rename(path.with_name("away"))
        self.peer.end_sessions()
        yield
        away.rename(path)

    @contextmanager
    def account(self, password: str | None = None, **changed: Any) -> Iterator[None]:
        self.peer.account(self.peer.user, password or self.peer.password, **changed)
        self.peer.end_sessions()
        yield
        self.peer.account(self.peer.user, self.peer.password)


def small_ova(folder: Path, seed: int = 0) -> tuple[Artifact, Path]:
    """A whole OVA with a disk of 1 MiB that does not compress."""
    disk = random.Random(seed).randbytes(DISK)
    with tempfile.TemporaryFile() as raw:
        raw.write(disk)
        raw.flush()
        digest = Sha256(hashlib.sha256(disk).hexdigest())
        pieces = vmdk.encode(raw.fileno(), DISK, digest, zlib.compress)
        written = io.BytesIO()
        for piece in pieces:
            written.write(piece)
    vmdk_path = folder / f"disk-{seed}.vmdk"
    vmdk_path.write_bytes(written.getvalue())
    machine = ova.Machine(ImageName("debian-ci"), "CI", 1 << 30, 2, DISK)
    path = folder / f"disk-{seed}.ova"
    path.unlink(missing_ok=True)
    ova.write_ova(machine, vmdk_path, 1_795_000_000, path)
    return artifact_of(path.read_bytes(), Format.OVA), path


def opened(request: pytest.FixtureRequest, folder: Path) -> InVcenter:
    place = InVcenter(for_session(request, vcenter), folder)
    request.addfinalizer(place.clean_up)
    return place
