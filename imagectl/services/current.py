"""Whether the catalog at hand is the newest one: what consumers are shown may know a later (P2).

Promises: nothing is decided on a copy that was brought back from before the last changes, and
nothing is pointed to what such a copy has: whoever changes the catalog looks here first. That reads
one small file of each published tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.names import Sha256
from imagectl.model.published import PublishedCatalog
from imagectl.model.snapshot import Snapshot
from imagectl.policy.newest import why_not_the_newest
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.published import Publisher


def check_newest(catalog: Catalog, publishers: Sequence[Publisher]) -> None:
    """Raise CannotTell where a published tree shows a later generation than the catalog has, or
    another catalog, or a generation that the catalog has come to in another way.

    A tree that cannot be read says nothing here: it must not keep anybody from rolling back.
    """
    if (trouble := not_the_newest(catalog, publishers)) is not None:
        trouble.what += "; nothing was done"
        raise trouble


def not_the_newest(catalog: Catalog, publishers: Sequence[Publisher]) -> CannotTell | None:
    """What ``check_newest`` would raise, if anything."""
    for publisher in publishers:
        try:
            shown = publisher.shown()
        except ImagectlError:  # whoever writes it will be told
            continue
        # In this order: a tree read first cannot be ahead of a catalog read later.
        if shown is not None and (trouble := against(catalog, publisher, shown)) is not None:
            return trouble
    return None


def against(catalog: Catalog, publisher: Publisher, shown: PublishedCatalog) -> CannotTell | None:
    """What that tree, which shows that, says against the catalog, if anything."""
    head = catalog.snapshot(())
    doubt = why_not_the_newest(
        shown, publisher.where, head.catalog_id, head.generation, partial(_event, catalog, head)
    )
    if doubt is None:
        return None
    return CannotTell(doubt.what, where=doubt.where, why=doubt.why, hint=doubt.hint)


def _event(catalog: Catalog, head: Snapshot, generation: int) -> Sha256 | None:
    """The hash of the event that made *generation*."""
    if generation == head.generation:
        return head.event
    found = next(catalog.events(generation - 1), None)
    return found.hash if found is not None and found.generation == generation else None
