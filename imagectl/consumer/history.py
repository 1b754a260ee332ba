"""The history of a published catalog, where its tree carries it: all that makes the catalog again.

Nothing is believed that is not signed, and nothing that does not follow from hash to hash (P7).
"""

from __future__ import annotations

from imagectl.consumer.tree import SignedTree
from imagectl.errors import CannotTell
from imagectl.formats.published_v1.history import Earlier, Segment, parse_segment, read_events
from imagectl.formats.tuf_roles import HISTORY_TARGET, history_path
from imagectl.model.event import Event


def read_history(tree: SignedTree) -> tuple[Event, ...]:
    """Every event of the catalog that *tree* shows, oldest first.

    Raises CannotTell where the tree carries none, or not all, or another catalog's; Corrupt, naming
    the file, where bytes are not those that were signed for.
    """
    data = tree.target(HISTORY_TARGET)
    if data is None:
        raise CannotTell(
            "that tree does not carry the history of its catalog",
            where=tree.where,
            why="`catalog.publish` in imagectl.yaml decides that: {to: ..., history: true}",
            hint="name a tree that does, or bring the catalog back from a backup",
        )

    def fetch(earlier: Earlier) -> Segment:
        path = history_path(earlier.sha256)
        data = tree.named(path, earlier.sha256, earlier.size)
        return parse_segment(data, f"{tree.where}/{path}")

    newest = parse_segment(data, f"{tree.where}/{HISTORY_TARGET}")
    return read_events(newest, tree.catalog(), tree.where, fetch)
