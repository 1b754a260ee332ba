"""A ceiling on machines: a new one is refused long before a cluster or a host is full.

Promises: nothing is made where the place has as many machines as it may, leaked ones counted too,
and none where that cannot be counted (P8: unknown is not zero). Two that begin at the same moment
see each other in the ledger: both may be refused, never both let through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from imagectl.errors import CannotTell, Refused
from imagectl.model.resource import Resource, ResourceKind
from imagectl.policy.leases import count_machines
from imagectl.policy.wording import counted
from imagectl.services.ports.janitor import Machines, Resources


@dataclass(frozen=True, slots=True)
class Ceilings:
    """How many machines there may be in each place; no limit where a place is not in ``limits``.

    ``machines`` gives the place of that name.
    """

    limits: Mapping[str, int]
    machines: Callable[[str], Machines]
    ledger: Resources
    now: Callable[[], datetime]

    def check(self, resource: Resource) -> None:
        """Whether there is room for *resource*, which is in the ledger already. Raises Refused
        where there is none, CannotTell where nobody can say."""
        limit = self.limits.get(resource.place)
        if limit is None or resource.kind is not ResourceKind.MACHINE:
            return
        view = self.machines(resource.place).resources(self.now)
        if not view.complete:
            raise CannotTell(
                f"it cannot be counted how many machines there are in {resource.place}",
                where=view.scope,
                why="; ".join(view.gaps),
                hint="`imagectl doctor` looks at each location; without `max_build_vms` nothing is "
                "counted",
            )
        found = count_machines(view, self.ledger.all(), resource, self.now())
        if found.all < limit:
            return
        raise Refused(
            f"no more than {counted(limit, 'machine')} may be in {resource.place} at once",
            where=view.scope,
            reasons=[
                f"there {'is' if found.seen == 1 else 'are'} {counted(found.seen, 'machine')} of "
                f"imagectl's, and {found.coming} being made; `max_build_vms` is {limit}"
            ],
            hint="wait for builds and tests to end; `imagectl janitor plan` shows what is left",
        )
