"""What a tree is to show, as documents: all that the catalog has, or what changed in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from imagectl.adapters.published.said import Said
from imagectl.adapters.published.verified import VerifiedTree
from imagectl.formats.published_v1.announcements import with_announcements
from imagectl.formats.published_v1.changing import render_excerpt
from imagectl.formats.published_v1.writing import Documents, render, rendering
from imagectl.formats.tuf_roles import ANNOUNCEMENTS_TARGET
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import LocationName
from imagectl.model.published import PublishedCatalog
from imagectl.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Desired:
    """What a tree is to show: ``documents``, on top of what is ``said`` already, or nothing else
    where that is None. ``rendering``: how documents of versions were made."""

    shown: PublishedCatalog
    documents: Documents
    rendering: str
    said: Said | None

    @property
    def size(self) -> int:
        """How many bytes that is at most."""
        of_targets = sum(map(len, self.documents.targets.values()))
        return of_targets + sum(map(len, self.documents.versions.values()))


def desire(
    told: Snapshot | Excerpt,
    tree: VerifiedTree | None,
    shown: PublishedCatalog | None,
    now: datetime,
    public_urls: Mapping[LocationName, str],
    found: Callable[[str], bytes | None],
) -> Desired:
    """What *tree*, which has *shown* that until *now*, is to show; an excerpt needs one. *found*
    gives what of a role waits for signatures. Raises as the port's ``publish`` does."""
    snapshot = told.snapshot if isinstance(told, Excerpt) else told
    at = now
    state = (snapshot.generation, snapshot.event)
    if shown is not None and (shown.generation, shown.event) == state:
        at = shown.at or now  # the same bytes again
    wanted = PublishedCatalog(snapshot.catalog_id, snapshot.generation, snapshot.event, at)
    made = rendering(public_urls)
    if not isinstance(told, Excerpt):
        documents = with_announcements(render(snapshot, at, public_urls), snapshot)
        return Desired(wanted, documents, made, None)
    assert tree is not None
    said = Said(tree, found)
    documents = render_excerpt(told, at, public_urls, said.find)
    before = said.find(ANNOUNCEMENTS_TARGET)
    documents = with_announcements(documents, snapshot, before, told.announced)
    return Desired(wanted, documents, made, said)
