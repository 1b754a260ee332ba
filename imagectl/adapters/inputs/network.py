"""Upstream as a build uses it: set up when something must be fetched, at the mirrors of now.

Redirects of a Debian mirror are followed here, since an archive's file is known by its path; all
others are answers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urljoin

from imagectl.adapters.inputs.connections import Address, Connections, address_of
from imagectl.adapters.inputs.debian import Place, below
from imagectl.adapters.inputs.troubles import STAGE
from imagectl.adapters.inputs.upstream import Head, Response, Upstream
from imagectl.errors import BuildFailed, CannotTell
from imagectl.model.lock import Archive

CLOCKS_APART = timedelta(days=1)
REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Network:
    """``mirrors`` are asked for when they are needed; ``reachable``: hosts that may be asked
    although they are this machine, or on its link; ``environment`` names proxies and
    authorities."""

    def __init__(
        self,
        mirrors: Callable[[], Mapping[Archive, str]],
        reachable: Collection[Address],
        environment: Mapping[str, str],
        pauses: Sequence[float],
    ) -> None:
        self._find_mirrors = mirrors
        self._reachable = tuple(reachable)
        self._environment = environment
        self._pauses = pauses
        self._lock = threading.Lock()
        self._found: tuple[Mapping[Archive, str], Upstream] | None = None

    @contextlib.contextmanager
    def get(self, place: Place, headers: Mapping[str, str]) -> Iterator[Response]:
        """The answer to a GET of *place*; of an archive's file, what a redirect leads to."""
        mirrors, upstream = self._open()
        if isinstance(place, str):
            with upstream.get(place, headers) as response:
                yield response
            return
        if place.archive not in mirrors:
            raise CannotTell(
                f"there is no mirror of {place.archive.value} to fetch from",
                hint="name one in imagectl.yaml: `mirror: {debian: URL, security: URL}`",
            )
        url = below(mirrors[place.archive], place.path)
        for _ in range(REDIRECTS):
            with upstream.get(url, headers) as response:
                if response.head.status not in _REDIRECTS or not response.head.location:
                    yield response
                    return
                url = urljoin(url, response.head.location)
        raise CannotTell("the mirror redirects without an end", where=url)

    def close(self) -> None:
        with self._lock:
            if self._found is not None:
                self._found[1].close()

    def _open(self) -> tuple[Mapping[Archive, str], Upstream]:
        with self._lock:
            if self._found is None:
                mirrors = self._find_mirrors()
                allowed = {*self._reachable, *(address_of(url) for url in mirrors.values())}
                connections = Connections(self._environment, allowed)
                self._found = (mirrors, Upstream(connections, self._pauses))
            return self._found


def check_clock(head: Head, now: datetime, url: str) -> None:
    """Raises BuildFailed where this machine's clock and that of the server are far apart."""
    if head.date is None or abs(head.date - now) <= CLOCKS_APART:
        return
    raise BuildFailed(
        "the clock of this machine is wrong, or that of upstream",
        stage=STAGE,
        where=url,
        why=f"here it is {now:%Y-%m-%d %H:%M} UTC, there {head.date:%Y-%m-%d %H:%M} UTC; a lock "
        "is dated by this clock, and no file of the image may be newer",
        hint="set the clock: `timedatectl set-ntp true`",
    )
