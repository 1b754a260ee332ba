"""Makes a lost catalog again, from what a published tree carries of its history."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagectl.errors import CannotTell, ImagectlError, NotFound, Refused

if TYPE_CHECKING:
    from imagectl.bootstrap.project import Project
    from imagectl.model.names import Sha256
    from imagectl.model.snapshot import Snapshot

LEFTOVERS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, and would take into one of the same name."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The catalog that was made, and the digest of all that it knows."""

    catalog_id: str
    generation: int
    state: Sha256
    notices: tuple[str, ...]


def rebuild_catalog(project: Project, source: str, root: Path | None, now: datetime) -> Rebuilt:
    """Make the project's catalog from the history that the tree at *source* carries.

    *root* is the file that says whose signatures count; the project's own where it is None. Nothing
    is made unless all of it is there, verified, and as new as what the project's own trees show.
    Raises Refused where there is a catalog; CannotTell where the history is not whole, is another
    catalog's or cannot be verified.
    """
    from imagectl.adapters.catalog_sql import SqlCatalog
    from imagectl.bootstrap.catalog import catalog_url
    from imagectl.bootstrap.consumer import ROOT_FILE, read_root
    from imagectl.consumer.history import read_history
    from imagectl.consumer.tree import open_catalog
    from imagectl.formats.state_digest import state_digest

    refuse_where_one_is(project)
    trusted = read_root(project.root, root or project.root / ROOT_FILE)
    # A cache of its own: nothing is to come from what was seen before, and nothing stays.
    with tempfile.TemporaryDirectory(prefix="imagectl-rebuild-") as cache:
        try:
            tree = open_catalog(source, root=trusted, cache=Path(cache), now=now)
        except NotFound as missing:
            raise NotFound(
                missing.what,
                where=missing.where,
                why=missing.why,
                hint="name another copy of what was published under --from: each tree of "
                "`catalog.publish` that has `history: true` will do, and so will a mirror of one",
            ) from missing
        try:
            events = read_history(tree)
            shown = tree.catalog()
        finally:
            tree.close()
    hashes = {event.generation: event.hash for event in events}
    _check_no_tree_knows_more(project, shown.catalog_id, hashes)
    url = catalog_url(project)
    # With its events from the start: a killed rebuild leaves nothing that is taken for a catalog.
    with SqlCatalog(
        url, root=project.root, new_id=lambda: shown.catalog_id, events=events
    ) as catalog:
        head = catalog.snapshot(())
        if head.catalog_id != shown.catalog_id:
            raise _there_is_one(catalog.where, head)
        if not head.generation:
            catalog.restore(events)
        made = catalog.snapshot()
        if (made.generation, made.event) != (shown.generation, shown.event):
            raise _there_is_one(catalog.where, made)
    return Rebuilt(made.catalog_id, made.generation, state_digest(made), tree.notices)


def refuse_where_one_is(project: Project) -> None:
    """Raise Refused where there is a catalog, or a part of one. One without any event may be
    filled, where it has the right identity."""
    from imagectl.adapters.catalog_sql import SqlCatalog
    from imagectl.bootstrap.catalog import catalog_url

    url = catalog_url(project)
    if url.startswith("sqlite:///"):
        file = project.root / url.removeprefix("sqlite:///")
        left = [each for end in LEFTOVERS if (each := Path(f"{file}{end}")).exists()]
        if left and not file.exists():
            raise Refused(
                "a part of a catalog is there still, and it is left as it is",
                reasons=tuple(f"{each.name} is there, without {file.name}" for each in left),
                where=str(file.parent),
                hint="keep a copy elsewhere, and move it away: SQLite would mix the two",
            )
    try:
        with SqlCatalog(url, root=project.root) as catalog:
            head = catalog.snapshot(())
            if head.generation:
                raise _there_is_one(catalog.where, head)
    except NotFound:
        return


def _there_is_one(where: str, head: Snapshot) -> Refused:
    return Refused(
        "there is a catalog already, and it is left as it is",
        reasons=(f"it is catalog {head.catalog_id} at generation {head.generation}",),
        where=where,
        hint="`imagectl catalog verify` says whether it is sound; only to give it up, move it "
        "elsewhere first",
    )


def _check_no_tree_knows_more(project: Project, catalog_id: str, hashes: dict[int, Sha256]) -> None:
    """Raise CannotTell where a tree of the project shows more than that history has (P2)."""
    from imagectl.policy.newest import why_not_the_newest

    for publisher in project.publishers:
        try:
            shown = publisher.shown()
        except ImagectlError:  # lost or damaged: so it says nothing
            continue
        if shown is None:
            continue
        doubt = why_not_the_newest(
            shown, publisher.where, catalog_id, max(hashes, default=0), hashes.get
        )
        if doubt is not None:
            raise CannotTell(
                f"{publisher.where} shows another state than that history ends with; nothing was "
                "made",
                where=doubt.where,
                why=doubt.why,
                hint="name that tree, or another newer copy, under --from; to give it up, move it "
                "elsewhere",
            )
