"""A ledger in memory of things that are made to be thrown away."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from imagectl.errors import CannotTell
from imagectl.model.resource import Resource


class MemoryResources:
    """Implements ``services.ports.Resources``. It may be used from several threads.

    While ``broken`` is true, it can neither be read nor written.
    """

    def __init__(self) -> None:
        self.broken = False
        self._lock = threading.Lock()
        self._all: dict[str, Resource] = {}

    def begin(self, resource: Resource) -> None:
        with self._open():
            self._all.setdefault(resource.id, resource)

    def renew(self, ids: Collection[str], until: datetime) -> None:
        with self._open():
            for each in ids:
                known = self._all.get(each)
                if known is not None and known.until < until:
                    self._all[each] = replace(known, until=until)

    def end(self, id: str) -> None:
        with self._open():
            self._all.pop(id, None)

    def failed(self, id: str, trouble: str) -> None:
        with self._open():
            known = self._all.get(id)
            if known is not None:
                self._all[id] = replace(known, tries=known.tries + 1, trouble=trouble)

    def all(self) -> tuple[Resource, ...]:
        with self._open():
            return tuple(sorted(self._all.values(), key=lambda each: (each.since, each.id)))

    def _open(self) -> threading.Lock:
        if self.broken:
            raise CannotTell("the ledger in memory cannot be read or written")
        return self._lock
