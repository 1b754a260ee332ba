"""A project whose catalog can be lost, and its history published."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from imagectl.adapters.catalog_sql import SqlCatalog
from imagectl.formats.published_v1.history import SEGMENT
from imagectl.model.change import Change, HoldVersion, Operation, UnholdVersion
from imagectl.testing.catalog import MemoryCatalog
from support.examples import NOW, ref
from support.projects import new_project, release

WHO = "ana@build1"
OLD, NEW = "debian-base@20261118.1", "debian-base@20261120.1"


def hold_and_unhold(catalog: MemoryCatalog | SqlCatalog, times: int) -> None:
    """That many changes of a version that is there."""
    for _ in range(times):
        now = catalog.snapshot({ref(OLD).image})
        held = ref(OLD) in now.holds
        mark: Operation = UnholdVersion(ref(OLD), WHO) if held else HoldVersion(ref(OLD))
        change = Change(f"{now.generation}", now.generation, WHO, "hold", "x", NOW, (mark,))
        catalog.commit(change)


class Lost:
    """A project whose catalog can be lost, and its history published. ``root`` is its folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / ".imagectl" / "catalog.sqlite3"
        self.public = root / "catalog" / "public"
        self.history = self.public / "history"

    def lose(self) -> None:
        for each in self.database.parent.glob("catalog.sqlite3*"):
            each.unlink()


def about_to_be_lost(folder: Path) -> Lost:
    """A new project there, with a history of several documents."""
    with closing(new_project(folder)) as project:
        release(project, OLD)
        hold_and_unhold(project.catalog, 2 * SEGMENT)
        release(project, NEW)
        return Lost(project.root)
