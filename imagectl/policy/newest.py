"""Whether a catalog can be the newest one that a published tree was made from (P2).

Promises: a copy that was brought back from before the last changes is told from the newest one,
also when it has moved on since by changes of its own, and so is another catalog. What consumers are
shown is the only thing outside of the catalog that knows.
"""

from __future__ import annotations

from collections.abc import Callable

from imagectl.model.names import Sha256
from imagectl.model.published import PublishedCatalog
from imagectl.policy.doubts import Doubt

NEWEST_COPY = (
    "bring back the newest copy of the catalog; or move this database aside, and `imagectl catalog "
    "rebuild --from TREE` makes the newest again from a published tree with its history"
)
BRING_BACK = (
    f"{NEWEST_COPY}. Only if there is neither: `imagectl adopt LOCATION` first, which records "
    "again what locations have; last, remove the published tree, and type `imagectl catalog "
    "publish`. What was released, held, revoked or deleted since that copy was made is forgotten "
    "then"
)
"""The published tree is the last thing that knows of it, and may know all: so it is removed last,
and only where nothing can be made from it."""

NOT_MOUNTED = (
    "it may not be mounted: look first. It alone tells an older copy of the catalog, brought back "
    "from a backup, from the newest"
)
BEGIN = (
    "mount it; where it is lost, or never was, and the catalog is the newest, `imagectl catalog "
    "publish` begins it"
)
"""Of a published tree that shows nothing, although channels have moved."""


def why_not_the_newest(
    shown: PublishedCatalog,
    where: str,
    catalog_id: str,
    generation: int,
    event: Callable[[int], Sha256 | None],
) -> Doubt | None:
    """What the tree at *where*, which shows that, says against the catalog of that id which is at
    that *generation*; None where it may be the newest.

    *event* gives the hash of the event that made a generation, None where there is no such event.
    """
    if shown.catalog_id != catalog_id:
        return Doubt(
            "this is not the catalog that was published",
            where,
            f"published is catalog {shown.catalog_id}, and this is {catalog_id}",
            "see `catalog.url` in imagectl.yaml: it may name another database",
        )
    published = f"published is generation {shown.generation}"
    if shown.generation > generation:
        return Doubt(
            "the catalog is older than what was published from it",
            where,
            f"{published}, and the catalog is only at {generation}: it may be a backup that was "
            "brought back",
            BRING_BACK,
        )
    if shown.event is not None and shown.event != (known := event(shown.generation)):
        return Doubt(
            "the catalog is not the one that was published: it went another way",
            where,
            f"{published} as event {shown.event[:12]}, and here it is "
            f"{known[:12] if known else 'not known'}: it may be a backup that was brought back, "
            "and has moved on",
            BRING_BACK,
        )
    return None
