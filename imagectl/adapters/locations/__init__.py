"""The table of location types, in the words that ``imagectl.yaml`` uses.

Each implementation is imported only when a location of its type is opened: the SDKs of some clouds
take seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from imagectl.adapters.secrets import read_secret
from imagectl.model.image import SecretRef
from imagectl.model.names import LocationName
from imagectl.model.place import LocationSettings
from imagectl.model.version import Placement
from imagectl.services.ports.janitor import Leasing
from imagectl.services.ports.locations import Location

TYPES: Mapping[str, tuple[str, str]] = {
    "directory": ("imagectl.adapters.locations.directory", "DirectoryLocation"),
    "gce": ("imagectl.adapters.locations.gce", "GceLocation"),
    "gcs": ("imagectl.adapters.locations.gcs", "GcsLocation"),
    "oci": ("imagectl.adapters.locations.oci", "OciLocation"),
    "s3": ("imagectl.adapters.locations.s3", "S3Location"),
    "vsphere": ("imagectl.adapters.locations.vsphere", "VsphereLocation"),
}
"""Type: its module and class. A class is called with the location's name, its settings and its
:class:`Surroundings`, and does no I/O then."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What locations need of the project around them.

    ``state`` is a private folder for what is remembered between commands (limits, broken-off
    uploads); losing it loses nothing but time. ``catalog`` gives the id of the catalog, which goes
    into ownership marks; ``placed`` what the catalog has in a location, and ``used`` whether it has
    anything to do with it, for which they read all of it. ``leasing`` gives leases for what is made
    to be thrown away. ``patience``, in seconds: how long a call is tried again (``calls.py``), and
    ``remark`` is told when that takes long.
    """

    project: Path
    state: Path
    catalog: Callable[[], str]
    placed: Callable[[LocationName], Iterator[Placement]]
    used: Callable[[LocationName], bool]
    leasing: Callable[[], Leasing]
    patience: float = 300.0
    remark: Callable[[str], None] = lambda _: None

    def secret(self, ref: SecretRef) -> str:
        """Its value. Raises NotFound or Failed."""
        return read_secret(ref, self.project)


def open_location(name: LocationName, settings: LocationSettings, around: Surroundings) -> Location:
    """The location that those settings describe."""
    module, cls = TYPES[settings.type]
    location: Location = getattr(import_module(module), cls)(name, settings, around)
    return location
