"""The history of the catalog that a tree carries, where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from imagectl.errors import CannotTell
from imagectl.formats.tuf_roles import HISTORY_TARGET

if TYPE_CHECKING:
    from imagectl.adapters.published.verified import VerifiedTree
    from imagectl.formats.published_v1.history import Segment
    from imagectl.formats.published_v1.writing import Documents
    from imagectl.model.event import Event
    from imagectl.model.snapshot import Snapshot


def known_past(tree: VerifiedTree | None) -> Segment | None:
    """The newest events that the tree has, where they lead to what it shows."""
    from imagectl.formats.published_v1.history import parse_segment
    from imagectl.model.event import GENESIS

    found = None if tree is None else tree.find(HISTORY_TARGET)
    if tree is None or found is None:
        return None
    known = parse_segment(*found)
    shown = tree.shown
    whole = (known.last, known.hash) == (shown.generation, shown.event or GENESIS)
    return known if whole and known.catalog_id == shown.catalog_id else None


def with_past(
    documents: Documents,
    snapshot: Snapshot,
    known: Segment | None,
    events: Callable[[int], Iterable[Event]],
    where: str,
) -> Documents:
    """The same, with the history up to *snapshot*: what is *known* of it is not made anew. Raises
    CannotTell where it is not whole; *where* is the tree."""
    from imagectl.formats.event_parts import BadEvent
    from imagectl.formats.events import as_written
    from imagectl.formats.published_v1.history import following, with_history

    after = 0 if known is None else known.last
    try:
        lines = ((event, as_written(event)) for event in events(after))
        texts = following(known, lines, snapshot.generation, snapshot.event)
        why = "its events do not lead to what is to be shown"
    except BadEvent as error:
        texts, why = None, str(error)
    if texts is None:
        raise CannotTell(
            f"the history of the catalog is not whole, and {where} is left as it is",
            where=where,
            why=why,
            hint="`imagectl catalog verify` names everything that is wrong",
        )
    return with_history(documents, snapshot.catalog_id, known, texts)
