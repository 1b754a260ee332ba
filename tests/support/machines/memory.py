"""The one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

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
