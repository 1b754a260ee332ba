"""A throw-away clone of a template, that runs for as long as somebody looks at it.

It is in the ledger before it is made, says from its first moment of whom it is and until when it is
needed (``vsphere_claims.py``), and that is renewed until it has gone. What is left of it, whatever
happens to us, is the janitor's (P7).

The keys to get in are made for this one machine and given to cloud-init as vSphere's ``guestinfo``
(its "VMware" datasource); its address is what VMware Tools in it report. So the image needs
cloud-init and open-vm-tools.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.guest import Keys, make_keys
from imagectl.adapters.locations.vsphere_claims import first_claim, read_claim, show_claim
from imagectl.adapters.locations.vsphere_import import Target, without_reservations
from imagectl.adapters.locations.vsphere_sdk import sdk
from imagectl.adapters.locations.vsphere_session import Session
from imagectl.errors import CannotTell, Conflict, GuestUnreachable, ImagectlError
from imagectl.model.resource import Claim, ResourceKind
from imagectl.services.ports.janitor import Leased, Leasing
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

SSH_PORT = 22
USER = "root"
BOOT_SECONDS = 600.0
POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Lender:
    """Who gives the lease for a machine, and in which place of the ledger it is."""

    leasing: Leasing
    place: str


@dataclass(slots=True)
class _Clone:
    """The machine that is to be, and the task that makes it, once that has begun: it goes on in the
    vCenter whatever happens to us. ``machine`` is known once it is there."""

    session: Session
    folder: Any
    name: str
    note: str
    task: Any = None
    machine: Any = None

    def show(self, claim: Claim) -> None:
        """Write on it until when it is needed, where it is there."""
        if self.machine is not None:
            show_claim(self.session, self.session.of_now(self.machine), claim)


@contextlib.contextmanager
def booted(
    session: Session,
    template: Any,
    name: str,
    target: Target,
    lender: Lender,
    work: Workspace,
    progress: Progress,
) -> Iterator[Booted]:
    """A machine of *template*, called *name*, that answers over SSH. Raises GuestUnreachable."""
    folder = work.sub("vsphere")
    for each in ("login", "host"):
        (folder / each).mkdir(exist_ok=True)
    login, host = make_keys(folder / "login"), make_keys(folder / "host")
    note = f"{name} is tested with this machine; it goes when the test ends.\nrun: {work.id}"
    clone = _Clone(session, target.folder, f"{name}.boot-{work.id}", note)
    what = f"cloning {name}"
    lease = lender.leasing.lease(
        ResourceKind.MACHINE, lender.place, clone.name, f"testing {name}", clone.show
    )
    with lease as leased:
        try:
            progress.step(what)
            machine = session.persist(
                what, lambda: _cloned(clone, leased, template, target, login, host)
            )
            progress.step(f"booting {clone.name}")
            address = _address(session, machine, clone.name)
            known = folder / "known_hosts"
            at = address if SSH_PORT == 22 else f"[{address}]:{SSH_PORT}"
            known.write_text(f"{at} {host.public}\n")
            yield Booted(address, SSH_PORT, USER, login.private, known)
        except BaseException:
            try:
                _removed(clone, leased, progress)
            except ImagectlError as error:
                # What went wrong first is what people must hear of.
                progress.note(
                    f"{clone.name} could not be removed ({error.why or error}): "
                    "`imagectl janitor apply` removes it when its lease is over"
                )
            raise
        _removed(clone, leased, progress)


def _cloned(
    clone: _Clone, leased: Leased, template: Any, target: Target, login: Keys, host: Keys
) -> Any:
    """The running clone. Where an attempt broke off, its clone is used, or waited for."""
    vim, session, name = sdk().vim, clone.session, clone.name
    running = _running(clone)
    machine = None if running else _ours(clone, leased)
    if machine is None and not running:
        values = _guestinfo(name, login, host)
        config = vim.vm.ConfigSpec(
            annotation=f"{clone.note}\n{first_claim(leased.claim, name)}",
            extraConfig=[vim.option.OptionValue(key=key, value=values[key]) for key in values],
            deviceChange=_connect(session, template, target.network),
        )
        without_reservations(config)
        spec = vim.vm.CloneSpec(
            location=vim.vm.RelocateSpec(pool=target.pool, datastore=target.datastore),
            config=config,
            powerOn=False,
            template=False,
        )
        clone.task = session.ask(
            f"cloning to {name}",
            session.of_now(template).CloneVM_Task,
            *(clone.folder, name, spec),
        )
    if machine is None:
        machine = session.wait(f"cloning to {name}", clone.task)
    clone.machine = machine
    # Before it is started: what cannot be started must be known for what it is as well.
    clone.show(leased.claim)
    state = session.read_one(machine, ("runtime.powerState",)).values["runtime.powerState"]
    if state != "poweredOn":
        session.wait(f"starting {name}", session.ask(f"starting {name}", machine.PowerOnVM_Task))
    return machine


def _running(clone: _Clone) -> bool:
    """Whether the task that makes the clone has begun, and not ended."""
    if clone.task is None:
        return False
    try:
        values = clone.session.read_one(clone.task, ("info.state",)).values
    except sdk().vmodl.fault.ManagedObjectNotFound:
        return False  # a vCenter keeps tasks for some minutes after their end
    return str(values.get("info.state")) in ("queued", "running")


def _guestinfo(clone: str, login: Keys, host: Keys) -> dict[str, str]:
    """What cloud-init reads: JSON is YAML too."""
    user = {
        "disable_root": False,
        "users": [{"name": USER, "ssh_authorized_keys": [login.public]}],
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": host.private.read_text(),
            "ed25519_public": host.public,
        },
    }
    texts = {
        "metadata": json.dumps({"instance-id": clone, "local-hostname": "test"}),
        "userdata": "#cloud-config\n" + json.dumps(user),
    }
    said = {}
    for key, text in texts.items():
        said[f"guestinfo.{key}"] = base64.b64encode(text.encode()).decode()
        said[f"guestinfo.{key}.encoding"] = "base64"
    return said


def _connect(session: Session, template: Any, network: Any | None) -> list[Any]:
    """The change that connects its first card to *network*; none where the setting is absent."""
    if network is None:
        return []
    device = sdk().vim.vm.device
    devices = session.read_one(template, ("config.hardware.device",)).values
    cards = [
        each
        for each in devices.get("config.hardware.device", ())
        if isinstance(each, device.VirtualEthernetCard)
    ]
    if not cards:
        return []
    card = cards[0]
    card.backing = _backing(session, network)
    spec = device.VirtualDeviceSpec
    return [spec(operation=spec.Operation.edit, device=card)]


def _backing(session: Session, network: Any) -> Any:
    """What a card is connected to, in the terms of its network's kind."""
    vim = sdk().vim
    card = vim.vm.device.VirtualEthernetCard
    if not isinstance(network, vim.dvs.DistributedVirtualPortgroup):
        name = session.read_one(network, ("name",)).values["name"]
        return card.NetworkBackingInfo(deviceName=name, network=network)
    group = session.read_one(network, ("key", "config.distributedVirtualSwitch")).values
    switch = session.read_one(group["config.distributedVirtualSwitch"], ("uuid",)).values
    port = vim.dvs.PortConnection(portgroupKey=group["key"], switchUuid=switch["uuid"])
    return card.DistributedVirtualPortBackingInfo(port=port)


