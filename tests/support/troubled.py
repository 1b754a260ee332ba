"""A catalog and a publisher that work, but for one trouble that a test makes."""

from __future__ import annotations

from collections.abc import Callable

from imagectl.errors import CannotTell, Failed
from imagectl.model.change import Change
from imagectl.model.excerpt import Excerpt
from imagectl.model.snapshot import Snapshot
from imagectl.services.ports.catalog import Committed
from imagectl.testing.catalog import MemoryCatalog
from imagectl.testing.published import MemoryPublisher


class Busy(MemoryCatalog):
    """A catalog that others use too: ``meanwhile`` is done, once, before the next commit.

    ``loses_answer``: the connection breaks, once, after the next commit.
    """

    meanwhile: Callable[[], object] | None = None
    loses_answer = False

    def commit(self, change: Change) -> Committed:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        done = super().commit(change)
        if self.loses_answer:
            self.loses_answer = False
            raise CannotTell("the connection broke before the answer came")
        return done


class FullDisk(MemoryPublisher):
    """A publisher that fails while it is ``full``."""

    full = False
    place = "/srv/public"

    @property
    def where(self) -> str:
        return self.place

    def publish(self, told: Snapshot | Excerpt) -> None:
        if self.full:
            raise Failed("publishing the catalog: no space left", where=self.place)
        super().publish(told)
