"""A published tree in memory: the documents, and nobody's signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from imagectl.errors import Conflict, Corrupt, NotFound, Refused
from imagectl.formats.published_v1.announcements import with_announcements
from imagectl.formats.published_v1.changing import render_excerpt
from imagectl.formats.published_v1.reading import TreeReader, parse_catalog
from imagectl.formats.published_v1.writing import render
from imagectl.formats.tuf_roles import ANNOUNCEMENTS_TARGET, CATALOG_TARGET, role_of, target_path
from imagectl.model.excerpt import Excerpt
from imagectl.model.names import Sha256
from imagectl.model.published import PublishedCatalog
from imagectl.model.snapshot import Snapshot

PUBLISHED = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""When everything here is published."""


ENTRY = "targets.json"
"""The one file here that is ever replaced, in the place of signed metadata."""


class MemoryPublisher:
    """Implements ``services.ports.Publisher``; ``files`` is the tree, for tests to damage."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    @property
    def targets(self) -> dict[str, Sha256]:
        """By which digest each document is reached: what signed metadata says elsewhere."""
        found: dict[str, Sha256] = json.loads(self.files.get(ENTRY, b'{"targets": {}}'))["targets"]
        return found

    def point(self, targets: Mapping[str, Sha256], shown: str | None = None) -> None:
        """Have the documents reached by these digests. *shown*: what the catalog says of itself."""
        if shown is None:
            shown = json.loads(self.files[ENTRY])["shown"]
        self.files[ENTRY] = json.dumps({"targets": targets, "shown": shown}).encode()

    @property
    def where(self) -> str:
        return "memory"

    def publish(self, told: Snapshot | Excerpt) -> None:
        snapshot = told.snapshot if isinstance(told, Excerpt) else told
        shown = self.shown()
        if shown is not None:
            if shown.catalog_id != snapshot.catalog_id:
                raise Refused(
                    "the tree in memory shows another catalog",
                    reasons=(f"it has catalog {shown.catalog_id}, not {snapshot.catalog_id}",),
                )
            if shown.generation > snapshot.generation:
                return
        targets: dict[str, Sha256] = {}
        if isinstance(told, Excerpt):
            if shown is None or shown.generation < told.since:
                raise Conflict(f"the tree in memory does not show generation {told.since} any more")
            documents = render_excerpt(told, PUBLISHED, {}, self.find)
            before = self.find(ANNOUNCEMENTS_TARGET)
            documents = with_announcements(documents, snapshot, before, told.announced)
            targets = {
                each: digest
                for each, digest in self.targets.items()
                if each not in documents.absent
            }
        else:
            documents = with_announcements(render(snapshot, PUBLISHED), snapshot)
        self.files.update(documents.versions)
        for target, data in documents.targets.items():
            targets[target] = Sha256(hashlib.sha256(data).hexdigest())
            self.files[target_path(target, targets[target])] = data
        self.point(targets, documents.targets[CATALOG_TARGET].decode())

    def signatures(self) -> Mapping[str, datetime]:
        return {}  # nobody has signed it

    def lags(self) -> Mapping[str, bool]:
        return {} if self.shown() is None else dict.fromkeys(self.roles(), False)

    def shown(self) -> PublishedCatalog | None:
        if ENTRY not in self.files:
            return None
        return parse_catalog(json.loads(self.files[ENTRY])["shown"].encode(), "memory")

    def tree(self) -> MemoryTree:
        """The same tree, for reading."""
        return MemoryTree(self)

    def find(self, target: str) -> tuple[bytes, str] | None:
        digest = self.targets.get(target)
        if digest is None:
            return None
        path = target_path(target, digest)
        data = self.fetch(path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"memory/{path} was changed", where=f"memory/{path}")
        return data, f"memory/{path}"

    def names(self, role: str) -> Collection[str]:
        return {each for each in self.targets if role_of(each, ()) == role}

    def roles(self) -> Collection[str]:
        return {role_of(each, ()) for each in self.targets}

    def waits(self, role: str) -> bool:
        return False  # for nobody's signature

    def fetch(self, path: str) -> bytes:
        if path not in self.files:
            raise Corrupt(f"memory/{path} is missing", where=f"memory/{path}")
        return self.files[path]


class MemoryTree(TreeReader):
    """``services.ports.PublishedTree`` on what a ``MemoryPublisher`` has published."""

    def __init__(self, publisher: MemoryPublisher) -> None:
        super().__init__("memory", publisher)
        self._publisher = publisher

    def catalog(self) -> PublishedCatalog:
        if ENTRY not in self._publisher.files:
            raise NotFound("nothing is published in memory yet")
        return super().catalog()
