"""Leases for what is made to be thrown away: in the ledger first, then renewed by a thread.

Promises (P7): the entry is in the ledger before the thing can be made; it ends only after whoever
made the thing has said that it is gone. Whatever else happens, to this process too, the lease runs
out by itself, ``LEASE`` after it was last renewed, and the janitor may collect the thing.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from imagectl.errors import ImagectlError
from imagectl.model.resource import Claim, Resource, ResourceKind
from imagectl.services.ports.janitor import Resources

LEASE = timedelta(minutes=15)
"""How long a lease lasts from each renewal."""

EVERY = timedelta(minutes=5)
"""How often it is renewed: two renewals in a row may fail."""

END_SECONDS = 10.0
"""How long the end waits for a renewal that is under way."""


class LedgerLeasing:
    """Implements ``services.ports.Leasing``. It may be used from several threads.

    *catalog* gives the id of the catalog, *by* says who makes things. *room* is asked, once the
    entry is in the ledger and before the thing is made, whether there is room for it; it raises
    where there is none (Refused) or nobody can tell (CannotTell).
    """

    def __init__(
        self,
        ledger: Resources,
        catalog: Callable[[], str],
        by: str,
        now: Callable[[], datetime],
        room: Callable[[Resource], None] | None = None,
        *,
        lease: timedelta = LEASE,
        every: timedelta = EVERY,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._by = by
        self._now = now
        self._room = room
        self._lease = lease
        self._every = every

    @contextlib.contextmanager
    def lease(
        self,
        kind: ResourceKind,
        place: str,
        name: str,
        purpose: str,
        show: Callable[[Claim], None] | None = None,
    ) -> Iterator[RunningLease]:
        now = self._now()
        until = now + self._lease
        resource = Resource(uuid.uuid4().hex, kind, place, name, purpose, self._by, now, until)
        running = RunningLease(Claim(self._catalog(), resource.id, until))
        self._ledger.begin(resource)
        if self._room is not None:
            try:
                self._room(resource)
            except BaseException:
                self._end(resource.id)  # nothing was made
                raise
        ended = threading.Event()
        thread = threading.Thread(
            target=self._renew,
            args=(running, show, ended),
            name=f"lease-{resource.id[:8]}",
            daemon=True,
        )
        thread.start()
        try:
            yield running
        finally:
            ended.set()
            thread.join(END_SECONDS)
            if running.is_gone:
                self._end(resource.id)

    def _end(self, id: str) -> None:
        # Where that fails, the janitor sees later on that the thing is not there.
        with contextlib.suppress(ImagectlError):
            self._ledger.end(id)

    def _renew(
        self,
        running: RunningLease,
        show: Callable[[Claim], None] | None,
        ended: threading.Event,
    ) -> None:
        while not ended.wait(self._every.total_seconds()):
            until = self._now() + self._lease
            # The next time comes before the lease is over.
            with contextlib.suppress(ImagectlError):
                self._ledger.renew([running.claim.resource], until)
            running.prolong(until)
            if show is not None and not running.is_gone:
                # An SDK may raise anything, and must not end this thread: the ledger has it.
                with contextlib.suppress(Exception):
                    show(running.claim)


class RunningLease:
    """Implements ``services.ports.Leased``."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._gone = False

    @property
    def claim(self) -> Claim:
        return self._claim

    @property
    def is_gone(self) -> bool:
        """Whether that was said."""
        return self._gone

    def gone(self) -> None:
        self._gone = True

    def prolong(self, until: datetime) -> None:
        """The claim lasts until then."""
        self._claim = Claim(self._claim.catalog, self._claim.resource, until)
