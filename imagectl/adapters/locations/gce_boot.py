"""A throw-away instance of an image, for as long as a block runs.

The key is made for it and given in its metadata, in two ways, since images differ: Google's guest
agent takes ``ssh-keys``, cloud-init takes ``user-data``. Either makes the user that we log in as.
The host's key is made by the instance itself, so it cannot be known beforehand.

An instance of ours never runs for long: Compute Engine itself deletes it after an hour, even where
this process was killed before it could (``maxRunDuration``).
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.guest import make_keys
from imagectl.adapters.locations.gce_labels import claim_of, claiming
from imagectl.adapters.locations.gce_zones import Zones
from imagectl.errors import GuestUnreachable, ImagectlError, Interrupted
from imagectl.model.place import GceLocation as Settings
from imagectl.model.resource import Claim, ResourceKind
from imagectl.services.ports.janitor import Leased, Leasing
from imagectl.services.ports.locations import Booted
from imagectl.services.ports.progress import Progress
from imagectl.services.ports.workspaces import Workspace

LIFETIME = 3600
"""Seconds after which Compute Engine deletes an instance."""
BOOT_SECONDS = 300.0
POLL_SECONDS = 1.0
CONSOLE_LINES = 40


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and at which port the image's SSH server listens."""

    user: str = "imagectl"
    port: int = 22
    seconds: float = BOOT_SECONDS
    """How long the server may take."""


@contextlib.contextmanager
def booted(
    zones: Zones,
    settings: Settings,
    leasing: Leasing,
    place: str,
    image: str,
    work: Workspace,
    progress: Progress,
    login: Login,
) -> Iterator[Booted]:
    """An instance of *image* (``projects/P/global/images/NAME``) that answers over SSH, in the
    ledger of *place* for as long as it may be there (P7). Raises GuestUnreachable, with the end of
    its console."""
    zone = settings.zone or ""
    keys = make_keys(work.sub("boot"))
    name = f"imagectl-boot-{uuid.uuid4().hex[:16]}"
    with leasing.lease(
        ResourceKind.MACHINE,
        place,
        name,
        f"a boot test of {image}",
        lambda claim: show(zones, f"zones/{zone}", name, claim),
    ) as leased:
        try:
            progress.step(f"starting instance {name} in {zone}")
            labels = claiming(leased.claim, name)
            zones.start(
                zone,
                description(settings, name, image, keys.public, login.user, labels),
                str(uuid.uuid4()),
            )
            host = _address(zones, zone, name)
            progress.step(f"waiting for SSH at {host}")
            _wait(zones, zone, name, host, login)
            yield Booted(host, login.port, login.user, keys.private, None)
        except BaseException:
            try:
                _end(zones, zone, name, leased)
            except ImagectlError as error:
                # What went wrong first is what people must hear of.
                progress.note(_left(name, error))
            raise
        progress.step(f"deleting instance {name}")
        try:
            _end(zones, zone, name, leased)
        except Interrupted:
            raise
        except ImagectlError as error:
            progress.note(_left(name, error))


def _end(zones: Zones, zone: str, name: str, leased: Leased) -> None:
    zones.delete(ResourceKind.MACHINE, f"zones/{zone}", name)
    leased.gone()


def _left(name: str, error: ImagectlError) -> str:
    return (
        f"instance {name} could not be deleted ({error.why or error}); `imagectl janitor apply` "
        "does when its lease is over, and Compute Engine deletes it by itself within "
        f"{LIFETIME // 60} minutes"
    )


def show(zones: Zones, scope: str, name: str, claim: Claim) -> None:
    """Show the claim, which was renewed, on the instance and on the disk that was made with it,
    which has its name. What is not there yet, or any more, shows nothing."""
    for kind in (ResourceKind.MACHINE, ResourceKind.DISK):
        thing = zones.read(kind, scope, name)
        said = None if thing is None else claim_of(thing.labels, name)
        if thing is not None and said is not None and said.resource == claim.resource:
            zones.label(thing, {**thing.labels, **claiming(claim, name)})


def description(
    settings: Settings, name: str, image: str, key: str, user: str, claim: Mapping[str, str]
) -> dict[str, object]:
    """The instance, as Compute Engine wants it described. It and its disk carry the labels *claim*
    from the moment that they are made: there is none at which they do not say whose they are."""
    interface: dict[str, object] = {
        "access_configs": [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}]
    }
    if settings.network is not None:
        interface["network"] = f"global/networks/{settings.network}"
    items = {
        "enable-oslogin": "FALSE",
        "block-project-ssh-keys": "TRUE",
        "ssh-keys": f"{user}:{key}",
        "user-data": cloud_config(user, key),
    }
    return {
        "name": name,
        "description": f"A boot test of {image}",
        "labels": {**claim, "imagectl-purpose": "boot-test"},
        "machine_type": f"zones/{settings.zone}/machineTypes/{settings.machine_type}",
        "disks": [
            {
                "boot": True,
                "auto_delete": True,
                "initialize_params": {
                    "disk_name": name,
                    "labels": dict(claim),
                    "source_image": image,
                },
            }
        ],
        "network_interfaces": [interface],
        "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
        "scheduling": {
            "max_run_duration": {"seconds": LIFETIME},
            "instance_termination_action": "DELETE",
            "automatic_restart": False,
            "on_host_maintenance": "TERMINATE",
        },
    }


def cloud_config(user: str, key: str) -> str:
    """What cloud-init reads as ``user-data``. JSON is YAML."""
    person = {
        "name": user,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [key],
    }
    return "#cloud-config\n" + json.dumps({"users": ["default", person]}) + "\n"


def _address(zones: Zones, zone: str, name: str) -> str:
    """Where the instance is reached: from outside where it can be."""
    instance = zones.instance(zone, name)
    for interface in instance.network_interfaces:
        for access in interface.access_configs:
            if access.nat_i_p:
                return str(access.nat_i_p)
        if interface.network_i_p:
            return str(interface.network_i_p)
    raise GuestUnreachable(
        f"instance {name} has no address", where=zone, why="it is on no network", tail=""
    )


def _wait(zones: Zones, zone: str, name: str, host: str, login: Login) -> None:
    clock = SystemClock()
    until = clock.monotonic() + login.seconds
    while not greets(host, login.port):
        if clock.monotonic() > until:
            raise GuestUnreachable(
                f"instance {name} cannot be reached by SSH",
                where=f"{host}:{login.port}",
                why=f"no SSH server answered within {login.seconds:.0f} s",
                tail=_console(zones, zone, name),
                hint="the end of its console is above; a firewall rule must let this machine in "
                "at that port",
            )
        time.sleep(POLL_SECONDS)


def _console(zones: Zones, zone: str, name: str) -> str:
    try:
        lines = zones.console(zone, name).replace("\r", "").splitlines()[-CONSOLE_LINES:]
    except ImagectlError as error:
        return f"(its console cannot be read: {error.why or error})"
    return "\n".join("".join(c for c in line if c == "\t" or c.isprintable()) for line in lines)


def greets(host: str, port: int) -> bool:
    """Whether an SSH server is there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2) as link:
        link.settimeout(2)
        return link.recv(4) == b"SSH-"
    return False
