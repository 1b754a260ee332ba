"""A published tree in memory."""

from __future__ import annotations

from imagectl.errors import Corrupt, NotFound, Refused
from imagectl.formats.published_v1.layout import ENTRY
from imagectl.formats.published_v1.reading import TreeReader, parse_entry
from imagectl.formats.published_v1.writing import render
from imagectl.model.published import PublishedCatalog
from imagectl.model.snapshot import Snapshot


class MemoryPublisher:
    """Implements ``services.ports.Publisher``; ``files`` is the tree, for tests to damage."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @property
    def where(self) -> str:
        return "memory"

    def publish(self, snapshot: Snapshot) -> None:
        tree = render(snapshot)
        if (shown := self.shown()) is not None:
            if shown.catalog_id != snapshot.catalog_id:
                raise Refused(
                    "the tree in memory shows another catalog",
                    reasons=(f"it has catalog {shown.catalog_id}, not {snapshot.catalog_id}",),
                )
            if shown.generation > snapshot.generation:
                return
        self.files.update(tree.documents)
        self.files[ENTRY] = tree.entry

    def shown(self) -> PublishedCatalog | None:
        return parse_entry(self.files[ENTRY], ENTRY) if ENTRY in self.files else None

    def tree(self) -> TreeReader:
        """The same tree, for reading."""
        return TreeReader("memory", self._fetch)

    def _fetch(self, path: str) -> bytes:
        if path in self.files:
            return self.files[path]
        if path == ENTRY:
            raise NotFound("nothing is published in memory yet")
        raise Corrupt(f"{path} is missing", where=f"memory/{path}")
