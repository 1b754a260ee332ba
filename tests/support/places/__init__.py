"""Locations that tests open: each type with its peer, and with what can happen to it.

``PLACES`` names the modules of this package that the contract suite runs over. Each has a function
``opened(request, folder)``, which gives a new, empty :class:`Place`; peers that take long to start
are session fixtures, which it asks *request* for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path, PurePosixPath

import pytest

from imagectl.adapters.clock import SystemClock
from imagectl.adapters.leasing import LedgerLeasing
from imagectl.adapters.locations import Surroundings, open_location
from imagectl.adapters.locations.directory import DirectoryLocation
from imagectl.model.names import LocationName
from imagectl.model.place import DirectoryLocation as Settings
from imagectl.model.version import Placement
from imagectl.services.ports.janitor import Resources
from imagectl.testing.resources import MemoryResources
from support.places.place import CATALOG_ID, LOCAL, Fault, Place

__all__ = ["CATALOG_ID", "LOCAL", "PLACES", "Fault", "Place", "directory", "opened", "surroundings"]

PLACES = ("memory", "directory", "gce", "gcs", "s3", "oci", "vsphere")


def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    """A new place of that kind; what it needs on disk is in *folder*."""
    place: Place = import_module(f"support.places.{kind}").opened(request, folder)
    return place


def surroundings(
    folder: Path,
    *,
    catalog: str = CATALOG_ID,
    patience: float = 3.0,
    ledger: Resources | None = None,
    placed: Iterable[Placement] = (),
    used: Callable[[], bool] = lambda: True,
) -> Surroundings:
    """A project in *folder* as far as locations know it. Its ledger is in memory where none is
    given; *placed* is what its catalog has there, *used* whether that has anything to do with it.
    """
    leasing = LedgerLeasing(
        ledger or MemoryResources(), lambda: catalog, "somebody", SystemClock().now
    )
    return Surroundings(
        folder,
        folder / "state",
        lambda: catalog,
        lambda _: iter(placed),
        lambda _: used(),
        lambda: leasing,
        patience,
    )


def directory(
    root: Path, name: str = "local", placed: Iterable[Placement] = ()
) -> DirectoryLocation:
    """The folder *root* as a location; *placed* is what the catalog has there."""
    settings = Settings(PurePosixPath(root))
    around = surroundings(root.parent, placed=placed)
    location = open_location(LocationName(name), settings, around)
    assert isinstance(location, DirectoryLocation)
    return location
