"""What the janitor, and whoever makes things to be thrown away, need of the outside world.

See :mod:`imagectl.services.ports` for what all ports have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

from imagectl.model.resource import Claim, FoundResource, Resource, ResourceKind, ResourceView


class Resources(Protocol):
    """The ledger of things that are made to be thrown away. All processes of a project, or of a
    team, share one. It is beside the catalog and no part of it: renewing a lease is no event, and
    holds up no promotion.

    Every method raises CannotTell where it cannot be read or written.
    """

    def begin(self, resource: Resource) -> None:
        """Write it down, durable on return, before it is made (P7). Idempotent by its id."""
        ...

    def renew(self, ids: Collection[str], until: datetime) -> None:
        """Make the leases last until then, at least. Those that have ended are left out."""
        ...

    def end(self, id: str) -> None:
        """It is not there any more. Idempotent."""
        ...

    def failed(self, id: str, trouble: str) -> None:
        """Collecting it has failed once more."""
        ...

    def all(self) -> tuple[Resource, ...]:
        """Everything that has begun and not ended, oldest first."""
        ...


@runtime_checkable
class Machines(Protocol):
    """A place where things are made to be thrown away: some locations, and this host."""

    @property
    def place(self) -> str:
        """As in ``model.resource.Resource.place``."""
        ...

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        """Everything of the kinds that imagectl makes there, foreign things too, in bulk, every
        page of every scope (P3). What could not be read is a gap; raises Denied and CannotTell only
        where nothing could be read at all."""
        ...

    def collect(self, found: FoundResource, now: datetime) -> str | None:
        """End and remove it, whatever state it is in, after reading live, by its provider id, that
        its claim is ours and that the lease is over (P2). Idempotent: what is gone is no error.
        Returns what stays of it, for people, where the place could not remove all of it (such as
        the files of a machine that its provider has lost); else None.

        Nothing else than the thing itself and what was made for it alone is removed: never a
        folder, project, datastore or network. Raises Conflict where it is not ours or its lease was
        renewed, Failed where it cannot be removed, and what every method of a location raises.
        """
        ...


class Leased(Protocol):
    """A lease that runs."""

    @property
    def claim(self) -> Claim:
        """What the thing has to say of itself when it is made."""
        ...

    def gone(self) -> None:
        """The thing is not there any more, or was never made."""
        ...


class Leasing(Protocol):
    """Gives leases to who makes things to be thrown away."""

    def lease(
        self,
        kind: ResourceKind,
        place: str,
        name: str,
        purpose: str,
        show: Callable[[Claim], None] | None = None,
    ) -> AbstractContextManager[Leased]:
        """For as long as the block runs, the thing that it makes is needed: written down before the
        block begins (P7), and renewed in the background; *show* is given the claim each time, to
        show it at the provider too (where that fails, the ledger has it all the same).

        When the block is left, the entry ends if ``gone`` was said. Else it stays, and its lease
        runs out: then the janitor may collect the thing. Raises CannotTell where the ledger cannot
        be written, and Refused where there are as many things of that kind as there may be; then
        the block does not begin, so nothing is made.
        """
        ...
