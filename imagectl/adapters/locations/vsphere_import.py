"""The import of an OVA: its description makes a machine, its disks are sent to that one's host.

vSphere has no way to go on with a disk whose transfer broke: it is sent again from its beginning.
What was made until then goes away with the lease: when it is given up here, or by the vCenter, some
minutes after it last heard of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ssl
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.content import CHUNK
from imagectl.adapters.durable import naming_failures
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import TIMEOUT, Session
from imagectl.errors import CannotTell, Corrupt, Failed
from imagectl.model.names import Sha256
from imagectl.services.ports.locations import Moved

KEEP_ALIVE = 10.0
"""Seconds between two signs of life to the vCenter, which gives a lease up after 300 without."""

LEASE_SECONDS = 600.0
"""How long a vCenter may take until disks can be sent."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file in an OVA: where it begins there, and its size, in bytes."""

    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Ova:
    """An OVA that has been read: ``descriptor`` is its OVF."""

    path: Path
    size: int
    descriptor: str
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Target:
    """Where machines are made. ``network`` None: as the vCenter chooses."""

    folder: Any
    datastore: Any
    pool: Any
    network: Any | None


class Furthest:
    """A ``Moved`` that knows when an upload last got further than any before it: sending the same
    bytes again is no progress."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self._clock = SystemClock()
        self._done = 0
        self._at = 0.0

    def __call__(self, done: int) -> None:
        self._moved(done)
        if done > self._done:
            self._done, self._at = done, self._clock.monotonic()

    def when(self) -> float:
        """On the monotonic clock; 0 where nothing was sent."""
        return self._at


def open_ova(path: Path, sha256: Sha256) -> Ova:
    """Read what is in the OVA. Raises Corrupt where it is not *sha256* or no OVA, Failed."""
    with naming_failures(f"reading {path.name}", path.parent):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise Corrupt(
                "a file is not the artifact that it should be",
                where=str(path),
                why=f"its sha256 is {digest}, and {sha256} is expected",
            )
        try:
            with tarfile.open(path, "r:") as tar:
                parts = {each.name: Part(each.offset_data, each.size) for each in tar}
                descriptor = next(name for name in parts if name.endswith(".ovf"))
                content = tar.extractfile(descriptor)
                text = content.read().decode() if content is not None else ""
        except (tarfile.TarError, StopIteration, UnicodeDecodeError) as error:
            raise Corrupt("a file is no OVA", where=str(path), why=str(error)) from error
        return Ova(path, path.stat().st_size, text, parts)


def import_ova(
    session: Session,
    ova: Ova,
    name: str,
    annotation: str,
    target: Target,
    moved: Moved,
    renew: Callable[[Any], None],
) -> Any:
    """Make the machine *name* of an OVA, and return it, with its disks whole. *renew* is given the
    machine every ``KEEP_ALIVE`` while they are sent.

    Where it fails, the lease is given up, and nothing stays that its vCenter can clean up.
    """
    spec = _specify(session, ova, name, target)
    config = spec.importSpec.configSpec
    # The marks are there from the first moment: what is left of a kill can be told apart (P7).
    config.annotation = annotation
    without_reservations(config)
    lease = session.ask(
        f"importing {name}", target.pool.ImportVApp, spec=spec.importSpec, folder=target.folder
    )
    done = False
    try:
        info = _ready(session, lease, name)
        machine = info.entity
        addresses = {each.importKey: each for each in info.deviceUrl}
        for item in spec.fileItem:
            part = ova.parts.get(item.path)
            if part is None or item.deviceId not in addresses:
                raise Failed(
                    f"{name} cannot be imported", where=session.where, why=f"{item.path} has no use"
                )

            def alive(percent: int) -> None:
                session.ask("telling how far it is", lease.Progress, percent)
                renew(machine)

            _send(session, ova, part, addresses[item.deviceId], alive, moved)
        session.ask(f"completing the import of {name}", lease.Complete)
        done = True
        return machine
    finally:
        if not done:
            with contextlib.suppress(Exception):
                session.ask(f"giving up the import of {name}", lease.Abort)


def without_reservations(config: Any) -> None:
    """A template that reserves CPU or memory takes them from others in each of its clones."""
    vim = sdk().vim
    config.cpuAllocation = vim.ResourceAllocationInfo(reservation=0)
    config.memoryAllocation = vim.ResourceAllocationInfo(reservation=0)


def _specify(session: Session, ova: Ova, name: str, target: Target) -> Any:
    """What the vCenter makes of the description."""
    vim = sdk().vim
    networks = []
    if target.network is not None:
        networks = [
            vim.OvfManager.NetworkMapping(name=each, network=target.network)
            for each in _networks(ova.descriptor)
        ]
    params = vim.OvfManager.CreateImportSpecParams(
        entityName=name, diskProvisioning="thin", networkMapping=networks
    )
    manager = session.content.ovfManager
    spec = session.ask(
        f"describing {name}",
        manager.CreateImportSpec,
        *(ova.descriptor, target.pool, target.datastore, params),
    )
    if spec.error:
        raise Failed(
            f"the vCenter cannot import {name}",
            where=session.where,
            why="; ".join(str(each.msg) or type(each).__name__ for each in spec.error),
            hint="`network` and `resource_pool` of the location say where it is put",
        )
    return spec


def _networks(descriptor: str) -> list[str]:
    """The names that the description has for its networks."""
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    try:
        root = ElementTree.fromstring(descriptor)
    except ElementTree.ParseError as error:
        raise Corrupt("the description in an OVA cannot be read", why=str(error)) from error
    return [each.get(f"{ovf}name", "") for each in root.iter(f"{ovf}Network")]


def _ready(session: Session, lease: Any, name: str) -> Any:
    """What the vCenter says of the lease once disks can be sent."""
    clock = SystemClock()
    until = clock.monotonic() + LEASE_SECONDS
    pause = 0.05
    while True:
        values = session.read_one(lease, ("state", "error", "info")).values
        state = str(values.get("state"))
        if state == "ready":
            return values["info"]
        if state == "error":
            raise values["error"]
        if clock.monotonic() > until:
            raise CannotTell(
                f"the import of {name} does not begin",
                where=session.where,
                why=f"the vCenter was not ready for its disk in {LEASE_SECONDS / 60:.0f} min",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 2.0)


def _send(
    session: Session,
    ova: Ova,
    part: Part,
    device: Any,
    alive: Callable[[int], None],
    moved: Moved,
) -> None:
    """Send a disk; *alive* is told now and then how much of it, in percent.

    Raises OSError and HTTPException where that breaks.
    """
    url = urlsplit(device.url)
    host, port = url.hostname or "", url.port or 443
    if host == "*":  # the one that we are talking to (HttpNfcLeaseDeviceUrl in the API reference)
        host, port = session.host, url.port or session.port
    with _connected(session, host, port, device.sslThumbprint or "") as connection:
        connection.putrequest("POST", url.path + (f"?{url.query}" if url.query else ""))
        connection.putheader("Content-Type", "application/x-vnd.vmware-streamVmdk")
        connection.putheader("Content-Length", str(part.size))
        connection.endheaders()
        _send_bytes(ova, part, connection, alive, moved)
        response = connection.getresponse()
        said = response.read(1000).decode("utf-8", "replace").strip()
        if response.status >= 500:
            raise http.client.HTTPException(f"{response.status} {response.reason}: {said}")
        if response.status not in (200, 201, 204):
            raise Failed(
                "the host that should run it does not take the disk",
                where=f"{host}, for {session.where}",
                why=f"{response.status} {response.reason}: {said}",
            )
    moved(ova.size)


def _send_bytes(
    ova: Ova,
    part: Part,
    connection: http.client.HTTPSConnection,
    alive: Callable[[int], None],
    moved: Moved,
) -> None:
    clock = SystemClock()
    sign = clock.monotonic()
    with naming_failures(f"reading {ova.path.name}", ova.path.parent):
        file = ova.path.open("rb")
    with file:
        file.seek(part.at)
        sent = 0
        while sent < part.size:
            with naming_failures(f"reading {ova.path.name}", ova.path.parent):
                piece = file.read(min(CHUNK, part.size - sent))
            if not piece:
                raise Corrupt(f"{ova.path.name} became shorter while it was read")
            connection.send(piece)
            sent += len(piece)
            moved(part.at + sent)
            if clock.monotonic() - sign > KEEP_ALIVE:
                sign = clock.monotonic()
                alive(100 * sent // part.size)


@contextlib.contextmanager
def _connected(
    session: Session, host: str, port: int, thumbprint: str
) -> Iterator[http.client.HTTPSConnection]:
    """A connection to the host that takes the disk, which is not the vCenter's own.

    Its certificate is checked as the vCenter's is; where that does not do, by the thumbprint that
    the vCenter has given for it.
    """
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=session.trust())
    try:
        try:
            connection.connect()
        except ssl.SSLCertVerificationError:
            if not thumbprint:
                raise
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
            connection.connect()
            _check_thumbprint(connection, thumbprint)
        yield connection
    finally:
        connection.close()


def _check_thumbprint(connection: http.client.HTTPSConnection, thumbprint: str) -> None:
    given = connection.sock.getpeercert(binary_form=True)
    wanted = thumbprint.replace(":", "").lower()
    kind = {40: "sha1", 64: "sha256"}.get(len(wanted))
    if not given or kind is None or hashlib.new(kind, given).hexdigest() != wanted:
        raise CannotTell(
            "the host that takes the disk is not the one that the vCenter named",
            where=connection.host,
            why="its certificate has another thumbprint",
        )
