"""The one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from imagectl.adapters.clock import SystemClock
from imagectl.errors import CannotTell
from imagectl.model.resource import Claim, FoundResource, ResourceKind
from imagectl.testing.machines import MemoryMachines
from support.machines import CATALOG


class InMemory:
    """Implements ``support.machines.Yard``."""

    def __init__(self) -> None:
        self.machines = MemoryMachines("memory", CATALOG)

    def make(self, name: str, claim: Claim) -> str:
        return self._add(name, claim)

    def foreign(self, name: str) -> str:
        return self._add(name, None)

    def _add(self, name: str, claim: Claim | None) -> str:
        self.machines.make(FoundResource(f"id-{name}", ResourceKind.MACHINE, name, claim))
        return f"id-{name}"

    def copy(self, provider_id: str, name: str) -> str:
        seen = self.machines.resources(SystemClock().now).found
        (source,) = (each for each in seen if each.provider_id == provider_id)
        copy = replace(source, provider_id=f"id-{name}", name=name, claim=None, copied=source.claim)
        return self.machines.make(copy).provider_id

    def show(self, provider_id: str, claim: Claim) -> None:
        self.machines.show(provider_id, claim)

    def there(self) -> frozenset[str]:
        return frozenset(self.machines.there())

    @contextmanager
    def partial(self) -> Iterator[None]:
        self.machines.gaps = ("one zone does not answer",)
        yield
        self.machines.gaps = ()

    def down(self) -> AbstractContextManager[None]:
        return self.machines.down(CannotTell("memory does not answer"))


def opened(request: pytest.FixtureRequest, folder: Path) -> InMemory:
    return InMemory()
