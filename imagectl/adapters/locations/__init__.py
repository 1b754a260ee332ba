"""The table of location types, in the words that ``imagectl.yaml`` uses.

Each implementation is imported only when a location of its type is opened: the SDKs of some clouds
take seconds to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from imagectl.errors import BadUsage
from imagectl.model.names import LocationName
from imagectl.policy.wording import listed, nearest
from imagectl.services.ports import Location

TYPES: Mapping[str, tuple[str, str]] = {
    "directory": ("imagectl.adapters.locations.directory", "DirectoryLocation"),
}
"""Type: its module and class. A class is called with the location's name and its settings."""


def open_location(name: LocationName, settings: Mapping[str, object]) -> Location:
    """The location that those settings describe; ``type`` says which kind it is.

    Paths in the settings are absolute. Raises BadUsage for a type that there is not.
    """
    kind = str(settings.get("type", ""))
    if kind not in TYPES:
        raise BadUsage(
            f"location {name} has the unknown type {kind!r}",
            why=f"there is {listed(sorted(TYPES))}",
            hint=nearest(kind, TYPES),
        )
    module, cls = TYPES[kind]
    location: Location = getattr(import_module(module), cls)(name, settings)
    return location
