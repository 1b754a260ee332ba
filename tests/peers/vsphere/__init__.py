"""A vCenter of our own for tests: VMware's simulator with a front, in Go (``main.go`` beside this).

What it does and what it leaves out: ``docs/contributing/peers/vsphere.md``.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from peers.golang import running

USER, PASSWORD = "imagectl@vsphere.local", "secret"


@dataclass(frozen=True)
class Machine:
    """A virtual machine or template as it is now."""

    reference: str
    name: str
    datacenter: str
    folder: str
    template: bool
    instance_uuid: str
    annotation: str
    custom: Mapping[str, str]
    extra_config: Mapping[str, str]
    power_state: str
    connection_state: str
    cpu_reservation: int
    """MHz."""
    disks: Sequence[int] | None
    """Their capacities in KiB."""
    uploads: Sequence[Mapping[str, Any]] | None
    """The disks that were received: name, bytes, sha256, complete."""


class VCenter:
    """One that runs. Datacenters ``DC0`` and ``DC1``; in each the folder ``images``, the cluster
    ``DC0_C0``, the network ``DC0_DVPG0``; the datastore ``LocalDS_0`` in all of them."""

    host = "127.0.0.1"
    user, password = USER, PASSWORD

    def __init__(self, started: Mapping[str, Any], folder: Path) -> None:
        self.port: int = started["port"]
        self.ca = folder / "ca.pem"
        self.ca.write_text(started["ca"])
        self._control = urlsplit(started["control"]).netloc

    def rules(self, *rules: Mapping[str, object]) -> None:
        """What goes wrong from now on, in the words of ``rules.go``. Nothing, without any."""
        self._ask("rules", list(rules))

    @contextmanager
    def wrong(self, *rules: Mapping[str, object]) -> Iterator[None]:
        """These rules, and no others, for as long as the block runs."""
        self.rules(*rules)
        try:
            yield
        finally:
            self.rules()

    def counts(self) -> dict[str, int]:
        """How many calls there were of each method since it was started."""
        return cast("dict[str, int]", self._ask("counts"))

    def requests(self) -> int:
        """How many calls there were."""
        return sum(self.counts().values())

    def waits(self) -> int:
        """How many calls read nothing but how tasks are getting on."""
        return cast("int", self._ask("waits"))

    def settings(self, **changed: object) -> None:
        """``guest_ip`` (of machines that are switched on; "": never), ``clock_skew`` (seconds
        ahead), ``page_limit`` (objects), ``unreachable`` (names of datacenters)."""
        self._ask("settings", changed)

    def account(
        self,
        name: str,
        password: str,
        *,
        expired: bool = False,
        privileges: Sequence[str] | None = None,
    ) -> None:
        """Let somebody log in, who has those privileges everywhere; None: all."""
        added = {"password": password, "expired": expired, "privileges": privileges}
        self._ask("accounts", {name: added})

    def end_sessions(self, *, abort_leases: bool = False) -> None:
        """Log everybody out. Imports under way are given up, or stay as they are."""
        self._ask("end-sessions", {"leases": "abort" if abort_leases else "keep"})

    def machines(self, name: str | None = None) -> list[Machine]:
        """All that there are, or those of that name, oldest first."""
        every = [Machine(**each) for each in self._ask("machines")]
        return [each for each in every if name is None or each.name == name]

    def fill(
        self,
        count: int,
        name: str,
        *,
        datacenter: str = "DC0",
        folder: str = "images",
        template: bool = True,
        bare: bool = False,
        annotation: str = "",
        custom: Mapping[str, str] | None = None,
        created: datetime | None = None,
        step: timedelta = timedelta(),
        power_state: str | None = None,
        connection_state: str | None = None,
    ) -> None:
        """Make many machines, each with a disk of a mebibyte and a network card, or *bare* ones:
        in a quarter of the time. In texts, ``{n}`` is the number of each, from 0, ``{uuid}`` its
        instance UUID, and ``{reference}`` its reference. The first was made at *created*, and each
        of the others a *step* later."""
        self._ask(
            "fill",
            {
                "count": count,
                "name": name,
                "datacenter": datacenter,
                "folder": folder,
                "template": template,
                "bare": bare,
                "annotation": annotation,
                "custom": dict(custom or {}),
                "created": created.timestamp() if created is not None else 0,
                "step": step.total_seconds(),
                "power_state": power_state,
                "connection_state": connection_state,
            },
        )

    def change(self, name: str, **changed: object) -> None:
        """Alter what has that name behind everybody's back: ``destroy``, ``annotation``,
        ``custom``, ``connection_state``, ``power_state``, ``disk`` (KiB)."""
        self._ask("change", {"name": name, **changed})

    def _ask(self, what: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection(self._control, timeout=120)
        try:
            connection.request("POST", f"/{what}", json.dumps(body))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise AssertionError(f"the vCenter cannot do that: {what}: {text.decode().strip()}")
        return json.loads(text)


@contextmanager
def vcenter() -> Iterator[VCenter]:
    """One for as long as the block runs."""
    # The simulator makes small files for each machine: where that costs nothing, if possible.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="imagectl-vcenter-", dir=memory) as name:
        folder = Path(name)
        with running(Path(__file__).parent, folder) as said:
            yield VCenter(said, folder)
