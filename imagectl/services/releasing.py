"""What a command needs of the outside world in order to change what consumers get: one value, so
that no service finds its own catalog, clock or locations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imagectl.model.names import LocationName
from imagectl.services.live import Waiting
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.clock import Clock
from imagectl.services.ports.locations import Location
from imagectl.services.ports.published import Publisher


@dataclass(frozen=True, slots=True)
class Releasing:
    """What a release needs of the outside world.

    ``actor`` is who is asking. ``new_key`` gives a new idempotency key for each change. ``waiting``
    is told now and then which locations have not answered yet.
    """

    catalog: Catalog
    locations: Mapping[LocationName, Location]
    publishers: Sequence[Publisher]
    clock: Clock
    actor: str
    new_key: Callable[[], str]
    waiting: Waiting = lambda _: None
