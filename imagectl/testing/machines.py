"""A place in memory in which things are made to be thrown away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from imagectl.errors import Conflict, ImagectlError
from imagectl.model.resource import Claim, FoundResource, ResourceView
from imagectl.policy.leases import may_collect


class MemoryMachines:
    """Implements ``services.ports.Machines``.

    ``collected`` are the provider ids of what was, in that order; ``gaps`` are those of each view.
    """

    def __init__(self, place: str, catalog: str) -> None:
        self._place = place
        self._catalog = catalog
        self._there: dict[str, FoundResource] = {}
        self._errors: dict[str, ImagectlError] = {}
        self._down: ImagectlError | None = None
        self.collected: list[str] = []
        self.gaps: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return self._place

    def resources(self, now: Callable[[], datetime]) -> ResourceView:
        self._answer()
        began = now()
        found = tuple(self._there.values())
        return ResourceView(self._place, "memory", found, self.gaps, 1, began, now())

    def collect(self, found: FoundResource, now: datetime) -> None:
        self._answer()
        if found.provider_id in self._errors:
            raise self._errors[found.provider_id]
        live = self._there.get(found.provider_id)
        if live is None:
            return
        why = may_collect(live, self._catalog, now)
        if why:
            raise Conflict(f"{live.name} is not to be collected", where=self._place, why=why)
        del self._there[found.provider_id]
        self.collected.append(found.provider_id)

    def make(self, found: FoundResource) -> FoundResource:
        """Have that there."""
        self._there[found.provider_id] = found
        return found

    def show(self, provider_id: str, claim: Claim | None) -> None:
        """It says that of itself from now on."""
        self._there[provider_id] = replace(self._there[provider_id], claim=claim)

    def lose(self, provider_id: str) -> None:
        """Somebody removed it."""
        del self._there[provider_id]

    def there(self) -> tuple[str, ...]:
        """The provider ids of everything that is there."""
        return tuple(self._there)

    def stand_in_the_way(self, provider_id: str, error: ImagectlError | None) -> None:
        """Collecting it raises that; None: it works again."""
        if error is None:
            self._errors.pop(provider_id, None)
        else:
            self._errors[provider_id] = error

    @contextmanager
    def down(self, error: ImagectlError) -> Iterator[None]:
        """Whatever the place is asked raises that for a while."""
        self._down = error
        try:
            yield
        finally:
            self._down = None

    def _answer(self) -> None:
        if self._down is not None:
            raise self._down
