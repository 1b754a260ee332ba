"""Places of things to be thrown away that tests open: each with power over its other end.

``MACHINES`` names the modules of this package that the contract suite runs over. Each has a
function ``opened(request, folder)``, which gives a new :class:`Yard` without anything of ours.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import pytest

from imagectl.model.resource import Claim
from imagectl.services.ports.janitor import Machines

CATALOG = "00000000-0000-4000-8000-000000000001"
"""The id of the catalog whose things are ours."""

MACHINES = ("memory", "host", "vsphere", "gce")


@dataclass(frozen=True, slots=True)
class Cannot:
    """Such a place has no such thing, and why. A type of its own: what should be there and is not
    must never be taken for a reason to skip."""

    why: str


class Yard(Protocol):
    """A place of things to be thrown away, and what can happen there behind imagectl's back.

    Where a place has no such thing, a method says so in words instead.
    """

    @property
    def machines(self) -> Machines: ...

    def make(self, name: str, claim: Claim) -> str:
        """A machine that says that of itself, and whose maker is dead; its provider id."""
        ...

    def foreign(self, name: str) -> str | Cannot:
        """A machine of somebody who does not know imagectl; its provider id."""
        ...

    def copy(self, provider_id: str, name: str) -> str:
        """Somebody copies a machine, with all that it says of itself; the copy's provider id."""
        ...

    def show(self, provider_id: str, claim: Claim) -> None:
        """The machine says that of itself from now on."""
        ...

    def there(self) -> frozenset[str]:
        """The provider ids of all machines that are there."""
        ...

    def partial(self) -> AbstractContextManager[None] | str:
        """A part of the place cannot be read."""
        ...

    def down(self) -> AbstractContextManager[None]:
        """Nothing of the place can be read."""
        ...


def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Yard:
    """A new place of that kind; what it needs on disk is in *folder*."""
    yard: Yard = import_module(f"support.machines.{kind}").opened(request, folder)
    return yard
