"""What the catalog has in one location, and whether it has anything to do with it."""

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


def is_used(catalog: Catalog, name: LocationName) -> bool:
    """Whether anything is placed in that location, or is being placed or deleted there, as far as
    the catalog knows. Raises CannotTell where the catalog is not whole."""
    begun = set()
    with catalog.stock() as stock:
        for shelf in stock.shelves():
            if any(kept.location == name for each in shelf.versions for kept in each.placed):
                return True
            if any(each.placement.location == name for each in shelf.buried):
                return True
            if any(each.begun for each in shelf.versions):
                begun.add(shelf.image)
    intents = catalog.snapshot(begun).intents.values() if begun else ()
    return any(each.location == name for all_of_one in intents for each in all_of_one)
