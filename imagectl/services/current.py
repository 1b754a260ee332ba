"""Whether the catalog at hand is the newest one: what consumers are shown may know a later (P2).

Promises: nothing is decided on a copy that was brought back from before the last changes, and
nothing is pointed to what such a copy has: whoever changes the catalog looks here first. That reads
one small file of each published tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagectl.errors import CannotTell, ImagectlError
from imagectl.model.catalog import Snapshot
from imagectl.model.names import Sha256
from imagectl.model.published import PublishedCatalog
from imagectl.services.ports.catalog import Catalog
from imagectl.services.ports.published import Publisher

BRING_BACK = (
    "bring back the newest copy of the catalog. If there is none: `imagectl adopt LOCATION` first, "
    "which records again what locations have; last, remove the published tree, and type `imagectl "
    "catalog publish`. What was released, held, revoked or deleted since that copy was made is "
    "forgotten then"
)
"""The published tree is the last thing that knows of it: so it is removed last."""


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
    why = _why_not(catalog, shown)
    if not why:
        return None
    return CannotTell(
        "the catalog is not the one that consumers are shown, or not the newest copy of it",
        where=publisher.where,
        why=why,
        hint=BRING_BACK,
    )


def _why_not(catalog: Catalog, shown: PublishedCatalog) -> str:
    """Why the catalog cannot be the newest one that *shown* was made from; empty where it can."""
    head = catalog.snapshot(())
    if shown.catalog_id != head.catalog_id:
        return (
            f"published is catalog {shown.catalog_id}, and this is {head.catalog_id}: `catalog.url`"
            " in imagectl.yaml may name another database"
        )
    published = f"published is generation {shown.generation}"
    if shown.generation > head.generation:
        return (
            f"{published}, and the catalog is only at {head.generation}: it may be a backup that "
            "was brought back"
        )
    if shown.event is not None and shown.event != _event(catalog, head, shown.generation):
        return (
            f"{published} as event {shown.event[:12]}, which this catalog does not have: it may be "
            "a backup that was brought back, and has moved on"
        )
    return ""


def _event(catalog: Catalog, head: Snapshot, generation: int) -> Sha256 | None:
    """The hash of the event that made *generation*."""
    if generation == head.generation:
        return head.event
    found = next(catalog.events(generation - 1), None)
    return found.hash if found is not None and found.generation == generation else None
