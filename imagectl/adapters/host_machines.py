"""This host as a place of things to be thrown away: the runs of this project's builds and tests.

A run is a folder with overlays in it, and the processes that carry its id, QEMU first of all (see
``runs.py``). It is needed for as long as its process holds its lock, which the kernel drops with
the process, or its lease lasts: a claim in its folder says until when, and is not renewed, since
the lock says more. So a run is collected only where both say that nobody needs it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from imagectl.adapters import runs
from imagectl.adapters.leasing import LEASE
from imagectl.errors import CannotTell, Conflict, Failed
from imagectl.model.resource import Claim, FoundResource, ResourceKind, ResourceView
from imagectl.policy.leases import may_collect

RUNS = "runs"
"""The folder of the project's state that runs are in."""

CLAIM = "claim.json"


def place_of(state: Path) -> str:
    """The place that this host is, as the ledger calls it. Several checkouts of a project may be on
    one host, so the folder is part of it."""
    return f"host/{socket.gethostname()}{(state / RUNS).resolve()}"


def write_claim(folder: Path, claim: Claim) -> None:
    """Have the run in *folder* say whose it is."""
    document = {
        "catalog": claim.catalog,
        "resource": claim.resource,
        "until": claim.until.isoformat(),
    }
    (folder / CLAIM).write_text(json.dumps(document))


class HostMachines:
    """Implements ``services.ports.Machines``. *catalog* gives the id of the catalog."""

    def __init__(self, state: Path, catalog: Callable[[], str]) -> None:
        self._runs = state / RUNS
        self._place = place_of(state)
        self._catalog = catalog

    @property
    def place(self) -> str:
        return self._place

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        began = now()
        try:
            seen = runs.look(self._runs)
        except OSError as problem:
            raise CannotTell(
                "the runs on this host cannot be read",
                where=str(self._runs),
                why=problem.strerror or str(problem),
                hint="run this as the user who builds",
            ) from problem
        found = tuple(self._found(each, now()) for each in seen)
        scope = f"builds and tests in {self._runs}"
        return ResourceView(self._place, scope, found, (), 1, began, now())

    def collect(self, found: FoundResource, now: datetime) -> None:
        try:
            runs.collect(self._runs, found.provider_id, lambda seen: self._check(seen, now))
        except OSError as problem:
            raise Failed(
                f"run {found.provider_id} cannot be removed",
                where=str(problem.filename or self._runs / found.provider_id),
                why=problem.strerror or str(problem),
                hint="run this as the user who builds",
            ) from problem

    def _check(self, seen: runs.Seen, now: datetime) -> None:
        why = may_collect(self._found(seen, now), self._catalog(), now)
        if why:
            raise Conflict(f"run {seen.id} is not to be collected", where=str(seen.folder), why=why)

    def _found(self, seen: runs.Seen, now: datetime) -> FoundResource:
        claim = self._claim(seen)
        if seen.alive:
            claim = Claim(claim.catalog, claim.resource, max(claim.until, now + LEASE))
        state = "running" if seen.alive else "its process has ended"
        return FoundResource(seen.id, ResourceKind.MACHINE, seen.id, claim, state, seen.began)

    def _claim(self, seen: runs.Seen) -> Claim:
        """What the run says. Where it was killed before it could say anything, or while it was
        being removed, it is ours by the private folder that it is in, and its lease began when it
        did."""
        try:
            said = json.loads((seen.folder / CLAIM).read_bytes())
            until = datetime.fromisoformat(said["until"])
            if until.tzinfo is None:
                raise ValueError(said)
            return Claim(str(said["catalog"]), str(said["resource"]), until)
        except (OSError, ValueError, KeyError, TypeError):
            return Claim(self._catalog(), seen.id, seen.began + LEASE)
