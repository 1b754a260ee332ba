"""Locations that tests open."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from imagectl.adapters.locations import Surroundings, open_location
from imagectl.adapters.locations.directory import DirectoryLocation
from imagectl.model.names import LocationName
from imagectl.model.place import DirectoryLocation as Settings

CATALOG_ID = "00000000-0000-4000-8000-000000000001"


def surroundings(folder: Path) -> Surroundings:
    """A project in *folder* as far as locations know it."""
    return Surroundings(folder, folder / "state", lambda: CATALOG_ID)


def directory(root: Path, name: str = "local") -> DirectoryLocation:
    """The folder *root* as a location."""
    settings = Settings(PurePosixPath(root))
    location = open_location(LocationName(name), settings, surroundings(root.parent))
    assert isinstance(location, DirectoryLocation)
    return location