def _address(session: Session, machine: Any, clone: str) -> str:
    """Where the clone answers over SSH."""
    clock = SystemClock()
    until = clock.monotonic() + BOOT_SECONDS
    while True:
        read = session.persist(
            f"looking at {clone}",
            lambda: session.read_one(machine, ("guest.ipAddress", "runtime.powerState")),
            CannotTell,
        )
        address = read.values.get("guest.ipAddress")
        if address and _greets(address):
            return str(address)
        why = ""
        if read.values.get("runtime.powerState") != "poweredOn":
            why = "it has switched itself off"
        elif clock.monotonic() > until:
            why = (
                f"no SSH server answered at {address}"
                if address
                else "it reported no address: VMware Tools are not in it, or it has no network"
            ) + f" within {BOOT_SECONDS:.0f} s"
        if why:
            raise GuestUnreachable(
                f"{clone} cannot be reached by SSH",
                tail="",
                where=session.where,
                why=why,
                hint="the image needs cloud-init and open-vm-tools, and `network` of the location "
                "must be reached from here",
            )
        time.sleep(POLL_SECONDS)


def _greets(address: str) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address, SSH_PORT), 5) as link,
    ):
        link.settimeout(5)
        return link.recv(4) == b"SSH-"
    return False


def _ours(clone: _Clone, leased: Leased) -> Any | None:
    """The clone, where it is there. Raises Conflict where something else has its name."""
    session, name = clone.session, clone.name
    index = session.content.searchIndex
    machine = session.ask(f"looking for {name}", index.FindChild, clone.folder, name)
    if machine is None:
        return None
    values = session.read_one(machine, ("config.annotation",)).values
    claim = read_claim(values.get("config.annotation") or "", "", name, machine._moId)
    if claim is None or claim.resource != leased.claim.resource:
        raise Conflict(f"{name} is not ours", where=session.where)
    return machine


def _removed(clone: _Clone, leased: Leased, progress: Progress) -> None:
    what = f"removing {clone.name}"
    progress.step(what)
    clone.session.persist(what, lambda: _remove(clone, leased), CannotTell)
    leased.gone()


def _remove(clone: _Clone, leased: Leased) -> None:
    """Remove the clone. What is still being made is called off, and its end waited for: until then
    there may be nothing to see, and it would come and stay."""
    session = clone.session
    what = f"removing {clone.name}"
    if _running(clone):
        with contextlib.suppress(Exception):  # where it cannot be called off, it is waited for
            session.ask(what, session.of_now(clone.task).CancelTask)
        try:
            session.wait(what, clone.task)
        except sdk().vmodl.MethodFault:
            if _running(clone):
                raise
    machine = _ours(clone, leased)
    if machine is None:
        return
    state = session.read_one(machine, ("runtime.powerState",)).values["runtime.powerState"]
    if state == "poweredOn":
        session.wait(what, session.ask(what, machine.PowerOffVM_Task))
    session.wait(what, session.ask(what, machine.Destroy_Task))
