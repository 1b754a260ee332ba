"""What the catalog has in one location."""

from __future__ import annotations

from collections.abc import Iterator

from imagectl.model.names import LocationName
from imagectl.model.version import Placement
from imagectl.services.ports.catalog import Catalog


def placed_in(catalog: Catalog, name: LocationName) -> Iterator[Placement]:
    """The placements in that location, sorted by image. Raises CannotTell where the catalog is not
    whole."""
    with catalog.stock() as stock:
        images = {
            each.version.image
            for each in stock.whereabouts()
            if any(kept.location == name for kept in each.placed)
        }
    for image in sorted(images):
        for placements in catalog.snapshot((image,)).placements.values():
            yield from (each for each in placements if each.location == name)
